"""Graphs and fields -> a verified pack folder, put in place whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from khala_studio.packs.manifest import MANIFEST_NAME, PackManifest

SHARED_NAME = "shared.data"
# Tensors of at least this size that occur in several graphs (the codebooks do) are stored once, beside them.
SHARED_BYTES = 64 * 2**10
# A graph with more weights than this keeps them in a file of its own: protobuf ends at 2 GiB.
INLINE_BYTES = 2**30
_ALIGNMENT = 64  # bytes; where tensors start in a data file

_DTYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.INT64: "int64",
    TensorProto.INT32: "int32",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
    TensorProto.BOOL: "bool",
}


def write_pack(
    folder: Path,
    fields: Mapping[str, Any],
    graphs: Mapping[str, onnx.ModelProto],
    extra_files: Mapping[str, bytes | str | Path],
    *,
    replace: bool = False,
) -> PackManifest:
    """Write the pack and return its manifest.

    Args:
        folder: becomes the pack; it must not exist, unless `replace`.
        fields: pack.json without "graphs" and "files".
        graphs: "backbone", "superres_embed", "superres", "decoder" and what else there is;
            written as NAME.onnx.
        extra_files: contents (bytes or text) or paths to copy, by file name.

    Raises:
        FileExistsError: there is something at `folder`.
        ValueError: `fields` make no valid manifest; the sentence names the field.
    """
    if folder.exists() and not replace:
        raise FileExistsError(f"{folder} exists already")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        made = Path(temporary) / "pack"
        made.mkdir()
        _write_graphs(made, graphs)
        for name, content in extra_files.items():
            _write_extra(made / name, content)

        data = dict(fields)
        data["graphs"] = {name: graph_spec(f"{name}.onnx", model) for name, model in graphs.items()}
        data["files"] = {path.name: _file_info(path) for path in sorted(made.iterdir())}
        manifest = PackManifest.from_json(data)
        text = json.dumps(data, ensure_ascii=False, indent=1) + "\n"
        (made / MANIFEST_NAME).write_text(text, encoding="utf-8")
        _move_into_place(made, folder, Path(temporary) / "old")
    return manifest


def graph_spec(file: str, model: onnx.ModelProto) -> dict[str, Any]:
    """pack.json's entry of a graph: names, dtypes and shapes of what goes in and out."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return {
        "file": file,
        "inputs": {v.name: _tensor_spec(v) for v in model.graph.input if v.name not in weights},
        "outputs": {v.name: _tensor_spec(v) for v in model.graph.output},
    }


def _tensor_spec(value: onnx.ValueInfoProto) -> list[Any]:
    tensor = value.type.tensor_type
    return [_DTYPES[tensor.elem_type], [d.dim_param or d.dim_value for d in tensor.shape.dim]]


# --- graphs


def _write_graphs(folder: Path, graphs: Mapping[str, onnx.ModelProto]) -> None:
    copies = {name: _copy(model) for name, model in graphs.items()}
    _share(folder / SHARED_NAME, list(copies.values()))
    for name, model in copies.items():
        if sum(len(t.raw_data) for t in model.graph.initializer) > INLINE_BYTES:
            with (folder / f"{name}.onnx.data").open("wb") as file:
                for tensor in _large_tensors(model, 1024):
                    _move_out(tensor, file)
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """The caller's graphs stay as they are while tensors move out of ours."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _share(path: Path, models: list[onnx.ModelProto]) -> None:
    """Move tensors whose bytes occur in more than one place to one file that all graphs read."""
    places: dict[bytes, list[TensorProto]] = {}
    for model in models:
        for tensor in _large_tensors(model, SHARED_BYTES):
            places.setdefault(hashlib.sha256(tensor.raw_data).digest(), []).append(tensor)
    shared = [tensors for tensors in places.values() if len(tensors) > 1]
    if not shared:
        return
    with path.open("wb") as file:
        for first, *others in shared:
            _move_out(first, file)
            for tensor in others:
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
                tensor.external_data.extend(first.external_data)


def _large_tensors(model: onnx.ModelProto, n_bytes: int) -> Iterator[TensorProto]:
    return (tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= n_bytes)


def _move_out(tensor: TensorProto, file: Any) -> None:
    """Append the tensor's bytes to `file` and leave a reference in their place."""
    file.write(b"\0" * (-file.tell() % _ALIGNMENT))
    where = {"location": Path(file.name).name, "offset": file.tell(), "length": len(tensor.raw_data)}
    file.write(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in where.items():
        tensor.external_data.add(key=key, value=str(value))


# --- files


def _write_extra(path: Path, content: bytes | str | Path) -> None:
    match content:
        case Path():
            shutil.copyfile(content, path)
        case str():
            path.write_text(content, encoding="utf-8")
        case bytes():
            path.write_bytes(content)


def _file_info(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _move_into_place(made: Path, folder: Path, old: Path) -> None:
    """`folder` is at every moment the old pack, absent for an instant, or the new one."""
    if folder.exists():
        folder.replace(old)
    try:
        made.replace(folder)
    except OSError:
        if old.exists():
            old.replace(folder)
        raise
