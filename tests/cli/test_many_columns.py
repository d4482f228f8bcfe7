"""Tables with hundreds of columns: what is shown of them is bounded, and what is left out is told."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

ROWS, COLUMNS = 300, 130
Widedeep = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of many categories, of which only the last says something of the label, and its recipe."""
    folder = tmp_path_factory.mktemp("many")
    random = np.random.default_rng(0)
    label = random.integers(0, 2, ROWS)
    columns = {f"c{number}": [f"v{value}" for value in random.integers(0, 4, ROWS)] for number in range(COLUMNS)}
    columns["telling"] = [f"v{value}" for value in np.where(random.random(ROWS) < 0.8, label, 1 - label)]
    pl.DataFrame({**columns, "y": label}).write_csv(folder / "log.csv")
    fields = ", ".join(columns)
    (folder / "many.yaml").write_text(f"data: {{train: log.csv, label: y}}\nfeatures: {{categorical: [{fields}]}}\n")
    return folder


def test_ingest_shows_the_label_and_the_most_telling_of_many_columns_and_says_how_many_it_leaves_out(
    folder: Path, widedeep: Widedeep
) -> None:
    _, stdout, _ = widedeep("ingest", str(folder / "many.yaml"), "--work", str(folder))
    shown = stdout.splitlines()

    names = [line.split()[0] for line in shown if line.split()]
    assert sum(name.startswith("c") and name[1:].isdigit() for name in names) == 98
    assert {"y", "telling"} <= set(names)
    assert any(line.startswith("and 32 more columns") for line in shown)
    assert max(len(line) for line in shown if not line.startswith("path")) <= 80


def test_the_json_of_ingest_holds_every_column(folder: Path, widedeep: Widedeep) -> None:
    _, stdout, _ = widedeep("ingest", str(folder / "many.yaml"), "--work", str(folder), "--json")
    report = json.loads(stdout)
    assert len(report["columns"]) == COLUMNS + 2


def test_warnings_of_many_columns_end_with_how_many_more_there_are(tmp_path: Path, widedeep: Widedeep) -> None:
    columns = {f"x{number}": ["1", "2", "odd", "4"] * 10 for number in range(25)}
    pl.DataFrame({**columns, "y": [0, 1] * 20}).write_csv(tmp_path / "log.csv")
    recipe = (
        f"data: {{train: log.csv, label: y, bad_numbers: missing}}\nfeatures: {{numeric: [{', '.join(columns)}]}}\n"
    )
    (tmp_path / "odd.yaml").write_text(recipe)

    _, _, stderr = widedeep("ingest", str(tmp_path / "odd.yaml"), "--work", str(tmp_path))
    told = stderr.splitlines()

    assert sum("no finite numbers" in line for line in told) == 10
    assert any("and 15 more (`widedeep ingest --json` lists all)" in line for line in told)


def test_the_columns_that_init_leaves_out_are_listed_by_reason_where_they_are_many(
    tmp_path: Path, widedeep: Widedeep
) -> None:
    constants = {f"same{number}": [7] * ROWS for number in range(200)}
    random = np.random.default_rng(1)
    frame = pl.DataFrame({**constants, "x": random.random(ROWS), "y": random.integers(0, 2, ROWS)})
    frame.write_csv(tmp_path / "log.csv")

    _, suggested, _ = widedeep("init", str(tmp_path / "log.csv"), "--label", "y")

    left_out = suggested[suggested.index("# Left out") :].splitlines()
    assert len(left_out) < 25
    text = " ".join(line.removeprefix("#").strip() for line in left_out)
    assert text.count("always 7") == 1
    assert all(f"same{number}" in text for number in range(200))
