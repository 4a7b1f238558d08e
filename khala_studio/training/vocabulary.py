"""The text front end as training opens it, without a pack."""

from __future__ import annotations

import json
from pathlib import Path

from khala_studio.engine.text.phonemes import PhonemeFrontend
from khala_studio.training.nets.config import Vocabulary


def open_frontend(path: Path) -> PhonemeFrontend:
    """`path`: tokenizer.json, as `train tokenizer` writes it."""
    return PhonemeFrontend(json.loads(path.read_text(encoding="utf-8")))


def vocabulary_of(frontend: PhonemeFrontend) -> Vocabulary:
    """Audio ids begin where the text ends."""
    tokens = frontend.tokens
    return Vocabulary(
        audio_offset=len(tokens),
        end_of_song=tokens.index("<eos>"),
        superres_marker_base=tokens.index("<layer:0>"),
    )
