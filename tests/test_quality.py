"""The tables of results/quality.md cannot rot: one is made from end to end on a small log, without peers."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from quality import RESULTS, make_table
from quality_peer import write_matrices
from quality_report import headline, report
from quality_settings import FOLDER, TABLES, Table

from widedeep.api.recipes import load_recipe as find_recipe
from widedeep.pipeline.ingest_stage import ingest
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter


@pytest.mark.parametrize("name", TABLES)
def test_every_table_names_kinds_and_settings_that_its_recipe_takes(name: str) -> None:
    table = Table.read(FOLDER / f"{name}.yaml")
    given = FOLDER.parent / table.recipe
    assert set(table.kinds) <= set(KINDS)
    assert set(table.published) | set(table.with_crosses) <= set(table.kinds)
    for variant in table.variants(name):
        recipe = find_recipe(
            str(given) if given.is_file() else table.recipe, set=[*variant.overrides(), "crosses=[]"]
        ).recipe
        assert recipe.model.kind == variant.kind


def test_a_table_is_made_from_a_recipe_and_taken_up_where_it_was_left(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = project / "small.yaml"
    recipe.write_text(recipe.read_text().replace("train: log.csv", f"train: {project / 'log.csv'}"))
    table = Table(
        title="Small",
        recipe=str(recipe),
        kinds={"wide": {}, "deep": {"model.deep.dropout": 0.0}},
        settings={"training.epochs": 1},
        published={"wide": 0.75},
        pair=("color", "user"),
    )
    made = make_table(table, "small", project / "work", seeds=2)
    assert [(line["kind"], line["crosses"], line["seeds"]) for line in made["lines"]] == [
        ("wide", False, 2),
        ("wide", True, 2),
        ("deep", False, 2),
    ]
    (added,) = made["added"]
    assert added["auc"]["low"] < added["auc"]["value"] < added["auc"]["high"]
    aucs = [line["test_auc"]["mean"] for line in made["lines"]]
    assert added["auc"]["value"] == pytest.approx(aucs[1] - aucs[0])
    assert sum(part["rows"] for part in made["parts"][:2]) == made["rows"]
    assert "color x shape" in made["crosses"]

    def fails(*_: Any, **__: Any) -> Any:
        raise AssertionError("a finished command is not run again")

    monkeypatch.setattr(subprocess, "run", fails)
    assert make_table(table, "small", project / "work", seeds=2) == made
    text = report({"frappe": {**made, "facts": {"date": "today"}}})
    assert "| `wide` | no | " in text
    assert f"{added['auc']['value']:+.4f}".replace("-", "−") in text
    assert "- date: today" in text


def test_the_page_and_the_figures_of_the_docs_show_what_was_measured() -> None:
    measured = json.loads((RESULTS / "quality.json").read_text())
    assert set(measured) == set(TABLES)
    assert (RESULTS / "quality.md").read_text() == report(measured)
    assert headline(measured) in (RESULTS.parents[2] / "docs" / "figures.md").read_text()


def test_the_peer_gets_numbers_as_they_are_codes_for_texts_and_a_column_for_each_value_of_a_list(
    tmp_path: Path,
) -> None:
    rows = pl.DataFrame(
        {
            "click": [0, 1, 1, 0, 1, 0],
            "price": ["1.5", "2.5", "", "4", "5", "6"],
            "color": ["red", "blue", "", "red", "green", "blue"],
            "tags": ["a|b", "", "b", "c", "a", "z"],
            "fold": [1, 1, 1, 1, 2, 3],
        }
    )
    rows.write_csv(tmp_path / "log.csv")
    text = """\
name: tiny
data:
  train: log.csv
  label: click
  split: {kind: column, column: fold, valid: [2], test: [3]}
features:
  numeric: [price]
  categorical: [color]
  multi_valued: [{column: tags, separator: "|"}]
"""
    (tmp_path / "tiny.yaml").write_text(text)
    loaded = load_recipe(tmp_path / "tiny.yaml")
    write_matrices(loaded.recipe, ingest(loaded, tmp_path, Reporter()).path, tmp_path / "peer")
    columns = json.loads((tmp_path / "peer" / "columns.json").read_text())
    assert [(one["name"], one["categorical"]) for one in columns] == [
        ("price", False),
        ("color", True),
        ("tags@values=a", False),
        ("tags@values=b", False),
        ("tags@values=c", False),
    ]
    nan = np.nan
    train = [[1.5, 1, 1, 1, 0], [2.5, 0, 0, 0, 0], [nan, nan, 0, 1, 0], [4, 1, 0, 0, 1]]
    np.testing.assert_array_equal(np.load(tmp_path / "peer" / "X_train.npy"), train)
    np.testing.assert_array_equal(np.load(tmp_path / "peer" / "X_valid.npy"), [[5, nan, 1, 0, 0]])
    np.testing.assert_array_equal(np.load(tmp_path / "peer" / "y_test.npy"), [0])
