"""Kept columns of every type in every format that `predict` writes, read back by other programs."""

import datetime as dt
import decimal
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from widedeep.errors import UsageError
from widedeep.scoring.kept import KeptColumns
from widedeep.scoring.outputs import OutputFormat, write_frames

CommandLine = Callable[..., tuple[int, str, str]]

BIG = 2**63 + 5
UUIDS = [UUID("12345678-1234-4234-8234-123456789abc"), UUID("00000000-0000-1000-9000-000000000001")]
KEPT: dict[str, tuple[Any, list[OutputFormat]]] = {
    "small integer": (pa.array([1, -2, None], pa.int8()), ["csv", "ndjson", "parquet"]),
    "large id": (pa.array([BIG, 7, None], pa.uint64()), ["csv", "ndjson", "parquet"]),
    "half": (pa.array([0.5, 2.0, None], pa.float16()), ["csv", "ndjson", "parquet"]),
    "fraction": (pa.array([0.1, 1e300, None]), ["csv", "ndjson", "parquet"]),
    "boolean": (pa.array([True, False, None]), ["csv", "ndjson", "parquet"]),
    "text": (pa.array(['a,"b"', "x\ny", None]), ["csv", "ndjson", "parquet"]),
    "category": (pa.array(["a", "b", None]).dictionary_encode(), ["csv", "ndjson", "parquet"]),
    "date": (pa.array([dt.date(2024, 1, 2), dt.date(1600, 1, 1), None]), ["csv", "ndjson", "parquet"]),
    "moment": (pa.array([dt.datetime(2024, 1, 2, 3, 4, 5, 6), None, None]), ["csv", "ndjson", "parquet"]),
    "moment with a zone": (
        pa.array([dt.datetime(2024, 1, 2), None, None], pa.timestamp("us", "Europe/Berlin")),
        ["csv", "ndjson", "parquet"],
    ),
    "time of day": (pa.array([dt.time(1, 2), dt.time(3, 4), None]), ["csv", "ndjson", "parquet"]),
    "decimal": (pa.array([decimal.Decimal("1.50"), decimal.Decimal("2"), None]), ["csv", "ndjson", "parquet"]),
    "nulls": (pa.nulls(3), ["csv", "ndjson", "parquet"]),
    "list": (pa.array([[1, 2], [], None]), ["ndjson", "parquet"]),
    "struct": (pa.array([{"a": 1}, {"a": 2}, None]), ["ndjson", "parquet"]),
    "map": (pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())), ["ndjson", "parquet"]),
    "uuid": (pa.array([uuid.bytes for uuid in UUIDS] + [None], pa.uuid()), ["csv", "ndjson", "parquet"]),
    "bytes": (pa.array([b"a\xff", b"", None]), ["parquet"]),
    "duration": (pa.array([dt.timedelta(1), dt.timedelta(2), None]), ["parquet"]),
    "json": (pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}", "[]", None])), ["parquet"]),
}
READERS: dict[str, dict[str, Callable[[str], list[Any]]]] = {
    "csv": {
        "pyarrow": lambda path: pyarrow.csv.read_csv(
            path,
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        )["score"].to_pylist(),
        "pandas": lambda path: pd.read_csv(path)["score"].tolist(),
        "polars": lambda path: pl.read_csv(path)["score"].to_list(),
    },
    "ndjson": {
        "pyarrow": lambda path: pyarrow.json.read_json(path)["score"].to_pylist(),
        "pandas": lambda path: pd.read_json(path, lines=True)["score"].tolist(),
        "polars": lambda path: pl.read_ndjson(path)["score"].to_list(),
    },
    "parquet": {
        "pyarrow": lambda path: pq.read_table(path)["score"].to_pylist(),
        "pandas": lambda path: pd.read_parquet(path)["score"].tolist(),
        "polars": lambda path: pl.read_parquet(path)["score"].to_list(),
    },
}


def by_duckdb(path: str) -> list[Any]:
    return [score for (score,) in duckdb.sql(f"select score from (select * from '{path}')").fetchall()]


@pytest.fixture(scope="module")
def new_rows(trained: Path) -> pl.DataFrame:
    return pl.read_csv(trained / "new.csv", n_rows=3, schema_overrides={"age": pl.Float64})


def score(
    widedeep: CommandLine, trained: Path, rows: pl.DataFrame, kept: pa.Array, folder: Path, form: str
) -> tuple[int, str, Path]:
    table = rows.to_arrow().append_column("kept", kept)
    pq.write_table(table, folder / "new.parquet")
    output = folder / f"scores.{form}"
    code, _, error = widedeep(
        "predict", "small.yaml", folder / "new.parquet", "--work", trained, "--keep", "kept", "-o", output
    )
    return code, " ".join(error.split()), output


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
@pytest.mark.parametrize("name", KEPT)
def test_what_is_written_is_read_by_other_programs_and_the_rest_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trained: Path,
    new_rows: pl.DataFrame,
    widedeep: CommandLine,
    name: str,
    form: str,
) -> None:
    monkeypatch.chdir(trained)
    column, forms = KEPT[name]

    code, error, output = score(widedeep, Path("."), new_rows, column, tmp_path, form)

    if form not in forms:
        assert code == 2
        assert error.startswith("widedeep: error: --keep kept: holds ")
        assert not output.exists()
        return
    assert code == 0, error
    scores = {who: read(str(output)) for who, read in (READERS[form] | {"duckdb": by_duckdb}).items()}
    for of_program in scores.values():
        assert of_program == pytest.approx(scores["polars"])
    if form == "parquet" and name not in ("category", "half", "uuid"):  # which are texts, Float32 and bytes
        assert pq.read_table(output)["kept"].to_pylist() == column.to_pylist()
    if name == "uuid" and form != "parquet":
        rows = pl.read_csv(output) if form == "csv" else pl.read_ndjson(output)
        assert rows["kept"].to_list() == [*map(str, UUIDS), None]


def ids(values: list[int | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {"id": pl.Series(values, dtype=pl.Int128 if any(v and v >= 2**63 for v in values) else pl.Int64)}
    )


@pytest.mark.parametrize(
    ("blocks", "dtype", "values"),
    [
        ([[1], [BIG], [3]], pl.UInt64, [1, BIG, 3]),
        ([[BIG], [None], [1]], pl.UInt64, [BIG, None, 1]),
        ([[BIG], [-1]], pl.String, [str(BIG), "-1"]),
        ([[2**64], [1]], pl.String, [str(2**64), "1"]),
        ([[1], [2]], pl.Int64, [1, 2]),
    ],
)
def test_an_id_of_more_than_63_bits_is_written_in_64_or_as_a_text_by_all_blocks_together(
    tmp_path: Path, blocks: list[list[int | None]], dtype: pl.DataType, values: list[Any]
) -> None:
    kept = KeptColumns(["id"], "parquet")

    def frames() -> Any:
        for block in blocks:
            kept.check(ids(block))
            yield pl.DataFrame(kept.of(ids(block)))

    write_frames(frames(), tmp_path / "scores.parquet", "parquet", kept.final_types)

    assert pl.read_parquet(tmp_path / "scores.parquet")["id"].dtype == dtype
    assert pq.read_table(tmp_path / "scores.parquet")["id"].to_pylist() == values
    assert [value for (value,) in duckdb.sql(f"select id from '{tmp_path}/scores.parquet'").fetchall()] == values


def test_large_ids_of_ndjson_reach_parquet_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Path, new_rows: pl.DataFrame, widedeep: CommandLine
) -> None:
    monkeypatch.chdir(trained)
    lines = [json.dumps(row | {"big": BIG + number}) for number, row in enumerate(new_rows.to_dicts())]
    (tmp_path / "new.ndjson").write_text("\n".join(lines))

    assert (
        widedeep("predict", "small.yaml", tmp_path / "new.ndjson", "--keep", "big", "-o", tmp_path / "s.parquet")[0]
        == 0
    )

    assert pq.read_table(tmp_path / "s.parquet")["big"].to_pylist() == [BIG, BIG + 1, BIG + 2]


def test_a_block_without_values_takes_the_type_of_the_others_and_two_types_are_refused() -> None:
    kept = KeptColumns(["x"], "parquet")
    for values in ([None], ["a"], [None]):
        kept.check(pl.DataFrame({"x": values}))
    assert kept.final_types() == {"x": pl.String()}
    with pytest.raises(UsageError, match="holds String values first and Int64 later, which one Parquet file cannot"):
        kept.check(pl.DataFrame({"x": [1]}))
