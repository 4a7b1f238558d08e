"""What holds the house together: the list of packages, shipped files, where the user's files go."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import khala_studio
from khala_studio import paths
from khala_studio.resources import resource, shipped_packs
from khala_studio.song.lyrics import parse

ROOT = Path(khala_studio.__file__).parent.parent
CHECKOUT = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs a checkout")


@CHECKOUT
def test_every_package_is_listed():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {path.parent for path in (ROOT / "khala_studio").rglob("*.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert listed == names | {"khala_studio._models", "khala_studio._resources"}
    assert [f for f in folders if not (f / "__init__.py").is_file()] == []


def test_demo_lyrics_are_shipped():
    sections = parse(resource("lyrics/demo.txt").read_text(encoding="utf-8")).sections
    assert [(section.name, len(section.lines)) for section in sections] == [("verse", 4), ("chorus", 4)]


def test_shipped_packs_lie_in_a_real_folder():
    assert (shipped_packs() / "__init__.py").is_file()


def test_the_users_folders_are_their_own():
    assert len({paths.data_folder(), paths.packs_folder(), paths.cache_folder(), paths.logs_folder()}) == 4


def test_values_and_packs_load_fast():
    """Nothing heavy is imported below the engine."""
    code = (
        "import sys, khala_studio.packs.install, khala_studio.song.take\n"
        "print([m for m in ('torch', 'onnxruntime', 'scipy', 'PySide6', 'soundfile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
