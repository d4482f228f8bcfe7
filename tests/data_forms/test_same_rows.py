"""The same rows in any format, in one file or ten, their columns in any order: equal tables and equal scores, for every
field kind and under every split.
"""

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from widedeep.pipeline.ingest_stage import ingest
from widedeep.recipe.load import LoadedRecipe
from widedeep.recipe.plain_data import recipe_of_data
from widedeep.recipe.schema import FeatureSettings
from widedeep.reporting import Reporter
from widedeep.table.parts import read_typed

ROWS = 200
START = dt.datetime(2024, 1, 1)


def cycled(values: list[Any]) -> list[Any]:
    return [values[(7 * row + row // 11) % len(values)] for row in range(ROWS)]


TABLE = pl.DataFrame(
    {
        "y": cycled([True, False, False]),
        "w": cycled([1.0, 0.5, 2.0, 1.25]),
        "at": [START + dt.timedelta(hours=5 * row, seconds=row % 3) for row in range(ROWS)],
        "born": cycled([dt.date(1990, 1, 2), dt.date(2000, 5, 6), None]),
        "stamp": [1_704_067_200 + 3601 * row for row in range(ROWS)],
        "user": cycled([12, 7, 40, None, 3, 99]),
        "session": cycled([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]),
        "zip": cycled(["007", "7", "12345"]),
        "flag": cycled([True, None, False]),
        "price": cycled([0.1, 2.0, 1e-7, 1e20, 1 / 3, None]),
        "count": cycled([0, 3, None, 10**9]),
        "narrow": pl.Series(cycled([0.1, 2.25, 3.7, None]), dtype=pl.Float32),
        "tags": cycled([["a", "b"], ["b"], None, ["c", "a", "d"]]),
        "scores": cycled([[1.0, 2.5], [3.0], [], [2.5, 4.0, 1.0]]),
        "weighted": cycled([["a:0.5", "b:2"], ["b"], None]),
        "texts": cycled(['["x", "y"]', "[1.0, null]", '["y"]']),
    }
)
USERS = pl.DataFrame({"id": [12, 7, 40, 3], "age": [30.0, 41.5, None, 20.0], "city": ["B", "C", "B", None]})
FEATURES = {
    "numeric": [
        {"column": "price", "transform": "cdf", "buckets": 4},
        {"column": "count", "transform": "log1p"},
        {"column": "narrow", "transform": "standard"},
        {"column": "flag", "name": "flag_number", "transform": "none"},
        {"column": "users.age", "transform": "minmax"},
    ],
    "categorical": [
        *({"column": name, "min_count": 1} for name in ("zip", "flag", "born", "users.city")),
        {"column": "user", "min_count": 1, "vocabulary": "users"},
        {"column": "price", "name": "price_text", "buckets": 50},
    ],
    "multi_valued": [
        {"column": "tags", "separator": "|", "min_count": 1, "pooling": "max"},
        {"column": "scores", "separator": "|", "min_count": 1, "max_length": 2},
        {"column": "weighted", "separator": "|", "weight_separator": ":", "min_count": 1},
        {"column": "texts", "form": "json", "min_count": 1, "pooling": "sum"},
    ],
    "date_time": [
        {"column": "at", "parts": ["hour", "weekday", "day", "part_of_day"], "since": {"column": "born"}},
        {"column": "stamp", "format": "epoch", "parts": ["hour"]},
    ],
}
CROSSES = [["zip", "flag"], ["user", "price_text"], ["flag", "users.city"]]
SPLITS = {
    "random": {"kind": "random", "valid": 0.2, "test": 0.2},
    "time": {"kind": "time", "valid": 0.2, "test": 0.2},
    "key": {"kind": "key", "key": "session", "valid": 0.3, "test": 0.2, "seed": 2},
    "column": {"kind": "column", "column": "session", "valid": [1, 2], "test": [3.0]},
}
ENDINGS = ("csv", "ndjson", "parquet", "arrow")


def write(table: pl.DataFrame, path: Path) -> None:
    match path.suffix:
        case ".csv":
            lists = pl.col(pl.List).list.eval(pl.element().cast(pl.String)).list.join("|")
            table.with_columns(lists).write_csv(path)
        case ".ndjson":
            table.write_ndjson(path)
        case ".parquet":
            table.write_parquet(path)
        case _:
            table.write_ipc(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each format as `log.<ending>` and as ten parts in `<ending>/`, each with its columns in another order."""
    path = tmp_path_factory.mktemp("rows")
    for ending in ENDINGS:
        write(USERS, path / f"users.{ending}")
        write(TABLE, path / f"log.{ending}")
        (path / ending).mkdir()
        for number, part in enumerate(TABLE.iter_slices(ROWS // 10)):
            names = TABLE.columns[number:] + TABLE.columns[:number]
            write(part.select(names[::-1] if number % 2 else names), path / ending / f"part-{number}.{ending}")
    return path


PLACES = [place for ending in ENDINGS for place in (f"log.{ending}", ending)]


def recipe(place: str, split: str) -> LoadedRecipe:
    ending = place.removeprefix("log.")
    data = {
        "train": place,
        "label": "y",
        "weight": "w",
        "time": "at",
        "group": "session",
        "split": SPLITS[split],
        "tables": {"users": {"files": f"users.{ending}", "key": "id", "on": "user"}},
    }
    whole = {"name": "rows", "data": data, "features": FEATURES, "crosses": [{"fields": names} for names in CROSSES]}
    return recipe_of_data(whole, Path.cwd(), ())


def test_every_field_kind_is_here() -> None:
    assert FEATURES.keys() == FeatureSettings.model_fields.keys() - {"auto"}


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_rows_give_the_same_table(split: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)

    def tables(place: str) -> dict[str, pl.DataFrame]:
        result = ingest(recipe(place, split), Path("work"), Reporter())
        return {part: read_typed(result.path, part) for part in result.rows}

    expected = tables("log.parquet")
    assert set(expected) == {"train", "valid", "test"}
    for place in PLACES:
        given = tables(place)
        for part, table in expected.items():
            differing = [name for name in table.columns if not given[part][name].equals(table[name])]
            assert (place, part, differing) == (place, part, [])


@pytest.mark.parametrize(("trained_on", "split"), [("log.csv", "time"), ("log.parquet", "key"), ("ndjson", "random")])
def test_the_same_rows_get_the_same_scores(
    trained_on: str, split: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import widedeep as wd

    monkeypatch.chdir(folder)
    few = ["training.epochs=1", "training.threads=1", "model.deep.hidden=[8]"]
    run = wd.train(recipe(trained_on, split).changed(few), work_dir="work")
    expected = run.predict(trained_on)["score"]
    assert expected.n_unique() > 50
    for place in PLACES:
        # Sums over blocks of other sizes may differ in the last digit.
        assert run.predict(place)["score"].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-6), place
