import numpy as np
import pytest

from khala_studio.training.evaluation import obedience
from khala_studio.training.evaluation.obedience import Asked, Heard
from tests.training.evaluation.signals import cadence, drums, noise, tone

pytestmark = pytest.mark.train


@pytest.mark.parametrize("bpm", [80, 95, 105, 120, 130])
def test_tempo_of_drums(bpm: float) -> None:
    assert obedience.estimate_tempo(drums(bpm)) == pytest.approx(bpm, rel=0.02)


@pytest.mark.parametrize("bpm", [60, 70, 150])
def test_extreme_tempos_are_right_but_for_the_octave(bpm: float) -> None:
    marks = obedience.score(Heard(obedience.estimate_tempo(drums(bpm)), None, None), Asked(bpm, None, None))
    assert marks["tempo octave"] == 1


def test_silence_has_no_tempo_key_or_pitch() -> None:
    assert obedience.listen(np.zeros((2, 6 * 44_100), np.float32)) == Heard(None, None, None)


@pytest.mark.parametrize("tonic", range(12))
def test_key_of_a_cadence(tonic: int) -> None:
    pitch = obedience.PITCHES[tonic]
    assert obedience.estimate_key(cadence(48 + tonic, 4)) == f"{pitch} major"
    assert obedience.estimate_key(cadence(48 + tonic, 3)) == f"{pitch} minor"


def test_key_marks() -> None:
    assert obedience.key_similarity("A minor", "A minor") == 1
    assert obedience.key_similarity("A# major", "Bb major") == 1
    assert obedience.key_similarity("E minor", "A minor") == 0.5
    assert obedience.key_similarity("C major", "A minor") == 0.3
    assert obedience.key_similarity("A minor", "C major") == 0.3
    assert obedience.key_similarity("A major", "A minor") == 0.2
    assert obedience.key_similarity("Gb major", "A minor") == 0
    assert obedience.key_similarity(None, "A minor") == 0


@pytest.mark.parametrize("frequency", [110, 180, 330])
def test_pitch_of_a_tone(frequency: float) -> None:
    assert obedience.estimate_pitch(tone(frequency)) == pytest.approx(frequency, rel=0.01)


def test_noise_is_rarely_a_voice() -> None:
    found = obedience.estimate_pitch(noise(1.0))
    assert found is None or 65 <= found <= 800


def test_scores_ask_only_for_what_was_asked() -> None:
    heard = Heard(bpm=60.5, key="C major", pitch=300.0)
    assert obedience.score(heard, Asked(120, "A minor", "female"), 200) == {
        "tempo": 0,
        "tempo octave": 1,
        "key": 0,
        "key near": 0.3,
        "voice": 1,
    }
    assert obedience.score(heard, Asked(None, None, None)) == {}
    assert obedience.score(Heard(None, None, None), Asked(120, "A minor", "male"))["voice"] == 0


def test_the_border_lies_between_the_voices() -> None:
    border = obedience.voice_border({"female": [64, 67, 70], "male": [52, 55, 58]})
    assert border == pytest.approx(440 * 2 ** ((61 - 69) / 12))
    assert obedience.voice_border({"female": [64], "male": []}) == obedience.DEFAULT_VOICE_BORDER
