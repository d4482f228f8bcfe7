"""Tables with more columns than a model can be asked to weigh: what `init` suggests holds to the base rate."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from widedeep.pipeline.experiment import train
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.suggest.init import init_recipe

TEST_ROWS = 1000


def trained(folder: Path, train_rows: int, telling: int, nature: str) -> tuple[float, float]:
    """Log loss on test rows of the suggested recipe, and of the base rate; `telling` of 260 columns say something."""
    random = np.random.default_rng(5)
    rows = train_rows + TEST_ROWS
    values = random.integers(0, 4, (rows, 260))
    logit = np.where(values[:, :telling] % 2 == 1, 0.9, -0.9).sum(axis=1)
    label = (random.random(rows) < 1.0 / (1.0 + np.exp(-logit))).astype(int)
    if nature == "category":
        columns = {f"x{i}": [f"v{value}" for value in values[:, i]] for i in range(260)}
    else:
        columns = {f"x{i}": values[:, i] + random.random(rows) for i in range(260)}  # type: ignore[misc]
    frame = pl.DataFrame({**columns, "y": label})
    frame.head(train_rows).write_parquet(folder / "log.parquet")
    frame.tail(TEST_ROWS).write_parquet(folder / "later.parquet")
    text = init_recipe(
        [str(folder / "log.parquet")], "y", test=[str(folder / "later.parquet")], recipe_folder=folder
    ).text
    (folder / "wide.yaml").write_text(text)
    result = train(load_recipe(folder / "wide.yaml"), folder, Reporter())
    rate, share = label[:train_rows].mean(), label[train_rows:].mean()
    base = -share * math.log(rate) - (1.0 - share) * math.log1p(-rate)
    return result.metrics["test"]["log_loss"], base


@pytest.mark.parametrize("nature", ["category", "number"])
def test_on_hundreds_of_columns_of_noise_the_suggested_recipe_stays_at_the_base_rate(
    tmp_path: Path, nature: str
) -> None:
    loss, base = trained(tmp_path, 250, 0, nature)
    assert loss < 1.02 * base


def test_what_stands_among_hundreds_of_columns_of_noise_is_found(tmp_path: Path) -> None:
    loss, base = trained(tmp_path, 800, 4, "category")
    assert loss < 0.9 * base


def test_numbers_of_a_wide_table_get_few_buckets(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    columns = {f"x{number}": random.random(100) for number in range(201)}
    pl.DataFrame({**columns, "y": random.integers(0, 2, 100)}).write_parquet(tmp_path / "log.parquet")
    text = init_recipe([str(tmp_path / "log.parquet")], "y", recipe_folder=tmp_path).text
    assert "{column: x0, buckets: 5}" in text
