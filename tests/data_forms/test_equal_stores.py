"""The same table in any format, by any writer, gives equal stores and equal scores, column by column, for every dtype."""

import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from widedeep.encoded.store import EncodedStore
from widedeep.pipeline.ingest_stage import IngestResult, ingest
from widedeep.pipeline.stages import build_crosses
from widedeep.recipe.load import LoadedRecipe
from widedeep.recipe.plain_data import recipe_of_data
from widedeep.reporting import Reporter
from widedeep.table.parts import read_typed
from widedeep.table.typed_columns import LABEL

ROWS = 240
START = dt.datetime(2024, 1, 1)


def cycled(values: list[Any]) -> list[Any]:
    return [values[(7 * row + row // 11) % len(values)] for row in range(ROWS)]


MOMENTS = [START + dt.timedelta(hours=12 * step) for step in range(6)]
COLUMNS: dict[str, pl.Series] = {
    **{
        name: pl.Series(cycled([0, 1, 2, 7, 12, 100, None]), dtype=dtype)
        for name, dtype in {
            "i8": pl.Int8,
            "i16": pl.Int16,
            "i32": pl.Int32,
            "i64": pl.Int64,
            "u8": pl.UInt8,
            "u16": pl.UInt16,
            "u32": pl.UInt32,
            "u64": pl.UInt64,
        }.items()
    },
    "negative": pl.Series(cycled([-3, -1, 0, 4]), dtype=pl.Int64),
    "large": pl.Series(cycled([2**53 + 1, 2**62 + 3, 5]), dtype=pl.Int64),
    # Of other halves Polars writes all digits of the float32, and NumPy the shortest decimal: 0.099975586 and 0.1.
    "f16": pl.Series(cycled([0.5, 1.0, 2.25, -3.0, 0.0625, None]), dtype=pl.Float16),
    "f32": pl.Series(cycled([0.1, 0.5, 1.0, 2.25, 1e-7, 3.7, None]), dtype=pl.Float32),
    "f64": pl.Series(cycled([0.1, 0.5, 1.0, 2.25, 1e-7, 1e20, 1 / 3, None]), dtype=pl.Float64),
    "large32": pl.Series(cycled([12345678848.0, 1.5, 3e9]), dtype=pl.Float32),
    "nan": pl.Series(cycled([0.5, math.nan, 4.0]), dtype=pl.Float64),
    "integral": pl.Series(cycled([1.0, 2.0, 5.0]), dtype=pl.Float64),
    "gap": pl.Series(cycled([12.0, None, 40.0, 7.0]), dtype=pl.Float64),
    "decimal": pl.Series(cycled([Decimal("5.00"), Decimal("4.50"), Decimal("0.25")]), dtype=pl.Decimal(10, 2)),
    "flag": pl.Series(cycled([True, False, None, True]), dtype=pl.Boolean),
    "text": pl.Series(cycled(["a", "b c", "é", "NaN?", None]), dtype=pl.String),
    "zip": pl.Series(cycled(["007", "7", "12345"]), dtype=pl.String),
    "digits": pl.Series(cycled(["7", "8", "12345678901234567890123"]), dtype=pl.String),
    "category": pl.Series(cycled(["x", "y", None]), dtype=pl.Categorical),
    "choice": pl.Series(cycled(["lo", "hi"]), dtype=pl.Enum(["hi", "lo"])),
    "date": pl.Series(cycled([moment.date() for moment in MOMENTS]), dtype=pl.Date),
    "midnight": pl.Series(cycled([START, START + dt.timedelta(days=1), None]), dtype=pl.Datetime("us")),
    "moment_ms": pl.Series(cycled(MOMENTS), dtype=pl.Datetime("ms")),
    "moment_us": pl.Series(cycled([*MOMENTS, START + dt.timedelta(microseconds=5)]), dtype=pl.Datetime("us")),
    "moment_ns": pl.Series(cycled(MOMENTS), dtype=pl.Datetime("ns")),
    "zoned": pl.Series(cycled(MOMENTS), dtype=pl.Datetime("us")).dt.replace_time_zone("UTC"),
    "far": pl.Series(cycled([dt.datetime(9999, 12, 31), dt.datetime(1600, 1, 1, 5), START])).dt.replace_time_zone(
        "UTC"
    ),
    "clock": pl.Series(cycled([dt.time(3, 4, 5), dt.time(0), dt.time(23, 59, 59, 500_000)]), dtype=pl.Time),
}
NUMBERS = [name for name, column in COLUMNS.items() if column.dtype.is_numeric() or column.dtype == pl.Boolean]
TABLE = pl.DataFrame(COLUMNS).with_columns(y=pl.Series(cycled([0, 1, 1, 0, 1])))


def by_pandas(table: pl.DataFrame) -> pd.DataFrame:
    return table.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String)).to_pandas()


def by_duckdb(table: pl.DataFrame, path: Path) -> None:
    plain = pl.col(pl.Categorical, pl.Enum).cast(pl.String), pl.col(pl.Float16).cast(pl.Float32)  # it has neither
    told = table.with_columns(plain).to_arrow()
    connection = duckdb.connect()
    connection.register("told", told)
    connection.sql("set timezone = 'UTC'")
    connection.sql(f"copy told to '{path}'")


def as_spark(table: pl.DataFrame, path: Path, **settings: Any) -> None:
    """Parquet with the settings that Spark has, or had: by pyarrow, since Spark itself needs a JVM."""
    told = table.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String)).to_arrow()
    pq.write_table(
        told,
        path,
        flavor="spark",
        compression="snappy",
        use_dictionary=False,
        row_group_size=50,
        store_schema=False,
        **settings,
    )


WRITERS: dict[str, Callable[[pl.DataFrame, Path], None]] = {
    "polars.csv": lambda table, path: table.write_csv(path),
    "pandas.csv": lambda table, path: by_pandas(table).to_csv(path, index=False),
    "polars.ndjson": lambda table, path: table.write_ndjson(path),
    "polars.parquet": lambda table, path: table.write_parquet(path),
    "pandas.parquet": lambda table, path: by_pandas(table).to_parquet(path, index=False),
    "duckdb.csv": by_duckdb,
    "duckdb.parquet": by_duckdb,
    "spark.parquet": as_spark,
    "spark-int96.parquet": lambda table, path: as_spark(table, path, use_deprecated_int96_timestamps=True),
    "spark-legacy.parquet": lambda table, path: as_spark(
        table, path, version="1.0", store_decimal_as_integer=True, use_compliant_nested_type=False
    ),
    "polars.arrow": lambda table, path: table.write_ipc(path),
}


def recipe(name: str) -> LoadedRecipe:
    features = {
        "categorical": [{"column": column, "name": f"{column}.text", "min_count": 1} for column in COLUMNS],
        "numeric": [{"column": column, "transform": "standard", "buckets": 4} for column in NUMBERS],
    }
    data = {"train": name, "label": "y", "split": {"kind": "random", "valid": 0.2}, "bad_numbers": "missing"}
    return recipe_of_data({"name": "forms", "data": data, "features": features}, Path.cwd(), ())


def encoded(name: str) -> dict[str, list[Any]]:
    result = build_crosses(recipe(name), Path(f"work-{name}"), Reporter())
    store = EncodedStore.open(result.path / "train")
    return {column: store.read(0, store.rows, [column])[column].tolist() for column in store.columns}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("formats")
    for name, write in WRITERS.items():
        write(TABLE, path / name)
    return path


def test_every_format_gives_the_store_that_parquet_gives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    expected = encoded("polars.parquet")
    assert len(COLUMNS) >= 20
    for name in WRITERS:
        given = encoded(name)
        assert [column for column, values in expected.items() if given[column] != values] == [], name


def test_a_model_scores_every_format_alike(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import widedeep as wd

    monkeypatch.chdir(folder)
    settings = ["training.epochs=1", "training.threads=1", "model.deep.hidden=[8]"]
    for trained in ("pandas.csv", "polars.parquet"):
        run = wd.train(recipe(trained).changed(settings), work_dir="runs-of-" + trained)
        expected = run.predict(trained)["score"]
        # Moments of 96 bits have no zone.
        without_zones = run.predict(TABLE.with_columns(pl.col("zoned", "far").dt.replace_time_zone(None)))["score"]
        for name in WRITERS:
            assert run.predict(name)["score"].equals(without_zones if "spark" in name else expected), (trained, name)


def ingested(name: str, features: dict[str, Any], **data: Any) -> tuple[IngestResult, Path]:
    whole = {"train": name, "label": "y", "split": {"kind": "random", "valid": 0.2}, **data}
    loaded = recipe_of_data({"name": "forms", "data": whole, "features": features}, Path.cwd(), ())
    result = ingest(loaded, Path(f"work-{name}"), Reporter())
    return result, result.path


@pytest.mark.parametrize("key", ["flag", "date", "midnight", "zoned", "integral", "gap"])
def test_rows_of_one_key_are_on_one_side_of_a_split_whatever_writes_the_key(
    key: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    full = TABLE.drop_nulls(key)
    rows = []
    for name in ("pandas.csv", "polars.parquet", "polars.csv", "duckdb.csv"):
        WRITERS[name](full, Path(f"key-{key}-{name}"))
        split = {"kind": "key", "key": key, "valid": 0.4, "test": 0.0, "seed": 4}
        rows.append(ingested(f"key-{key}-{name}", {"categorical": ["text"]}, split=split)[0].rows)
    assert rows == [rows[0]] * 4


def test_columns_of_one_vocabulary_have_one_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    users = [f"{row % 40}.0" for row in range(400)]
    last = ["none" if row % 20 == 0 else users[row - 1] for row in range(400)]
    pl.DataFrame({"user": users, "last": last, "y": [row % 2 for row in range(400)]}).write_csv("log.csv")
    fields = [{"column": name, "vocabulary": "users", "min_count": 1} for name in ("user", "last")]
    _, path = ingested("log.csv", {"categorical": fields})
    table = read_typed(path, "train")
    assert {*table["user"], *table["last"]} == {*users, "none"}


def test_a_boolean_label_is_a_number_to_regression_whatever_writes_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    full = TABLE.drop_nulls("flag")
    means = []
    for name in ("pandas.csv", "polars.parquet", "polars.ndjson"):
        WRITERS[name](full, Path(f"label-{name}"))
        label = {"column": "flag", "kind": "regression"}
        _, path = ingested(f"label-{name}", {"categorical": ["text"]}, label=label)
        means.append(read_typed(path, "train")[LABEL].mean())
    assert means == [means[0]] * 3
    assert 0.0 < means[0] < 1.0
