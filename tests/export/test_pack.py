"""write_pack: whole or not at all, and what it writes is what it says."""

import json

import numpy as np
import onnx
import pytest

from khala_studio.engine.sessions import check_graphs
from khala_studio.packs import store
from khala_studio.packs.manifest import read_manifest
from khala_studio.training.export import pack
from khala_studio.training.export.graph_builder import GraphBuilder
from khala_studio.training.parity import open_graph
from tests.tiny_pack import build_tiny_pack


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny_pack(tmp_path_factory.mktemp("packs") / "tiny")


def table_graph(table):
    g = GraphBuilder("table")
    ids = g.input("ids", "int64", ["N"])
    g.output("rows", "float32", ["N", table.shape[1]], g.gather_rows("table", table, ids))
    return g.model()


def test_the_pack_is_verified_and_its_graphs_open(tiny):
    store.verify(tiny)
    check_graphs(tiny)


def test_the_codebooks_lie_in_one_file_for_all_graphs(tiny):
    manifest = read_manifest(tiny)
    users = {
        name
        for name in manifest.graphs
        for tensor in onnx.load(tiny / f"{name}.onnx", load_external_data=False).graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    assert users == {"decoder", "superres", "superres_embed"}
    assert manifest.files[pack.SHARED_NAME].bytes == 64 * 1024 * 4 * 2


def test_a_graph_reads_what_was_moved_out(tmp_path, monkeypatch):
    table = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    model = table_graph(table)
    monkeypatch.setattr(pack, "INLINE_BYTES", 1000)
    pack._write_graphs(tmp_path, {"a": model, "b": table_graph(table + 1)})
    assert (tmp_path / "a.onnx.data").stat().st_size == table.nbytes
    rows = open_graph(tmp_path / "a.onnx").run(None, {"ids": np.array([299])})[0]
    np.testing.assert_array_equal(rows, table[299:])
    # The caller's graph is as it was.
    np.testing.assert_array_equal(open_graph(model).run(None, {"ids": np.array([299])})[0], table[299:])


def test_nothing_is_overwritten_unasked(tiny):
    with pytest.raises(FileExistsError):
        build_tiny_pack(tiny)


def test_replace_puts_the_new_pack_in_place(tmp_path):
    folder = build_tiny_pack(tmp_path / "pack", version="1", n_codebooks=4, codebook_size=8, hop=16)
    (folder / "left-over").write_text("of the old pack")
    fields, graphs = _fields_and_graphs(folder)
    pack.write_pack(folder, {**fields, "version": "2"}, graphs, _extras(folder), replace=True)
    assert read_manifest(folder).version == "2"
    assert not (folder / "left-over").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]


def test_a_wrong_field_leaves_everything_as_it_was(tmp_path):
    folder = build_tiny_pack(tmp_path / "pack", n_codebooks=4, codebook_size=8, hop=16)
    before = (folder / "pack.json").read_bytes()
    fields, graphs = _fields_and_graphs(folder)
    with pytest.raises(ValueError, match="license"):
        pack.write_pack(folder, {**fields, "license": 3}, graphs, _extras(folder), replace=True)
    assert (folder / "pack.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]


def test_the_same_seed_gives_the_same_pack(tmp_path):
    a, b = (build_tiny_pack(tmp_path / name, n_codebooks=4, codebook_size=8, hop=16) for name in "ab")
    assert read_manifest(a).sha256 == read_manifest(b).sha256
    other = build_tiny_pack(tmp_path / "c", seed=1, n_codebooks=4, codebook_size=8, hop=16)
    assert read_manifest(other).sha256 != read_manifest(a).sha256


def _fields_and_graphs(folder):
    data = json.loads((folder / "pack.json").read_text())
    graphs = {name: onnx.load(folder / f"{name}.onnx") for name in data.pop("graphs")}
    data.pop("files")
    return data, graphs


def _extras(folder):
    return {"tokenizer.json": folder / "tokenizer.json", "CARD.md": "# Card\n"}
