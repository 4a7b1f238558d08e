"""A tiny pack, lyrics, and the program as a function and as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import khala_studio
from khala_studio.cli import main
from tests.tiny_pack import build_tiny_pack

ROOT = Path(khala_studio.__file__).parent.parent
LYRICS = "[Verse]\nhello world\nsing a song\n[Chorus]\nthe light is low\n"

# A tiny net is done at once; this one takes its time, so that there is something to stop.
SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where the tests run in the background
from khala_studio.cli import main, opening, recorder
recorder.SAVE_EVERY = 0.2
real = opening.open_stages
def slowly(make, seconds):
    def steps(*args):
        for step in make(*args):
            time.sleep(seconds)
            yield step
    return steps
def open_slowly(folder, **options):
    stages = real(folder, **options)
    stages.compose = slowly(stages.compose, {compose})
    stages.sharpen = slowly(stages.sharpen, {sharpen})
    return stages
opening.open_stages = open_slowly
sys.exit(main())
"""


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 layers of 64 codes, 20 frames a second at 8 kHz."""
    folder = tmp_path_factory.mktemp("packs") / "tiny"
    return build_tiny_pack(folder, n_codebooks=8, codebook_size=64, sample_rate=8000, hop=400)


@pytest.fixture
def lyrics(tmp_path: Path) -> Path:
    path = tmp_path / "lyrics.txt"
    path.write_text(LYRICS, encoding="utf-8")
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The program in this process: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


@pytest.fixture
def generate(run, pack: Path, lyrics: Path) -> Callable[..., tuple[int, str, str]]:
    """`generate` of a short song with the tiny pack."""

    def call(output: Path, *options: object) -> tuple[int, str, str]:
        return run("generate", lyrics, "-o", output, "--pack", pack, "--seconds", 2, *options)

    return call


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """The program as a process of its own, slowed down by so many seconds a step."""
    with ExitStack() as stack:

        def call(*arguments: object, compose: float = 0, sharpen: float = 0, stdin: int | None = None):
            process = subprocess.Popen(
                [sys.executable, "-c", SLOW.format(compose=compose, sharpen=sharpen), *map(str, arguments)],
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                cwd=ROOT,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)  # closes the pipes and waits,
            stack.callback(process.kill)  # after this
            return process

        yield call
