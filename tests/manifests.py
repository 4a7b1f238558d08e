"""Packs of right form without models in them: enough for everything that never opens a graph."""

import hashlib
import json
from pathlib import Path
from typing import Any

CONTENTS = {
    "backbone.onnx": b"backbone" * 100,
    "superres_embed.onnx": b"embed",
    "superres.onnx": b"superres" * 50,
    "decoder.onnx": b"decoder",
    "CARD.md": b"# A card\n",
}


def manifest_fields(pack_id: str = "tiny", contents: dict[str, bytes] | None = None) -> dict[str, Any]:
    """pack.json as plain data; `contents` are the pack's files."""
    contents = CONTENTS if contents is None else contents
    return {
        "format": 1,
        "id": pack_id,
        "name": "Tiny",
        "version": "0.1.0",
        "license": "Apache-2.0",
        "languages": ["en"],
        "codec": {
            "sample_rate": 44100,
            "hop": 2048,
            "channels": 2,
            "n_codebooks": 64,
            "codebook_size": 1024,
            "n_coarse": 2,
            "context_frames": 10,
        },
        "text": {
            "frontend": "phonemes",
            "vocab_size": 300,
            "end_of_song": 3,
            "audio_offset": 300,
            "superres_marker_base": 299,
            "max_prompt": 2048,
            "max_characters": 20000,
        },
        "backbone": {
            "n_layers": 2,
            "n_kv_heads": 2,
            "head_dim": 64,
            "kv_dtype": "float32",
            "max_positions": 8192,
        },
        "superres": {"hidden": 384},
        "controls": {
            "tags": {"genre": ["pop", "folk"]},
            "sections": ["verse", "chorus"],
            "length": {
                "unit": "seconds",
                "min": 5,
                "max": 40,
                "default": 30,
                "min_fraction": 0.6,
                "max_fraction": 1.1,
            },
        },
        "sampling": {
            "backbone": {"temperature": 0.9, "top_k": 50},
            "superres": {"temperature": 1.0, "top_k": 10},
        },
        "precision": {"backbone": "fp32"},
        "graphs": {
            name: {
                "file": f"{name}.onnx",
                "inputs": {"x": ["float32", [1, "S"]]},
                "outputs": {"y": ["float32", [1]]},
            }
            for name in ("backbone", "superres_embed", "superres", "decoder")
        },
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in contents.items()
        },
    }


def write_pack(folder: Path, pack_id: str | None = None) -> Path:
    """A pack of right form in `folder`; its id is the folder's name unless told otherwise."""
    folder.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    (folder / "pack.json").write_text(json.dumps(manifest_fields(pack_id or folder.name)))
    return folder
