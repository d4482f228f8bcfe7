"""What a type checker sees of the front door through its lazy imports; mypy reads this, nothing runs it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

import polars as pl

import widedeep as wd
from widedeep.comparison.backtest import Backtest
from widedeep.discovery.discover import Discovery
from widedeep.recipe.load import LoadedRecipe
from widedeep.recipe.schema import Recipe
from widedeep.scoring.evaluate import EvalResult


def use(frame: pl.DataFrame, data: Mapping[str, Any]) -> None:
    """Every name, as a person would use it."""
    assert_type(wd.load_recipe("adult", set=["training.epochs=2"]), LoadedRecipe)
    run = wd.train(data, work_dir=Path("work"), reporter=wd.Reporter())
    assert_type(run, wd.Run)
    assert_type(wd.open_run("runs/adult/latest"), wd.Run)
    assert_type(run.recipe, Recipe)
    assert_type(run.metrics["test"]["auc"], float | None)
    assert_type(run.epochs, pl.DataFrame)
    assert_type(run.path, Path)
    for rows in (frame, frame.lazy(), "new.csv", Path("new.csv"), ["a.csv", "b.csv"]):
        assert_type(run.predict(rows, keep="user"), pl.DataFrame)
    assert_type(run.evaluate(frame), EvalResult)
    assert_type(wd.compare([run, "runs/adult"]), pl.DataFrame)
    found = wd.discover(wd.load_recipe(run).with_crosses(()), on=run)
    assert_type(found, Discovery)
    assert_type(wd.backtest("adult", step="1d", ways=["warm"]), Backtest)
    assert_type(wd.errors.DataError("no rows").exit_code, int)
