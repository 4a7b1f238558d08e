"""Shipped files, from a checkout and from a wheel alike."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent


def resource(name: str) -> Traversable:
    """`resource("lyrics/demo.txt")`"""
    return _shipped("khala_studio._resources", "resources") / name


def shipped_packs() -> Path:
    """The folder of shipped model packs. It may be missing or empty.

    A path, not a Traversable: ONNX Runtime maps weight files, so packs are never read from inside an archive.
    """
    return Path(str(_shipped("khala_studio._models", "models")))


def _shipped(package: str, folder: str) -> Traversable:
    try:
        return files(package)
    except ModuleNotFoundError:
        return _CHECKOUT / folder  # run from a checkout that is not installed
