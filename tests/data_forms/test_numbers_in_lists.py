"""Numbers as items, in lists and one by one: whatever stores them, NaN is none of them and every other has one writing."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import widedeep as wd
from widedeep.pipeline.ingest_stage import ingest
from widedeep.recipe.load import LoadedRecipe
from widedeep.recipe.plain_data import recipe_of_data
from widedeep.reporting import Reporter
from widedeep.table.parts import read_typed

ROWS = 60
NAN, INF = math.nan, math.inf


def cycled(values: list[Any]) -> list[Any]:
    return [values[(7 * row + row // 11) % len(values)] for row in range(ROWS)]


LISTS = cycled(
    [[0.5, NAN, 4.0], [NAN], [NAN, NAN, 1e20], [INF, -0.0], [-INF, 5e-324, NAN, 0.5], None, [1 / 3], [1.7e308, 1e-7]]
)
TABLE = pl.DataFrame(
    {
        "single": pl.Series(cycled([0.5, NAN, 4.0, INF, -INF, -0.0, 1e20, 5e-324, 0.1, None]), dtype=pl.Float64),
        "listed": pl.Series(LISTS, dtype=pl.List(pl.Float64)),
        "words": cycled([["nan", "red"], ["NaN"], ["red", "blue"], ["1", "nan"]]),
        "user": [f"u{row % 4}" for row in range(ROWS)],
        "y": [int(row * 37 % 11 < 5) for row in range(ROWS)],
    }
)


def joined(items: list[Any] | None, write: Callable[[Any], str]) -> str | None:
    return None if items is None else "|".join(map(write, items))


def in_texts(table: pl.DataFrame, write: Callable[[float], str]) -> pl.DataFrame:
    """The table with lists as texts, whose numbers `write` writes."""
    listed = [joined(items, write) for items in table["listed"].to_list()]
    words = [joined(items, str) for items in table["words"].to_list()]
    return table.with_columns(pl.Series("listed", listed, dtype=pl.String), pl.Series("words", words))


def as_polars_writes(number: float) -> str:
    return pl.DataFrame({"x": [number]}).write_csv(include_header=False).strip()


WRITERS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    "polars.csv": lambda table, path: in_texts(table, as_polars_writes).write_csv(path),
    "pandas.csv": lambda table, path: in_texts(table, str).to_pandas().to_csv(path, index=False, na_rep="nan"),
    "polars.parquet": lambda table, path: table.write_parquet(path),
    "texts.parquet": lambda table, path: in_texts(table, str).write_parquet(path),
    "polars.arrow": lambda table, path: table.write_ipc(path),
    "python.ndjson": lambda table, path: path.write_text("".join(json.dumps(row) + "\n" for row in table.to_dicts())),
}
"""Of the same rows; pandas has no other text for None among numbers than for NaN."""


def recipe(name: str, *fields: dict[str, Any], **data: Any) -> LoadedRecipe:
    features = {"categorical": ["user"], "multi_valued": [{"min_count": 1, **field} for field in fields]}
    split = {"kind": "random", "valid": 0.2}
    whole = {"name": "items", "data": {"train": name, "label": "y", "split": split, **data}, "features": features}
    settings = {"model": {"deep": {"hidden": [4]}}, "training": {"epochs": 1, "threads": 1}}
    return recipe_of_data({**whole, **settings}, Path.cwd(), ())


FIELDS = [{"column": name, "separator": "|"} for name in ("single", "listed", "words")]


def typed(name: str, *fields: dict[str, Any]) -> pl.DataFrame:
    return read_typed(ingest(recipe(name, *fields), Path(f"work-{name}"), Reporter()).path, "train")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("items")
    for name, write in WRITERS.items():
        write(TABLE, path / name)
    return path


@pytest.mark.parametrize("name", WRITERS)
def test_the_items_are_those_of_parquet_whatever_stores_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(folder)
    expected = typed("polars.parquet", *FIELDS)
    given = typed(name, *FIELDS)
    for column in ("single@values", "listed@values", "words@values"):
        assert given[column].to_list() == expected[column].to_list(), column
    items = {item for column in ("single@values", "listed@values") for item in given[column].explode().drop_nulls()}
    assert {"0", "inf", "-inf", "100000000000000000000", "5e-324"} <= items
    assert not {item for item in items if item.lower() == "nan"}
    assert {"nan", "NaN", "red"} <= set(given["words@values"].explode())


@pytest.mark.parametrize("trained", WRITERS)
def test_a_model_scores_items_alike_whatever_stores_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, trained: str
) -> None:
    monkeypatch.chdir(folder)
    run = wd.train(recipe(trained, *FIELDS), work_dir=f"runs-of-{trained}")
    expected = run.predict(trained)["score"]
    assert expected.n_unique() > 10
    for name in WRITERS:
        assert run.predict(name)["score"].equals(expected), name
    for few in (in_texts(TABLE, str), TABLE):
        rows = [run.predict(few[row : row + 1])["score"].item() for row in range(ROWS)]
        assert rows == pytest.approx(expected.to_list(), abs=1e-6)


def test_the_weights_of_items_that_are_left_out_are_left_out_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = ["0.5:2|nan:3|4.0:0.25", "NaN:2", "nan|4.0:2|NaN:0", "1.5:4"]
    without = ["0.5:2|4:0.25", None, "4:2", "1.5:4"]
    tables = {"with": texts, "without": without, "words": ["nan:2|red:3", "red:1", "NaN:1", "red:0|nan:7"]}
    for name, values in tables.items():
        TABLE.select("user", "y", pl.Series("x", cycled(values))).write_csv(f"{name}.csv")
    field = {"column": "x", "separator": "|", "weight_separator": ":"}
    given, expected, words = (typed(f"{name}.csv", field) for name in tables)
    columns = ["x@values", "x@weights"]
    assert given.select(columns).equals(expected.select(columns))
    assert given["x@values"].null_count() > 0
    assert {(2.0, 3.0), (0.0, 7.0)} <= set(map(tuple, words["x@weights"]))

    run = wd.train(recipe("with.csv", field), work_dir="runs")
    scores = run.predict("with.csv")["score"]
    assert run.predict("without.csv")["score"].equals(scores)
    few = pl.read_csv("with.csv")
    assert [run.predict(few[row])["score"].item() for row in range(8)] == pytest.approx(scores[:8].to_list(), abs=1e-6)


@pytest.mark.parametrize("trained", ["polars.csv", "polars.parquet"])
def test_a_row_has_as_many_numbers_as_max_length_says_and_none_is_nan(
    folder: Path, monkeypatch: pytest.MonkeyPatch, trained: str
) -> None:
    monkeypatch.chdir(folder)
    fields = [{**field, "max_length": 1} for field in FIELDS]
    table = typed(trained, *fields)
    assert table["listed@values"].list.len().drop_nulls().unique().to_list() == [1]
    assert {"0.5", "100000000000000000000", "inf", "-inf"} <= set(table["listed@values"].explode())
    assert set(table["words@values"].explode()) == {"nan", "NaN", "red", "1"}

    run = wd.train(recipe(trained, *fields), work_dir=f"work-{trained}")
    expected = run.predict("polars.parquet")["score"]
    for name in WRITERS:
        assert run.predict(name)["score"].equals(expected), name
    few = in_texts(TABLE, str)
    assert [run.predict(few[row])["score"].item() for row in range(9)] == pytest.approx(
        expected[:9].to_list(), abs=1e-6
    )


def test_a_list_is_cut_with_its_weights_once_it_is_known_whether_a_nan_is_an_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = {"numbers": "nan:1|1:2|NaN:3|2:4|nan:5|3:6", "words": "nan:1|a:2|NaN:3|2:4"}
    kept = {"numbers": (["1", "2"], [2.0, 4.0]), "words": (["nan", "a"], [1.0, 2.0])}
    field = {"column": "x", "separator": "|", "weight_separator": ":", "max_length": 2}
    for name, text in texts.items():
        TABLE.select("user", "y", x=pl.lit(text)).write_csv(f"{name}.csv")
        table = typed(f"{name}.csv", field)
        assert set(zip(map(tuple, table["x@values"]), map(tuple, table["x@weights"]), strict=True)) == {
            tuple(map(tuple, kept[name]))
        }


def test_numbers_of_a_side_table_are_items_whatever_stores_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, write in WRITERS.items():
        write(TABLE[:12].with_columns(key=pl.int_range(12)).select("key", "single", "listed", "words"), Path(name))
    TABLE.select("user", "y", key=pl.int_range(pl.len()) % 12).write_csv("log.csv")
    fields = [{"column": f"t.{name}", "separator": "|"} for name in ("single", "listed", "words")]
    for trained in ("polars.csv", "polars.parquet"):
        tables = {"t": {"files": trained, "key": "key"}}
        run = wd.train(recipe("log.csv", *fields, tables=tables), work_dir=f"runs-of-{trained}")
        expected = run.predict("log.csv")["score"]
        for name in WRITERS:
            assert run.predict("log.csv", tables={"t": name})["score"].equals(expected), (trained, name)


def test_a_run_from_before_takes_a_nan_of_a_text_for_the_item_that_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = cycled(["1|nan", "2", "nan", "1|2", "NaN|2"])
    TABLE.select("user", "y", pl.Series("x", texts)).write_csv("log.csv")
    field = {"column": "x", "separator": "|"}
    new = ingest(recipe("log.csv", field), Path("work"), Reporter()).path
    assert json.loads((new / "forms.json").read_text()) == {"x@values": "numbers"}
    (new / "forms.json").write_text('{"x@values": "number"}')  # as runs and stages of before have it
    assert {"nan", "NaN", "1"} <= set(read_typed(new, "train")["x@values"].explode())
    run = wd.train(recipe("log.csv", field), work_dir="work")
    assert json.loads((run.path / "plan" / "forms.json").read_text()) == {"x@values": "number"}

    rows = pl.DataFrame({"user": ["u1"] * 5, "x": ["1|nan", "1", "nan", None, "NaN"]})
    few = [run.predict(rows[row])["score"].item() for row in range(5)]
    assert len(set(few)) == 5
    many = run.predict(pl.concat([rows] * 200))["score"]
    assert many[:5].to_list() == pytest.approx(few, abs=1e-6)
