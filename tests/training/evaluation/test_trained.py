import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from khala_studio.training.evaluation.trained import TrainedBackbone  # noqa: E402
from khala_studio.training.nets.backbone import IGNORE, BackboneNet, coarse_losses  # noqa: E402
from khala_studio.training.nets.config import BackboneConfig, TransformerConfig, Vocabulary  # noqa: E402
from khala_studio.training.nets.transformer import Packing  # noqa: E402

pytestmark = pytest.mark.train


def test_bits_are_the_loss_of_training_in_other_units() -> None:
    torch.manual_seed(0)
    vocabulary = Vocabulary(audio_offset=80, end_of_song=3, superres_marker_base=79, codebook_size=16)
    shape = TransformerConfig(2, 32, 2, 1, 16, 48, vocabulary.n_coarse_ids, vocabulary.n_audio_rows)
    net = BackboneNet(BackboneConfig(shape, vocabulary)).eval()
    rng = np.random.default_rng(0)
    prompt, codes = rng.integers(0, 80, 7), rng.integers(0, 16, (2, 9)).astype(np.int16)

    rows = (codes.astype(np.int64) + 16 * np.arange(2)[:, None]).T.reshape(-1)
    ids = torch.from_numpy(np.concatenate([prompt, rows + 80]))
    targets = torch.from_numpy(np.concatenate([np.full(6, IGNORE), rows, [IGNORE]]))
    hidden = net.hidden(net.embed(ids), Packing((len(ids),)), causal=True)
    _, second = coarse_losses(net, hidden, targets)

    bits = TrainedBackbone(net).backbone_bits(prompt, codes)
    assert bits.shape == (2, 9)
    np.testing.assert_allclose(bits[1], second.detach().numpy() / math.log(2), rtol=1e-4)
    assert 2 < bits[0].mean() < 6  # untrained: about 4 bits for 16 codes
