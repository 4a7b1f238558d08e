"""These tests need what the train extra brings; without it they are not collected."""

import importlib.util

NEEDED = ("scipy", "soundfile", "soxr", "pyworld", "matplotlib", "onnxruntime")
collect_ignore_glob = [] if all(importlib.util.find_spec(name) for name in NEEDED) else ["test_*.py"]
