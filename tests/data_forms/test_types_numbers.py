"""Numbers that people write for people, the index that pandas writes, and numbers at the ends of what floats hold."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

CommandLine = Callable[..., tuple[int, str, str]]

RECIPE = """\
name: r
data:
  train: log.csv
  label: y
  split: {valid: 0.2, test: 0.2}
features:
  categorical: [z]
  numeric: [{column: x, transform: minmax}]
model: {deep: {hidden: [4]}}
training: {epochs: 1, threads: 1}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, values: list[object]) -> None:
    frame = pl.DataFrame(
        {
            name: values,
            "z": ["abcd"[row % 4] for row in range(len(values))],
            "y": [int(row * 7 % 5 < 2) for row in range(len(values))],
        }
    )
    frame.write_csv("log.csv")


WRITTEN: dict[str, Callable[[int], str]] = {
    "thousands": lambda row: f"{row * 321:,}.50",
    "currency in front": lambda row: f"${row * 3}.25",
    "currency behind": lambda row: f"{row * 3} €",
    "currency in words": lambda row: f"{row * 3} EUR",
    "per cent": lambda row: f"{row} %",
    "points for thousands": lambda row: f"1.{row:03d},50",
    "decimal comma": lambda row: f"{row},5",
    "blanks for thousands": lambda row: f"1 {row:03d}",
    "accounting": lambda row: f"($1,{row:03d})",
    "narrow blanks for thousands": lambda row: f"1\u202f{row:03d}",
    "thin blanks for thousands": lambda row: f"1\u2009{row:03d}",
    "a Swiss apostrophe": lambda row: f"1\u2019{row:03d}.50",
    "a typesetter's minus": lambda row: f"\u2212{row}.5" if row % 2 else f"{row}",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_init_says_of_numbers_for_people_what_they_are_and_how_to_write_them(
    folder: Path, widedeep: CommandLine, name: str
) -> None:
    write("x", [WRITTEN[name](row) for row in range(1, 61)])

    assert widedeep("init", "log.csv", "--label", "y", "-o", "suggested.yaml")[0] == 0

    text = " ".join((folder / "suggested.yaml").read_text().replace("#", " ").split())
    assert "x: numbers that are written as" in text
    assert "write them with digits and a decimal point only" in text
    assert widedeep("ingest", "suggested.yaml")[0] == 0


@pytest.mark.parametrize("values", [["GB", "US", "EU"], ["1,2,3", "2,3,1", "3"], ["12:30", "12:31"], ["a-1", "b-2"]])
def test_codes_and_lists_are_not_taken_for_written_numbers(
    folder: Path, widedeep: CommandLine, values: list[str]
) -> None:
    write("x", [values[row % len(values)] for row in range(60)])

    assert widedeep("init", "log.csv", "--label", "y", "-o", "suggested.yaml")[0] == 0

    assert "numbers that are written" not in (folder / "suggested.yaml").read_text()


@pytest.mark.parametrize("name", ["__index_level_0__", "Unnamed: 0", "Unnamed: 0.1"])
def test_the_index_of_a_pandas_frame_is_left_out_and_stands_in_no_cross(
    folder: Path, widedeep: CommandLine, name: str
) -> None:
    write(name, [row * 37 % 60 for row in range(60)])

    assert widedeep("init", "log.csv", "--label", "y", "-o", "suggested.yaml")[0] == 0

    used, _, left_out = (folder / "suggested.yaml").read_text().partition("# Left out")
    assert name not in used
    assert "the index of a pandas frame" in left_out


@pytest.mark.parametrize("header", [",,y,x", "y,x,,,"])
def test_the_levels_of_an_index_and_a_spreadsheets_empty_columns_stand_in_no_ones_way(
    folder: Path, widedeep: CommandLine, header: str
) -> None:
    values = {"y": "01", "x": "abc", "": ("q", "r", "s", "t")}
    rows = [",".join(values[name][row % len(values[name])] for name in header.split(",")) for row in range(60)]
    (folder / "log.csv").write_text("\n".join([header, *rows]) + "\n")

    assert widedeep("init", "log.csv", "--label", "y", "-o", "suggested.yaml")[0] == 0
    used, _, left_out = (folder / "suggested.yaml").read_text().partition("# Left out")
    assert "Unnamed" not in used
    assert "a column without a name" in left_out
    assert widedeep("ingest", "suggested.yaml")[0] == 0


def test_minmax_of_numbers_too_far_apart_for_a_float_is_refused_by_column(folder: Path, widedeep: CommandLine) -> None:
    write("x", [1.7e308 if row % 2 else -1.7e308 for row in range(60)])
    (folder / "r.yaml").write_text(RECIPE)
    code, _, error = widedeep("train", "r.yaml")
    assert code == 3
    assert "column 'x': -1.7e+308 and 1.7e+308 lie too far apart for minmax" in " ".join(error.split())

    (folder / "r.yaml").write_text(RECIPE.replace("minmax", "minmax, clip: [-1.0e+6, 1.0e+6]"))
    assert widedeep("train", "r.yaml")[0] == 0
