"""How the rows of a table are split, and by which time."""

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from tables import ROWS, clicks, field_of, looked, setting, suggested

from widedeep.errors import DataError, UsageError
from widedeep.suggest.split import TimeChoice, choose_split, choose_time
from widedeep.suggest.suggestion import Suggestion

START = datetime(2024, 3, 1, 5, tzinfo=UTC)


def moments(rows: int = ROWS, hours: float = 7.0, start: datetime = START) -> list[str]:
    return [f"{start + timedelta(hours=hours * row):%Y-%m-%d %H:%M}" for row in range(rows)]


def shuffled(values: Sequence[Any], seed: int = 1) -> list[Any]:
    values = list(values)
    random.Random(seed).shuffle(values)
    return values


def chosen_time(columns: dict[str, Sequence[Any]], wanted: str | None = None, **sample: Any) -> TimeChoice | None:
    return choose_time(looked(columns, **sample), wanted)


# --------------------------------------------------------------------------------------------------------- which time


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("x", moments(), "the rows are in its order"),
        ("created_at", shuffled(moments()), "its name and values read as the time of a row"),
        ("x", shuffled(moments()), "its name and values read as the time of a row"),
        ("day", shuffled(START.date() + timedelta(days=row) for row in range(ROWS)),
         "its name and values read as the time of a row"),
        ("birth_date", moments(), "the rows are in its order"),
        ("signup_time", shuffled(moments()), None),
        ("x", shuffled(START.date() + timedelta(days=row) for row in range(ROWS)), None),
        ("x", [*moments()[:ROWS - 1], None], None),
        ("x", moments(start=datetime(1989, 12, 31, tzinfo=UTC)), None),
        ("x", moments(start=datetime(1990, 1, 2, tzinfo=UTC)), "the rows are in its order"),
        ("x", moments(start=datetime(2039, 12, 1, tzinfo=UTC)), None),
        ("x", moments(hours=20.5 * 365.25 * 24 / ROWS, start=datetime(1995, 1, 1, tzinfo=UTC)), None),
        ("x", moments(hours=19.5 * 365.25 * 24 / ROWS, start=datetime(1995, 1, 1, tzinfo=UTC)), "the rows are in its order"),
        ("x", [moments()[row * 4 // ROWS] for row in range(ROWS)], None),
        ("x", [moments()[row * 5 // ROWS] for row in range(ROWS)], "the rows are in its order"),
        ("x", [moments()[0]] * (ROWS // 2 + 1) + moments()[ROWS // 2 + 1 :], None),
        ("x", [moments()[0]] * (ROWS // 2) + moments()[ROWS // 2 :], "the rows are in its order"),
        ("x", list(range(0, 7 * ROWS, 7)), None),
    ],
    ids=str,
)  # fmt: skip
def test_the_time_of_a_row_is_ordered_or_reads_as_one_and_lies_in_our_time(
    name: str, values: Sequence[Any], why: str | None
) -> None:
    choice = chosen_time({name: values})
    assert (choice.why if choice else None) == why
    assert choice is None or (choice.column, choice.is_date) == (name, True)


def test_an_ordered_time_comes_before_a_named_one_and_a_named_one_before_one_with_hours() -> None:
    ordered, mixed = moments(), shuffled(moments())
    for columns, name in (
        ({"time": mixed, "x": ordered}, "x"),
        ({"x": ordered, "time": moments(start=START + timedelta(minutes=1))}, "time"),
        ({"y": mixed, "time": shuffled(mixed, 2)}, "time"),
        ({"day": shuffled(text[:10] for text in ordered), "time": mixed}, "time"),
    ):
        choice = chosen_time(columns)
        assert choice is not None
        assert choice.column == name


@pytest.mark.parametrize(("out_of_order", "is_ordered"), [(25, True), (36, False)])
def test_rows_are_in_order_where_95_of_100_steps_go_on(out_of_order: int, is_ordered: bool) -> None:
    values = moments()
    for place in range(1, 2 * out_of_order, 2):
        values[place * 5], values[place * 5 + 1] = values[place * 5 + 1], values[place * 5]
    choice = chosen_time({"signup": values})
    assert (choice is not None) == is_ordered


def test_the_order_is_that_within_the_pieces_of_a_sample() -> None:
    values = [moment for row in reversed(range(ROWS // 5)) for moment in moments()[5 * row : 5 * row + 5]]
    assert chosen_time({"signup": values}) is None
    pieces = [row // 5 for row in range(ROWS)]
    assert chosen_time({"signup": values}, pieces=pieces) is not None


def test_a_named_time_may_be_a_date_or_any_number() -> None:
    day = chosen_time({"x": shuffled(START.date() + timedelta(days=row) for row in range(ROWS))}, "x")
    assert day is not None
    assert (day.is_date, day.why) == (True, "--time")
    for kind in (int, str):
        step = chosen_time({"step": [kind(row * row) for row in shuffled(range(ROWS))]}, "step")
        assert step is not None
        assert (step.is_date, step.format, step.why) == (False, None, "--time; its numbers rise with time")
        assert step.moments.max() == (ROWS - 1) ** 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [*range(598), None, None],
            "--time x: missing in 2 of the 600 rows looked at: every row needs a time to be split by; fill it, drop the rows, "
            "or choose another column",
        ),
        (
            ["later", "now", "soon", "never"] * 150,
            "--time x: the column's values, such as 'later', 'now', 'soon', do not read as times: dates, numbers, or texts of "
            "one and the same form are needed",
        ),
        (["1", "2", "inf"] * 200, "do not read as times"),
        ([True, False] * 300, "do not read as times"),
    ],
)
def test_a_named_time_that_is_none_is_refused(values: Sequence[Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        chosen_time({"x": values}, "x")
    assert message in str(caught.value)


# -------------------------------------------------------------------------------------------------------------- split


def split_of(suggestion: Suggestion) -> tuple[dict[str, Any] | None, str]:
    found = [one for one in suggestion.data if one.key == "split"]
    return (found[0].value, found[0].comment) if found else (None, "")


@pytest.mark.parametrize(
    ("num_rows", "rate", "share", "notes"),
    [
        (499, 0.5, 0.2, ()),
        (500, 0.5, 0.2, ()),
        (2_000, 0.5, 0.1, ()),
        (1_000, 0.51, 0.2, ()),
        (1_990, 0.4, 0.15, ()),
        (900_000, 0.4, 0.1, ()),
        (499, 0.05, 0.2, ("a held-out part has about 5 positives: too few for a figure to trust",)),
        (499, 0.95, 0.2, ("a held-out part has about 5 negatives: too few for a figure to trust",)),
        (499, 0.22, 0.2, ()),
    ],
)
def test_a_held_out_part_is_a_tenth_or_what_holds_a_hundred_of_the_rarer_class_up_to_a_fifth(
    num_rows: int, rate: float, share: float, notes: tuple[str, ...]
) -> None:
    click = [int(row < rate * 400) for row in range(400)]
    suggestion = suggested({"city": shuffled("abcd" * 100), "click": shuffled(click)}, num_rows=num_rows)
    assert split_of(suggestion) == ({"kind": "random", "valid": share, "test": share}, "rows drawn at random")
    assert suggestion.notes == notes


@pytest.mark.parametrize(
    ("files", "split"),
    [
        ({"train": ["a"]}, {"kind": "random", "valid": 0.2, "test": 0.2}),
        ({"train": ["a"], "test": ["b"]}, {"kind": "random", "valid": 0.2}),
        ({"train": ["a"], "valid": ["b"]}, {"kind": "random", "test": 0.2}),
        ({"train": ["a"], "valid": ["b"], "test": ["c"]}, None),
    ],
)
def test_parts_with_files_are_not_drawn(files: dict[str, list[str]], split: dict[str, Any] | None) -> None:
    suggestion = suggested({"city": shuffled("abc" * 200), "click": clicks()}, files=files)
    assert split_of(suggestion)[0] == split
    for part, paths in files.items():
        assert setting(suggestion, "data", part) == paths[0]
    rows = ROWS - round(ROWS * sum(share for key, share in (split or {}).items() if key != "kind"))
    assert next(one.comment for one in suggestion.model if one.key == "deep") == f"sized for {rows:,} train rows"


def test_a_regression_has_no_rare_class() -> None:
    amounts = [round(random.Random(row).uniform(0, 9), 2) for row in range(ROWS)]
    suggestion = suggested({"city": shuffled("abc" * 200), "paid": amounts}, "paid")
    assert split_of(suggestion)[0] == {"kind": "random", "valid": 0.1, "test": 0.1}
    assert suggestion.notes == (f"paid has {len(set(amounts))} values: the recipe predicts the number (regression)",)


def test_a_log_with_a_time_is_split_by_it() -> None:
    suggestion = suggested({"at": moments(), "city": shuffled("abc" * 200), "click": clicks()})
    assert split_of(suggestion) == (
        {"kind": "time", "valid": 0.2, "test": 0.2},
        "the past predicts the future, as it will be used",
    )
    assert [(one.value, one.comment) for one in suggestion.data if one.key == "time"] == [
        ("at", "the rows are in its order")
    ]
    assert suggestion.notes == ("split by at: the rows are in its order; --time names another column",)


def test_a_time_that_was_named_is_not_told_again_and_has_its_format() -> None:
    german = [f"{START + timedelta(hours=7 * row):%d.%m.%Y %H:%M}" for row in range(ROWS)]
    suggestion = suggested({"at": german, "city": shuffled("abc" * 200), "click": clicks()}, time="at")
    assert suggestion.notes == ()
    assert setting(suggestion, "data", "time") == {"column": "at", "format": "%d.%m.%Y %H:%M"}
    numbered = suggested({"step": shuffled(range(ROWS)), "city": shuffled("abc" * 200), "click": clicks()}, time="step")
    assert setting(numbered, "data", "time") == "step"
    assert field_of(numbered, "step")[1].comment == "orders the rows (data.time); new rows lie beyond all of them"


@pytest.mark.parametrize(
    ("steps", "click", "fault"),
    [
        ([0] * 590 + [1] * 10, None, "its last moment holds too many of the rows"),
        (list(range(100)) + [100] * 450 + list(range(101, 151)), None, "few moments hold most of the rows"),
        (list(range(ROWS)), [0] * 300 + [1] * 60 + [0] * 240, "test would have one class only"),
        (list(range(ROWS)), [0, 1] * 178 + [0] * 124 + [0, 1] * 60, "valid would have one class only"),
        (list(range(ROWS)), [1] * 400 + [0, 1] * 100, "train would have one class only"),
    ],
    ids=["one moment", "few moments", "test", "valid", "train"],
)
def test_a_time_that_would_leave_a_part_without_rows_or_a_class_splits_nothing(
    steps: list[int], click: list[int] | None, fault: str
) -> None:
    columns = {"step": steps, "city": shuffled("abc" * 200), "click": click or clicks()}
    suggestion = suggested(columns, time="step")
    assert split_of(suggestion)[0]["kind"] == "random"  # type: ignore[index]
    assert f"not split by step: {fault}" in suggestion.notes


def test_by_time_a_numbers_target_may_have_any_values() -> None:
    amounts = [1.5] * 400 + [round(random.Random(row).uniform(0, 9), 2) for row in range(200)]
    suggestion = suggested({"at": moments(), "city": shuffled("abc" * 200), "paid": amounts}, "paid")
    assert split_of(suggestion)[0] == {"kind": "time", "valid": 0.1, "test": 0.1}


@pytest.mark.parametrize(("groups", "kind"), [(50, "key"), (49, "random")])
def test_a_group_stays_on_one_side_where_there_are_fifty(groups: int, kind: str) -> None:
    user = shuffled(f"u{row % groups}" for row in range(ROWS))
    suggestion = suggested({"user": user, "city": shuffled("abc" * 200), "click": clicks()}, group="user")
    settings, why = split_of(suggestion)
    assert settings is not None
    assert settings["kind"] == kind
    if kind == "key":
        assert settings["key"] == "user"
        assert why == "rows of one user stay together, so that none is on both sides"
        reason = "the group: those of valid and test are never seen in train"
        assert (field_of(suggestion, "user")[1].comment, suggestion.notes) == (reason, ())
    else:
        assert field_of(suggestion, "user")[0] == "categorical"
        assert suggestion.notes == ("not split by user: it has 49 values only",)
    group = [(one.value, one.comment) for one in suggestion.data if one.key == "group"]
    assert group == [("user", "its rows are ranked together: adds GAUC, NDCG, MRR, …")]


def test_a_time_comes_before_a_group_which_stays_a_field_then() -> None:
    user = shuffled(f"u{row % 60}" for row in range(ROWS))
    suggestion = suggested({"at": moments(), "user": user, "click": clicks()}, group="user")
    assert split_of(suggestion)[0] == {"kind": "time", "valid": 0.2, "test": 0.2}
    assert field_of(suggestion, "user")[0] == "categorical"


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (["a", None] * 300, DataError, "--group x: missing in 300 of the 600 rows looked at: every row needs a group"),
        ([["a"], ["b"]] * 300, UsageError, "--group x: the column holds lists, and a group is one value"),
    ],
)
def test_a_group_that_is_none_is_refused(values: Sequence[Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        suggested({"x": values, "city": shuffled("abc" * 200), "click": clicks()}, group="x")
    assert message in str(caught.value)


def test_a_group_that_could_not_be_read_is_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match="--group x: the column holds Binary values"):
        suggested({"city": shuffled("abc" * 200), "click": clicks()}, group="x", left_out={"x": "holds Binary values"})


@pytest.mark.parametrize("option", ["time", "group"])
def test_the_label_is_no_time_and_no_group(option: str) -> None:
    with pytest.raises(UsageError, match=f"--{option} click: that is the label"):
        suggested({"city": shuffled("abc" * 200), "click": clicks()}, **{option: "click"})


# ----------------------------------------------------------------------------------------- what comes again with time


def test_values_that_do_not_come_again_later_are_no_field_of_a_log_by_time() -> None:
    draw = random.Random(3)
    campaign = [f"c{row // 10}" for row in range(ROWS)]
    user = [f"u{draw.randrange(60)}" for _ in range(ROWS)]
    few = [f"f{row // 12}" for row in range(ROWS)]
    columns = {"at": moments(), "campaign": campaign, "user": user, "few": few, "click": clicks()}
    suggestion = suggested(columns)
    assert field_of(suggestion, "campaign")[1].comment == "60 values that do not come again at a later time"
    assert field_of(suggestion, "user")[0] == "categorical"
    assert field_of(suggestion, "few")[0] == "categorical"
    del columns["at"]
    assert field_of(suggested(columns), "campaign")[0] == "categorical"


def test_of_a_column_that_is_filled_early_only_nothing_is_known() -> None:
    campaign = [f"c{row % 60}" if row < 470 else None for row in range(ROWS)]
    columns = {"at": moments(), "campaign": campaign, "city": shuffled("abc" * 200), "click": clicks()}
    assert field_of(suggested(columns), "campaign")[0] == "categorical"
    columns["campaign"] = [f"c{row % 60}" if row > 490 else None for row in range(ROWS)]
    assert field_of(suggested(columns), "campaign")[0] == "categorical"


@pytest.mark.parametrize(("again", "is_kept"), [(6, True), (5, False)])
def test_one_late_row_in_twenty_with_a_known_value_is_enough(again: int, is_kept: bool) -> None:
    # 120 late rows: their values are new but for a few.
    user = [f"u{row % 70}" if row < 480 + again else f"new{row}" for row in range(ROWS)]
    columns = {"at": moments(), "user": user, "city": shuffled("abc" * 200), "click": clicks()}
    assert (field_of(suggested(columns), "user")[0] == "categorical") == is_kept


@pytest.mark.parametrize(("num_rows", "is_kept"), [(None, False), (11_400, False), (11_600, True)])
def test_of_a_sample_it_is_estimated_whether_values_come_again_in_the_rows_not_looked_at(
    num_rows: int | None, is_kept: bool
) -> None:
    # Five of 120 late rows share their values with two early rows each: 10 of 480 · 120 pairs of rows are of one value, and
    # a late row has two early ones of its value in a table of 11,520 rows.
    user = (
        [f"u{row // 2}" for row in range(480)]
        + [f"u{row}" for row in range(5)]
        + [f"v{row // 2}" for row in range(115)]
    )
    columns = {"at": moments(), "user": user, "city": shuffled("abc" * 200), "click": clicks()}
    suggestion = suggested(columns, num_rows=num_rows)
    assert (field_of(suggestion, "user")[0] == "categorical") == is_kept


@pytest.mark.parametrize(("name", "is_kept"), [("session", False), ("user", True)])
def test_sessions_of_neighbouring_rows_are_no_field_of_a_random_split(name: str, is_kept: bool) -> None:
    columns = {name: [f"s{row // 10}" for row in range(ROWS)], "city": shuffled("abc" * 200), "click": clicks()}
    part, entry = field_of(suggested(columns), name)
    assert (part == "categorical") == is_kept
    if not is_kept:
        assert entry.comment == (
            "names sessions: neighbouring rows share it; to keep a session on one side: --group session"
        )
    apart = {**columns, name: shuffled(columns[name])}
    assert field_of(suggested(apart), name)[0] == "categorical"


def test_the_shares_are_those_of_the_parts_that_are_drawn() -> None:
    look = looked({"city": shuffled("abc" * 200)})
    assert choose_split(look, None, None, ()).settings == {}
    assert choose_split(look, None, None, ()).train_rows == ROWS
    assert choose_split(look, None, None, ("test",)).train_rows == 480
    day = date(2024, 1, 1)
    assert chosen_time({"x": [day] * ROWS}) is None
