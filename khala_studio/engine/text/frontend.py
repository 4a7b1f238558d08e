"""Which text front end a pack wants: pack.json names it, this table knows it."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from khala_studio.engine.errors import BrokenPack
from khala_studio.engine.text.phonemes import PhonemeFrontend
from khala_studio.engine.text.prompt import Prompt
from khala_studio.packs.manifest import PackManifest
from khala_studio.song.request import SongRequest


class Frontend(Protocol):
    """Lyrics and style -> prompt."""

    def encode(self, request: SongRequest) -> Prompt:
        """The request as vocabulary ids.

        Raises:
            BadRequest: the pack cannot sing it; the sentence says why and how to mend it.
        """
        ...


_FRONTENDS: dict[str, Callable[[Path, PackManifest], Frontend]] = {"phonemes": PhonemeFrontend.from_pack}


def load_frontend(folder: Path, manifest: PackManifest) -> Frontend:
    """Open the front end of the pack in `folder`.

    Raises:
        BrokenPack: the pack names a front end that this version does not know, or its data is wrong.
    """
    name = manifest.text.frontend
    if name not in _FRONTENDS:
        known = ", ".join(sorted(_FRONTENDS))
        raise BrokenPack(
            f'The pack "{manifest.id}" reads lyrics with the front end "{name}", '
            f"and this version knows only: {known}."
        )
    return _FRONTENDS[name](folder, manifest)
