"""What `ingest` shows of each column, against plain counting, and what it warns of."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.profile.drift import drift
from widedeep.profile.row_sample import RowSample
from widedeep.source.coded import CodedRows

ROWS = 4000


def columns(seed: int = 0) -> dict[str, list[object]]:
    """A log of sessions in order of time, in which nothing is wrong."""
    draw = random.Random(seed)
    city = [draw.choice(["oslo", "oslo", "rome", "lima", None]) for _ in range(ROWS)]
    click = [int(draw.random() < (0.6 if one == "rome" else 0.3)) for one in city]
    price = [None if draw.random() < 0.1 else round(draw.uniform(0, 10), 1) for _ in range(ROWS)]
    return {"at": list(range(ROWS)), "city": city, "price": price, "click": click}


def ingested(widedeep, folder: Path, table: dict[str, list[object]], features: str, data: str = "") -> tuple[dict, str]:
    pl.DataFrame(table).write_csv(folder / "log.csv")
    (folder / "r.yaml").write_text(f"data: {{train: log.csv, label: click{data}}}\nfeatures: {features}\n")
    code, out, err = widedeep("ingest", folder / "r.yaml", "--work", folder, "--json")
    assert code == 0, err
    return json.loads(out), err


PLAIN = "{numeric: [price], categorical: [city]}"


def test_the_profile_says_what_counting_says(widedeep, tmp_path: Path) -> None:
    table = columns()
    split = {"split": ["test" if row % 4 == 0 else "train" for row in range(ROWS)]}
    report, err = ingested(
        widedeep, tmp_path, table | split, PLAIN, ", split: {kind: column, column: split, test: [test]}"
    )
    train = pl.DataFrame(table | split).filter(pl.col("split") == "train")
    found = {column["name"]: column for column in report["columns"]}
    city, price = found["city"], found["price"]
    assert (city["type"], city["distinct"], city["missing"]["train"]) == ("text", 3, train["city"].null_count())
    top = city["top"][0]
    oslo = train.filter(pl.col("city") == "oslo")
    assert top["value"] == "oslo"
    assert top["share"] == pytest.approx(len(oslo) / len(train), abs=1e-9)
    assert top["label_rate"] == pytest.approx(oslo["click"].mean(), abs=1e-9)
    assert price["quantiles"]["min"] == train["price"].min()
    assert price["quantiles"]["max"] == train["price"].max()
    assert price["quantiles"]["50%"] == pytest.approx(train["price"].median(), abs=0.1)
    assert 0.55 < city["alone_auc"] < 0.7
    assert 0.45 < price["alone_auc"] < 0.55
    assert err == ""


@pytest.mark.parametrize(
    ("name", "values", "features", "words"),
    [
        ("always", lambda click: ["x"] * ROWS, "{categorical: [city, always]}", "is 'x' in all"),
        ("row", lambda click: [f"r{i}" for i in range(ROWS)], "{categorical: [city, row]}", "as an id has"),
        ("paid", lambda click: [9 if one else 1 for one in click], "{numeric: [paid]}", "gives the label away"),
    ],
)
def test_a_column_that_would_hurt_is_told_with_what_to_do(
    widedeep, tmp_path: Path, name: str, values, features: str, words: str
) -> None:
    table = columns()
    report, err = ingested(widedeep, tmp_path, table | {name: values(table["click"])}, features)
    assert [finding["column"] for finding in report["warnings"]] == [name]
    assert len(err.splitlines()) == 1
    assert f"column {name!r}" in err
    assert words in err
    assert "take it out of features" in err


def test_a_column_that_drifts_by_time_is_told(widedeep, tmp_path: Path) -> None:
    table = columns()
    draw = random.Random(1)
    table["version"] = [f"v{row // 1000 + draw.randrange(2)}" for row in range(ROWS)]
    _, err = ingested(
        widedeep,
        tmp_path,
        table,
        "{categorical: [city, version]}",
        ", time: at, split: {kind: time, test: 0.2, valid: 0.1}",
    )
    assert "column 'version' drifts by time" in err
    assert "'city'" not in err


TIME_SPLIT = ", time: at, split: {kind: time, test: 0.2, valid: 0.1}"


def test_columns_that_tell_positives_from_negatives_do_not_drift_because_negatives_were_left_out_of_train(
    widedeep, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    app = draw.choice(["heavy", "light", "other"], 20_000, p=[0.1, 0.5, 0.4])
    click = draw.random(20_000) < np.where(app == "heavy", 0.1, 0.005)
    version = np.where(np.arange(20_000) < 15_000, "one", "two")
    price = np.where(click, draw.normal(2, 1, 20_000), draw.normal(0, 1, 20_000))
    table = {"app": app, "price": price, "version": version, "at": np.arange(20_000), "click": click.astype(int)}
    data = ", time: at, keep_negatives: 0.02, split: {kind: time, valid: 0.1, test: 0.2}"
    features = "{categorical: [app, version], numeric: [price]}"
    report, err = ingested(widedeep, tmp_path, {name: list(values) for name, values in table.items()}, features, data)
    drift_of = {column["name"]: max(column.get("drift", {"": 0}).values(), default=0) for column in report["columns"]}
    assert drift_of["app"] < 0.1
    assert drift_of["price"] < 0.1
    # What does drift is told as ever.
    assert drift_of["version"] > 0.25
    assert "'version'" in err


def test_columns_made_of_the_time_that_orders_the_rows_are_no_drift_to_warn_of(widedeep, tmp_path: Path) -> None:
    table = columns()
    start = datetime(2024, 1, 29, 22, tzinfo=UTC)
    moments = [start + timedelta(seconds=40 * row) for row in range(ROWS)]
    table["at"] = [moment.isoformat() for moment in moments]
    table["seconds"] = [moment.timestamp() for moment in moments]
    table["joined"] = [(moment - timedelta(days=row % 50)).isoformat() for row, moment in enumerate(moments)]
    parts = "parts: [hour, weekday, day, part_of_day]"
    dates = f"date_time: [{{column: at, {parts}, since: joined}}, {{column: joined, parts: [], since: at}}]"
    report, err = ingested(widedeep, tmp_path, table, f"{{categorical: [city], {dates}}}", TIME_SPLIT)
    drifting = [
        column["name"] for column in report["columns"] if max(column.get("drift", {}).values(), default=0) > 0.25
    ]
    assert {"at.hour", "at.weekday", "at.day"} <= set(drifting)
    assert (err, report["warnings"]) == ("", [])
    time = ", time: seconds, split: {kind: time, test: 0.2, valid: 0.1}"
    report, err = ingested(widedeep, tmp_path, table, "{categorical: [city], numeric: [seconds]}", time)
    assert (err, report["warnings"]) == ("", [])
    report, err = ingested(widedeep, tmp_path, table, "{categorical: [city, at]}", TIME_SPLIT)
    assert "list it under features.date_time, whose parts come again" in err
    assert "take it out" not in err


def test_a_part_of_the_time_that_train_holds_one_value_of_is_a_note(widedeep, tmp_path: Path) -> None:
    table = columns()
    start = datetime(2024, 1, 29, tzinfo=UTC)
    table["at"] = [(start + timedelta(seconds=25 * row)).isoformat() for row in range(ROWS)]
    date = "date_time: [{column: at, parts: [hour, weekday]}]"
    _, err = ingested(widedeep, tmp_path, table, f"{{categorical: [city], {date}}}", TIME_SPLIT)
    assert err == (
        "widedeep: column 'at.weekday' is 'Mon' in all 2,800 train rows: it will tell rows apart once train covers more time\n"
    )


@pytest.mark.parametrize("rows", [ROWS, 60_000], ids=["all rows looked at", "a sample"])
def test_a_text_that_drifts_by_new_values_is_a_note_with_their_rows_and_may_stay(
    widedeep, tmp_path: Path, rows: int
) -> None:
    draw = random.Random(2)
    table = {"at": list(range(rows)), "click": [int(draw.random() < 0.3) for _ in range(rows)]}
    # Users come for a while, with several rows each.
    table["user"] = [f"u{row // 50 + draw.randrange(4)}" for row in range(rows)]
    report, err = ingested(widedeep, tmp_path, table, "{categorical: [user]}", TIME_SPLIT)
    train = set(table["user"][: rows * 7 // 10])
    counted = {
        split: sum(user not in train for user in table["user"][rows * first // 10 : rows * last // 10])
        for split, first, last in (("valid", 7, 8), ("test", 8, 10))
    }
    (user,) = [column for column in report["columns"] if column["name"] == "user"]
    assert user["unseen"]["valid"] == pytest.approx(counted["valid"] / (rows / 10))
    assert user["unseen"]["test"] == pytest.approx(counted["test"] / (rows / 5))
    assert err.startswith("widedeep: column 'user' has values that no train row has in ")
    about = "" if rows == ROWS else "about "
    assert f"{about}{counted['valid']:,} of the {rows // 10:,} valid rows" in err
    assert "leave it out" not in err


def test_groups_on_both_sides_of_the_split_are_told_and_a_key_split_ends_it(widedeep, tmp_path: Path) -> None:
    table = columns() | {"session": [f"s{row // 10}" for row in range(ROWS)]}
    _, err = ingested(widedeep, tmp_path, table, PLAIN, ", group: session")
    assert "column 'session': " in err
    assert "belong to groups with train rows" in err
    _, err = ingested(widedeep, tmp_path, table, PLAIN, ", group: session, split: {kind: key, key: session}")
    assert err == ""


def test_a_cached_profile_is_shown_and_warned_of_again(widedeep, tmp_path: Path) -> None:
    table = columns() | {"always": [1] * ROWS}
    first, err = ingested(widedeep, tmp_path, table, "{categorical: [city, always]}")
    code, out, again = widedeep("ingest", tmp_path / "r.yaml", "--work", tmp_path, "--json")
    assert (code, again) == (0, err)
    assert {**json.loads(out), "cached": False} == first


def test_the_table_fits_eighty_columns(widedeep, tmp_path: Path) -> None:
    ingested(widedeep, tmp_path, columns(), PLAIN)
    code, out, _ = widedeep("ingest", tmp_path / "r.yaml", "--work", tmp_path)
    assert code == 0
    table = out[: out.index("train rows")]
    assert max(len(line) for line in table.splitlines()) <= 80
    assert "__label__" not in out


@settings(max_examples=30)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 50))
def test_the_sampled_rows_do_not_depend_on_the_blocks_they_come_in(sizes: list[int], other: int) -> None:
    frame = pl.DataFrame({"x": range(sum(sizes))})
    cut, whole = RowSample(max_rows=20), RowSample(max_rows=20)
    start = 0
    for size in sizes:
        cut.add(CodedRows(frame.slice(start, size)))
        start += size
    for block in frame.iter_slices(other):
        whole.add(CodedRows(block))
    assert cut.rows().equals(whole.rows())


def test_drift_is_nothing_for_two_samples_of_one_source_and_much_for_two_sources() -> None:
    draw = np.random.default_rng(0)
    same = [drift(draw.multinomial(5000, [0.2] * 5), draw.multinomial(500, [0.2] * 5)) for _ in range(200)]
    assert max(same) < 0.02
    assert drift(np.array([900, 100]), np.array([100, 900])) > 1.0
