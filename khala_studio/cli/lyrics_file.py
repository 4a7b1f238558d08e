"""Lyrics from a file or from standard input, whatever editor wrote them."""

from __future__ import annotations

import codecs
import sys
from typing import IO, Final

from khala_studio.cli.failures import UserError

MAX_BYTES: Final = 4 << 20  # far beyond any song; a wrong file is noticed early

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_lyrics(name: str) -> tuple[str, str | None]:
    """The text of the file `name` ("-": standard input), and a notice if its encoding was guessed.

    Raises:
        UserError: missing, a folder, unreadable, too large, or not text.
    """
    shown = "Standard input" if name == "-" else name
    content = _read(name, shown)
    if len(content) > MAX_BYTES:
        raise UserError(f"{shown} is larger than {MAX_BYTES >> 20} MB; lyrics are a plain text file.")
    text, notice = decode(content, shown)
    if "\0" in text:
        raise UserError(f"{shown} is not a text file (it holds NUL characters). Save it as plain text.")
    return text, notice


def _read(name: str, shown: str) -> bytes:
    try:
        if name == "-":
            return _read_stdin()
        with open(name, "rb") as file:  # noqa: PTH123 - a name with NUL must raise here too
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"There is no file {shown}. Name a text file, or - for standard input.") from None
    except IsADirectoryError:
        raise UserError(f"{shown} is a folder; name the text file with the lyrics.") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"Cannot read the lyrics in {shown}: {why.lower()}.") from None


def _read_stdin() -> bytes:
    if sys.stdin is None:
        raise ValueError("standard input is closed")
    if sys.stdin.isatty():
        print("Type the lyrics; end with Ctrl-D on an empty line.", file=sys.stderr)
    source: IO[bytes] | None = getattr(sys.stdin, "buffer", None)
    if source is None:  # a text stream put in its place
        return sys.stdin.read(MAX_BYTES + 1).encode("utf-8", "replace")
    return source.read(MAX_BYTES + 1)


def decode(content: bytes, shown: str) -> tuple[str, str | None]:
    """Bytes -> text: by byte order mark, else UTF-8, else Windows-1252 with a notice.

    Raises:
        UserError: it is none of them.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            try:
                return content.decode(encoding), None
            except UnicodeDecodeError:
                raise UserError(f"{shown} is damaged: it says it is {encoding.upper()} and is not.") from None
    try:
        return content.decode("utf-8"), None
    except UnicodeDecodeError:
        pass
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        raise UserError(f"{shown} is not a text file that can be read. Save it as UTF-8 text.") from None
    return text, f"{shown} is not UTF-8; it was read as Windows-1252."
