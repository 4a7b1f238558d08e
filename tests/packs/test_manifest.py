import copy
import json

import pytest

from khala_studio.packs.errors import PackBroken, PackMissing
from khala_studio.packs.manifest import PackManifest, TensorInfo, parse_manifest, read_manifest
from khala_studio.song.codec import CodecSpec
from khala_studio.song.request import Sampling

MISSING = object()


def changed(fields, path, value):
    """`fields` with the value at "a.b.c" replaced, added, or taken away."""
    fields = copy.deepcopy(fields)
    *parents, last = path.split(".")
    table = fields
    for name in parents:
        table = table[name]
    if value is MISSING:
        del table[last]
    else:
        table[last] = value
    return fields


def test_reads_every_field(fields):
    manifest = PackManifest.from_json(fields)
    assert isinstance(manifest.codec, CodecSpec)
    assert (manifest.codec.n_codebooks, manifest.codec.context_frames) == (64, 10)
    assert manifest.text.superres_marker_base == 299
    assert manifest.backbone.kv_dtype == "float32"
    assert manifest.controls.tags == {"genre": ("pop", "folk")}
    assert manifest.controls.length.seconds(manifest.controls.length.default) == 30.0
    assert manifest.sampling.backbone == Sampling(0.9, 50)
    assert manifest.graphs["decoder"].inputs["x"] == TensorInfo("float32", (1, "S"))
    assert manifest.files["decoder.onnx"].bytes == 7
    assert manifest.total_bytes == sum(f["bytes"] for f in fields["files"].values())


def test_survives_a_trip_through_json(fields):
    manifest = PackManifest.from_json(fields)
    assert manifest.to_json() == fields
    again = parse_manifest(json.dumps(manifest.to_json(), indent=4).encode())
    assert again == manifest
    assert again.sha256 == manifest.sha256


def test_sha256_changes_with_any_file(fields):
    other = changed(fields, "files", fields["files"] | {"CARD.md": {"bytes": 9, "sha256": "0" * 64}})
    assert PackManifest.from_json(other).sha256 != PackManifest.from_json(fields).sha256


def test_lengths_in_minutes(fields):
    fields["controls"]["length"] |= {"unit": "minutes", "min": 1, "max": 10, "default": 2}
    assert PackManifest.from_json(fields).controls.length.seconds(2) == 120


WRONG = [
    ("format", 2, "format is 2"),
    ("format", True, "format must be a whole number"),
    ("id", "../evil", "id must be"),
    ("id", "", "id must be"),
    ("id", "con/x", "id must be"),
    ("id", "UPPER", "id must be"),
    ("id", "trailing.", "id must be"),
    ("name", "two\nlines", "name must be one short line"),
    ("license", MISSING, "license is missing"),
    ("languages", "en", "languages must be a list, not"),
    ("languages", [1], r"languages\[0\] must be text"),
    ("codec.hop", "2048", "codec.hop must be a whole number"),
    ("codec.hop", 0, "codec: hop is 0"),
    ("codec.hop", 2048.0, "codec.hop must be a whole number"),
    ("codec.n_codebooks", -64, "codec: n_codebooks is -64"),
    ("codec.n_coarse", 65, "n_coarse is more than n_codebooks"),
    ("codec.codebook_size", 2**16, "int16"),
    ("codec.surprise", 1, "codec.surprise is a field that format 1 does not have"),
    ("codec", [], "codec must be an object, not a list"),
    ("text.vocab_size", 301, "audio_offset lies among the text ids"),
    ("text.superres_marker_base", 62, "superres_marker_base is too small"),
    ("text.max_prompt", 10**400, "out of all bounds"),
    ("backbone.kv_dtype", "float64", "kv_dtype is 'float64'"),
    ("backbone.n_layers", None, "backbone.n_layers must be a whole number, not null"),
    ("superres.hidden", MISSING, "superres.hidden is missing"),
    ("controls.length.min", float("nan"), "controls.length.min is NaN"),
    ("controls.length.max", float("inf"), "out of all bounds"),
    ("controls.length.default", 50, "not in order"),
    ("controls.length.min", -1, "not in order"),
    ("controls.length.unit", "hours", "unit is 'hours'"),
    ("controls.length.max_fraction", 0.5, "min_fraction"),
    ("controls.tags", {"genre": "pop"}, "controls.tags.genre must be a list"),
    ("sampling.backbone.temperature", 0, "sampling.backbone: The temperature is 0"),
    ("sampling.superres.top_k", 0, "The top-k is 0"),
    ("precision.backbone", 4, "precision.backbone must be text"),
    ("graphs.decoder", MISSING, "graphs.decoder is missing"),
    ("graphs.decoder.file", "other.onnx", "graphs.decoder.file is not among the files"),
    ("graphs.decoder.inputs.x", ["float32"], "graphs.decoder.inputs.x: must be a type and a shape"),
    ("graphs.decoder.inputs.x", ["string", [1]], "the type is 'string'"),
    ("graphs.decoder.inputs.x", ["float32", [-1]], "'-1' is no dimension"),
    ("graphs.decoder.inputs.x", ["float32", [True]], "must be a type and a shape"),
    ("files", {}, "is not among the files"),
    ("files", [], "files must be an object"),
]


@pytest.mark.parametrize(("path", "value", "sentence"), WRONG)
def test_says_what_is_wrong(fields, path, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        PackManifest.from_json(changed(fields, path, value))


@pytest.mark.parametrize(
    ("info", "sentence"),
    [
        ({"bytes": -1, "sha256": "0" * 64}, "bytes is -1"),
        ({"bytes": float("nan"), "sha256": "0" * 64}, "must be a whole number"),
        ({"bytes": "7", "sha256": "0" * 64}, "must be a whole number"),
        ({"bytes": 2**60, "sha256": "0" * 64}, "out of all bounds"),
        ({"bytes": 2**40, "sha256": "0" * 64}, "and must be 0 to"),
        ({"bytes": 7, "sha256": "0" * 63}, "sha256 is not"),
        ({"bytes": 7, "sha256": "A" * 64}, "sha256 is not"),
        ({"bytes": 7}, "sha256 is missing"),
        (7, "must be an object"),
    ],
)
def test_wrong_file_entries(fields, info, sentence):
    fields["files"]["CARD.md"] = info
    with pytest.raises(ValueError, match=sentence):
        PackManifest.from_json(fields)


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "a/b", "a\\b", "..", ".", "", ".hidden", "x.", "C:x", "a\x00b", "pack.json"],
)
def test_file_names_are_plain(fields, name):
    fields["files"][name] = {"bytes": 1, "sha256": "0" * 64}
    with pytest.raises(ValueError, match="which no file of a pack may have"):
        PackManifest.from_json(fields)


def test_names_alike_but_for_case_are_refused(fields):
    fields["files"]["card.MD"] = {"bytes": 1, "sha256": "0" * 64}
    with pytest.raises(ValueError, match="alike but for case"):
        PackManifest.from_json(fields)


def test_huge_totals_are_refused(fields):
    for i in range(20):
        fields["files"][f"part-{i}"] = {"bytes": 2**35, "sha256": "0" * 64}
    with pytest.raises(ValueError, match="add up to"):
        PackManifest.from_json(fields)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[]", "the whole must be an object, not a list"),
        (b"null", "the whole must be an object, not null"),
        (b"\xff\xfe{}", "is not UTF-8"),
        (b'{"format": NaN}', "NaN, which is no number"),
        (b'{"format": 1, "format": 1}', "same name twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"format": ' + b"9" * 5_000 + b"}", "pack.json"),
        (b" " * (5 * 2**20), "larger than"),
    ],
)
def test_bad_json(text, sentence):
    with pytest.raises(PackBroken, match=sentence) as caught:
        parse_manifest(text)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_strangers_text_is_cut_and_cleaned(fields):
    fields["x" * 10_000 + "\x1b[31m"] = 1
    with pytest.raises(PackBroken) as caught:
        parse_manifest(json.dumps(fields).encode())
    assert len(str(caught.value)) < 200
    assert "\x1b" not in str(caught.value)


def test_read_manifest_from_a_folder(tmp_path, fields):
    with pytest.raises(PackMissing, match=r"it has no pack\.json"):
        read_manifest(tmp_path / "nowhere")
    (tmp_path / "pack.json").write_text(json.dumps(fields))
    assert read_manifest(tmp_path).id == "tiny"
    (tmp_path / "pack.json").write_text("{}")
    with pytest.raises(PackBroken, match=r"pack\.json: format is missing"):
        read_manifest(tmp_path)


def paths_in(data, path=()):
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from paths_in(value, (*path, key))


def replaced(data, path, value):
    if not path:
        return value
    data = copy.copy(data)
    data[path[0]] = replaced(data[path[0]], path[1:], value)
    return data


JUNK = [None, True, -1, 1.5, 10**30, "", "x" * 500 + "\x00\n", [[]], {"": None}]


def test_whatever_stands_anywhere_there_is_one_sentence(fields):
    """Every value in turn replaced by junk: either still a pack, or one PackBroken on one short line."""
    sentences = []
    for path in list(paths_in(fields)):
        for junk in JUNK:
            try:
                parse_manifest(json.dumps(replaced(fields, path, junk)).encode())
            except PackBroken as error:
                sentences.append(str(error))
    assert len(sentences) > 800
    assert max(map(len, sentences)) < 300
    assert all(s.isprintable() for s in sentences)
