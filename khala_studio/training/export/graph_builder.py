"""Builds ONNX graphs node by node. Needs onnx and numpy; no torch.

    g = GraphBuilder("doubler")
    x = g.input("x", "float32", [1, "S", 384])
    y = g.linear(x, weight, bias, precision="int8")  # weight [out, in]
    g.output("y", "float32", [1, "S", 1024], y)
    onnx.save(g.model(), path)

Weights may be stored in fewer bits than the kernels compute in: the graph then widens them again, and ONNX
Runtime does that once, while it opens the file (constant folding).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from khala_studio.training.export import quantise

OPSET = 21
IR_VERSION = 11
CONTRIB = "com.microsoft"  # domain of ONNX Runtime's own operators

Storage = Literal["float32", "float16", "int8", "int4"]
Precision = Literal["fp32", "int8", "int4"]
Shape = Sequence[int | str]

_DTYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}


class GraphBuilder:
    """Collects inputs, weights, nodes and outputs; `model` returns the checked graph.

    Values are named by strings. Every method that makes a value returns its name.
    """

    def __init__(self, name: str, opset: int = OPSET) -> None:
        self._name = name
        self._opset = opset
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], str] = {}

    # --- the graph's ends

    def input(self, name: str, dtype: str, shape: Shape) -> str:
        """Declare an input; `shape` mixes numbers and symbols, e.g. [1, "S", 384]."""
        self._inputs.append(helper.make_tensor_value_info(name, _DTYPES[dtype], shape))
        return name

    def output(self, name: str, dtype: str, shape: Shape, value: str | None = None) -> str:
        """Declare an output: `value` under a new name, or a node's output that already has this name."""
        if value is not None and value != name:
            self.op("Identity", [value], outputs=[name])
        self._outputs.append(helper.make_tensor_value_info(name, _DTYPES[dtype], shape))
        return name

    # --- weights and constants

    def initialiser(self, name: str, array: NDArray[Any], storage: Storage = "float32") -> str:
        """Add a weight and return the float32 value (integers and booleans stay as they are).

        "float16" halves the file; "int8" quarters it, with a scale for every index of the first axis;
        "int4" takes matrices [N, K] only, and about 0.56 bytes a weight.
        """
        array = np.asarray(array)
        if not np.issubdtype(array.dtype, np.floating):
            return self._store(name, array)
        array = array.astype(np.float32)
        if storage == "float32":
            return self._store(name, array)
        if storage == "float16":
            if np.abs(array).max(initial=0.0) > np.finfo(np.float16).max:
                raise ValueError(f"{name}: values too large for float16")
            return self.cast(self._store(name, array.astype(np.float16)), "float32")
        if storage == "int8":
            # Cast and Mul, not DequantizeLinear: ONNX Runtime leaves that one unfolded.
            rows = quantise.int8_rows(array.reshape(len(array), -1))
            wide = self.cast(self._store(name, rows.values.reshape(array.shape)), "float32")
            scales = rows.scales.reshape(-1, *[1] * (array.ndim - 1))
            return str(self.op("Mul", [wide, self._store(f"{name}.scale", scales)]))
        if storage == "int4":
            return self._widened(name, quantise.int4_blocks(array), array.shape[1])
        raise ValueError(f"unknown storage {storage!r}: float32, float16, int8 or int4")

    def constant(self, value: Any, dtype: str = "int64") -> str:
        """A small constant (shape, axis, index, epsilon); equal constants share one tensor."""
        array = np.asarray(value, dtype)
        key = (dtype, array.tobytes(), array.shape)
        if key not in self._constants:
            self._constants[key] = self._store(f"constant_{len(self._constants)}", array)
        return self._constants[key]

    # --- nodes

    def op(
        self,
        type: str,
        inputs: Sequence[str],
        n_outputs: int = 1,
        domain: str = "",
        outputs: Sequence[str] | None = None,
        **attributes: Any,
    ) -> Any:
        """Add a node. Returns its output's name, or a tuple of names where there are several.

        An empty input name leaves an optional input out. `outputs` gives names instead of numbers; there,
        an empty name drops that output.
        """
        index = len(self._nodes)
        names = list(outputs) if outputs is not None else [f"{type}_{index}_{i}" for i in range(n_outputs)]
        node = helper.make_node(
            type, list(inputs), names, name=f"{type}_{index}", domain=domain, **attributes
        )
        self._nodes.append(node)
        return names[0] if len(names) == 1 else tuple(names)

    def cast(self, value: str, dtype: str) -> str:
        return str(self.op("Cast", [value], to=_DTYPES[dtype]))

    def gather_rows(
        self, name: str, table: NDArray[np.floating], ids: str, storage: Storage = "float32"
    ) -> str:
        """Entries of `table` [N, ..., D] by `ids`: float32 [*ids, ..., D]. Only those asked for are widened.

        Stored as float32, float16, or int8 with a scale for every row of D.
        """
        if storage == "int8":
            rows = quantise.int8_rows(table)
            values = self.cast(self.op("Gather", [self._store(name, rows.values), ids], axis=0), "float32")
            scales = self.op("Gather", [self._store(f"{name}.scale", rows.scales), ids], axis=0)
            return str(self.op("Mul", [values, scales]))
        stored = self._store(name, np.asarray(table, storage))
        rows_asked = str(self.op("Gather", [stored, ids], axis=0))
        return rows_asked if storage == "float32" else self.cast(rows_asked, "float32")

    def linear(
        self,
        x: str,
        weight: NDArray[np.floating],
        bias: NDArray[np.floating] | None = None,
        precision: Precision = "fp32",
        *,
        name: str,
        block: int = 32,
        storage: Storage = "float32",
        int8_levels: int = 63,
    ) -> str:
        """x [..., in] -> x @ weight.T + bias [..., out]; `weight` is [out, in] as torch keeps it.

        int8: DynamicQuantizeMatMul, signed, a scale per output; int4: MatMulNBits with a scale for every
        `block` inputs of an output. Both quantise `x` to 8 bits while they run. `int8_levels` = 63 keeps sums
        of two products within 16 bits on processors without VNNI, whose kernels would saturate silently with
        127. `storage` is how an fp32 weight lies in the file; "int4" also serves int8, which then computes at
        its own speed from a file of int4's size (and int4's exactness).
        """
        n_out, n_in = weight.shape
        if precision == "fp32":
            product = self.op("MatMul", [x, self._transposed(name, weight, storage)])
            return product if bias is None else str(self.op("Add", [product, self._bias(name, bias)]))
        biases = [] if bias is None else [self._bias(name, bias)]
        if precision == "int8":
            values, scales = self._int8(name, weight, storage, int8_levels)
            # Zero points are given although zero: without them the kernel takes weights for unsigned, slowly.
            zeros = self._store(f"{name}.zero", np.zeros(n_out, np.int8))
            return str(self.op("DynamicQuantizeMatMul", [x, values, scales, zeros, *biases], domain=CONTRIB))
        if precision == "int4":
            blocks = quantise.int4_blocks(weight, block)
            scales = self.initialiser(f"{name}.scale", blocks.scales, "float16")
            inputs = [x, self._store(name, blocks.packed), scales] + (["", "", *biases] if biases else [])
            attributes = {"K": n_in, "N": n_out, "bits": 4, "block_size": block, "accuracy_level": 4}
            return str(self.op("MatMulNBits", inputs, domain=CONTRIB, **attributes))
        raise ValueError(f"unknown precision {precision!r}: fp32, int8 or int4")

    # --- the result

    def model(self) -> onnx.ModelProto:
        """The finished graph, checked; raises onnx.checker.ValidationError where nodes do not fit."""
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, list(self._weights.values())
        )
        opsets = [helper.make_opsetid("", self._opset), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="khala-studio"
        )
        if model.ByteSize() < onnx.checker.MAXIMUM_PROTOBUF:  # a larger one is checked as a file
            onnx.checker.check_model(model)
        return model

    def _store(self, name: str, array: NDArray[Any]) -> str:
        if name in self._weights:
            raise ValueError(f"two weights named {name}")
        self._weights[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def _bias(self, name: str, bias: NDArray[np.floating]) -> str:
        return self._store(f"{name}.bias", np.asarray(bias, np.float32))

    def _transposed(self, name: str, weight: NDArray[np.floating], storage: Storage) -> str:
        """The value weight.T [in, out]; narrow storage goes by rows of `weight`: scales are per output."""
        if storage in ("float32", "float16"):
            return self.initialiser(name, np.asarray(weight).T, storage)
        return str(self.op("Transpose", [self.initialiser(name, weight, storage)], perm=[1, 0]))

    def _int8(
        self, name: str, weight: NDArray[np.floating], storage: Storage, levels: int
    ) -> tuple[str, str]:
        """(int8 [in, out], scales [out]) for DynamicQuantizeMatMul."""
        if storage != "int4":
            rows = quantise.int8_rows(weight, levels)
            return self._store(name, rows.values.T), self._store(f"{name}.scale", rows.scales.reshape(-1))
        blocks = quantise.int4_blocks(weight)
        steps = quantise.int8_rows(blocks.widened(weight.shape[1]), levels).scales  # [out, 1]
        # The nibbles widen to multiples of each output's step, not to weights: one multiplication does both.
        n_out, n_blocks = blocks.packed.shape[:2]
        in_steps = (blocks.scales.reshape(n_out, n_blocks) / steps).reshape(-1)
        widened = self._widened(name, dataclasses.replace(blocks, scales=in_steps), weight.shape[1])
        whole = self.cast(self.op("Round", [widened]), "int8")
        values = str(self.op("Transpose", [whole], perm=[1, 0]))
        return values, self._store(f"{name}.step", steps.reshape(-1))

    def _widened(self, name: str, blocks: quantise.Int4Blocks, n_in: int) -> str:
        """Nibbles -> float32 [N, n_in]; folded when the file is opened, like every constant expression."""
        n_out, n_blocks = blocks.packed.shape[:2]
        both = np.arange(256)
        levels = np.stack([both & 15, both >> 4], axis=1) - 8  # of a byte's two nibbles
        byte = self.cast(self._store(name, blocks.packed), "int32")
        pairs = self.op("Gather", [self.constant(levels, "float32"), byte])  # [N, n_blocks, block / 2, 2]
        centred = self.op("Reshape", [pairs, self.constant([n_out, n_blocks, blocks.block])])
        scales = self.initialiser(f"{name}.scale", blocks.scales.reshape(n_out, n_blocks, 1), "float16")
        rows = self.op("Reshape", [self.op("Mul", [centred, scales]), self.constant([n_out, -1])])
        if n_in == n_blocks * blocks.block:
            return str(rows)
        return str(self.op("Slice", [rows, self.constant([0]), self.constant([n_in]), self.constant([1])]))
