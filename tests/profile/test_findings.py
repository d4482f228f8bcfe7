"""What `ingest` says of a report: the words, the order, and what is a warning and what a note."""

from dataclasses import replace
from typing import Any

import pytest
from heard import Heard

from widedeep.profile.columns import ColumnProfile, LabelRates, TopValue
from widedeep.profile.findings import findings, show_findings
from widedeep.profile.report import ColumnReport, Finding, IngestReport, LabelReport
from widedeep.profile.value_tally import SharedGroups
from widedeep.recipe.schema import Recipe

ROWS = {"train": 2000, "valid": 400, "test": 600}


def profile(**changes: Any) -> ColumnProfile:
    plain = ColumnProfile(
        type="text",
        distinct=12,
        distinct_is="exact",
        top=(TopValue("oslo", 0.2, 0.3),),
        quantiles=None,
        label_rates=LabelRates(0.1, 0.4, None),
        alone_auc=0.6,
        alone_r2=None,
        leak=None,
        drift={"valid": 0.0, "test": 0.0},
        drift_by_new={"valid": 0.0, "test": 0.0},
        unseen={"valid": 0.0, "test": 0.0},
    )
    return replace(plain, **changes)


def column(name: str, role: Any = "text", missing: int = 0, source: str | None = None, **changes: Any) -> ColumnReport:
    return ColumnReport(name, source or name, role, dict.fromkeys(ROWS, missing), 0, profile(**changes))


LABEL = column("click", "label", source="click", label_rates=None, alone_auc=None, distinct=2)


def told(
    *columns: ColumnReport,
    label: ColumnReport = LABEL,
    sampled: int | None = None,
    shared: dict[str, SharedGroups] | None = None,
    date_time: list[Any] | None = None,
    **data: Any,
) -> tuple[Finding, ...]:
    features = {"categorical": ["city"], "date_time": date_time or []}
    recipe = Recipe.model_validate(
        {"name": "r", "data": {"train": "log.csv", "label": "click", **data}, "features": features}
    )
    report = IngestReport(
        rows=ROWS,
        sampled_rows=ROWS if sampled is None else dict.fromkeys(ROWS, sampled),
        columns=(label, *columns),
        source_kinds={},
        label={split: LabelReport(mean, None) for split, mean in zip(ROWS, (0.3, 0.25, 0.123456), strict=True)},
        shared_groups=shared or {},
    )
    return findings(report, recipe)


def words(*columns: ColumnReport, **options: Any) -> list[str]:
    return [finding.message for finding in told(*columns, **options)]


def test_of_a_plain_table_nothing_is_said() -> None:
    assert told(column("city")) == ()


def test_a_leak_is_told_once_for_each_source_column() -> None:
    leak = "held-out AUC 0.998 alone"
    parts = [column(f"paid_at.{part}", "part", source="paid_at", leak=leak) for part in ("hour", "weekday")]
    assert told(column("city"), *parts, column("sum", "number", leak=leak)) == (
        Finding(
            "leak",
            "paid_at",
            "column 'paid_at' gives the label away (held-out AUC 0.998 alone): if it is known only after the label, it is a "
            "leak; take it out of features",
        ),
        Finding(
            "leak",
            "sum",
            "column 'sum' gives the label away (held-out AUC 0.998 alone): if it is known only after the label, it is a leak; "
            "take it out of features",
        ),
    )


# --------------------------------------------------------------------------------------------------------------- groups

SHARED = {
    "valid": SharedGroups(rows=400, shared_rows=100, groups=9, shared_groups=3, is_exact=True),
    "test": SharedGroups(rows=600, shared_rows=1, groups=9, shared_groups=1, is_exact=False),
}
BY_GROUP = "column 'user': 25.0% of the valid rows, about 0.17% of the test rows belong to groups with train rows; "


@pytest.mark.parametrize(
    ("data", "advice", "is_warning"),
    [
        ({}, "the metrics speak of groups that the model knows; to measure it on new ones, set data.split to {kind: key, key: user}", True),
        ({"time": "at", "split": {"kind": "time"}},
         "as is usual in a split by time: the metrics speak of groups that the model knows", False),
        ({"valid": "v.csv", "test": "t.csv"},
         "the metrics speak of groups that the model knows; to measure it on new ones, split the files by group", True),
        ({"time": "at", "valid": "v.csv", "test": "t.csv"},
         "the metrics speak of groups that the model knows; to measure it on new ones, split the files by group", True),
    ],
)  # fmt: skip
def test_groups_on_both_sides_are_told_with_what_to_do(data: dict[str, Any], advice: str, is_warning: bool) -> None:
    assert told(shared=SHARED, group="user", **data) == (
        Finding("shared_groups", "user", BY_GROUP + advice, is_warning=is_warning),
    )


def test_groups_that_are_apart_are_no_finding() -> None:
    apart = {split: replace(one, shared_rows=0) for split, one in SHARED.items()}
    assert told(shared=apart, group="user") == ()
    assert told(shared=SHARED) == ()


# ---------------------------------------------------------------------------------------------------------- the label


@pytest.mark.parametrize(
    ("drift", "data", "by_time"),
    [
        ({"valid": 0.0, "test": 0.25}, {}, ""),
        ({"valid": 0.3, "test": 0.0}, {"time": "at", "split": {"kind": "time"}}, " by time"),
        ({"valid": 0.3}, {"time": "at", "valid": "v.csv", "test": "t.csv", "split": {"kind": "time"}}, ""),
        ({"valid": 0.24, "test": 0.24}, {}, None),
        ({"valid": 0.9}, {"keep_negatives": 0.5}, None),
    ],
)
def test_a_label_that_differs_between_the_splits_is_told(
    drift: dict[str, float], data: dict[str, Any], by_time: str | None
) -> None:
    label = replace(LABEL, profile=profile(drift=drift, label_rates=None))
    message = (
        f"the label 'click' differs between the splits{by_time}: its mean is 0.3 in train, 0.25 in valid, 0.1235 in test; "
        "scores will be off by as much, so see that all splits count the same thing"
    )
    assert told(label=label, **data) == (() if by_time is None else (Finding("label_drift", "click", message),))


# ---------------------------------------------------------------------------------------------------- constants and ids


@pytest.mark.parametrize(("value", "shown"), [("x", "'x'"), (1.0, "1"), (0.25, "0.25"), (1e9, "1e+09")])
def test_a_constant_is_told_with_its_value(value: str | float, shown: str) -> None:
    one = column("same", distinct=1, top=(TopValue(value, 1.0, 0.3),))
    assert told(one) == (
        Finding(
            "constant",
            "same",
            f"column 'same' is {shown} in all 2,000 train rows: it tells no rows apart; take it out of features",
        ),
    )


def test_one_value_beside_missing_ones_and_what_is_no_input_are_no_constants() -> None:
    top = (TopValue("x", 0.9, 0.3),)
    assert told(column("flag", distinct=1, missing=1, top=top)) == ()
    assert told(column("tags", "values", distinct=1, top=top, distinct_is="at least")) == ()
    assert told(column("user", "group", distinct=1, top=top, label_rates=None)) == ()


@pytest.mark.parametrize(
    ("changes", "missing", "is_id"),
    [
        ({"distinct": 1900}, 0, True),
        ({"distinct": 1899}, 0, False),
        ({"distinct": 950}, 1000, True),
        ({"distinct": 1900, "distinct_is": "at least"}, 0, False),
        ({"distinct": 1950, "distinct_is": "about"}, 0, True),
        ({"distinct": 1950, "type": "number"}, 0, False),
        ({"distinct": 1950, "type": "list"}, 0, False),
    ],
)
def test_a_text_that_nearly_every_row_has_of_its_own_is_told_as_an_id(
    changes: dict[str, Any], missing: int, is_id: bool
) -> None:
    about = "about " if changes.get("distinct_is") == "about" else ""
    message = (
        f"column 'row' has {about}{changes['distinct']:,} different values in {2000 - missing:,} train rows, as an id has: what "
        "is learned of one row's value helps no other; take it out of features, or make it numeric if it is a quantity"
    )
    found = told(column("row", missing=missing, **changes))
    assert found == ((Finding("id_like", "row", message),) if is_id else ())


BY_TIME = {"time": "at", "split": {"kind": "time"}}
PARTS = [{"column": "at", "parts": ["hour"]}]


def test_what_is_made_of_the_rows_own_time_is_judged_by_its_nature() -> None:
    constant = {"distinct": 1, "top": (TopValue("Mon", 1.0, 0.3),)}
    hour = column("at.hour", "part", source="at", **constant)
    (found,) = told(hour, date_time=PARTS, **BY_TIME)
    assert (found.is_warning, found.kind) == (False, "constant")
    assert found.message == (
        "column 'at.hour' is 'Mon' in all 2,000 train rows: it will tell rows apart once train covers more time"
    )
    assert told(replace(hour, profile=profile(drift={"test": 9.0})), date_time=PARTS, **BY_TIME) == ()
    (other,) = told(hour, date_time=PARTS)
    assert other.is_warning
    assert other.message.endswith("it tells no rows apart; take it out of features")


def test_the_rows_time_as_a_text_is_an_id_to_be_listed_as_a_date() -> None:
    recipe_time = {"time": "city", "split": {"kind": "time"}}
    (found,) = told(column("city", distinct=2000), **recipe_time)
    assert found.message.endswith("helps no other; list it under features.date_time, whose parts come again")


# ---------------------------------------------------------------------------------------------------------------- drift


def drift_of(*columns: ColumnReport, **data: Any) -> list[tuple[str, str, bool]]:
    return [(found.kind, found.column, found.is_warning) for found in told(*columns, **data)]


def test_a_column_that_drifts_is_told_with_its_figures() -> None:
    one = column("version", drift={"valid": 0.2, "test": 0.251}, unseen=None)
    message = (
        "column 'version' drifts: its values are far from those in train (stability index 0.25 in test; 0.25 is much); leave "
        "it out, or give it a form that lasts, such as a share or a difference"
    )
    assert told(one) == (Finding("drift", "version", message),)
    assert words(one, **BY_TIME)[0].startswith("column 'version' drifts by time: ")
    both = column("seen.age", "age", source="seen", drift={"valid": 0.5, "test": 1.234})
    assert "column 'seen.age' drifts" in words(both)[0]
    assert "(stability index 0.50 in valid, 1.23 in test; 0.25 is much)" in words(both)[0]
    assert told(column("version", drift={"valid": 0.24, "test": 0.2499})) == ()


def test_the_strongest_drift_comes_first_and_an_id_is_not_told_twice() -> None:
    weak, strong = column("weak", drift={"test": 0.3}), column("strong", drift={"valid": 0.1, "test": 2.0})
    row = column("row", drift={"test": 9.0}, distinct=2000)
    assert [(kind, name) for kind, name, _ in drift_of(weak, strong, row)] == [
        ("id_like", "row"),
        ("drift", "strong"),
        ("drift", "weak"),
    ]


@pytest.mark.parametrize(
    ("by_new", "drift", "kind"),
    [
        ({"valid": 0.5, "test": 0.9}, {"valid": 0.3, "test": 0.3}, "new_values"),
        ({"valid": 0.49, "test": 0.9}, {"valid": 0.3, "test": 0.3}, "drift"),
        ({"valid": 0.1, "test": 0.9}, {"valid": 0.2, "test": 0.3}, "new_values"),
        ({"valid": 0.1, "test": 0.9}, {"valid": 0.25, "test": 0.3}, "drift"),
        (None, {"valid": 0.3, "test": 0.3}, "drift"),
    ],
)
def test_drift_by_new_values_is_a_note(by_new: Any, drift: dict[str, float], kind: str) -> None:
    assert drift_of(column("user", drift_by_new=by_new, drift=drift)) == [(kind, "user", kind == "drift")]


@pytest.mark.parametrize(
    ("unseen", "sampled", "shares"),
    [
        ({"valid": 0.25, "test": 0.5}, None, "has values that no train row has in 100 of the 400 valid rows (25.0%) and 300 of "
         "the 600 test rows (50.0%); training meets unknown values, too"),
        ({"valid": 0.0, "test": 0.5}, None, "has values that no train row has in 300 of the 600 test rows (50.0%); training"),
        ({"valid": 0.003, "test": 0.999}, 100, "in about 1 of the 400 valid rows (0.30%) and about 599 of the 600 test rows (99.90%)"),
        ({"valid": 0.005, "test": 0.995}, 100, "(0.5%) and about 597 of the 600 test rows (99.50%)"),
        (None, 100, "drifts by values that the train rows lack; training meets unknown values, too"),
    ],
)  # fmt: skip
def test_new_values_are_told_with_the_rows_that_have_them(unseen: Any, sampled: int | None, shares: str) -> None:
    one = column("user", drift={"valid": 0.3, "test": 0.3}, drift_by_new={"valid": 1.0, "test": 1.0}, unseen=unseen)
    (message,) = words(one, sampled=sampled)
    assert message.startswith("column 'user' ")
    assert shares in message


def test_the_gravest_come_first() -> None:
    label = replace(LABEL, profile=profile(drift={"test": 0.5}, label_rates=None))
    columns = [
        column("version", drift={"test": 0.5}),
        column("row", distinct=2000),
        column("same", distinct=1),
        column("paid", leak="why"),
    ]
    found = told(*columns, label=label, shared=SHARED, group="user")
    assert [one.kind for one in found] == ["leak", "shared_groups", "label_drift", "constant", "id_like", "drift"]


# ---------------------------------------------------------------------------------------------------------------- shown


@pytest.mark.parametrize(("count", "more"), [(10, 0), (11, 1), (25, 15)])
def test_ten_findings_are_shown_and_the_others_counted(count: int, more: int) -> None:
    heard = Heard()
    show_findings(tuple(Finding("drift", "c", str(one), is_warning=one > 0) for one in range(count)), heard)
    expected = [("warning" if one else "note", str(one)) for one in range(10)]
    if more:
        expected.append(("warning", f"and {more} more (`widedeep ingest --json` lists all)"))
    assert heard.said == expected


def test_a_finding_is_a_warning_unless_it_says_otherwise_and_a_report_survives_json() -> None:
    assert Finding("leak", "c", "m").is_warning
    plain = ColumnReport("w", "w", "weights", {"train": 0}, 2, None)
    report = IngestReport(
        rows=ROWS,
        sampled_rows=ROWS,
        columns=(LABEL, column("city"), plain),
        source_kinds={"city": "text"},
        label={"train": LabelReport(0.5, 3)},
        shared_groups=SHARED,
        warnings=(Finding("leak", "c", "m"), Finding("drift", "d", "n", is_warning=False)),
    )
    assert IngestReport.from_json(report.to_json()) == report
    assert report.to_json()["columns"][2] == {
        "name": "w", "column": "w", "role": "weights", "missing": {"train": 0}, "bad_numbers": 2,
    }  # fmt: skip
