"""Kokoro-82M as a speaker whose phones, durations, pitch and energy are in our hands."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from khala_studio.training.corpus.sources import Ingredients
from khala_studio.training.corpus.voice_graphs import cut_voice

Floats = npt.NDArray[np.floating[Any]]

RATE = 24000  # Hz
FRAME = 0.025  # s, unit of durations; F0 and energy come at twice that rate
SYMBOLS = dict(
    entry.split("=")
    for entry in (
        "AA=ɑ AE=æ AH=ʌ AO=ɔ AW=W AY=I B=b CH=ʧ D=d DH=ð EH=ɛ ER=ɜɹ EY=A F=f G=ɡ HH=h IH=ɪ IY=i "
        "JH=ʤ K=k L=l M=m N=n NG=ŋ OW=O OY=Y P=p R=ɹ S=s SH=ʃ T=t TH=θ UH=ʊ UW=u V=v W=w Y=j Z=z "
        "ZH=ʒ"
    ).split()
)


def spell(words: list[list[str]]) -> tuple[str, list[int]]:
    """Phones of a line's words -> (Kokoro's spelling, the number of the phone of each character or -1)."""
    text, phone_of, number = "", [], 0
    for i, phones in enumerate(words):
        if i:
            text, phone_of = text + " ", [*phone_of, -1]
        for phone in phones:
            name, stress = phone.rstrip("012"), phone[-1]
            symbol = {"AH0": "ə", "ER0": "əɹ"}.get(phone, SYMBOLS[name])
            symbol = {"1": "ˈ", "2": "ˌ"}.get(stress, "") + symbol  # the mark stands right before the vowel
            text += symbol
            phone_of += [number] * len(symbol)
            number += 1
    return text + ".", [*phone_of, -1]


class VoiceModel:
    """One open voice model. Not thread-safe; one core; the same inputs give the same bits."""

    def __init__(self, ingredients: Ingredients, bf16: bool | None = None) -> None:
        """`bf16`: run the body in OpenVINO's bfloat16; None = where library and processor can."""
        cut_voice(ingredients.voice_model, ingredients.graphs)
        self._graphs = ingredients.graphs
        self._styles = ingredients.voice_styles
        self._ids: dict[str, int] = json.loads(ingredients.voice_vocabulary.read_text())["vocab"]
        self._bf16 = _openvino_bf16(ingredients.graphs) if bf16 is not False else None

    def style(self, voice: str, length: int) -> Floats:
        """float32 [1, 256]; `length` in characters; `voice`: "af_heart", or "af_heart:0.5+af_sarah:0.5"."""
        parts = [part.partition(":") for part in voice.split("+")]
        table = sum(
            _style_table(self._styles / f"{name}.bin") * float(weight or 1) for name, _, weight in parts
        )
        row: Floats = table[min(max(length, 1), 510) - 1][None].astype(np.float32)
        return row

    def tokens(self, spelling: str) -> npt.NDArray[np.int64]:
        """int64 [1, characters + 2]."""
        return np.array([[0, *(self._ids[c] for c in spelling), 0]], np.int64)

    def durations(self, tokens: npt.NDArray[np.int64], style: Floats, speed: float) -> Floats:
        """Natural duration of every token in frames, float32 [tokens]."""
        out = self._run("durations", tokens=tokens, style=style, speed=np.array([speed], np.float32))
        flat: Floats = out[0].ravel()
        return flat

    def prosody(
        self, tokens: npt.NDArray[np.int64], style: Floats, durations: Floats
    ) -> tuple[Floats, Floats]:
        """(F0 in Hz, energy) of natural speech, each float32 [half frames]."""
        f0, energy = self._run("prosody", tokens=tokens, style=style, durs=durations[None])
        return f0[0], energy[0]

    def speak(
        self, tokens: npt.NDArray[np.int64], style: Floats, durations: Floats, f0: Floats, energy: Floats
    ) -> Floats:
        """The line, spoken as told: float32 [samples] at 24 kHz."""
        pitch = f0[None].astype(np.float32)
        (harmonics,) = self._run("source", f0=pitch)
        inputs = dict(
            tokens=tokens,
            style=style,
            durs=durations[None],
            f0=pitch,
            energy=energy[None].astype(np.float32),
            har=harmonics,
        )
        post = np.array(self._bf16(inputs)[0]) if self._bf16 is not None else self._run("body", **inputs)[0]
        audio: Floats = self._run("tail", post=post)[0].ravel()
        return audio

    def _run(self, graph: str, **inputs: npt.NDArray[Any]) -> list[Any]:
        outputs: list[Any] = _session(self._graphs / f"{graph}.onnx").run(None, inputs)
        return outputs


@functools.cache
def _style_table(path: Path) -> Floats:
    return np.fromfile(path, np.float32).reshape(-1, 256)


@functools.cache
def _session(path: Path) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _openvino_bf16(graphs: Path) -> Any:
    """The body compiled for bfloat16, or None where that can't be had."""
    try:
        import openvino
    except ImportError:
        return None
    core = openvino.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return None
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    return core.compile_model(core.read_model(str(graphs / "body.onnx")), "CPU", settings)
