"""A pack, opened: its graphs as ONNX Runtime sessions behind the `Stages` that the pipeline drives."""

import logging
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from khala_studio.engine import providers
from khala_studio.engine.backbone import compose
from khala_studio.engine.encoder import encode_stream
from khala_studio.engine.errors import BadRequest, BrokenPack, EngineError, MissingPack, OutOfMemory
from khala_studio.engine.events import Samples
from khala_studio.engine.graph_check import check_graph, check_interface
from khala_studio.engine.onnx_backbone import OnnxBackbone
from khala_studio.engine.providers import Provider
from khala_studio.engine.runs import Runs, in_our_words
from khala_studio.engine.stages import ComposedFrame, FrameRange, Frontend
from khala_studio.engine.superres import sharpen
from khala_studio.engine.text.frontend import load_frontend
from khala_studio.packs.errors import PackBroken, PackMissing
from khala_studio.packs.manifest import PackManifest, read_manifest
from khala_studio.song.codes import Codes, TokenIds
from khala_studio.song.request import Sampling

log = logging.getLogger(__name__)

_POLL = 0.05  # seconds between looks at the interrupt flag while a session opens


def open_pack(folder: Path, provider: str = "auto", threads: int | None = None) -> "OnnxStages":
    """Open the pack in `folder`. Its graphs are opened when they are needed, or at once by `open_all`.

    Args:
        provider: "auto", "cpu" or "cuda".
        threads: of each session on the CPU; None leaves one core free.

    Raises:
        MissingPack, BrokenPack: there is none, or pack.json is wrong. Hashes are `packs.store`'s to check.
    """
    try:
        manifest = read_manifest(folder)
    except PackMissing as error:
        raise MissingPack(str(error)) from error
    except PackBroken as error:
        raise BrokenPack(str(error)) from error
    check_interface(manifest)
    return OnnxStages(folder, manifest, Provider(provider), threads or providers.default_threads())


def check_graphs(folder: Path) -> None:
    """Open every graph of the pack in `folder` and compare it with pack.json.

    Raises:
        MissingPack, BrokenPack: one sentence that names the file and what was expected.
    """
    with open_pack(folder, "cpu", threads=1) as stages:
        stages.open_all()


SONG_GRAPHS = ("backbone", "decoder", "superres_embed", "superres")  # in the order in which they are needed


class OnnxStages:
    """The `Stages` of a pack. A context manager; may be kept for many songs, one at a time.

    Attributes:
        manifest: the pack's.
        frontend: its text front end.
        provider: where it was decided to run: CPU or CUDA.
        threads: of each session on the CPU.
    """

    def __init__(self, folder: Path, manifest: PackManifest, provider: Provider, threads: int) -> None:
        self.manifest, self.threads = manifest, threads
        self.frontend: Frontend = load_frontend(folder, manifest)
        self._folder = folder
        self._runs = Runs()
        self._openers = ThreadPoolExecutor(thread_name_prefix="open")
        self._opening: dict[str, Future[Any]] = {}
        self._lock = threading.Lock()
        self.provider, self._notices = _choose(provider, manifest)

    # -- the stages

    @property
    def notices(self) -> Sequence[str]:
        return tuple(self._notices)

    def compose(
        self, prompt: TokenIds, frames: FrameRange, sampling: Sampling, seed: int, known: Codes
    ) -> Generator[ComposedFrame, None, None]:
        backbone = OnnxBackbone(self._session("backbone"), self.manifest, self._runs)
        return compose(backbone.feed, self.manifest, prompt, frames, sampling, seed, known)

    def sharpen(
        self, prompt: TokenIds, codes: Codes, depth: int, sampling: Sampling, seed: int
    ) -> Generator[npt.NDArray[np.int16], None, None]:
        return sharpen(self._embed, self._predict, self.manifest, prompt, codes, depth, sampling, seed)

    def decode(self, codes: Codes, start_frame: int) -> Samples:
        """[k, t] codes -> [2, t * hop] samples of one window."""
        feeds = {"codes": np.ascontiguousarray(codes, dtype=np.int64)}
        if "start_frame" in self.manifest.graphs["decoder"].inputs:
            feeds["start_frame"] = np.array([start_frame], dtype=np.int64)
        return self._run("decoder", "waveform", feeds)

    def encode(self, waveform: Samples) -> Iterator[Codes]:
        """[2, N] samples -> codes [K, t] of consecutive chunks.

        Raises:
            BadRequest: the pack has no encoder.
        """
        if "encoder" not in self.manifest.graphs:
            raise BadRequest(
                f"The pack {self.manifest.id} has no encoder, so it cannot turn sound into codes."
            )
        return encode_stream(self._encode, waveform, self.manifest.codec)

    def begin(self) -> None:
        self._runs.begin()

    def interrupt(self) -> None:
        self._runs.interrupt()

    # -- the sessions

    def open_all(self) -> None:
        """Open every graph, in parallel, so that the first song need not wait.

        Raises:
            BrokenPack, OutOfMemory, Cancelled: as the first graph that failed.
        """
        for name in self.manifest.graphs:
            self._open(name)
        for name in self.manifest.graphs:
            self._session(name)

    def open_soon(self) -> None:
        """Begin to open what a song needs, in the order of its stages, and do not wait."""
        for name in SONG_GRAPHS:
            self._open(name)

    def close(self) -> None:
        """Let go of all sessions; what runs is interrupted."""
        self.interrupt()
        self._openers.shutdown(cancel_futures=True)
        self._opening.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _session(self, name: str) -> Any:
        """The session of a graph, opened if need be. An interrupt does not wait until it is open."""
        future = self._open(name)
        while not wait([future], timeout=_POLL).done:
            self._runs.check()
        try:
            return future.result()
        except EngineError:
            with self._lock:  # so that it can be tried again, with more memory say
                self._opening.pop(name, None)
            raise

    def _open(self, name: str) -> Future[Any]:
        with self._lock:
            if name not in self._opening:
                self._opening[name] = self._openers.submit(self._open_now, name)
            return self._opening[name]

    def _open_now(self, name: str) -> Any:
        began = time.perf_counter()
        on_gpu = self.provider is Provider.CUDA and _suits_cuda(name, self.manifest)
        path = self._folder / self.manifest.graphs[name].file
        session = open_session(path, _threads(name, self.threads), on_gpu=on_gpu)
        check_graph(session, name, self.manifest)
        log.info("%s opened in %.2f s on %s", name, time.perf_counter() - began, session.get_providers()[0])
        return session

    # -- the graphs as functions

    def _embed(self, ids: TokenIds) -> npt.NDArray[np.float32]:
        return self._run("superres_embed", "vectors", {"ids": ids})

    def _predict(self, x: npt.NDArray[np.float32], layer: int, n_text: int) -> npt.NDArray[np.float32]:
        return self._run(
            "superres", "logits", {"x": x, "layer": np.array([layer]), "n_text": np.array([n_text])}
        )

    def _encode(self, waveform: Samples) -> Codes:
        codes = self._run("encoder", "codes", {"waveform": np.ascontiguousarray(waveform)})
        return codes.astype(np.int16)

    def _run(self, name: str, output: str, feeds: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        session = self._session(name)
        (result,) = self._runs.run(lambda options: session.run([output], feeds, options))
        array: npt.NDArray[Any] = result
        return array


def open_session(path: Path, threads: int, *, on_gpu: bool = False) -> Any:
    """An InferenceSession that logs nothing by itself.

    Raises:
        BrokenPack: the file is missing or no graph that this runtime can run.
        OutOfMemory: it does not fit.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Exhaustive search would time every algorithm anew for each length of chunk.
    cuda = (providers.CUDA_PROVIDER, {"cudnn_conv_algo_search": "HEURISTIC"})
    chosen: list[Any] = [cuda, providers.CPU_PROVIDER] if on_gpu else [providers.CPU_PROVIDER]
    try:
        return ort.InferenceSession(str(path), options, providers=chosen)
    except Exception as error:
        ours = in_our_words(error)
        if isinstance(ours, OutOfMemory):
            raise ours from error
        raise BrokenPack(
            f"{path.name} cannot be opened as a model graph. Verify the pack, or install it again."
        ) from error


def _choose(wanted: Provider, manifest: PackManifest) -> tuple[Provider, list[str]]:
    """The provider to use, and what to tell the user about it.

    A pack is exported for one kind of processor. One whose backbone cannot run on a GPU is small enough for
    the CPU, and is not worth the seconds that CUDA takes to start.
    """
    for_gpu = _suits_cuda("backbone", manifest)
    if wanted is Provider.AUTO:
        wanted = Provider.CUDA if for_gpu and providers.cuda_is_installed() else Provider.CPU
    if wanted is Provider.CPU:
        return wanted, []
    if not providers.cuda_works():
        return Provider.CPU, [
            "The NVIDIA GPU could not be used, so the song is made on the processor, which is slower. "
            "`khala-studio doctor` says what is missing."
        ]
    if for_gpu:
        return wanted, []
    return wanted, [f"{manifest.name} is made for the processor; only some of it runs on the GPU."]


def _suits_cuda(name: str, manifest: PackManifest) -> bool:
    """Whether the graph's kernels exist on CUDA; others would copy to and fro at every node.

    GroupQueryAttention wants a float16 cache there, and DynamicQuantizeMatMul (int8) is a CPU kernel.
    """
    if name == "backbone":
        return manifest.backbone.kv_dtype == "float16"
    return manifest.precision.get(name.removesuffix("_embed"), "fp32") in ("fp32", "fp16")


def _threads(name: str, threads: int) -> int:
    """Previews are decoded beside the other models: on many cores, two pools of all of them would fight."""
    return threads if name != "decoder" or threads <= 2 else (threads + 1) // 2
