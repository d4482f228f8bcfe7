"""Columns of every type that files and frames have, through `init`, `ingest`, `train`, `predict` and `eval`."""

import datetime as dt
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from widedeep.errors import DataError
from widedeep.recipe.schema import FormatSettings
from widedeep.source import unknown_types
from widedeep.source.canonical import canonical_text, why_unusable
from widedeep.source.sources import read_blocks

CommandLine = Callable[..., tuple[int, str, str]]

ROWS = 60
ALTERNATING = [row * 7 % 5 < 2 for row in range(ROWS)]
ROLES = {
    "number": "numeric: [x]",
    "category": "categorical: [x]",
    "list": "multi_valued: [x]",
    "weighted list": 'multi_valued: [{column: x, weight_separator: ":"}]',
    "time": "date_time: [x]",
    "age": "date_time: [{column: x, parts: [], since: born}]",
    "none": "",
}
RECIPE = """\
name: r
data:
  train: {file}
  label: y
  split: {{valid: 0.2, test: 0.2}}
features:
  categorical: [z]
  {field}
model: {{deep: {{hidden: [4]}}}}
training: {{epochs: 1, threads: 1}}
"""


def table_of(x: pa.Array) -> pa.Table:
    z = pa.array(["abcd"[row % 4] for row in range(ROWS)])
    born = pa.array([dt.date(1990, 1, 1 + row % 28) for row in range(ROWS)])
    return pa.table({"x": x, "z": z, "born": born, "y": pa.array([int(value) for value in ALTERNATING])})


def write(table: pa.Table, path: Path) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".arrow":
        with pa.ipc.new_file(str(path), table.schema) as file:
            file.write_table(table)
    elif path.suffix == ".csv":
        pl.DataFrame(table).write_csv(path)
    else:
        pl.DataFrame(table).write_ndjson(path)
    return path


def recipe(role: str, file: str) -> str:
    text = RECIPE.format(file=file, field=ROLES[role])
    return text.replace("categorical: [z]\n  categorical: [x]", "categorical: [z, x]")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def every(values: list[Any], dtype: pa.DataType | None = None) -> pa.Array:
    return pa.array([values[row % len(values)] for row in range(ROWS)], dtype)


def extension(kind: pa.DataType, storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, storage)


USABLE = {
    "half": (every([0.1, 0.5, 2.0, 3.25, None], pa.float16()), "category", {"0.1", "0.5", "2", "3.25"}),
    "decimal": (every([decimal.Decimal("1.50"), decimal.Decimal("2.25")]), "category", {"1.5", "2.25"}),
    "date": (every([dt.date(2024, 1, 2), dt.date(1600, 5, 6)]), "category", {"2024-01-02", "1600-05-06"}),
    "time of day": (every([dt.time(1, 2), dt.time(3, 4)]), "category", {"01:02:00", "03:04:00"}),
    "dictionary": (every(["a", "b", "c"]).dictionary_encode(), "category", {"a", "b", "c"}),
    "boolean": (every([True, False, None]), "category", {"true", "false"}),
    "large id": (every([2**63 + 5, 7], pa.uint64()), "category", {str(2**63 + 5), "7"}),
    "array": (every([[1, 2], [2, 3]], pa.list_(pa.int64(), 2)), "list", {"1", "2", "3"}),
    "list of categories": (every([["a"], ["b", "c"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))), "list", None),
    "list of times": (every([[dt.time(1, 0)], [dt.time(2, 0)]]), "list", None),
    "list of halves": (every([[0.1], [0.5]], pa.list_(pa.float16())), "list", {"0.1", "0.5"}),
}


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize("name", USABLE)
def test_a_type_with_a_text_is_trained_on_and_scored_and_its_values_are_told_apart(
    folder: Path, widedeep: CommandLine, name: str, ending: str
) -> None:
    column, role, values = USABLE[name]
    file = write(table_of(column), folder / f"log.{ending}")
    (folder / "r.yaml").write_text(recipe(role, file.name))

    assert widedeep("init", file, "--label", "y", "-o", "suggested.yaml")[0] == 0
    assert widedeep("ingest", "suggested.yaml")[0] == 0
    assert widedeep("train", "r.yaml")[0] == 0
    assert widedeep("eval", "r.yaml", file)[0] == 0
    assert widedeep("predict", "r.yaml", file, "--keep", "x", "-o", "scores.parquet")[0] == 0
    scores = pq.read_table(folder / "scores.parquet")
    assert scores.num_rows == ROWS
    if values is not None:
        assert _read_values(file) == values


def _read_values(file: Path, settings: FormatSettings = FormatSettings()) -> set[str]:
    (block,) = read_blocks(file, settings, ["x"], name="log")
    column = block.frame["x"]
    items = column.explode() if isinstance(column.dtype, pl.List) else column
    texts = items.to_frame("x").select(canonical_text(pl.col("x"), items.dtype)).to_series()
    return set(texts.drop_nulls())


UNUSABLE = {
    "map": every([[("a", 1)], [("b", 2)]], pa.map_(pa.string(), pa.int64())),
    "struct": every([{"a": 1}, {"a": 2}]),
    "duration": every([1, 2], pa.duration("s")),
    "binary": every([b"a", b"\xff"]),
    "json": extension(pa.json_(), every(['{"a": 1}', "{}"])),
    "bool8": extension(pa.bool8(), every([1, 0], pa.int8())),
    "tensor": extension(pa.fixed_shape_tensor(pa.int64(), (2,)), every([[1, 2]], pa.list_(pa.int64(), 2))),
    "list of lists": every([[[1]], [[2]]]),
    "list of structs": every([[{"a": 1}]]),
    "list of durations": every([[dt.timedelta(1)]]),
    "list of bytes": every([[b"a", b"\xff"]]),
}


BYTES = {
    "bytes": (every([b"a", b"\xc3\xa9", b"", None]), "category", {"a", "é"}),
    "bytes of one length": (every([b"ab", b"cd"], pa.binary(2)), "category", {"ab", "cd"}),
    "dictionary of bytes": (every([b"a", b"b"]).dictionary_encode(), "category", {"a", "b"}),
    "numbers in bytes": (every([b"1", b"2.50"]), "number", {"1", "2.50"}),
    "times in bytes": (every([b"2024-01-02", b"2024-01-03"]), "time", {"2024-01-02", "2024-01-03"}),
    "list of bytes": (every([[b"a"], [b"b", b"c"], None]), "list", {"a", "b", "c"}),
    "large bytes": (every([b"a", b"b"], pa.large_binary()), "category", {"a", "b"}),
}


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_texts_are_read_as_such_where_the_recipe_says_so(
    folder: Path, widedeep: CommandLine, name: str, ending: str
) -> None:
    column, role, values = BYTES[name]
    file = write(table_of(column), folder / f"log.{ending}")
    plain = recipe(role, file.name)
    (folder / "r.yaml").write_text(plain)
    code, _, error = widedeep("ingest", "r.yaml")
    assert code == 3
    assert "data.format.binary: text" in " ".join(error.split())

    (folder / "r.yaml").write_text(plain.replace("  label: y", "  label: y\n  format: {binary: text}"))
    assert widedeep("init", file, "--label", "y", "-o", "suggested.yaml")[0] == 0
    assert "binary: text" in (folder / "suggested.yaml").read_text()
    assert widedeep("ingest", "suggested.yaml")[0] == 0
    assert widedeep("train", "r.yaml")[0] == 0
    assert widedeep("eval", "r.yaml", file)[0] == 0
    assert widedeep("predict", "r.yaml", file, "--keep", "x", "-o", "scores.parquet")[0] == 0
    assert _read_values(file, FormatSettings(binary="text")) == values


@pytest.mark.parametrize("values", [[b"a", b"b", b"\xff"], [[b"a"], [b"b"], [b"a", b"\xff"]]])
def test_bytes_that_are_no_text_are_refused_with_their_row(
    folder: Path, widedeep: CommandLine, values: list[Any]
) -> None:
    file = write(table_of(every(values)), folder / "log.parquet")
    role = "list" if isinstance(values[0], list) else "category"
    text = recipe(role, file.name).replace("  label: y", "  label: y\n  format: {binary: text}")
    (folder / "r.yaml").write_text(text)
    code, _, error = widedeep("ingest", "r.yaml")
    assert code == 3
    assert "log.parquet: row 3: column 'x': holds bytes that are no text in UTF-8" in " ".join(error.split())
    (folder / "r.yaml").write_text(text.replace("[x]", "[]").replace("categorical: [z, x]", "categorical: [z]"))
    assert widedeep("ingest", "r.yaml")[0] == 0


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize("name", UNUSABLE)
def test_init_leaves_out_what_ingest_refuses_and_the_column_does_not_count_where_it_is_not_named(
    folder: Path, widedeep: CommandLine, name: str, ending: str
) -> None:
    file = write(table_of(UNUSABLE[name]), folder / f"log.{ending}")

    assert widedeep("init", file, "--label", "y", "-o", "suggested.yaml")[0] == 0
    assert "#   x: holds " in (folder / "suggested.yaml").read_text()
    assert widedeep("ingest", "suggested.yaml")[0] == 0
    for role in ("number", "category", "list", "time"):
        (folder / "r.yaml").write_text(recipe(role, file.name))
        code, _, error = widedeep("ingest", "r.yaml")
        assert code == 3, (role, error)
        assert f"{file.name}: column 'x'" in " ".join(error.split())
    (folder / "r.yaml").write_text(recipe("none", file.name))
    assert widedeep("train", "r.yaml")[0] == 0
    assert widedeep("predict", "r.yaml", file, "-o", "scores.csv")[0] == 0


@pytest.mark.parametrize(
    ("dtype", "usable"),
    [
        *((dtype, True) for dtype in (pl.Int128(), pl.Float16(), pl.Decimal(5, 2), pl.Boolean(), pl.Time(), pl.Null())),
        *((dtype, True) for dtype in (pl.Enum(["a"]), pl.Categorical(), pl.List(pl.Date()), pl.Array(pl.String(), 2))),
        *((dtype, False) for dtype in (pl.Duration(), pl.Binary(), pl.Object(), pl.Struct({"a": pl.Int8}))),
        *((dtype, False) for dtype in (pl.List(pl.List(pl.Int8())), pl.Array(pl.Binary(), 2), pl.List(pl.Struct([])))),
    ],
    ids=str,
)
def test_one_rule_says_which_types_can_be_a_field(dtype: pl.DataType, usable: bool) -> None:
    assert (why_unusable(dtype) is None) == usable


# ---------------------------------------------------------------------------------------------- columns without values


REAL = {
    "number": every([1.5, 2.5, 9.0]),
    "category": every(["a", "b"]),
    "list": every([["a"], ["b", "c"]]),
    "weighted list": every([["a:0.5"], ["b", "c:2"]]),
    "time": every([dt.datetime(2024, 1, 1, 5), dt.datetime(2024, 1, 2, 6)]),
    "age": every([dt.datetime(2024, 1, 1), dt.datetime(2024, 3, 2)]),
}


@pytest.mark.parametrize("ending", ["parquet", "arrow", "ndjson"])
@pytest.mark.parametrize("role", REAL)
def test_a_column_of_nulls_is_missing_to_every_role(
    folder: Path, widedeep: CommandLine, role: str, ending: str
) -> None:
    nulls = write(table_of(pa.nulls(ROWS)), folder / f"nulls.{ending}")
    (folder / "r.yaml").write_text(recipe(role, nulls.name))

    code, _, error = widedeep("ingest", "r.yaml")
    assert code == 3
    assert "column 'x': missing in all" in " ".join(error.split())

    write(table_of(REAL[role]), folder / "log.parquet")
    (folder / "r.yaml").write_text(recipe(role, "log.parquet"))
    assert widedeep("train", "r.yaml")[0] == 0
    assert widedeep("predict", "r.yaml", nulls, "-o", "scores.csv", "--keep", "x")[0] == 0
    assert pl.read_csv(folder / "scores.csv")["score"].is_finite().all()
    assert widedeep("init", nulls, "--label", "y", "-o", "suggested.yaml")[0] == 0
    assert "#   x: missing" in (folder / "suggested.yaml").read_text()


@pytest.mark.parametrize("ending", ["parquet", "ndjson"])
@pytest.mark.parametrize("part", ["label: x", "label: y\n  weight: x", "label: y\n  time: x", "label: y\n  group: x"])
def test_a_column_of_nulls_as_label_weight_time_or_group_is_missing_in_the_first_row(
    folder: Path, widedeep: CommandLine, part: str, ending: str
) -> None:
    file = write(table_of(pa.nulls(ROWS)), folder / f"log.{ending}")
    (folder / "r.yaml").write_text(recipe("none", file.name).replace("label: y", part))

    code, _, error = widedeep("ingest", "r.yaml")

    assert code == 3
    place = "log.parquet: row 1" if ending == "parquet" else "log.ndjson:1"
    assert f"{place}: column 'x': " in " ".join(error.split())
    assert "is missing" in " ".join(error.split())


def test_a_half_is_the_decimal_that_it_was_written_as_and_a_label_of_one_half_is_no_label(
    folder: Path, widedeep: CommandLine
) -> None:
    halves = np.array([row / 10 for row in range(12)], np.float16)
    frame = pl.DataFrame({"x": halves})
    write(pa.table({"x": pa.array(halves)}), folder / "log.parquet")

    texts = [str(float(f"{row / 10:g}")).removesuffix(".0") for row in range(12)]
    for source in (folder / "log.parquet", frame, frame.lazy()):
        (block,) = read_blocks(source, FormatSettings(), None, name="log")
        assert block.frame.select(canonical_text(pl.col("x"), block.frame["x"].dtype))["x"].to_list() == texts

    file = write(table_of(every([0.5, 1.0], pa.float16())), folder / "label.parquet")
    (folder / "r.yaml").write_text(recipe("none", file.name).replace("label: y", "label: x"))
    code, _, error = widedeep("ingest", "r.yaml")
    assert code == 3
    assert "row 1: column 'x': the label '0.5' is neither positive nor negative" in " ".join(error.split())


# --------------------------------------------------------------------------------------------------- far-off moments


@pytest.mark.parametrize("store_schema", [True, False])
def test_moments_of_96_bits_are_read_as_microseconds_of_any_year(tmp_path: Path, store_schema: bool) -> None:
    moments = [
        dt.datetime(1, 1, 1),
        dt.datetime(1600, 2, 3),
        dt.datetime(2024, 1, 2, 3, 4, 5, 6),
        dt.datetime(9999, 12, 31),
        None,
    ]
    lists = pa.array([[moment] for moment in moments], pa.list_(pa.timestamp("us")))
    table = pa.table({"x": pa.array(moments, pa.timestamp("us")), "l": lists})
    pq.write_table(table, tmp_path / "log.parquet", use_deprecated_int96_timestamps=True, store_schema=store_schema)

    (block,) = read_blocks(tmp_path / "log.parquet", FormatSettings(), None, name="log")

    assert block.frame["x"].to_list() == moments
    assert block.frame["l"].explode().to_list() == moments


def test_nanoseconds_keep_their_digits_and_nulls_are_no_moments_out_of_range(tmp_path: Path) -> None:
    nanoseconds = pa.array([2**63 - 1, 1_704_067_200_000_000_123, None], pa.timestamp("ns"))
    table = pa.table({"x": nanoseconds, "l": pa.array([[1], [None], None], pa.list_(pa.timestamp("ns")))})
    for in_96_bits in (False, True):
        recent = table.slice(int(in_96_bits))
        pq.write_table(recent, tmp_path / "log.parquet", use_deprecated_int96_timestamps=in_96_bits, store_schema=False)
        (block,) = read_blocks(tmp_path / "log.parquet", FormatSettings(), None, name="log")
        texts = block.frame.select(canonical_text(pl.col("x"), block.frame.schema["x"]))["x"].to_list()
        assert texts[-2:] == ["2024-01-01T00:00:00.000000123", None]
        assert len(texts) == 2 or texts[0] == "2262-04-11T23:47:16.854775807"
        assert block.frame["l"].null_count() == 1


FAR = {
    "timestamp": every([10**12, 10**9], pa.timestamp("s")),
    "before year 1": every([-(10**11), 10**9], pa.timestamp("s")),
    "date": pa.array([10**7, *range(ROWS - 1)], pa.int32()).cast(pa.date32()),
    "list": every([[10**12], [10**9]], pa.list_(pa.timestamp("s"))),
}


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize("name", FAR)
def test_a_moment_that_no_calendar_holds_is_refused_by_row_and_left_out_by_init(
    folder: Path, widedeep: CommandLine, name: str, ending: str
) -> None:
    file = write(table_of(FAR[name]), folder / f"log.{ending}")

    for role in ("category", "time", "list"):
        (folder / "r.yaml").write_text(recipe(role, file.name))
        code, _, error = widedeep("ingest", "r.yaml")
        assert code == 3, (role, error)
        assert "row 1: column 'x': a moment outside the years 1 to 9999" in " ".join(error.split())
    assert widedeep("init", file, "--label", "y", "-o", "suggested.yaml")[0] == 0
    assert "#   x: a moment outside the years" in (folder / "suggested.yaml").read_text()
    assert widedeep("train", "suggested.yaml")[0] == 0
    assert widedeep("predict", "suggested.yaml", file, "-o", "scores.csv")[0] == 0
    code, _, error = widedeep("predict", "suggested.yaml", file, "-o", "kept.csv", "--keep", "x")
    assert code == 3
    assert "row 1: column 'x'" in " ".join(error.split())
    assert not (folder / "kept.csv").exists()


# ------------------------------------------------------------------------------------------------------------- panics


class PanicException(pl.exceptions.PanicException):  # type: ignore[misc]
    """What Polars' Rust code raises: no `Exception`."""


class Table:
    """A lazy table of which a column's rows from one on make Polars panic."""

    def __init__(self, frame: pl.DataFrame, bad_from: int | None, first: int = 0) -> None:
        self.frame, self.bad_from, self.first = frame, bad_from, first

    def collect_schema(self) -> pl.Schema:
        return self.frame.schema

    def select(self, what: Any) -> "Table | pl.LazyFrame":
        if isinstance(what, pl.Expr):
            return self.frame.lazy().select(what)
        return Table(self.frame.select(what), self.bad_from, self.first)

    def slice(self, first: int, rows: int) -> "Table":
        return Table(self.frame.slice(first, rows), self.bad_from, first)

    def collect(self) -> pl.DataFrame:
        panics = self.bad_from is None or self.first <= self.bad_from < self.first + self.frame.height
        if "x" in self.frame.columns and panics:
            raise PanicException("not yet implemented")
        return self.frame


@pytest.mark.parametrize(
    ("bad_from", "message"),
    [
        (41, r"log\.parquet: row 42: column 'x': the value cannot be read \(not yet implemented\)"),
        (0, r"log\.parquet: row 1: column 'x': the value cannot be read"),
        (None, r"log\.parquet: column 'x': values of type Int64 cannot be read \(not yet implemented\)"),
    ],
)
def test_a_panic_names_the_column_and_of_a_value_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad_from: int | None, message: str
) -> None:
    frame = pl.DataFrame({"z": ["a"] * ROWS, "x": range(ROWS)})
    frame.write_parquet(tmp_path / "log.parquet")
    monkeypatch.setattr(pl, "scan_parquet", lambda *_, **__: Table(frame, bad_from))

    with pytest.raises(DataError, match=message):
        list(read_blocks(tmp_path / "log.parquet", FormatSettings(), ["z", "x"], name="log.parquet"))
    (block,) = read_blocks(tmp_path / "log.parquet", FormatSettings(), ["z"], name="log.parquet")
    assert block.frame["z"].to_list() == ["a"] * ROWS


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_where_polars_reads_no_schema_pyarrow_reads_the_columns_that_are_needed(
    folder: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    file = write(table_of(every([1, 2])), folder / f"log.{ending}")

    def panics(*_: Any, **__: Any) -> Any:
        raise PanicException("not yet implemented")

    monkeypatch.setattr(pl, "scan_parquet", panics)
    monkeypatch.setattr(pl, "scan_ipc", panics)
    monkeypatch.setattr(unknown_types, "_is_known", lambda _, field: field.name != "x")

    (folder / "r.yaml").write_text(recipe("none", file.name))
    assert widedeep("ingest", "r.yaml")[0] == 0
    (folder / "r.yaml").write_text(recipe("number", file.name))
    code, _, error = widedeep("ingest", "r.yaml")
    assert code == 3
    assert f"{file.name}: column 'x': holds int64 values, which cannot be read" in " ".join(error.split())
    assert widedeep("init", file, "--label", "y", "-o", "suggested.yaml")[0] == 0
    assert "#   x: holds int64 values, which cannot be read" in (folder / "suggested.yaml").read_text()


def test_where_polars_reads_no_schema_and_pyarrow_is_absent_the_message_says_what_to_do(
    folder: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(table_of(every([1, 2])), folder / "log.parquet")

    def panics(*_: Any, **__: Any) -> Any:
        raise PanicException("not yet implemented")

    monkeypatch.setattr(pl, "scan_parquet", panics)
    monkeypatch.setattr(unknown_types, "read_around", lambda *_: None)
    (folder / "r.yaml").write_text(recipe("none", file.name))

    code, _, error = widedeep("ingest", "r.yaml")

    assert code == 3
    assert "log.parquet: a column is of a type that Polars cannot read (not yet implemented)" in " ".join(error.split())


def test_a_whole_half_is_exact_and_others_are_their_shortest_decimal(folder: Path) -> None:
    halves = [65504.0, 10008.0, -4100.0, 0.1, 3.7, float("nan"), float("inf"), None]
    pl.DataFrame({"x": pl.Series(halves, dtype=pl.Float16)}).write_parquet("log.parquet")

    (block,) = read_blocks(folder / "log.parquet", FormatSettings(), None, name="log.parquet")

    assert block.frame["x"].equals(pl.Series("x", halves, dtype=pl.Float32), null_equal=True)


@pytest.mark.parametrize("name", ["day=3/log.parquet", "day=3/log.csv"])
def test_a_column_of_an_unknown_type_leaves_the_folders_columns_and_the_name_as_they_are(
    folder: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (folder / "day=3").mkdir()
    write(table_of(every([1, 2])), folder / "log.parquet").rename(folder / name)

    def panics(*_: Any, **__: Any) -> Any:
        raise PanicException("not yet implemented")

    monkeypatch.setattr(pl, "scan_parquet", panics)
    monkeypatch.setattr(unknown_types, "_is_known", lambda _, field: field.name != "x")

    (block,) = read_blocks(folder / name, FormatSettings(), ["day", "y"], name=name)
    assert block.frame.columns == ["day", "y"]
    assert block.frame["day"].to_list() == ["3"] * block.num_rows
    with pytest.raises(DataError, match=f"{name}: column 'x': holds int64 values"):
        list(read_blocks(folder / name, FormatSettings(), ["x", "day"], name=name))
    assert widedeep("init", folder / name, "--label", "y", "-o", "suggested.yaml")[0] == 0
    suggested = (folder / "suggested.yaml").read_text()
    assert "#   x: holds int64 values, which cannot be read" in suggested
    assert "#   day: always 3" in suggested


def test_a_panic_of_a_table_in_a_folder_is_one_message(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pl.DataFrame({"x": [1]}).write_delta("table")

    def panics(*_: Any, **__: Any) -> Any:
        raise PanicException("not yet implemented")

    monkeypatch.setattr(pl, "scan_delta", panics)

    with pytest.raises(DataError, match="table: a Delta table that cannot be read: not yet implemented"):
        list(read_blocks(folder / "table", FormatSettings(), None, name="table"))
