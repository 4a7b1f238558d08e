import json

import pytest

from khala_studio.training.evaluation.table import Report, Table, json_safe

pytestmark = pytest.mark.train


def test_markdown_has_a_line_for_every_row() -> None:
    rows = [["depth 2", 0.6391, True], ["a|b", float("nan"), None]]
    table = Table("Codec", ["", "mel", "fine"], rows, "Read me.")
    assert table.markdown().splitlines() == [
        "### Codec",
        "",
        "Read me.",
        "",
        "|  | mel | fine |",
        "|---|---:|---:|",
        "| depth 2 | 0.639 | yes |",
        "| a\\|b | - | - |",
    ]


def test_numbers_are_as_long_as_they_are_sure() -> None:
    cells = [0.12345, 12.345, 12345.6, -48.31, 7]
    line = Table("T", list("abcde"), [cells]).markdown().splitlines()[-1]
    assert line == "| 0.123 | 12.3 | 12346 | -48.3 | 7 |"


def test_a_row_of_the_wrong_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 cells under 1"):
        Table("T", ["a"], [[1, 2]]).markdown()


def test_json_holds_no_nan() -> None:
    assert json_safe({1: [float("nan"), 0.123456789], "b": (float("inf"), "x")}) == {
        "1": [None, 0.123457],
        "b": [None, "x"],
    }


def test_a_report_is_two_files(tmp_path) -> None:
    report = Report({"wer": float("nan"), "n": 3}, [Table("T", ["a"], [[1]])])
    report.write(tmp_path / "new", "## Measured")
    assert json.loads((tmp_path / "new" / "evaluate.json").read_text()) == {"wer": None, "n": 3}
    assert (tmp_path / "new" / "evaluate.md").read_text().startswith("## Measured\n\n### T\n")
