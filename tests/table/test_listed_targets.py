"""A list can be no row weight and no number to predict."""

from pathlib import Path

import polars as pl
import pytest

from widedeep.errors import DataError
from widedeep.pipeline.ingest_stage import ingest
from widedeep.recipe.plain_data import recipe_of_data
from widedeep.reporting import Reporter

TYPES = [pl.List(pl.Int64), pl.Array(pl.Int64, 2), pl.Array(pl.Array(pl.Int64, 2), 1)]
ROLES = [{"label": "y", "weight": "x"}, {"label": {"column": "x", "kind": "regression"}}]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("role", ROLES, ids=["weight", "label"])
def test_a_list_as_weight_or_number_to_predict_is_refused_with_its_value(
    dtype: pl.DataType, role: dict[str, object], tmp_path: Path
) -> None:
    value = [[1, 2]] if dtype == TYPES[2] else [1, 2]
    table = pl.DataFrame({"x": pl.Series([value] * 4, dtype=dtype), "c": ["p", "q"] * 2, "y": [0, 1] * 2})
    table.write_parquet(tmp_path / "log.parquet")
    data = {"train": "log.parquet", "split": {"kind": "random"}, **role}
    loaded = recipe_of_data({"name": "lists", "data": data, "features": {"categorical": ["c"]}}, tmp_path, ())
    with pytest.raises(DataError, match=r"row 1: column 'x': \[.*\] cannot be .*: a finite number"):
        ingest(loaded, tmp_path / "work", Reporter())
