"""The program starts fast, and helps."""

import subprocess
import sys
from pathlib import Path

import pytest

import khala_studio
from khala_studio.cli.program import COMMANDS

ROOT = Path(khala_studio.__file__).parent.parent
HEAVY = (
    "numpy",
    "onnxruntime",
    "PySide6",
    "torch",
    "scipy",
    "soundfile",
    "soxr",
    "tokenizers",
    "sounddevice",
)


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["train", "--help"], ["generate", "--help"], []]
)
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys\nfrom khala_studio.cli import main\n"
        f"assert main({arguments!r}) == 0\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
    assert done.stdout


def test_songs_need_neither_qt_nor_torch_nor_scipy(pack, lyrics, tmp_path):
    arguments = ["generate", str(lyrics), "-o", str(tmp_path / "a"), "--pack", str(pack), "--seconds", "1"]
    code = (
        "import sys\nfrom khala_studio.cli import main\n"
        f"assert main({arguments!r}) == 0\n"
        "print([m for m in ('PySide6', 'torch', 'scipy', 'sounddevice', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_arguments_it_says_that_there_is_no_window_yet(run):
    code, out, err = run()
    assert code == 0
    assert "not built yet" in err
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert out.startswith(f"usage: khala-studio {command}")


def test_a_mistake_of_ours_is_one_sentence_and_debug_shows_where(monkeypatch, capsys):
    from khala_studio.cli import main, packs

    def broken(_args):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(packs, "list_packs", broken)
    assert main(["packs", "list"]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "Traceback" not in err
    assert main(["--debug", "packs", "list"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_out_of_memory_and_ctrl_c_have_their_codes(monkeypatch, run):
    from khala_studio.cli import packs

    for error, expected in ((MemoryError(), 1), (KeyboardInterrupt(), 130), (BrokenPipeError(), 130)):

        def fail(_args, error=error):
            raise error

        monkeypatch.setattr(packs, "list_packs", fail)
        assert run("packs")[0] == expected


def test_a_training_step_without_its_packages_says_what_to_install(monkeypatch, run):
    from khala_studio.training import cli

    monkeypatch.setitem(cli.STEPS, "codec", ("khala_studio.training.no_such_module", "x"))
    code, _, err = run("train", "codec", "--minutes", "1")
    assert code == 2
    assert "setup-train" in err


def test_a_training_step_gets_its_own_arguments(monkeypatch, run):
    import types

    from khala_studio.training import cli

    module = types.ModuleType("a_step")
    module.add_arguments = lambda parser: parser.add_argument("--minutes", type=float, required=True)
    module.main = lambda args: 0 if args.minutes == 1.5 else 9
    monkeypatch.setitem(sys.modules, "a_step", module)
    monkeypatch.setitem(cli.STEPS, "codec", ("a_step", "try"))
    assert run("train", "codec", "--minutes", "1.5")[0] == 0
    assert run("train", "codec", "--minutes", "2")[0] == 9
    code, out, _ = run("train", "codec", "--help")
    assert code == 0
    assert "--minutes" in out
    assert run("train", "codec")[0] == 2
    assert run("train", "nonsense")[0] == 2
    assert run("train")[0] == 2
