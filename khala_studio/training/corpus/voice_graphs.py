"""Cuts the Kokoro-82M graph where a singer needs to step in.

The published int8 graph is turned back into float (its weights stay the rounded ones) and cut at three inner
tensors: durations (25 ms units), F0 (Hz, 12.5 ms) and energy (12.5 ms). What comes out, each an ONNX file:

  durations  tokens, style, speed -> durations
  prosody    tokens, style, durs -> F0, energy
  source     f0 -> har                     the harmonic source; its phase is a sum, so fp32
  body       tokens, style, durs, f0, energy, har -> post      nearly all of the work: may run in bf16
  tail       post -> audio                 inverse STFT, fp32
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("durations", "prosody", "source", "body", "tail")
DURATIONS = "/encoder/Clip_output_0"
F0 = "/encoder/Squeeze_output_0"
ENERGY = "/encoder/Squeeze_1_output_0"
HARMONICS = "/decoder/decoder/generator/Concat_3_output_0"
POST = "/decoder/decoder/generator/conv_post/Conv_output_0"

Inputs = Sequence[tuple[str, str, list[int | str]]]  # inner tensor, new input's name, its shape


def cut_voice(model: Path, folder: Path) -> None:
    """Write the five graphs into `folder`, unless they are all there."""
    if all((folder / f"{name}.onnx").exists() for name in NAMES):
        return
    import onnx

    folder.mkdir(parents=True, exist_ok=True)
    whole = onnx.load(str(model))
    dequantise(whole.graph)
    audio = [output.name for output in whole.graph.output]
    durs: Inputs = [(DURATIONS, "durs", [1, "n"])]
    pitch: Inputs = [*durs, (F0, "f0", [1, "t2"]), (ENERGY, "energy", [1, "t2"])]
    _save(onnx, whole, folder / "durations.onnx", [], [DURATIONS])
    _save(onnx, whole, folder / "prosody.onnx", durs, [F0, ENERGY])
    _save(onnx, whole, folder / "source.onnx", pitch, [HARMONICS])
    _save(onnx, whole, folder / "body.onnx", [*pitch, (HARMONICS, "har", [1, 22, "th"])], [POST])
    _save(onnx, whole, folder / "tail.onnx", [(POST, "post", [1, 22, "tp"])], audio)


def _save(onnx: Any, whole: Any, path: Path, inputs: Inputs, outputs: list[str]) -> None:
    """The part of `whole` that leads from `inputs` (and the graph's own) to `outputs`."""
    part = onnx.ModelProto()
    part.CopyFrom(whole)
    graph = part.graph
    new_name = {old: new for old, new, _ in inputs}
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = new_name.get(name, name)
    shaped = {output.name: output for output in whole.graph.output}
    make = onnx.helper.make_tensor_value_info
    for _, new, shape in inputs:
        graph.input.append(make(new, onnx.TensorProto.FLOAT, shape))
    del graph.output[:], graph.value_info[:]
    graph.output.extend(shaped.get(name) or make(name, onnx.TensorProto.FLOAT, None) for name in outputs)
    prune(graph, outputs)
    staged = path.with_name(path.name + ".part")
    onnx.save(part, str(staged))
    staged.replace(path)


def prune(graph: Any, outputs: Sequence[str]) -> None:
    """Drop nodes, weights and inputs that `outputs` do not need."""
    maker = {output: node for node in graph.node for output in node.output}
    wanted, seen, kept = list(outputs), set(), set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        if (node := maker.get(name)) is not None:
            kept.add(id(node))
            wanted.extend(x for x in node.input if x)
    nodes = [node for node in graph.node if id(node) in kept]
    used = {name for node in nodes for name in node.input}
    weights = [weight for weight in graph.initializer if weight.name in used]
    inputs = [value for value in graph.input if value.name in used]
    del graph.node[:], graph.initializer[:], graph.input[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)
    graph.input.extend(inputs)


def dequantise(graph: Any) -> None:
    """Replace every dynamically quantised Conv and MatMul by its float form, in place."""
    from onnx import helper, numpy_helper

    weights = {weight.name: weight for weight in graph.initializer}
    maker = {output: node for node in graph.node for output in node.output}
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    replaced: dict[int, Any] = {}
    for node in list(graph.node):
        if node.op_type not in ("ConvInteger", "MatMulInteger"):
            continue
        scaled, scale, bias = _scaled_output(node, users, maker, weights)
        weight, zero, factor = (
            numpy_helper.to_array(weights[n]).astype(np.float32)
            for n in (node.input[1], node.input[3], scale)
        )
        if node.op_type == "ConvInteger":  # per output channel
            shape = (-1,) + (1,) * (weight.ndim - 1)
            zero, factor = (x.reshape(shape) if x.size > 1 else x for x in (zero, factor))
        name = f"{node.input[1]}_float_{len(replaced)}"
        graph.initializer.append(
            numpy_helper.from_array(np.ascontiguousarray((weight - zero) * factor), name)
        )
        inputs = [maker[node.input[0]].input[0], name, *([bias] if bias else [])]
        op = "Conv" if node.op_type == "ConvInteger" else "MatMul"
        new = helper.make_node(op, inputs, [scaled.output[0]], name=f"{node.name}_float")
        new.attribute.extend(node.attribute)
        replaced[id(scaled)] = new
    nodes = [replaced.get(id(node), node) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    prune(graph, [output.name for output in graph.output])


def _scaled_output(
    node: Any, users: dict[str, list[Any]], maker: dict[str, Any], weights: dict[str, Any]
) -> tuple[Any, str, str]:
    """(the Mul that makes floats of the integers, name of the weight's scale, name of the bias or "")."""
    bias = ""
    name = node.output[0]
    (after,) = users[name]
    if after.op_type == "Add":  # the bias, rounded to the integers' scale: its float original is further up
        rounded = maker[next(x for x in after.input if x != name)]
        while rounded.op_type in ("Reshape", "Cast", "Floor", "Round"):
            rounded = maker[rounded.input[0]]
        bias = rounded.input[0]
        name = after.output[0]
        after = users[name][0]
    scaled = users[after.output[0]][0]
    scales = maker[next(x for x in scaled.input if x != after.output[0])]
    (scale,) = (x for x in scales.input if x in weights)
    return scaled, scale, bias
