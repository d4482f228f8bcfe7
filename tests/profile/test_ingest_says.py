"""What `ingest` counts over all rows where its sample cannot tell, and what it says while it reads."""

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from heard import Heard

from widedeep.errors import DataError
from widedeep.profile import ingest as ingest_module
from widedeep.profile.ingest import columns_read, ingest
from widedeep.profile.report import ColumnReport, IngestReport
from widedeep.profile.row_sample import RowSample
from widedeep.recipe.schema import Recipe

ROWS = 1000


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of a tenth of the rows."""
    monkeypatch.setattr(ingest_module, "RowSample", lambda **_: RowSample(100))


def report_of(
    folder: Path, columns: dict[str, list[Any]], features: dict[str, Any], **data: Any
) -> tuple[dict[str, ColumnReport], list[tuple[str, str]], IngestReport]:
    table = {"y": [row % 3 == 0 for row in range(ROWS)], **columns}
    pl.DataFrame(table, strict=False).write_parquet(folder / "log.parquet")
    whole = {"train": "log.parquet", "label": "y", "split": {"valid": 0, "test": 0}, **data}
    recipe = Recipe.model_validate({"name": "r", "data": whole, "features": features})
    heard = Heard()
    (folder / "typed").mkdir()
    report = ingest(recipe, folder, folder / "typed", heard)
    return {column.name: column for column in report.columns}, heard.said, report


def texts(prefix: str, values: int) -> list[str]:
    return [f"{prefix}{row % values}" for row in range(ROWS)]


# ------------------------------------------------------------------------------------------- counted over all the rows


@pytest.mark.usefixtures("sampled")
def test_a_column_that_is_constant_or_an_id_in_the_sample_is_counted_over_all_rows(tmp_path: Path) -> None:
    nearly = ["x"] * (ROWS - 1) + ["y"]
    columns = {
        "same": ["x"] * ROWS,
        "nearly": nearly,
        "id": texts("i", ROWS),
        "user": texts("u", 600),
        "few": texts("f", 50),
        "amount": [float(row) for row in range(ROWS)],
        "seven": [7.0] * ROWS,
        "nearly seven": [7.0] * (ROWS - 1) + [8.0],
        "lists": [["a"]] * ROWS,
    }
    numeric = ["amount", "seven", "nearly seven"]
    categorical = ["same", "nearly", "id", "user", "few"]
    found, said, report = report_of(
        tmp_path, columns, {"numeric": numeric, "categorical": categorical, "multi_valued": ["lists"]}
    )
    assert (report.rows["train"], report.sampled_rows["train"]) == (1000, 100)
    counted = {
        name: (one.profile.distinct, one.profile.distinct_is) for name, one in found.items() if one.profile is not None
    }
    assert counted["same"] == (1, "exact")
    assert counted["nearly"] == (2, "exact")
    assert counted["id"] == (1000, "exact")
    assert counted["user"] == (600, "exact")
    assert counted["few"][1] == "at least"
    assert counted["amount"] == (100, "at least")
    assert counted["seven"] == (1, "exact")
    assert counted["nearly seven"] == (2, "exact")
    assert counted["lists@values"] == (1, "at least")
    # A list's values may be all alike in the sample only, which nothing is said of.
    assert [finding.column for finding in report.warnings] == ["seven", "same", "id"]
    assert [kind for kind, _ in said] == ["warning"] * 3


def test_what_is_counted_over_all_rows_is_estimated_beyond_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampled: None
) -> None:
    monkeypatch.setattr(ingest_module, "_VALUES_HELD", 200)
    found, said, _ = report_of(tmp_path, {"id": texts("i", ROWS)}, {"categorical": ["id"]})
    profile = found["id"].profile
    assert profile is not None
    assert profile.distinct_is == "about"
    assert profile.distinct == pytest.approx(1000, rel=0.2)
    assert (profile.distinct, len(said)) == (896, 0)  # an id only if nearly all rows had a value of their own


@pytest.mark.parametrize("is_sampled", [True, False])
def test_of_a_text_that_drifts_the_rows_with_new_values_are_counted_in_all_splits(
    tmp_path: Path, is_sampled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_sampled:
        monkeypatch.setattr(ingest_module, "RowSample", lambda **_: RowSample(100))
    user = [f"u{row // 40 if row < 700 else 100 + row // 40}" if row % 2 else None for row in range(ROWS)]
    steady = texts("s", 5)
    data = {"time": "at", "split": {"kind": "time", "valid": 0.1, "test": 0.2}}
    columns = {"user": user, "steady": steady, "at": list(range(ROWS))}
    found, said, _ = report_of(tmp_path, columns, {"categorical": ["user", "steady"]}, **data)
    assert found["user"].profile is not None
    assert found["user"].profile.unseen == {"valid": 0.5, "test": 0.5}
    assert found["steady"].profile is not None
    assert found["steady"].profile.unseen == (None if is_sampled else {"valid": 0.0, "test": 0.0})
    about = "about " if is_sampled else ""
    assert said == [
        (
            "note",
            f"column 'user' has values that no train row has in {about}50 of the 100 valid rows (50.0%) and {about}100 of the "
            "200 test rows (50.0%); training meets unknown values, too",
        )
    ]


@pytest.mark.parametrize("is_grouped", [True, False])
def test_groups_are_counted_where_the_recipe_has_some(tmp_path: Path, is_grouped: bool) -> None:
    data = {"split": {"valid": 0.2, "test": 0.2}} | ({"group": "user"} if is_grouped else {})
    _, said, report = report_of(
        tmp_path, {"user": texts("u", 20), "few": texts("f", 7)}, {"categorical": ["few"]}, **data
    )
    assert set(report.shared_groups) == ({"valid", "test"} if is_grouped else set())
    for split, shared in report.shared_groups.items():
        assert (shared.rows, shared.shared_rows, shared.groups) == (report.rows[split], report.rows[split], 20)
    assert len(said) == is_grouped


# --------------------------------------------------------------------------------------------------------- what is said


def test_a_column_without_a_value_in_train_is_refused_but_no_target(tmp_path: Path) -> None:
    data = {"time": "at", "split": {"kind": "time", "valid": 0.1, "test": 0.1}}
    late = [None] * 900 + ["a"] * 100
    with pytest.raises(DataError) as caught:
        report_of(tmp_path, {"late": late, "at": list(range(ROWS))}, {"categorical": ["late"]}, **data)
    assert str(caught.value) == (
        "column 'late': missing in all 800 train rows; drop it from features, or check data.format.missing"
    )


def test_one_value_in_train_is_enough(tmp_path: Path) -> None:
    found, _, _ = report_of(
        tmp_path, {"late": [None] * (ROWS - 1) + ["a"], "few": texts("f", 7)}, {"categorical": ["late", "few"]}
    )
    assert found["late"].missing == {"train": ROWS - 1}


def test_what_is_left_out_of_lists_is_counted_and_told(tmp_path: Path) -> None:
    lists = ["a:1|b:x|", "a:2|b:1|c:1", "a:1"] + ["a:1|b:2"] * (ROWS - 3)
    field = {"column": "tags", "separator": "|", "weight_separator": ":", "max_length": 2}
    found, said, _ = report_of(tmp_path, {"tags": lists}, {"multi_valued": [field]}, bad_numbers="missing")
    assert said == [
        ("warning", "column 'tags': 1 empty items in lists are left out"),
        ("warning", "column 'tags': 1 rows have more values than `max_length`; the rest is cut off"),
        ("warning", "column 'tags': 1 values are left out, because their weights are no numbers"),
    ]
    assert found["tags@weights"].profile is None


def test_warnings_of_many_columns_of_lists_are_bounded(tmp_path: Path) -> None:
    columns = {f"tags{number}": ["a|b|", "a|b"] * (ROWS // 2) for number in range(40)}
    fields = [{"column": name, "separator": "|"} for name in columns]
    _, said, _ = report_of(tmp_path, columns, {"multi_valued": fields})
    left_out = [message for kind, message in said if kind == "warning"]
    assert len(left_out) < 40
    assert left_out[-1].endswith("more (`widedeep ingest --json` lists all)")


def test_numbers_that_are_none_are_counted_over_all_splits_and_told(tmp_path: Path) -> None:
    numbers = ["1.5", "x", *[str(row % 10) for row in range(ROWS - 2)]]
    data = {"bad_numbers": "missing", "split": {"valid": 0.3, "test": 0.3}}
    found, said, report = report_of(tmp_path, {"n": numbers, "m": ["1", "2"] * 500}, {"numeric": ["n", "m"]}, **data)
    assert found["n"].bad_numbers == 1
    assert sum(found["n"].missing.values()) == 1
    assert said == [("warning", "column 'n': 1 values are no finite numbers, counted as missing")]
    assert sum(report.rows.values()) == ROWS


def test_a_label_of_two_classes_has_positives_and_an_amount_has_none(tmp_path: Path) -> None:
    _, _, report = report_of(tmp_path, {"few": texts("f", 7)}, {"categorical": ["few"]})
    assert (report.label["train"].positives, report.label["train"].mean) == (334, 0.334)
    (tmp_path / "again").mkdir()
    paid = [float(row % 5) for row in range(ROWS)]
    _, _, report = report_of(
        tmp_path / "again",
        {"few": texts("f", 7), "paid": paid},
        {"categorical": ["few"]},
        label={"column": "paid", "kind": "regression"},
    )
    assert (report.label["train"].positives, report.label["train"].mean) == (None, 2.0)


def test_negatives_of_train_alone_are_left_out(tmp_path: Path) -> None:
    draw = random.Random(0)
    city = [draw.choice("abc") for _ in range(ROWS)]
    data = {"keep_negatives": 0.25, "split": {"valid": 0.3, "test": 0.2}}
    _, _, report = report_of(tmp_path, {"city": city}, {"categorical": ["city"]}, **data)
    assert report.label["train"].mean > 0.55
    assert report.label["valid"].mean == pytest.approx(1 / 3, abs=0.07)
    assert report.rows["valid"] + report.rows["test"] == pytest.approx(500, abs=60)


def test_a_split_needs_its_columns_of_train_files_only() -> None:
    data = {"train": "a", "label": "y", "split": {"kind": "key", "key": "user"}, "weight": "w"}
    features = {"numeric": ["n"], "categorical": ["n", "c"]}
    recipe = Recipe.model_validate({"name": "r", "data": data, "features": features})
    assert columns_read(recipe, "train") == ["y", "w", "n", "c", "user"]
    assert columns_read(recipe, "valid") == ["y", "w", "n", "c"]
