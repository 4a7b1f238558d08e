"""pack.json <-> PackManifest: all the numbers that the engine knows of a pack.

Format 1. The classes mirror the file: `manifest.backbone.n_layers` is `{"backbone": {"n_layers": ...}}`.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from khala_studio.packs.errors import PackBroken, PackMissing
from khala_studio.packs.reading import parse_json, read
from khala_studio.song.codec import CodecSpec
from khala_studio.song.request import Sampling

FORMAT = 1
MANIFEST_NAME = "pack.json"
MAX_MANIFEST_BYTES = 4 * 2**20
MAX_PACK_BYTES = 64 * 2**30
REQUIRED_GRAPHS = ("backbone", "superres_embed", "superres", "decoder")
DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")
KV_DTYPES = ("float32", "float16", "int8")

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}[a-z0-9]|[a-z0-9]")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,98}[A-Za-z0-9_]|[A-Za-z0-9_]")
_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_+* -]{0,30}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_DIMENSION = 2**40


@dataclass(frozen=True, slots=True)
class PackCodec(CodecSpec):
    """The codec, and how many frames of context on each side make decoded chunks seamless."""

    context_frames: int = 10

    def __post_init__(self) -> None:
        _in_range(
            self, 1, 2**20, "sample_rate", "hop", "channels", "n_codebooks", "codebook_size", "n_coarse"
        )
        _in_range(self, 0, 2**16, "context_frames")
        _require(self.n_coarse <= self.n_codebooks, "n_coarse is more than n_codebooks")
        _require(self.codebook_size <= 2**15, "codebook_size does not fit int16 codes")


@dataclass(frozen=True, slots=True)
class TextInfo:
    """The text front end and the vocabulary's layout (`khala_studio.song.codes`)."""

    frontend: str
    vocab_size: int  # text ids only
    end_of_song: int
    audio_offset: int
    superres_marker_base: int  # the marker of layer k is this - k
    max_prompt: int = 2_048
    max_characters: int = 20_000

    def __post_init__(self) -> None:
        _in_range(self, 1, 2**31 - 1, "vocab_size", "audio_offset", "max_prompt", "max_characters")
        _in_range(self, 0, 2**31 - 1, "end_of_song", "superres_marker_base")
        _require(self.vocab_size <= self.audio_offset, "audio_offset lies among the text ids")


@dataclass(frozen=True, slots=True)
class BackboneInfo:
    n_layers: int
    n_kv_heads: int
    head_dim: int
    kv_dtype: str
    max_positions: int

    def __post_init__(self) -> None:
        _in_range(self, 1, 2**20, "n_layers", "n_kv_heads", "head_dim", "max_positions")
        _one_of("kv_dtype", self.kv_dtype, KV_DTYPES)


@dataclass(frozen=True, slots=True)
class SuperresInfo:
    hidden: int

    def __post_init__(self) -> None:
        _in_range(self, 1, 2**20, "hidden")


@dataclass(frozen=True, slots=True)
class LengthInfo:
    """Lengths that the pack obeys, in `unit`.

    The end of the song is forbidden before `min_fraction` of the asked length and forced at `max_fraction`.
    """

    unit: str
    min: float
    max: float
    default: float
    min_fraction: float = 0.6
    max_fraction: float = 1.1

    def __post_init__(self) -> None:
        _one_of("unit", self.unit, ("seconds", "minutes"))
        _require(0 < self.min <= self.default <= self.max <= 36_000, "min, default and max are not in order")
        _require(0 <= self.min_fraction <= self.max_fraction, "min_fraction is not 0 .. max_fraction")
        _require(0 < self.max_fraction <= 10, "max_fraction is not above 0 and up to 10")

    def seconds(self, value: float) -> float:
        """`value` of `unit` in seconds."""
        return value * 60 if self.unit == "minutes" else value


@dataclass(frozen=True, slots=True)
class Controls:
    """What the pack really obeys: style tags by group, section names, lengths."""

    tags: dict[str, tuple[str, ...]]
    sections: tuple[str, ...]
    length: LengthInfo


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    backbone: Sampling
    superres: Sampling


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a graph. Symbolic dimensions are text. In JSON: `["float32", [1, "S"]]`."""

    dtype: str
    shape: tuple[int | str, ...]

    def __post_init__(self) -> None:
        _one_of("the type", self.dtype, DTYPES)
        for d in self.shape:
            good = _SYMBOL.fullmatch(d) if isinstance(d, str) else 0 <= d <= _MAX_DIMENSION
            _require(bool(good), f"{str(d)[:40]!r} is no dimension")

    @classmethod
    def read_json(cls, data: object) -> Self:
        match data:
            case [str(dtype), list(shape)] if all(type(d) in (int, str) for d in shape):
                return cls(dtype, tuple(shape))
        raise ValueError('must be a type and a shape, such as ["float32", [1, "S"]]')

    def to_json(self) -> list[Any]:
        return [self.dtype, list(self.shape)]


@dataclass(frozen=True, slots=True)
class GraphInfo:
    file: str
    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]


@dataclass(frozen=True, slots=True)
class FileInfo:
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        _in_range(self, 0, MAX_PACK_BYTES, "bytes")
        _require(bool(_SHA256.fullmatch(self.sha256)), "sha256 is not 64 lower-case hexadecimal digits")


@dataclass(frozen=True, slots=True)
class PackManifest:
    format: int
    id: str
    name: str
    version: str
    license: str
    languages: tuple[str, ...]
    codec: PackCodec
    text: TextInfo
    backbone: BackboneInfo
    superres: SuperresInfo
    controls: Controls
    sampling: SamplingDefaults
    precision: dict[str, str]
    graphs: dict[str, GraphInfo]
    files: dict[str, FileInfo]

    def __post_init__(self) -> None:
        _require(self.format == FORMAT, f"format is {self.format}, and this version reads format {FORMAT}")
        _require(is_pack_id(self.id), "id must be of a-z, 0-9, dot, dash and underscore, at most 64")
        for name in ("name", "version", "license"):
            text = getattr(self, name)
            _require(text.isprintable() and 0 < len(text) <= 200, f"{name} must be one short line of text")
        self._check_files()
        self._check_graphs()
        marker = self.text.superres_marker_base
        _require(marker >= self.codec.n_codebooks - 1, "text.superres_marker_base is too small")

    def _check_files(self) -> None:
        for name in self.files:
            good = _FILE_NAME.fullmatch(name) and name.lower() != MANIFEST_NAME
            _require(bool(good), f"files has the name {name[:40]!r}, which no file of a pack may have")
        # On a disk that ignores case, one of them would overwrite the other.
        _require(
            len({n.lower() for n in self.files}) == len(self.files), "files has two names alike but for case"
        )
        total = sum(f.bytes for f in self.files.values())
        _require(total <= MAX_PACK_BYTES, f"files add up to {total} bytes, more than {MAX_PACK_BYTES}")

    def _check_graphs(self) -> None:
        for name in REQUIRED_GRAPHS:
            _require(name in self.graphs, f"graphs.{name} is missing")
        for name, graph in self.graphs.items():
            _require(graph.file in self.files, f"graphs.{name[:40]}.file is not among the files")

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Strict: nothing missing, nothing unknown, nothing of another type.

        Raises:
            ValueError: says what is wrong, and names the field ("codec.hop must be ...").
        """
        return read(cls, data)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; `from_json` reads them back."""
        data = asdict(self)
        for name, graph in self.graphs.items():
            for side, tensors in (("inputs", graph.inputs), ("outputs", graph.outputs)):
                data["graphs"][name][side] = {n: tensor.to_json() for n, tensor in tensors.items()}
        data["languages"] = list(self.languages)
        data["controls"]["sections"] = list(self.controls.sections)
        data["controls"]["tags"] = {group: list(tags) for group, tags in self.controls.tags.items()}
        return data

    @property
    def sha256(self) -> str:
        """Names the pack and, through its files' hashes, every byte of it; however pack.json is laid out."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def total_bytes(self) -> int:
        return sum(f.bytes for f in self.files.values())


def parse_manifest(text: bytes, where: str = MANIFEST_NAME) -> PackManifest:
    """The bytes of a pack.json.

    Raises:
        PackBroken: one sentence that starts with `where`.
    """
    if len(text) > MAX_MANIFEST_BYTES:
        raise PackBroken(f"{where} is larger than {MAX_MANIFEST_BYTES} bytes.")
    try:
        data = parse_json(text)
    except ValueError as error:
        raise PackBroken(f"{where} {error}.") from None
    try:
        return PackManifest.from_json(data)
    except ValueError as error:
        raise PackBroken(f"{where}: {str(error).rstrip('.')}.") from None


def read_manifest(folder: Path) -> PackManifest:
    """The manifest of the pack in `folder`. Its files are not looked at (`store.verify` does).

    Raises:
        PackMissing: there is no pack.json.
        PackBroken: it is wrong.
    """
    path = folder / MANIFEST_NAME
    try:
        with path.open("rb") as file:
            text = file.read(MAX_MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise PackMissing(f"There is no pack in {folder}: it has no {MANIFEST_NAME}.") from None
    except OSError as error:
        raise PackBroken(f"{path} cannot be read: {error.strerror}.") from None
    return parse_manifest(text, str(path))


def is_pack_id(text: str) -> bool:
    """Whether `text` may name a pack: a plain word that is safe as the name of a folder."""
    return bool(_ID.fullmatch(text))


def _require(good: bool, sentence: str) -> None:
    if not good:
        raise ValueError(sentence)


def _in_range(values: object, low: int, high: int, *names: str) -> None:
    for name in names:
        value = getattr(values, name)
        _require(low <= value <= high, f"{name} is {value}, and must be {low} to {high}")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    _require(value in choices, f"{name} is {value[:40]!r}, and must be one of {', '.join(choices)}")
