"""Crosses at real click rates: one that says nothing does no harm where a value clicks ten times as often as the rest."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from widedeep.pipeline.experiment import train
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter

RECIPE = """\
name: rare
data: {train: log.csv, label: y, split: {kind: random, valid: 0.2, test: 0.2}}
features: {categorical: [a, b]}
crosses: [[a, b]]
model: {kind: wide}
training: {epochs: 3, batch_size: 256, threads: 1}
"""


def write_log(folder: Path) -> None:
    """2.9% positives, main effects only: one of 25 values of `a` has 24%, the others 2%."""
    draw = np.random.default_rng(0)
    n = 20_000
    a = draw.choice(25, n, p=[0.04] * 25)
    b = draw.integers(0, 5, n)
    y = draw.random(n) < np.where(a == 0, 0.24, 0.02)
    frame = pl.DataFrame({"a": a, "b": b, "y": y.astype(np.int8)})
    frame.with_columns(pl.col("a", "b").cast(pl.String)).write_csv(folder / "log.csv")
    (folder / "rare.yaml").write_text(RECIPE)


@pytest.mark.parametrize("kind", ["wide", "wide_deep"])
def test_a_cross_that_says_nothing_costs_nothing_beside_a_value_of_twelve_times_the_rate(
    tmp_path: Path, kind: str
) -> None:
    write_log(tmp_path)
    losses = {}
    for crosses in ("[[a, b]]", "[]"):
        loaded = load_recipe(tmp_path / "rare.yaml", [f"crosses={crosses}", f"model.kind={kind}"])
        losses[crosses] = train(loaded, tmp_path, Reporter()).metrics["test"]["log_loss"]
    with_cross, without = losses.values()
    assert with_cross is not None
    assert without is not None
    # Of wide it was 15.45 and 0.129 when a fit of counts could overshoot. Now it does not stand out and is left out whole.
    assert with_cross == without


def write_weighted_log(folder: Path, weight: float) -> None:
    """2% positives, main effects only; a tenth of the rows, drawn at random, has `weight`, the others 1."""
    draw = np.random.default_rng(2)
    n = 24_000
    a, b = (60 * draw.random(n) ** 2).astype(int), (50 * draw.random(n) ** 2).astype(int)
    logit = draw.normal(0, 1, 60)[a] + draw.normal(0, 1, 50)[b] - 4.8
    y = draw.random(n) < 1 / (1 + np.exp(-logit))
    w = np.where(draw.random(n) < 0.1, weight, 1.0)
    frame = pl.DataFrame({"a": a, "b": b, "y": y.astype(np.int8), "w": w})
    frame.with_columns(pl.col("a", "b").cast(pl.String)).write_csv(folder / "log.csv")
    (folder / "rare.yaml").write_text(RECIPE.replace("label: y,", "label: y, weight: w,"))


def test_a_cross_that_says_nothing_costs_nothing_where_a_tenth_of_the_rows_weighs_a_hundred_times_the_rest(
    tmp_path: Path,
) -> None:
    write_weighted_log(tmp_path, 100.0)
    losses = []
    for crosses in ("[[a, b]]", "[]"):
        loaded = load_recipe(tmp_path / "rare.yaml", [f"crosses={crosses}", "training.batch_size=512"])
        losses.append(train(loaded, tmp_path, Reporter()).metrics["test"]["log_loss"])
    with_cross, without = losses
    assert with_cross is not None
    assert without is not None
    # It was 1.14 times as much when a weight of 100 was taken for 100 rows.
    assert with_cross <= 1.005 * without
