"""`khala-studio train tokenizer`: style tags and a pronouncing dictionary -> the data of tokenizer.json."""

import argparse
import json
import re
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from khala_studio.engine.text.lexicon import PHONE_LETTERS
from khala_studio.engine.text.phonemes import PHONES
from khala_studio.training.corpus import styles

N_LAYERS = 64

# Where the dictionary's first reading is not the one that songs mean.
_PREFERRED = {
    "live": "L IH1 V",
    "wind": "W IH1 N D",
    "tear": "T IH1 R",
    "tears": "T IH1 R Z",
    "lead": "L IY1 D",
    "read": "R IY1 D",
    "use": "Y UW1 Z",
    "bow": "B OW1",
    "sow": "S OW1",
    "wound": "W UW1 N D",
}

LEXICON_NOTICE = """\
The lexicon is the CMU Pronouncing Dictionary, re-encoded, first pronunciations only. Its notice:

Copyright (C) 1993-2015 Carnegie Mellon University. All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted provided \
that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions and \
the following disclaimer. The contents of this file are deemed to be source code.

2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and \
the following disclaimer in the documentation and/or other materials provided with the distribution.

This work was supported in part by funding from the Defense Advanced Research Projects Agency, the \
Office of Naval Research and the National Science Foundation of the United States of America, and by \
member companies of the Carnegie Mellon Sphinx Speech Consortium. We acknowledge the contributions of \
many volunteers to the expansion and improvement of this dictionary.

THIS SOFTWARE IS PROVIDED BY CARNEGIE MELLON UNIVERSITY "AS IS" AND ANY EXPRESSED OR IMPLIED WARRANTIES, \
INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR \
PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL CARNEGIE MELLON UNIVERSITY NOR ITS EMPLOYEES BE LIABLE FOR ANY \
DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED \
TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS \
INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR \
TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS SOFTWARE, EVEN IF \
ADVISED OF THE POSSIBILITY OF SUCH DAMAGE."""

_JS_ENTRY = r'^\s+"?([^":\s]+)"?: "([A-Z0-9 ]+?)(?: #[^"]*)?",?$'  # "  abbey: "AE1 B IY0","
_CMU_ENTRY = r"^([^;\s]\S*)\s+([A-Z0-9 ]+?)(?:\s#.*)?$"  # "abbey AE1 B IY0 # a comment"

Pronunciations = Mapping[str, str]  # "word" -> "W ER1 D"; "word(2)" is another reading, and unused


def build(lexicon: Path | Pronunciations) -> dict[str, Any]:
    """The data of tokenizer.json.

    Args:
        lexicon: a word's phones, or a file that `read_lexicon` reads.
    """
    words = read_lexicon(lexicon) if isinstance(lexicon, Path) else lexicon
    return {
        "format": 1,
        "frontend": "phonemes",
        "tokens": tokens(),
        "genders": {voice.name: voice.gender for voice in styles.VOICES},
        "lexicon_notice": LEXICON_NOTICE,
        "lexicon": _pack_lexicon(words),
    }


def write(lexicon: Path | Pronunciations, path: Path) -> None:
    """Write tokenizer.json, about 2.5 MB with the whole dictionary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(build(lexicon), ensure_ascii=False), encoding="utf-8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("train/tokenizer.json"))
    parser.add_argument(
        "--cache", type=Path, help="where fetched packages are kept (default: the user's cache)"
    )


def main(args: argparse.Namespace) -> int:
    from khala_studio.training.corpus.sources import SourceError, load_lexicon

    try:
        write(load_lexicon(args.cache), args.out)
    except SourceError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def tokens() -> list[str]:
    """All text tokens; a token's id is its index."""
    voices = [*styles.GENDERS, *(voice.name for voice in styles.VOICES)]
    slots = {
        "genre": styles.GENRES,
        "voice": voices,
        "tempo": styles.TEMPOS,
        "key": styles.KEYS,
        "mood": styles.MOODS,
        "instrument": styles.INSTRUMENTS,
        "kind": styles.KINDS,
        "seconds": styles.SECONDS,
    }
    return [
        *("<pad>", "<bos>", "<sing>", "<eos>", "<line>", "<sp>"),
        *(f"<{slot}:{tag}>" for slot, tags in slots.items() for tag in ("any", *tags)),
        *(f"<section:{name}>" for name in styles.SECTIONS),
        *PHONES,
        *(f"<layer:{k}>" for k in range(N_LAYERS - 1, -1, -1)),
    ]


def read_lexicon(path: Path) -> dict[str, str]:
    """Word -> phones, from the npm package cmu-pronouncing-dictionary (.tgz or .js) or CMU's own text file.

    Raises:
        ValueError: the file holds no pronunciations.
    """
    if path.suffix == ".tgz":
        with tarfile.open(path) as package:
            member = package.extractfile("package/index.js")
            text = member.read().decode() if member else ""
    else:
        text = path.read_text(encoding="utf-8")
    pattern = _JS_ENTRY if path.suffix in {".tgz", ".js"} else _CMU_ENTRY
    words = {word.lower(): phones for word, phones in re.findall(pattern, text, re.MULTILINE)}
    if not words:
        raise ValueError(f"{path} holds no pronunciations.")
    return words


def _pack_lexicon(words: Pronunciations) -> str:
    """Lines "word PHONES", sorted, one letter a phone; other readings and abbreviations are left out."""
    letter_of = dict(zip(PHONES, PHONE_LETTERS, strict=False))
    sung = {word: phones for word, phones in words.items() if re.fullmatch(r"[a-z']+", word)}
    sung |= {word: phones for word, phones in _PREFERRED.items() if word in sung}
    return "\n".join(
        f"{word} {''.join(letter_of[p] for p in sung[word].partition('#')[0].split())}"
        for word in sorted(sung)
    )
