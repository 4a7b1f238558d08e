"""Weights stored small mean what they should, and cost nothing once the file is open."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from khala_studio.training.export import quantise
from khala_studio.training.export.graph_builder import GraphBuilder
from khala_studio.training.parity import difference, open_graph


def linear_graph(weight, bias=None, **options):
    g = GraphBuilder("linear")
    x = g.input("x", "float32", ["S", weight.shape[1]])
    g.output("y", "float32", ["S", weight.shape[0]], g.linear(x, weight, bias, name="w", **options))
    return g.model()


@pytest.mark.parametrize(
    ("options", "bound", "operator"),
    [
        ({}, 1e-6, "MatMul"),
        ({"storage": "float16"}, 1e-3, "MatMul"),
        ({"storage": "int8"}, 0.012, "MatMul"),
        ({"storage": "int4"}, 0.10, "MatMul"),
        ({"precision": "int8"}, 0.025, "DynamicQuantizeMatMul"),
        ({"precision": "int8", "int8_levels": 127}, 0.018, "DynamicQuantizeMatMul"),
        ({"precision": "int8", "storage": "int4"}, 0.11, "DynamicQuantizeMatMul"),
        ({"precision": "int4"}, 0.10, "MatMulNBits"),
        ({"precision": "int4", "block": 128}, 0.13, "MatMulNBits"),
    ],
)
def test_linear_in_every_precision(options, bound, operator, tmp_path):
    rng = np.random.default_rng(0)
    weight, bias = (
        rng.standard_normal((96, 256)).astype(np.float32),
        rng.standard_normal(96).astype(np.float32),
    )
    x = rng.standard_normal((5, 256)).astype(np.float32)
    model = linear_graph(weight, bias, **options)

    found = difference(open_graph(model).run(None, {"x": x})[0], x @ weight.T + bias)

    assert found.relative < bound, found
    # What widens the stored weight is gone from the graph that runs.
    assert set(operators_once_open(model, tmp_path)) <= {operator, "Add", "Gemm"}


def operators_once_open(model, folder):
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3  # it warns that such a file fits this machine only
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def test_stored_sizes():
    weight = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    sizes = {
        name: linear_graph(weight, **options).ByteSize() / weight.size
        for name, options in {
            "fp32": {},
            "fp16": {"storage": "float16"},
            "int8": {"precision": "int8"},
            "int4": {"precision": "int4"},
            "int8 from int4": {"precision": "int8", "storage": "int4"},
        }.items()
    }
    limits = {"fp32": 4.01, "fp16": 2.01, "int8": 1.04, "int4": 0.58, "int8 from int4": 0.64}
    assert all(sizes[name] < limit for name, limit in limits.items()), sizes


def test_int8_weights_without_vnni_cannot_overflow():
    """Two products of an unsigned byte with a weight must fit 16 bits; see GraphBuilder.linear."""
    weight = np.full((4, 64), 3.0, np.float32)
    stored = next(t for t in linear_graph(weight, precision="int8").graph.initializer if t.name == "w")
    largest = np.abs(onnx.numpy_helper.to_array(stored).astype(int)).max()
    assert largest == 63
    assert 2 * 255 * largest < 2**15


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
@pytest.mark.parametrize("shape", [(7, 8), (7, 3, 8)])
def test_gather_rows(storage, shape):
    table = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    g = GraphBuilder("gather")
    ids = g.input("ids", "int64", ["N"])
    g.output("rows", "float32", ["N", *shape[1:]], g.gather_rows("table", table, ids, storage))
    rows = open_graph(g.model()).run(None, {"ids": np.array([6, 0, 6])})[0]
    np.testing.assert_allclose(
        rows, table[[6, 0, 6]], atol={"float32": 0, "float16": 2e-3, "int8": 2e-2}[storage]
    )


@pytest.mark.parametrize("shape", [(6,), (5, 3, 3)])
def test_int8_storage_of_any_shape(shape):
    array = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    g = GraphBuilder("stored")
    x = g.input("x", "float32", [])
    g.output("y", "float32", list(shape), g.op("Mul", [x, g.initialiser("a", array, "int8")]))
    result = open_graph(g.model()).run(None, {"x": np.array(1, np.float32)})[0]
    np.testing.assert_allclose(result, array, atol=np.abs(array).max() / 250)


def test_equal_constants_are_one_tensor():
    g = GraphBuilder("constants")
    assert g.constant([1, 2]) == g.constant((1, 2))
    assert g.constant(1) != g.constant([1])
    assert g.constant(1) != g.constant(1, "float32")


def test_a_name_is_given_once():
    g = GraphBuilder("names")
    g.initialiser("w", np.zeros(3))
    with pytest.raises(ValueError, match="two weights named w"):
        g.initialiser("w", np.zeros(3))


def test_float16_refuses_what_it_cannot_hold():
    with pytest.raises(ValueError, match="too large for float16"):
        GraphBuilder("big").initialiser("w", np.array([1e6]), "float16")


def test_int4_keeps_zeros_and_the_largest_weight_of_a_block():
    weight = np.zeros((2, 64), np.float32)
    weight[1, 3] = -5.0
    widened = quantise.int4_blocks(weight).widened(64)
    np.testing.assert_allclose(widened, weight, atol=2e-3)


def test_int4_pads_rows_that_are_no_multiple_of_the_block():
    weight = np.random.default_rng(3).standard_normal((4, 40)).astype(np.float32)
    blocks = quantise.int4_blocks(weight)
    assert blocks.packed.shape == (4, 2, 16)
    assert difference(blocks.widened(40), weight).relative < 0.1
