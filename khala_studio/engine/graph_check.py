"""Opened graphs against pack.json, in both directions."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from khala_studio.engine.errors import BrokenPack
from khala_studio.packs.manifest import PackManifest, TensorInfo

_DTYPES = {"float": "float32", "double": "float64"}  # ONNX Runtime's names that are not numpy's


class _Tensor(NamedTuple):
    """A type and a shape; a text in the shape stands for any size."""

    dtype: str
    shape: tuple[int | str, ...]


_OPTIONAL = ("start_frame",)  # decoders with a noise source ask for it

_Tensors = Mapping[str, _Tensor | TensorInfo]


def check_graph(session: Any, name: str, manifest: PackManifest) -> None:
    """Compare names, types and shapes of a session's inputs and outputs with the manifest.

    Raises:
        BrokenPack: one sentence that names the file and what was expected.
    """
    graph = manifest.graphs[name]
    for side, listed, tensors in (
        ("input", graph.inputs, session.get_inputs()),
        ("output", graph.outputs, session.get_outputs()),
    ):
        found = {t.name: _found(t) for t in tensors}
        for odd in sorted(listed.keys() ^ found.keys()):
            where = (
                "pack.json lists and the file does not have" if odd in listed else "pack.json does not list"
            )
            raise BrokenPack(
                f"{graph.file} is not the graph of this pack: {side} {odd!r} is one that {where}."
            )
        for tensor, expected in listed.items():
            if not _agree(expected, found[tensor]):
                raise BrokenPack(
                    f"{graph.file} is not the graph of this pack: {side} {tensor!r} should be "
                    f"{_words(expected)} and is {_words(found[tensor])}."
                )


def check_interface(manifest: PackManifest) -> None:
    """Check that pack.json's graphs are the ones that the engine feeds, in the sizes pack.json itself gives.

    Raises:
        BrokenPack: one sentence that names the graph and what was expected.
    """
    for name, (inputs, outputs) in _interface(manifest).items():
        graph = manifest.graphs.get(name)
        if graph is not None:
            _check_side(f"pack.json: graphs.{name}", "input", graph.inputs, inputs)
            _check_side(f"pack.json: graphs.{name}", "output", graph.outputs, outputs)


def _check_side(what: str, side: str, listed: _Tensors, expected: _Tensors) -> None:
    for name, tensor in expected.items():
        if name not in listed and name in _OPTIONAL:
            continue
        if name not in listed or not _agree(tensor, listed[name]):
            raise BrokenPack(f"{what} must have the {side} {name!r} of {_words(tensor)}.")
    for name in sorted(listed.keys() - expected.keys()):
        raise BrokenPack(f"{what} has the {side} {name!r}, which this version does not know.")


def _interface(m: PackManifest) -> dict[str, tuple[_Tensors, _Tensors]]:
    """Inputs and outputs by graph."""
    tensor, size, hidden = _Tensor, m.codec.codebook_size, m.superres.hidden
    kv = tensor(m.backbone.kv_dtype, (1, m.backbone.n_kv_heads, "P", m.backbone.head_dim))
    names = [f"{kind}_{i}" for i in range(m.backbone.n_layers) for kind in ("key", "value")]
    step = {
        "input_ids": tensor("int64", (1, "S")),
        "seqlens_k": tensor("int32", (1,)),
        "total_length": tensor("int32", ()),
    }
    logits = tensor("float32", (1, m.codec.n_coarse * size + 1))
    sound = tensor("float32", (m.codec.channels, "N"))
    return {
        "backbone": (
            step | {f"past_{n}": kv for n in names},
            {"logits": logits} | {f"present_{n}": kv for n in names},
        ),
        "superres_embed": (
            {"ids": tensor("int64", ("N",))},
            {"vectors": tensor("float32", ("N", hidden))},
        ),
        "superres": (
            {
                "x": tensor("float32", (1, "S", hidden)),
                "layer": tensor("int64", (1,)),
                "n_text": tensor("int64", (1,)),
            },
            {"logits": tensor("float32", ("T", size))},
        ),
        "decoder": (
            {"codes": tensor("int64", ("K", "T")), "start_frame": tensor("int64", (1,))},
            {"waveform": sound},
        ),
        "encoder": ({"waveform": sound}, {"codes": tensor("int64", (m.codec.n_codebooks, "T"))}),
    }


def _found(tensor: Any) -> _Tensor:
    """What ONNX Runtime says of an input or output, in the words of pack.json."""
    name = tensor.type.removeprefix("tensor(").removesuffix(")")
    return _Tensor(_DTYPES.get(name, name), tuple(d if isinstance(d, int) else "N" for d in tensor.shape))


def _agree(a: _Tensor | TensorInfo, b: _Tensor | TensorInfo) -> bool:
    """Same type, same rank, same sizes, the same free dimensions whatever they are called."""
    return a.dtype == b.dtype and _sizes(a) == _sizes(b)


def _sizes(tensor: _Tensor | TensorInfo) -> list[int | None]:
    return [d if isinstance(d, int) else None for d in tensor.shape]


def _words(tensor: _Tensor | TensorInfo) -> str:
    return f"{tensor.dtype} [{', '.join(map(str, tensor.shape))}]"
