"""The stages of a song measured one by one, with the pack's models open in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from khala_studio.cli import opening
from khala_studio.cli.bench_figure import Figure
from khala_studio.engine import pipeline
from khala_studio.engine.decoder import decode_stream
from khala_studio.engine.events import Failed, PreviewReady
from khala_studio.engine.stages import FrameRange
from khala_studio.song.codes import Codes, empty_codes
from khala_studio.song.request import SongRequest

if TYPE_CHECKING:
    from khala_studio.packs.manifest import PackManifest

LYRICS: Final = """[Verse 1]
The morning comes, I open up the door
The river sings a song I knew before
[Chorus]
Hold on, hold on, the night is nearly done
Hold on, hold on, we are running to the sun
"""
STYLE: Final = "pop, female voice"

_PASSES: Final = 8  # of super-resolution a round: each layer costs the same


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all measurements share."""

    stages: Any
    manifest: PackManifest
    request: SongRequest
    prompt: Any  # [S] vocabulary ids
    n_frames: int
    rounds: int

    def rounds_of(self, work: Callable[[], float]) -> tuple[float, ...]:
        """`work` once to warm up, then its result of every round."""
        work()
        return tuple(work() for _ in range(self.rounds))


def measure(
    pack: Path,
    manifest: PackManifest,
    rounds: int,
    seconds: float,
    threads: int | None,
    say: Callable[[str], None],
) -> Iterator[Figure]:
    """Yield the figures of the stages, for a song of `seconds`. Raises EngineError."""
    request = SongRequest(LYRICS, STYLE, seconds)
    with opening.open_stages(pack, threads=threads) as stages:
        say("opening the models")
        began = time.perf_counter()
        stages.open_all()
        yield Figure("open_seconds", "opening all models", "s", (time.perf_counter() - began,))
        stages.begin()
        prompt = stages.frontend.encode(request).ids
        b = _Bench(stages, manifest, request, prompt, manifest.codec.frames(seconds), rounds)
        say("first sound")
        yield Figure(
            "first_preview_warm", "first sound, models open", "s", b.rounds_of(lambda: _first_sound(b))
        )
        say("composing")
        name = f"composing, {b.n_frames * manifest.codec.n_coarse} tokens"
        yield Figure("tokens_per_second", name, "tokens/s", b.rounds_of(lambda: _tokens_per_second(b)))
        codes = _random_codes(manifest, b.n_frames)
        say("sharpening")
        name = f"sharpening, {b.n_frames} frames a pass"
        yield Figure("passes_per_second", name, "passes/s", b.rounds_of(lambda: _passes_per_second(b, codes)))
        say("decoding")
        depth = manifest.codec.n_codebooks
        yield Figure("decode_x_realtime", f"decoding, depth {depth}", "x realtime",
                     b.rounds_of(lambda: _decode_speed(b, codes)))  # fmt: skip


def _random_codes(manifest: PackManifest, n_frames: int) -> Codes:
    """[K, T]; the speed does not depend on which codes they are."""
    codec = manifest.codec
    rng = np.random.default_rng(0)
    return rng.integers(0, codec.codebook_size, (codec.n_codebooks, n_frames)).astype(np.int16)


def _first_sound(b: _Bench) -> float:
    """Seconds from the request to the first PreviewReady."""
    began = time.perf_counter()
    with closing(pipeline.generate(b.request, b.stages)) as events:
        for event in events:
            if isinstance(event, PreviewReady):
                return time.perf_counter() - began
            if isinstance(event, Failed):
                raise event.error
    raise RuntimeError("the song ended without a preview")


def _tokens_per_second(b: _Bench) -> float:
    b.stages.begin()
    codec = b.manifest.codec
    frames = FrameRange(b.n_frames, b.n_frames)
    none_known = empty_codes(0, codec.n_coarse)
    composing = b.stages.compose(b.prompt, frames, b.manifest.sampling.backbone, 0, none_known)
    with closing(composing):
        next(composing)  # reads the prompt
        began = time.perf_counter()
        count = sum(1 for _ in composing)
    return float(count * codec.n_coarse / (time.perf_counter() - began))


def _passes_per_second(b: _Bench, codes: Codes) -> float:
    b.stages.begin()
    coarse = b.manifest.codec.n_coarse
    depth = min(coarse + 1 + _PASSES, b.manifest.codec.n_codebooks)
    sharpening = b.stages.sharpen(b.prompt, codes[:coarse], depth, b.manifest.sampling.superres, 0)
    with closing(sharpening):
        next(sharpening)  # embeds the prompt and the known layers
        began = time.perf_counter()
        count = sum(1 for _ in sharpening)
    return count / (time.perf_counter() - began)


def _decode_speed(b: _Bench, codes: Codes) -> float:
    b.stages.begin()
    codec = b.manifest.codec
    began = time.perf_counter()
    samples = sum(int(sound.shape[1]) for _, sound in decode_stream(b.stages.decode, codes, codec))
    return samples / codec.sample_rate / (time.perf_counter() - began)
