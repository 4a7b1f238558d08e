"""`khala-studio doctor`: what works on this machine, one line each, and what to do about the rest."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from khala_studio import __version__
from khala_studio.cli.failures import DONE, ENGINE_FAILED

OK: Final = "ok"
MISSING: Final = "missing"  # not needed for a song
BROKEN: Final = "broken"  # no song without it

_LEAST_MEMORY: Final = 1 << 30
_LEAST_DISK: Final = 1 << 29


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    state: str  # OK, MISSING or BROKEN
    what: str
    detail: str
    advice: str = ""


def add_parser(commands: Any) -> None:
    """Declare `doctor`."""
    parser = commands.add_parser(
        "doctor", help="what works here", description="Check this machine, line by line."
    )
    parser.set_defaults(run=run)


def run(_args: argparse.Namespace) -> int:
    """Print the findings; 1 if something that every song needs does not work."""
    code = DONE
    for check in CHECKS:
        for finding in _guarded(check):
            advice = f" -> {finding.advice}" if finding.advice else ""
            print(f"{finding.state:<8}{finding.what:<20}{finding.detail}{advice}", flush=True)
            if finding.state == BROKEN:
                code = ENGINE_FAILED
    return code


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A check that fails in a way nobody thought of is a finding, too."""
    try:
        yield from check()
    except Exception as error:
        name = check.__name__.strip("_").replace("_", " ")
        yield Finding(BROKEN, name, f"{type(error).__name__}: {error}", "please report this")


def versions() -> Iterator[Finding]:
    """Khala Studio, Python and the packages that a song needs."""
    yield Finding(OK, "khala-studio", __version__)
    good = sys.version_info >= (3, 11)
    where = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding(OK if good else BROKEN, "python", where, "" if good else "install Python 3.11 or newer")
    for name in ("numpy", "soundfile", "soxr", "tokenizers", "platformdirs", "tqdm"):
        yield _package(name, needed=True)
    yield _package("PySide6", needed=False, distribution="PySide6_Essentials", purpose="for the window")
    yield _package("torch", needed=False, purpose="for training: make setup-train")


def _package(name: str, *, needed: bool, distribution: str = "", purpose: str = "") -> Finding:
    if importlib.util.find_spec(name) is None:
        state, advice = (BROKEN, f"pip install {name}") if needed else (MISSING, purpose)
        return Finding(state, name, "not installed", advice)
    try:
        version = importlib.metadata.version(distribution or name)
    except importlib.metadata.PackageNotFoundError:
        version = "installed"
    if needed:
        importlib.import_module(name)  # a library it loads may be missing
    return Finding(OK, name, version)


def processor() -> Iterator[Finding]:
    """Cores and memory."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    yield Finding(OK, "processor", f"{cores} cores")
    free, total = memory()
    if free is None:
        yield Finding(OK, "memory", "not known on this system")
        return
    detail = f"{free / 2**30:.1f} GiB free" + (f" of {total / 2**30:.1f} GiB" if total else "")
    good = free >= _LEAST_MEMORY
    yield Finding(
        OK if good else MISSING, "memory", detail, "" if good else "close other programs before a long song"
    )


def memory() -> tuple[int | None, int | None]:
    """Free and total bytes; None where the system does not say."""
    values: dict[str, int] = {}
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            values[name] = int(rest.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return None, None
    return values.get("MemAvailable"), values.get("MemTotal")


def disk() -> Iterator[Finding]:
    """Free space where songs and packs go."""
    from khala_studio import paths

    for what, folder in (("disk, this folder", Path.cwd()), ("disk, packs", paths.packs_folder())):
        existing = next(p for p in (folder, *folder.parents) if p.exists())
        free = shutil.disk_usage(existing).free
        good = free >= _LEAST_DISK
        detail = f"{free / 2**30:.1f} GiB free in {folder}"
        yield Finding(OK if good else MISSING, what, detail, "" if good else "free some space")


def providers() -> Iterator[Finding]:
    """ONNX Runtime, and where it really computes: proved by running one node."""
    if importlib.util.find_spec("onnxruntime") is None:
        yield Finding(
            BROKEN,
            "onnxruntime",
            "not installed",
            "pip install khala-studio[cpu], or [gpu] with an NVIDIA GPU",
        )
        return
    import onnxruntime as ort

    from khala_studio.engine import providers as engine_providers

    yield Finding(OK, "onnxruntime", ort.__version__)
    yield _cpu(engine_providers.probe_model())
    if engine_providers.cuda_works():
        yield Finding(OK, "gpu (CUDA)", "computes")
    elif engine_providers.cuda_is_installed():
        yield Finding(
            MISSING, "gpu (CUDA)", "installed, does not compute", "check the NVIDIA driver; songs use the CPU"
        )
    elif shutil.which("nvidia-smi"):
        yield Finding(
            MISSING, "gpu (CUDA)", "a GPU is here, its runtime is not", "pip install khala-studio[gpu]"
        )
    else:
        yield Finding(MISSING, "gpu (CUDA)", "no NVIDIA GPU found", "none needed; songs use the CPU")


def _cpu(model: bytes) -> Finding:
    import numpy as np
    import onnxruntime as ort

    try:
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        session.run(None, {"x": np.zeros(1, dtype=np.float32)})
    except Exception as error:  # the runtime has no common class for what may go wrong here
        return Finding(BROKEN, "cpu", str(error).splitlines()[0], "reinstall onnxruntime")
    return Finding(OK, "cpu", "computes")


def sound() -> Iterator[Finding]:
    """Sound files and sound devices."""
    import soundfile

    yield Finding(OK, "sound files", soundfile.__libsndfile_version__)
    try:
        import sounddevice
    except (ImportError, OSError):
        yield Finding(
            MISSING, "sound device", "PortAudio is not here", "install libportaudio2; only listening needs it"
        )
        return
    try:
        name = sounddevice.query_devices(kind="output")["name"]
    except (sounddevice.PortAudioError, ValueError):
        yield Finding(
            MISSING, "sound device", "none found", "only listening needs one; songs are written all the same"
        )
        return
    yield Finding(OK, "sound device", name)


def packs() -> Iterator[Finding]:
    """Every pack: sizes of its files against pack.json (`packs verify` reads every byte)."""
    from khala_studio.packs.errors import PackError
    from khala_studio.packs.store import PackStore, check_sizes

    found = PackStore.default().list()
    if not found:
        yield Finding(BROKEN, "pack", "none here", "khala-studio packs install PACK.zip")
    for pack in found:
        name = f"pack {pack.folder.name}"
        try:
            manifest = check_sizes(pack.folder)
        except PackError as error:
            yield Finding(BROKEN if len(found) == 1 else MISSING, name, str(error), "install it again")
        else:
            yield Finding(
                OK, name, f"{manifest.version}, {manifest.total_bytes / 2**20:.1f} MiB in {pack.folder}"
            )


CHECKS: Final = (versions, processor, disk, providers, sound, packs)
