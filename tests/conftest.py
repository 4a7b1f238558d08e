"""For all tests: the user's folders are empty ones, and a pack's pack.json can be had as plain data."""

from pathlib import Path

import pytest

from khala_studio import paths
from tests.manifests import manifest_fields


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes what belongs to the person who runs it; subprocesses neither."""
    home = tmp_path_factory.mktemp("home")
    for name in ("data", "cache", "config", "state"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(home / name))
    monkeypatch.setattr(paths, "data_folder", lambda: home / "data" / "khala-studio")
    monkeypatch.setattr(paths, "cache_folder", lambda: home / "cache" / "khala-studio")
    return home


@pytest.fixture
def fields() -> dict[str, object]:
    """A right pack.json as plain data, to be broken by the test."""
    return manifest_fields()
