"""The singer with a voice model of sine waves: it must end up on the notes all the same."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")

from khala_studio.engine.text.phonemes import PHONES
from khala_studio.training.corpus import voice as voice_module
from khala_studio.training.corpus.voice import KokoroSinger, hertz, pitch_curve
from khala_studio.training.corpus.voice_model import FRAME, RATE, spell

pytestmark = pytest.mark.train

WORDS = [["L", "AA1"], ["M", "IY1"], ["N", "OW1"]]
NOTES = [(0.0, 0.6, 57), (0.6, 0.6, 60), (1.2, 0.9, 55)]


class FakeModel:
    """Every character lasts 6 frames; the voice is a buzz at the pitch it is told."""

    def __init__(self) -> None:
        self.spoken = 0

    def tokens(self, text: str) -> np.ndarray:
        return np.zeros((1, len(text) + 2), np.int64)

    def style(self, voice: str, length: int) -> np.ndarray:
        return np.zeros((1, 256), np.float32)

    def durations(self, tokens: np.ndarray, style: np.ndarray, speed: float) -> np.ndarray:
        return np.full(tokens.shape[1], 6.0, np.float32)

    def prosody(
        self, tokens: np.ndarray, style: np.ndarray, durations: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        halves = int(2 * durations.sum())
        return np.full(halves, 120.0), np.full(halves, 8.0)

    def speak(self, tokens, style, durations, f0, energy) -> np.ndarray:  # type: ignore[no-untyped-def]
        self.spoken += 1
        pitch = np.repeat(f0, int(RATE * FRAME / 2))
        phase = np.cumsum(2 * np.pi * pitch / RATE)
        return sum(np.sin(k * phase) / k for k in range(1, 12)).astype(np.float32) * 0.2


def test_the_sung_line_is_on_its_notes() -> None:
    pytest.importorskip("pyworld")
    sung = KokoroSinger(FakeModel()).sing(WORDS, NOTES, "anyone", "male", np.random.default_rng(0))
    f0, _, _ = voice_module._analyse(sung.audio.astype(np.float64))
    times = np.arange(len(f0)) * voice_module.PERIOD - sung.offset
    for start, length, midi in NOTES:
        held = f0[(times > start + 0.15) & (times < start + length - 0.2)]
        assert (held > 0).mean() > 0.9
        assert abs(1200 * np.log2(np.median(held[held > 0]) / hertz(np.array(midi)))) < 15


def test_phones_are_those_asked_for() -> None:
    pytest.importorskip("pyworld")
    sung = KokoroSinger(FakeModel()).sing(WORDS, NOTES, "anyone", "female", np.random.default_rng(0))
    assert [p.phone for p in sung.phones] == [phone for word in WORDS for phone in word]
    assert [p.word for p in sung.phones] == [0, 0, 1, 1, 2, 2]
    assert sung.offset + sung.phones[-1].end < len(sung.audio) / RATE


def test_notes_and_syllables_must_agree() -> None:
    with pytest.raises(ValueError, match="3 syllables but 2 notes"):
        KokoroSinger(FakeModel()).sing(WORDS, NOTES[:2], "anyone", "male", np.random.default_rng(0))


def test_every_phone_can_be_spelt_and_found_again() -> None:
    words = [[phone] for phone in PHONES]
    text, phone_of = spell(words)
    assert len(text) == len(phone_of)
    assert text.endswith(".")
    assert [n for i, n in enumerate(phone_of) if n >= 0 and n not in phone_of[:i]] == list(range(len(PHONES)))
    assert spell([["AH0"], ["K", "AH1", "P"]])[0] == "ə kˈʌp."


def test_the_pitch_curve_is_on_the_note_in_its_middle() -> None:
    times = np.arange(-0.2, 2.3, 0.005)
    curve = pitch_curve(times, NOTES, np.random.default_rng(0))
    for start, _, midi in NOTES:
        middle = (times > start + 0.12) & (times < start + 0.22)
        assert np.abs(curve[middle] - midi).max() < 0.35


def test_quantised_graphs_become_float_ones(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    from khala_studio.training.corpus.voice_graphs import dequantise

    rng = np.random.default_rng(0)
    weight = rng.integers(0, 255, (8, 5)).astype(np.uint8)
    constants = {"w": weight, "w_zero": np.array(120, np.uint8), "w_scale": np.array(0.01, np.float32)}
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "w", "zero", "w_zero"], ["product"]),
        helper.make_node("Cast", ["product"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["scale", "w_scale"], ["scales"]),
        helper.make_node("Mul", ["cast", "scales"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "quantised",
        [value("x", TensorProto.FLOAT, ["n", 8])],
        [value("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    dequantise(graph)
    assert [node.op_type for node in graph.node] == ["MatMul"]
    assert len(graph.initializer) == 1
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(tmp_path / "float.onnx"))
    x = rng.standard_normal((3, 8)).astype(np.float32)
    (y,) = ort.InferenceSession(str(tmp_path / "float.onnx")).run(None, {"x": x})
    assert np.allclose(y, x @ ((weight.astype(np.float32) - 120) * 0.01), atol=1e-4)


def test_a_vocabulary_is_what_tokens_are_read_from(tmp_path: Path) -> None:
    from khala_studio.training.corpus.voice_model import VoiceModel

    model = VoiceModel.__new__(VoiceModel)
    model._ids = json.loads('{"a": 43, "b": 44}')
    assert model.tokens("ab").tolist() == [[0, 43, 44, 0]]
