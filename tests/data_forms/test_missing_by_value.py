"""A listed missing value that is a number, a boolean or a time is missing whatever stores it."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from widedeep.errors import DataError
from widedeep.pipeline.ingest_stage import IngestResult, ingest
from widedeep.recipe.load import LoadedRecipe
from widedeep.recipe.plain_data import recipe_of_data
from widedeep.reporting import Reporter
from widedeep.table.parts import read_typed

ROWS = 60
LISTED = ["", "-999", "3", "0.10", "false", "1900-01-01", "NaN", "007"]


def cycled(values: list[Any], rows: int = ROWS) -> list[Any]:
    return [values[(7 * row + row // 11) % len(values)] for row in range(rows)]


TABLE = pl.DataFrame(
    {
        "y": cycled(["no", "yes", "yes", "no", "yes"]),
        "w": cycled([1.0, 2.5, 1.5]),
        "id": cycled([-999, 1, 2, 7, 3]),
        "price": cycled([-999.0, 0.1, 2.5, 3.0, 4.0]),
        "half": pl.Series(cycled([0.1, -999.0, 2.5, 4.0]), dtype=pl.Float32),
        "flag": cycled([True, False, True]),
        "day": cycled([dt.date(1900, 1, 1), dt.date(2024, 1, 5), dt.date(2024, 1, 6)]),
        "at": cycled([dt.datetime(1900, 1, 1), dt.datetime(2024, 1, 5, 3), dt.datetime(2024, 1, 6, 12, 30)]),
        "tags": cycled([[3, 4, 5], [-999, 3], [7], [4, 5]]),
        "shares": cycled([[3.0, 4.5, 5.0], [-999.0, 0.1], [7.0], [4.5, 5.5]]),
    }
)


def by_polars(table: pl.DataFrame, path: Path) -> None:
    """The table in the format that the path names; lists joined by `|` where it has none."""
    if path.suffix == ".csv":
        lists = pl.col(pl.List).list.eval(pl.element().cast(pl.String)).list.join("|")
        table.with_columns(lists).write_csv(path)
    elif path.suffix == ".ndjson":
        table.write_ndjson(path)
    elif path.suffix == ".parquet":
        table.write_parquet(path)
    else:
        table.write_ipc(path)


NAMES = ("log.csv", "floats.csv", "log.ndjson", "log.parquet", "log.arrow")


def write_all(table: pl.DataFrame) -> None:
    for name in NAMES:
        # Other programs write whole numbers of a column with gaps as 3.0, and midnight with its time of day.
        as_floats = pl.col("id").cast(pl.Float64), pl.col("day").cast(pl.Datetime("us"))
        by_polars(table.with_columns(as_floats) if name == "floats.csv" else table, Path(name))


def loaded(name: str, listed: list[str], **changes: Any) -> LoadedRecipe:
    features = {
        "categorical": [
            {"column": column, "name": f"{column}.text", "min_count": 1}
            for column in ("id", "price", "half", "flag", "day", "at")
        ],
        "numeric": ["price", "half", "id"],
        "multi_valued": [
            {"column": column, "separator": "|", "min_count": 1, "max_length": 2} for column in ("tags", "shares")
        ],
        "date_time": [{"column": "at", "parts": ["hour"], "name": "when"}],
    }
    data = {
        "train": name,
        "label": {"column": "y", "positive": ["yes"]},
        "weight": "w",
        "split": {"kind": "random", "valid": 0.2},
        "format": {"missing": listed},
        "bad_numbers": "missing",
        **changes.pop("data", {}),
    }
    whole = {"name": "missing", "data": data, "features": {**features, **changes.pop("features", {})}, **changes}
    return recipe_of_data(whole, Path.cwd(), ())


def ingested(name: str, listed: list[str], **changes: Any) -> IngestResult:
    return ingest(loaded(name, listed, **changes), Path(f"work-{name}"), Reporter())


def typed(name: str, listed: list[str], **changes: Any) -> pl.DataFrame:
    return read_typed(ingested(name, listed, **changes).path, "train")


def differing(table: pl.DataFrame, expected: pl.DataFrame) -> list[str]:
    return [name for name in expected.columns if not table[name].equals(expected[name])]


def test_a_listed_value_is_missing_in_every_format_and_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_all(TABLE)
    expected = typed("log.parquet", LISTED)
    assert "-999" not in expected["id@text"]
    assert "3" not in expected["id@text"]
    assert "7" in expected["id@text"]
    assert {-999.0, 3.0, 0.1}.isdisjoint(expected["price"])
    assert "false" not in expected["flag"]
    assert "1900-01-01" not in expected["day"]
    assert set(expected["tags@values"].explode().drop_nulls()) == {"4", "5", "7"}
    for name in NAMES:
        assert differing(typed(name, LISTED), expected) == [], name


def test_ingest_counts_the_same_missing_values_in_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_all(TABLE)
    missing = {name: {column["name"]: column["missing"] for column in ingested(name, LISTED).columns} for name in NAMES}
    assert missing["log.parquet"]["id@text"]["train"] > 0
    assert missing == dict.fromkeys(NAMES, missing["log.parquet"])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ids=st.lists(st.integers(-2, 4), min_size=30, max_size=30),
    prices=st.lists(st.sampled_from([-999.0, -1.0, 0.0, 0.5, 2.0, 3.0]), min_size=30, max_size=30),
    listed=st.lists(st.sampled_from(["-999", "-1", "0", "0.50", "2.0", "3", "03", "4e0", "-2", "x"]), max_size=4),
)
def test_equal_rows_give_equal_tables_whatever_is_listed(
    ids: list[int], prices: list[float], listed: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("rows"))
        table = TABLE.head(30).with_columns(
            id=pl.Series([*ids[:-2], 7, 8]),
            price=pl.Series([*prices[:-1], 9.5]),
            tags=pl.Series([[one, 6] for one in ids]),
        )
        write_all(table)
        expected = typed("log.parquet", listed)
        for name in NAMES:
            assert differing(typed(name, listed), expected) == [], name


def test_columns_of_other_texts_lose_the_very_text_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pl.DataFrame(
        {
            "y": cycled(["no", "yes"]),
            "zip": cycled(["007", "7", "7.0", "010"]),
            "version": cycled(["3.0", "3", "1.10", "1.9"]),
            "id": cycled([7, 8, 9]),
        }
    )
    for name in ("log.csv", "log.parquet"):
        by_polars(frame, Path(name))
        features = {"categorical": ["zip", "version", "id"], "numeric": [], "multi_valued": [], "date_time": []}
        seven = typed(name, ["7", "3"], features=features, data={"weight": None})
        assert set(seven["zip"]) == {"007", "7.0", "010", None}
        assert set(seven["version"]) == {"3.0", "1.10", "1.9", None}
        assert set(seven["id"]) == {"8", "9", None}
        padded = typed(name, ["007"], features=features, data={"weight": None})
        assert set(padded["zip"]) == {"7", "7.0", "010", None}
        assert set(padded["id"]) == {"7", "8", "9"}


@pytest.mark.parametrize("role", ["label", "weight", "time", "group", "key"])
@pytest.mark.parametrize("name", NAMES)
def test_a_listed_value_where_every_row_needs_one_is_refused(
    role: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_all(TABLE)
    split = {"kind": "key", "key": "id", "valid": 0.2}
    given_role = {
        "label": {"label": {"column": "price", "kind": "regression"}},
        "weight": {"weight": "price"},
        "time": {"time": "price"},
        "group": {"group": "id"},
        "key": {"split": split},
    }
    features = {"categorical": ["flag"], "numeric": [], "multi_valued": [], "date_time": []}
    with pytest.raises(DataError, match=r"(row 1|:2|:1): column '(price|id)': .*missing"):
        ingested(name, ["-999"], data=given_role[role], features=features)


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_a_listed_value_is_no_fold_and_no_key_of_a_side_table(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ending = Path(name).suffix
    by_polars(TABLE.with_columns(user=pl.col("id").cast(pl.Float64)), Path(name))
    users = pl.DataFrame({"user": [-999.0, 1.0, 2.0, 7.0, 3.0], "age": [40.0, -1.0, 20.0, 30.0, 50.0]})
    by_polars(users, Path(f"users{ending}"))
    table = {"files": f"users{ending}", "key": "user", "format": {"missing": ["-1"]}}
    features = {"numeric": ["users.age", "id"], "categorical": [], "multi_valued": [], "date_time": []}
    rows = typed(name, ["7"], data={"tables": {"users": table}}, features=features)
    # 7 is no user in the log, and -1 no age in the side table; -999 is listed nowhere.
    of_user = {row["id"]: row["users.age"] for row in rows.to_dicts()}
    assert of_user == {-999.0: 40.0, 1.0: None, 2.0: 20.0, None: None, 3.0: 50.0}
    keyless = {**table, "format": {"missing": ["7"]}}
    with pytest.raises(DataError, match="the key of side table 'users' is missing"):
        typed(name, [], data={"tables": {"users": keyless}}, features=features)
    folds = {"kind": "column", "column": "user", "valid": [7, 1]}
    only_one = ingested(name, ["7"], data={"split": folds}, features={**features, "numeric": ["id"]})
    assert only_one.rows["valid"] == TABLE.filter(pl.col("id") == 1).height


def test_a_model_scores_every_format_alike_and_an_older_run_as_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import widedeep as wd

    monkeypatch.chdir(tmp_path)
    write_all(TABLE)
    few = ["training.epochs=1", "training.threads=1", "model.deep.hidden=[8]"]
    run = wd.train(loaded("log.csv", LISTED).changed(few), work_dir="work")
    expected = run.predict("log.parquet")["score"]
    for name in NAMES:
        assert run.predict(name)["score"].equals(expected), name
    missing = Path(run.path) / "plan" / "missing.json"
    assert json.loads(missing.read_text())["id@text"] == ["-999", "3", "0.1"]
    missing.unlink()  # as runs from before the rule are, which had no pins and other golden rows either
    manifest = json.loads(run.directory.manifest_path.read_text())
    del manifest["pins"]
    run.directory.manifest_path.write_text(json.dumps({**manifest, "format": 2}))
    golden = pl.read_parquet(run.directory.golden_path)
    golden["typed"].struct.unnest().with_columns(golden["score"]).write_parquet(run.directory.golden_path)
    older = wd.Run(run.path).predict("log.parquet")["score"]
    assert not older.equals(expected)


def test_values_have_their_one_writing_where_an_empty_text_is_no_missing_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kinds = {"id": [12, None, 7], "flag": [True, None, False], "day": [dt.datetime(2024, 1, 5), None, None]}
    table = pl.DataFrame({"y": cycled([0, 1, 1, 0, 1]), **{name: cycled(values) for name, values in kinds.items()}})
    table.to_pandas().to_csv("log.csv", index=False, date_format="%Y-%m-%d %H:%M:%S")
    table.write_parquet("log.parquet")
    frames = []
    for name in ("log.csv", "log.parquet"):
        data = {"train": name, "label": "y", "format": {"missing": ["NA"]}, "split": {"valid": 0.2, "test": 0}}
        features = {"categorical": [{"column": column, "min_count": 1} for column in kinds]}
        recipe = recipe_of_data({"name": "r", "data": data, "features": features}, tmp_path, ())
        frames.append(read_typed(ingest(recipe, tmp_path / "work", Reporter()).path, "train").select(*kinds))
    assert frames[0].to_dict(as_series=False) == frames[1].fill_null("").to_dict(as_series=False)
