"""What each column of a table becomes: its kind of field, its settings, or why it is left out."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from tables import CITY, ROWS, clicks, field_of, look_at, looked, suggested

from widedeep.suggest.fields import min_count

START = datetime(2024, 3, 1, 5, tzinfo=UTC)


def drawn(seed: int = 1) -> random.Random:
    return random.Random(seed)


def shuffled(values: Sequence[Any], seed: int = 1) -> list[Any]:
    values = list(values)
    drawn(seed).shuffle(values)
    return values


def became(name: str, values: Sequence[Any], **options: Any) -> tuple[str, dict[str, Any], str]:
    """Part, settings besides the column, comment."""
    part, entry = field_of(suggested({"city": CITY, name: values, "click": clicks()}, **options), name)
    return part, {key: value for key, value in entry.settings.items() if key != "column"}, entry.comment


ROWS_OF_5 = [f"u{number // 5}" for number in range(ROWS)]


@pytest.mark.parametrize(
    ("name", "values", "part", "settings", "comment"),
    [
        ("price", [round(drawn(row).uniform(0, 9), 2) for row in range(ROWS)], "numeric", {"buckets": 10}, "{low} to {high}"),
        ("amount", [row % 12 for row in range(ROWS)], "numeric", {"buckets": 10}, "0 to 11"),
        ("share", [(row % 4) / 8 for row in range(ROWS)], "numeric", {"buckets": 4}, "0 to 0.375"),
        ("balance", [1000.0 * (row % 30) for row in range(ROWS)], "numeric", {"buckets": 10}, "0 to 29,000"),
        (
            "amount",
            [None if row % 4 == 0 else row % 13 for row in range(ROWS)],
            "numeric",
            {"buckets": 10},
            "0 to 12, 25% missing",
        ),
        ("hour", [row % 24 for row in range(ROWS)], "categorical", {}, "24 values"),
        ("flag", [row % 2 for row in shuffled(range(ROWS))], "categorical", {}, "2 values"),
        ("b", [row % 3 == 0 for row in shuffled(range(ROWS))], "categorical", {}, "2 values"),
        ("one", ["x" if row % 3 else None for row in shuffled(range(ROWS))], "categorical", {}, "1 value, 33% missing"),
        ("user", shuffled(ROWS_OF_5), "categorical", {}, "120 values"),
        ("tags", [["a|b", "b|c", "c|a", "b", "a", "a|c|b"][row % 6] for row in shuffled(range(ROWS))], "multi_valued",
         {"separator": "|"}, "3 values, 1.8 in a row"),
        ("tags", [["a", "b"], ["b"], ["c", "a"], None, []] * (ROWS // 5), "multi_valued", {},
         "3 values, 1.2 in a row, 20% missing"),
        ("at", [f"{START + timedelta(hours=7 * row):%Y-%m-%d %H:%M}" for row in range(ROWS)], "date_time", {}, ""),
        ("at", [f"{START + timedelta(hours=7 * row):%d.%m.%Y %H:%M}" for row in range(ROWS)], "date_time",
         {"format": "%d.%m.%Y %H:%M"}, ""),
        ("day", [START.date() + timedelta(days=row) for row in range(ROWS)], "date_time", {"parts": ["weekday"]}, ""),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)  # fmt: skip
def test_a_column_becomes_a_field_with_what_differs_from_the_defaults(
    name: str, values: Sequence[Any], part: str, settings: dict[str, Any], comment: str
) -> None:
    numbers = [value for value in values if isinstance(value, int | float)]
    if numbers:
        comment = comment.format(low=f"{min(numbers):.4g}", high=f"{max(numbers):.4g}")
    assert became(name, values) == (part, settings, comment)


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("x", ["same"] * ROWS, "always same"),
        ("x", [None] * ROWS, "missing"),
        ("x", ["?"] * ROWS, "missing"),
        ("x", [7] * ROWS, "always 7"),
        ("x", ["y" * 41] * ROWS, "always " + "y" * 39 + "…"),
        ("x", ["a\nb"] * ROWS, "always a\\nb"),
        ("", CITY, "a column without a name"),
        ("n", list(range(ROWS)), "rises from row to row: a row number says nothing about new rows"),
        ("n", list(range(ROWS, 0, -1)), "rises from row to row: a row number says nothing about new rows"),
        ("row", shuffled(f"r{row:04}" for row in range(ROWS)), "names single rows: 600 values in 600 rows, hardly any comes again"),
        ("copy", [f"{city}!" for city in CITY], "says the same as city, value by value"),
        ("fold", [row % 5 for row in range(ROWS)],
         "a division of the rows; to split by it: data.split: {kind: column, column: fold, valid: …, test: …}"),
        ("note", [f"some words {row} of it {row * 7 % 50}" for row in range(ROWS)],
         "free text: 600 texts that hardly come again"),
        ("told", ["yes" if one else "no" for one in clicks()], "gives the label away: held-out AUC 1.000 alone"),
        ("lists", [[0.5, 1.5]] * ROWS, "lists of fractions, which are no list of values"),
        ("lists", [[None]] * ROWS, "empty"),
        ("same_day", [f"{START + timedelta(minutes=row % 5):%Y-%m-%d %H:%M}" for row in range(ROWS)],
         "its hours and weekdays do not differ, or not over enough days"),
        ("birth", [date(1900, 1, 1) + timedelta(days=120 * row % 40_000) for row in shuffled(range(ROWS))],
         "a date without the time of the row beside it, which says how long ago it was"),
    ],
    ids=lambda value: value[:16] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_column_that_is_no_field_is_left_out_with_the_reason(name: str, values: Sequence[Any], reason: str) -> None:
    assert became(name, values)[::2] == ("left out", reason)


def test_a_column_of_one_value_with_some_missing_is_no_constant() -> None:
    assert became("x", ["a" if row % 7 else None for row in range(ROWS)])[0] == "categorical"


@pytest.mark.parametrize(("words", "is_left_out"), [(11, True), (10, False)])
def test_a_few_texts_are_categories_however_long(words: int, is_left_out: bool) -> None:
    texts = [f"some words {row}" for row in range(words)]
    look = look_at("x", [*texts, *[None] * (ROWS - words)])
    assert (look.nature == "left_out") == is_left_out


def test_texts_of_one_word_stay_even_where_they_hardly_come_again() -> None:
    assert look_at("x", [f"word{row}" for row in range(ROWS)]).nature == "category"


@pytest.mark.parametrize(("own_rows", "is_sequence"), [(20, True), (19, False)])
def test_numbers_that_rise_are_row_numbers_from_twenty_rows_on(own_rows: int, is_sequence: bool) -> None:
    assert look_at("n", list(range(own_rows))).is_sequence == is_sequence


def test_row_numbers_of_a_sample_rise_within_its_pieces() -> None:
    first, second = list(range(300, 600)), list(range(300))
    assert look_at("n", first + second, pieces=[0] * 300 + [1] * 300).is_sequence
    assert not look_at("n", first[::2] + first[1::2]).is_sequence
    assert not look_at("n", [*range(500), *[None] * 100]).is_sequence
    assert not look_at("n", [row // 2 for row in range(ROWS)]).is_sequence


def test_what_is_everywhere_in_a_sample_is_said_of_the_sample() -> None:
    whole, part = look_at("x", ["a"] * ROWS), look_at("x", ["a"] * ROWS, num_rows=10_000)
    assert (whole.why, part.why) == ("always a", "always a in the 600 rows looked at")


def test_columns_that_could_not_be_read_are_left_out_with_that_reason() -> None:
    look = looked({"a": CITY}, left_out={"b": "holds Binary values"})
    assert (look.column("b").nature, look.column("b").why) == ("left_out", "holds Binary values")


def test_a_sample_holds_fewer_values_than_the_table() -> None:
    # Chao: of 400 values met once and 100 met twice, at least 400 · 399 / (2 · 101) more.
    values = [f"once{row}" for row in range(400)] + [f"twice{row // 2}" for row in range(200)]
    assert look_at("x", values).estimated_values == 500
    assert look_at("x", values, num_rows=60_000, exact=False).estimated_values == pytest.approx(500 + 400 * 399 / 202)
    assert look_at("x", values, num_rows=601).estimated_values == 601
    assert became("x", values, num_rows=60_000, exact=False)[2] == "about 1,300 values"


def test_rare_rows_are_those_whose_value_stands_in_under_ten_rows_of_the_table() -> None:
    values = ["a"] * 10 + ["b"] * 9 + [None] * 81 + ["c"] * 500
    assert look_at("x", values).rare_rows == pytest.approx(9 / 519)
    assert look_at("x", values, num_rows=2 * ROWS).rare_rows == 0.0


@pytest.mark.parametrize(("rows", "least"), [(99_999, 2), (100_000, 5), (499_999, 5), (500_000, 10)])
def test_a_value_needs_more_rows_where_there_are_more(rows: int, least: int) -> None:
    assert min_count(rows) == least


@pytest.mark.parametrize(
    ("num_rows", "buckets", "tags"),
    [
        (2_000, 10, {}),
        (3_000, 20, {}),
        (24_000, 20, {}),
        (30_000, 50, {}),
        (120_000, 50, {}),
        (130_000, 50, {"min_count": 5}),
        (700_000, 50, {"min_count": 10}),
    ],
)
def test_fields_of_more_rows_get_more_buckets_and_lists_of_many_values_a_higher_min_count(
    num_rows: int, buckets: int, tags: dict[str, int]
) -> None:
    draw = drawn()
    topics = [f"t{number}" for number in range(201)]
    columns = {
        "price": [draw.uniform(0, 9) for _ in range(ROWS)],
        "few": CITY,
        "tags": [draw.sample(topics, 5) for _ in range(ROWS)],
        "topics": [draw.sample(topics[:200], 5) for _ in range(ROWS)],
        "click": clicks(),
    }
    found = suggested(columns, num_rows=num_rows)
    assert field_of(found, "price")[1].settings == {"column": "price", "buckets": buckets}
    assert field_of(found, "few")[1].settings == {"column": "few"}
    assert field_of(found, "tags")[1].settings == {"column": "tags", **tags}
    assert field_of(found, "topics")[1].settings == {"column": "topics"}


def test_rare_values_get_a_min_count() -> None:
    users = [f"u{row // 240}" if row % 60 == 0 else f"v{row % 3}" for row in range(120_000)]
    columns = {"user": users, "city": CITY * 200, "click": clicks(120_000), "n": drawn().choices(range(9), k=120_000)}
    found = suggested(columns, exact=True, num_rows=140_000)
    assert field_of(found, "user")[1].settings == {"column": "user", "min_count": 5}
    assert field_of(found, "city")[1].settings == {"column": "city"}


@pytest.mark.parametrize(("once", "settings"), [(3150, {}), (3200, {"buckets": 1 << 21})])
def test_more_than_five_million_values_are_hashed(once: int, settings: dict[str, Any]) -> None:
    values = [f"once{row}" for row in range(once)] + ["a"] * (3300 - once)
    suggestion = suggested({"x": values, "click": clicks(3300)}, num_rows=60_000_000, exact=False)
    assert field_of(suggestion, "x")[1].settings == {"column": "x", **settings}


def test_long_lists_are_cut() -> None:
    draw = drawn()
    items = [f"t{number}" for number in range(150)]
    lists = [draw.sample(items, 101 if row == 5 else 3) for row in range(ROWS)]
    assert became("tags", lists)[1] == {"max_length": 100}
    lists[5] = draw.sample(items, 100)
    assert became("tags", lists)[1] == {}


def test_weights_in_a_list_are_read_as_weights() -> None:
    draw = drawn()
    lists = [";".join(f"{topic}:{draw.random():.2f}" for topic in draw.sample("pqrs", 2)) for _ in range(ROWS)]
    assert became("topics", lists) == (
        "multi_valued",
        {"separator": ";", "weight_separator": ":"},
        "4 values, 2.0 in a row",
    )


# ------------------------------------------------------------------------------------------------------------- copies


def test_of_columns_that_say_the_same_the_first_stays() -> None:
    amounts = [round(drawn(row).uniform(0, 9), 2) for row in range(ROWS)]
    user = shuffled(ROWS_OF_5)
    columns = {"user": user, "user name": [f"name of {one}" for one in user], "a": amounts, "b": list(amounts)}
    look = looked(columns)
    assert [column.nature == "left_out" for column in look.columns] == [False, True, False, True]
    assert look.column("user name").why == "says the same as user, value by value"


@pytest.mark.parametrize(
    "change",
    [
        lambda user: ["other", *user[1:]],
        lambda user: [None, *user[1:]],
        lambda user: ["u0" if one == "u1" else one for one in user],
        lambda user: user[::-1],
    ],
    ids=["one row", "one missing", "two are one", "other order"],
)
def test_columns_that_differ_in_a_row_are_no_copies(change: Callable[[list[str]], list[Any]]) -> None:
    user = shuffled(ROWS_OF_5)
    assert looked({"user": user, "other": change(user)}).column("other").nature == "category"


def test_a_column_with_missing_values_is_no_copy_of_one_with_others() -> None:
    user = shuffled(ROWS_OF_5)
    with_none = [None if row == 7 else one for row, one in enumerate(user)]
    moved = [None if row == 8 else f"{one}!" for row, one in enumerate(user)]
    again = [None if row == 7 else f"{one}!" for row, one in enumerate(user)]
    look = looked({"user": with_none, "moved": moved, "again": again})
    assert [column.nature for column in look.columns] == ["category", "category", "left_out"]
    amounts = [None if row % 9 == 0 else float(row * 17 % 599) / 7 for row in range(ROWS)]
    twice = [None if one is None else 2 * one for one in amounts]
    look = looked({"a": amounts, "b": twice, "c": list(amounts)})
    assert [column.nature for column in look.columns] == ["number", "number", "left_out"]


def test_amounts_that_hardly_come_again_are_copies_only_where_they_are_equal() -> None:
    amounts = [round(drawn(row).uniform(0, 9), 4) for row in range(ROWS)]
    look = looked({"a": amounts, "b": [2 * amount for amount in amounts]})
    assert [column.nature for column in look.columns] == ["number", "number"]


@pytest.mark.parametrize(("rows", "is_copy"), [(30, True), (29, False)])
def test_few_rows_may_agree_by_chance(rows: int, is_copy: bool) -> None:
    values = [["a", "b", "c"][row % 3] for row in range(rows)]
    look = looked({"x": values, "y": [f"{one}!" for one in values], "click": [row % 2 for row in range(rows)]})
    assert (look.column("y").nature == "left_out") == is_copy


# --------------------------------------------------------------------------------------------------- codes and amounts


@pytest.mark.parametrize(("name", "nature"), [("x", "number"), ("user_id", "category"), ("price", "number")])
def test_numbers_that_hardly_come_again_are_amounts_unless_their_name_says_codes(name: str, nature: str) -> None:
    values = shuffled(17 * row * row for row in range(ROWS))
    assert look_at(name, values).nature == nature


@pytest.mark.parametrize(("folds", "name", "is_fold"), [(20, "fold", True), (21, "fold", False), (20, "kind", False)])
def test_a_division_of_the_rows_says_nothing_of_the_label_and_has_few_values(
    folds: int, name: str, is_fold: bool
) -> None:
    look = look_at(name, shuffled(f"f{row % folds}" for row in range(ROWS)))
    assert ("a division of the rows" in look.why) == is_fold


def test_a_fold_that_tells_of_the_label_is_a_column() -> None:
    click = clicks()
    fold = [one if drawn(row).random() < 0.6 else 2 + row % 2 for row, one in enumerate(click)]
    assert looked({"fold": fold, "click": click}).column("fold").nature == "category"


def test_a_division_of_the_rows_is_known_beside_an_amount_to_predict_too() -> None:
    paid = [round(drawn(row).uniform(0, 9), 2) for row in range(ROWS)]
    fold = shuffled(row % 5 for row in range(ROWS))
    assert "a division of the rows" in looked({"fold": fold, "paid": paid}, "paid").column("fold").why
    telling = [int(amount) // 2 for amount in paid]
    assert looked({"fold": telling, "paid": paid}, "paid").column("fold").nature == "category"


def test_odd_values_of_a_numeric_column_are_told() -> None:
    numbers = [f"{row / 7:.3f}" for row in range(ROWS - 5)]
    look = looked({"n": [*numbers, *["oops"] * 5], "m": [*numbers, *["1"] * 5]})
    assert look.bad_numbers == ("n",)
    not_a_number = looked({"n": pl.Series([0.5 * (row % 50) for row in range(ROWS - 1)] + [float("nan")]).to_list()})
    assert not_a_number.bad_numbers == ("n",)


# -------------------------------------------------------------------------------------------------------------- dates


def minutes(step: float, rows: int = ROWS) -> list[str]:
    return [f"{START + timedelta(minutes=step * row):%Y-%m-%d %H:%M}" for row in range(rows)]


@pytest.mark.parametrize(
    ("step", "settings"),
    [
        (30, {}),  # twelve days
        (20, {"parts": ["hour"]}),  # eight days
        (24.05, {}),  # ten days and a few minutes
        (24.0, {"parts": ["hour"]}),
        (4.81, {"parts": ["hour"]}),
    ],
)
def test_of_a_log_by_time_a_part_is_used_that_train_has_seen_all_of(step: float, settings: dict[str, Any]) -> None:
    part, found, _ = became("at", minutes(step))
    assert (part, found) == ("date_time", settings)


def test_a_log_of_under_two_days_has_no_part_to_use() -> None:
    part, _, comment = became("at", minutes(4.7))
    assert (part, comment) == ("left out", "its hours and weekdays do not differ, or not over enough days")


def test_the_format_of_the_rows_own_time_reads_its_ages_too() -> None:
    german = [f"{START + timedelta(hours=row):%d.%m.%Y %H:%M}" for row in range(ROWS)]
    joined = [START - timedelta(days=drawn(row).randrange(900)) for row in range(ROWS)]
    found = field_of(suggested({"at": german, "joined": joined, "city": CITY, "click": clicks()}), "joined")[1]
    assert (found.settings["column"], found.settings["format"]) == ("at", "%d.%m.%Y %H:%M")


def test_another_date_is_used_as_its_age_at_the_rows_own_time() -> None:
    joined = [f"{START - timedelta(days=drawn(row).randrange(900)):%d.%m.%Y}" for row in range(ROWS)]
    suggestion = suggested({"at": minutes(60), "joined": joined, "city": CITY, "click": clicks()})
    assert field_of(suggestion, "joined")[1].settings == {
        "column": "at",
        "name": "joined",
        "parts": [],
        "since": {"column": "joined", "format": "%d.%m.%Y"},
        "buckets": 20,
    }
    assert field_of(suggestion, "joined")[1].comment == "days from joined to at"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (lambda row: timedelta(hours=-row % 20), "says about the same as at"),
        (lambda row: timedelta(days=-40), "always as long before at"),
    ],
)
def test_another_date_that_adds_nothing_is_left_out(other: Callable[[int], timedelta], reason: str) -> None:
    written = [f"{START + timedelta(minutes=60 * row) + other(row):%Y-%m-%d %H:%M}" for row in range(ROWS)]
    suggestion = suggested({"at": minutes(60), "sent_birth": written, "city": CITY, "click": clicks()})
    part, entry = field_of(suggestion, "sent_birth")
    assert (part, entry.comment) == ("left out", reason)


def test_an_iso_date_needs_no_format_for_its_age_and_a_name_that_is_taken_is_not_used_again() -> None:
    joined = [START - timedelta(days=drawn(row).randrange(900)) for row in range(ROWS)]
    columns = {"at": minutes(60), "joined": joined, "city": CITY, "click": clicks()}
    assert field_of(suggested(columns), "joined")[1].settings["since"] == "joined"
    part, entry = field_of(suggested({**columns, "joined.age": CITY}), "joined")
    assert (part, entry.comment) == ("left out", "says about the same as at")
    part, entry = field_of(suggested({**columns, "at.hour": shuffled(CITY)}), "at")
    assert entry.settings == {"column": "at", "parts": ["weekday"]}
