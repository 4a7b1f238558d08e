import numpy as np
import pytest

from khala_studio.training.evaluation import lm_eval
from khala_studio.training.evaluation.budget import Budget
from khala_studio.training.evaluation.held_out import FULL_MIX, cut, excerpt_words
from khala_studio.training.evaluation.lm_eval import Item, LmReport, Unigram
from khala_studio.training.evaluation.pack_probe import surprise
from tests.training.evaluation.tiny_corpus import LINES, _song

pytestmark = pytest.mark.train


class Reader:
    """Knows the codes well where the prompt is the right one."""

    def backbone_bits(self, prompt: np.ndarray, codes: np.ndarray) -> np.ndarray:
        return np.full((2, codes.shape[1]), 3.0 if prompt[0] == 1 else 5.0)

    def superres_bits(self, prompt: np.ndarray, codes: np.ndarray, layers: list[int]) -> dict[int, float]:
        return {layer: float(layer) for layer in layers}


def items(n: int) -> list[Item]:
    codes = np.random.default_rng(0).integers(0, 16, (8, 40)).astype(np.int16)
    return [Item(("a cappella", "song")[i % 2], np.array([1]), np.array([2]), codes) for i in range(n)]


def test_right_words_beat_shuffled_ones_in_the_table() -> None:
    report, unigram = LmReport(), Unigram(8, 16)
    scored = lm_eval.score_backbone(Reader(), unigram, items(4), Budget(float("inf")), report)
    lm_eval.score_superres(Reader(), unigram, scored, 2, Budget(float("inf")), report)
    facts = report.to_json()
    assert facts["backbone"]["all"] == {
        "unigram": pytest.approx(4.0), "shuffled": 5.0, "right": 3.0, "gain": 2.0, "better": "4 of 4",
    }  # fmt: skip
    assert set(facts["backbone"]) == {"a cappella", "song", "all"}
    assert facts["superres"][2] == {"bits": 2.0, "unigram": pytest.approx(4.0)}
    assert set(facts["superres"]) == {2, 3, 4, 5, 7}  # the layers that there are
    for table in report.tables():
        assert table.markdown()


def test_the_budget_leaves_at_least_two() -> None:
    report = LmReport()
    scored = lm_eval.score_backbone(Reader(), Unigram(8, 16), items(9), Budget(0.0, least=2), report)
    assert len(scored) == 2


def test_a_unigram_knows_what_it_has_counted() -> None:
    unigram = Unigram(1, 4)
    unigram.add(np.array([[0, 0, 0, 0, 0, 0, 1, 1]], np.int16))
    assert unigram.frames == 8
    assert unigram.bits(0, np.array([0], np.int16)) == pytest.approx(-np.log2(7 / 12))
    assert unigram.bits(0, np.array([3], np.int16)) == pytest.approx(-np.log2(1 / 12))


def test_surprise_is_in_bits_and_stands_large_logits() -> None:
    even = np.zeros((2, 1_024), np.float32)
    np.testing.assert_allclose(surprise(even, np.array([0, 7])), 10)
    certain = np.array([[1e4, 0.0]], np.float32)
    assert surprise(certain, np.array([0]))[0] == 0


def test_shuffled_words_are_the_same_words_elsewhere() -> None:
    excerpt = cut(_song("x", "valid", LINES[1], 0, 264_600, 0), FULL_MIX, 20)
    own, mixed = excerpt_words(excerpt), lm_eval.shuffled_words(excerpt)
    assert mixed != own
    assert sorted(mixed) == sorted(own)
    assert lm_eval.shuffled_words(excerpt) == mixed
