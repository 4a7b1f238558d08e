"""The speed comparison measures the nets that it says it measures."""

import numpy as np
import pytest

from khala_studio.packs.manifest import read_manifest
from tests.tiny_pack import build_tiny_pack

torch = pytest.importorskip("torch")
from khala_studio.training import bench_torch  # noqa: E402

pytestmark = pytest.mark.train

SHAPE = bench_torch.NetShape(n_layers=2, hidden=32, n_heads=2, n_kv_heads=1, head_dim=16, ffn=48)


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_the_shape_is_read_from_the_pack(tmp_path, precision):
    pack = build_tiny_pack(tmp_path / "pack", precision=precision, n_codebooks=4, codebook_size=16, hop=16)
    assert bench_torch.shape_of(pack, read_manifest(pack)) == SHAPE


def test_a_line_for_every_context_and_one_for_superres(tmp_path):
    pack = build_tiny_pack(tmp_path / "pack", n_codebooks=4, codebook_size=16, hop=16)
    threads = torch.get_num_threads()
    ratios = bench_torch.compare(pack, threads=1, contexts=(20, 40), frames=12, n_text=5, rounds=1)
    assert [ratio.what.split()[0] for ratio in ratios] == ["backbone", "backbone", "super-resolution"]
    assert all(ratio.ours > 0 and ratio.ratio == ratio.ours / ratio.torch for ratio in ratios)
    assert torch.get_num_threads() == threads


def test_the_reference_steps_as_it_reads_whole():
    """In a net of one layer the last position sees the same, whether it steps or reads all at once."""
    net = bench_torch.EagerTransformer(bench_torch.NetShape(1, 32, 2, 1, 16, 48), 33, 12)
    ids = np.random.default_rng(0).integers(0, 33, 12)
    with torch.inference_mode():
        stepped = [net.step(int(token), position) for position, token in enumerate(ids)]
        whole = net.full(net.embed[torch.from_numpy(ids)], n_text=11)
    torch.testing.assert_close(stepped[-1], whole[0], atol=1e-5, rtol=1e-4)
