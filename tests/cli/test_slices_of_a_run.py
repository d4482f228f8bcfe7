"""`eval RUN --slice COLUMN`: one run at each value of a column, true to what the rows of that value say alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sample_projects import only_json
from sklearn.metrics import log_loss, roc_auc_score

Widedeep = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def test_figures_at_each_value_are_those_of_its_rows(here: Path, tmp_path: Path, widedeep: Widedeep) -> None:
    scores = tmp_path / "scores.parquet"
    assert widedeep("predict", "small", "log.csv", "-o", scores, "--keep", "color", "--keep", "click")[0] == 0
    rows = pl.read_parquet(scores)

    told = only_json(widedeep("eval", "small", "log.csv", "--slice", "color", "--json")[1])

    plain = only_json(widedeep("eval", "small", "log.csv", "--json")[1])
    assert {name: told[name] for name in plain} == plain
    values = told["slices"]["color"]
    assert {value["value"] for value in values} == {"red", "green", "blue", None}
    assert [value["rows"] for value in values] == sorted((value["rows"] for value in values), reverse=True)
    for value in values:
        of_value = rows.filter(pl.col("color").eq_missing(pl.lit(value["value"])))
        clicks, score = of_value["click"].cast(pl.Int64).to_numpy(), of_value["score"].to_numpy().astype(np.float64)
        assert value["rows"] == len(of_value)
        assert value["mean_label"] == pytest.approx(clicks.mean())
        assert value["metrics"]["auc"]["value"] == pytest.approx(roc_auc_score(clicks, score), abs=1e-6)
        assert value["metrics"]["log_loss"]["value"] == pytest.approx(log_loss(clicks, score), rel=1e-5)
        assert value["metrics"]["auc"]["low"] < value["metrics"]["auc"]["value"] < value["metrics"]["auc"]["high"]


def test_of_many_values_those_with_most_rows_are_printed(here: Path, widedeep: Widedeep) -> None:
    code, out, err = widedeep("eval", "small", "--split", "valid", "--slice", "user", "--slice", "shape")

    assert (code, err) == (0, "")
    assert "more values with fewer rows: --json has all" in out
    assert "square, or so" in out
    assert "fewer than 200 rows" in out
    assert max(map(len, out.splitlines()[:-1])) <= 80


def test_a_column_that_the_recipe_does_not_read_is_refused(here: Path, widedeep: Widedeep) -> None:
    code, out, err = widedeep("eval", "small", "--slice", "colour")

    assert (code, out) == (2, "")
    assert "--slice colour" in err
    assert "it reads price, age, color" in err
