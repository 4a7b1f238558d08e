"""Whole songs by a process of their own: time to the first sound and to the last file, and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import khala_studio
from khala_studio.cli.bench_figure import Figure
from khala_studio.cli.bench_stages import LYRICS, STYLE
from khala_studio.cli.failures import UserError


@dataclass(frozen=True, slots=True)
class Song:
    """One run of `generate`, seen from outside."""

    first_sound: float  # seconds from the start of the process
    total: float  # seconds to its end
    music: float  # seconds of the song
    memory: float | None  # MB, the highest; None where the system does not tell


def measure(pack: Path, rounds: int, seconds: float, say: Callable[[str], None]) -> Iterator[Figure]:
    """Yield the figures of whole songs of `seconds`. Raises UserError when `generate` fails."""
    songs = []
    for number in range(rounds):
        say(f"a whole song, round {number + 1} of {rounds}")
        songs.append(run_song(pack, seconds, seed=number))
    first = tuple(s.first_sound for s in songs)
    yield Figure("first_preview_cold", "first sound, from process start", "s", first)
    label = f"whole song of {seconds:g} s, from process start"
    yield Figure("song_seconds", label, "s", tuple(s.total for s in songs))
    yield Figure("song_music_seconds", "music in it", "s", tuple(s.music for s in songs))
    memory = tuple(s.memory for s in songs if s.memory is not None)
    if memory:
        yield Figure("peak_memory_mb", "peak memory of that process", "MB", memory)


def run_song(pack: Path, seconds: float, seed: int) -> Song:
    """`khala-studio generate` in a child process, at all layers. Raises UserError."""
    with tempfile.TemporaryDirectory(prefix="khala-bench-") as folder:
        command = [sys.executable, "-m", "khala_studio.cli", "generate", "-"]
        command += [
            "-o",
            str(Path(folder) / "song"),
            "--style",
            STYLE,
            "--seconds",
            f"{seconds:g}",
            "--seed",
            str(seed),
        ]
        command += ["--pack", str(pack.absolute()), "--events"]
        with (Path(folder) / "errors").open("w+b") as errors:
            began = time.perf_counter()
            first_sound, memory, code = _watch(command, errors)
            total = time.perf_counter() - began
            if code:
                errors.seek(0)
                lines = errors.read().decode("utf-8", "replace").strip().splitlines()
                raise UserError(f"`generate` failed: {lines[-1] if lines else f'exit code {code}'}")
        return Song(first_sound, total, _length(Path(folder) / "song" / "song.wav"), memory)


def _watch(command: list[str], errors: IO[bytes]) -> tuple[float, float | None, int]:
    """Run `command`: seconds to its first PreviewReady, peak memory in MB, exit code."""
    began = time.perf_counter()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
    with subprocess.Popen(command, env=child_environment(), **pipes) as child:  # type: ignore[call-overload]
        try:
            child.stdin.write(LYRICS.encode())
            child.stdin.close()
            first_sound = _await_event(child.stdout, "PreviewReady") - began
            child.stdout.read()
            memory, code = _wait(child)
        except BaseException:
            child.kill()
            raise
    return first_sound, memory, code


def child_environment() -> dict[str, str]:
    """The child imports what this process imports, also from a checkout that is not installed."""
    root = str(Path(khala_studio.__file__).resolve().parents[1])
    others = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, others] if others else [root])}


def _await_event(lines: IO[bytes], name: str) -> float:
    """When the event `name` came, by perf_counter; nan if the lines end before."""
    for line in lines:
        if json.loads(line)["event"] == name:
            return time.perf_counter()
    return float("nan")


def _wait(child: subprocess.Popen[bytes]) -> tuple[float | None, int]:
    """The child's peak memory in MB and its exit code."""
    if not hasattr(os, "wait4"):
        return None, child.wait()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return usage.ru_maxrss * unit / 1e6, child.returncode


def _length(song: Path) -> float:
    import soundfile

    return float(soundfile.info(song).duration)
