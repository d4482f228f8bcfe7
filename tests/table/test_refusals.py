"""What is refused of labels, weights, groups, keys and times, with where it stands and what to do."""

from datetime import date, time
from typing import Any

import polars as pl
import pytest

from widedeep.errors import DataError
from widedeep.recipe.schema import DataSettings, LabelSettings, Recipe, TimeSettings
from widedeep.source.blocks import RawBlock
from widedeep.source.coded import CodedColumn
from widedeep.table.label import TargetTally, group_values, label_values, listed_labels, weight_values
from widedeep.table.split import drawn_parts, listed_folds, row_splits, split_columns
from widedeep.table.time_cuts import RankedTimes, TimeCuts, time_cuts
from widedeep.table.times import time_values
from widedeep.table.typed import Typing
from widedeep.table.typed_columns import typed_columns


def block(values: Any, name: str = "x") -> RawBlock:
    return RawBlock(pl.DataFrame({name: values}), "log.csv", 0, 0, first_line=2)


def labels_of(rows: RawBlock, settings: LabelSettings) -> pl.Series:
    return label_values(rows, settings, *listed_labels(settings))


def refusal(call: Any) -> str:
    with pytest.raises(DataError) as caught:
        call()
    return str(caught.value)


# -------------------------------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, None], "log.csv:3: column 'x': a row weight is missing; every row needs one: fill it or drop the row"),
        ([1.0, -0.5], "log.csv:3: column 'x': the row weight -0.5 is negative"),
        (
            ["1", "x"],
            "log.csv:3: column 'x': 'x' cannot be a row weight: a finite number that is not negative is needed",
        ),
        ([1.0, 1e39], "1e+39 cannot be a row weight"),
        ([date(2024, 1, 2)] * 2, "log.csv:2: column 'x': datetime.date(2024, 1, 2) cannot be a row weight"),
    ],
)
def test_a_row_weight_is_a_finite_number_that_is_not_negative(values: Any, message: str) -> None:
    assert message in refusal(lambda: weight_values(block(values), "x"))


def test_weights_may_be_zero_and_are_float32() -> None:
    found = weight_values(block(["0", "2.5"]), "x")
    assert (found.to_list(), found.dtype) == ([0.0, 2.5], pl.Float32)


def test_every_row_needs_a_group_which_is_one_value() -> None:
    assert group_values(block([1.0, 2.5]), "x").to_list() == ["1", "2.5"]
    assert refusal(lambda: group_values(block(["a", None]), "x")) == (
        "log.csv:3: column 'x': the group is missing; every row needs one: fill it or drop the row"
    )
    assert refusal(lambda: group_values(block([b"a"]), "x")).startswith("log.csv: column 'x': ")


@pytest.mark.parametrize(
    ("settings", "values", "labels"),
    [
        ({}, ["TRUE", "0", "1.0"], [1.0, 0.0, 1.0]),
        ({"positive": ["a"]}, ["a", "b", "c"], [1.0, 0.0, 0.0]),
        ({"positive": ["a"], "negative": ["b"]}, ["a", "b", "a"], [1.0, 0.0, 1.0]),
        ({"positive": [2]}, [2.0, 1.0, 3.0], [1.0, 0.0, 0.0]),
        ({"kind": "regression"}, ["2.5", "-1", "0"], [2.5, -1.0, 0.0]),
    ],
)
def test_labels_are_read_as_the_recipe_says(settings: dict[str, Any], values: list[Any], labels: list[float]) -> None:
    found = labels_of(block(values), LabelSettings.model_validate({"column": "x", **settings}))
    assert (found.to_list(), found.dtype) == (labels, pl.Float32)


def test_a_label_that_is_neither_is_refused_with_the_rule_that_it_breaks() -> None:
    plain, named = ({"column": "x"}, {"column": "x", "positive": ["a"], "negative": ["b"]})
    assert refusal(lambda: labels_of(block(["1", "2"]), LabelSettings.model_validate(plain))) == (
        "log.csv:3: column 'x': the label '2' is neither positive nor negative: 0/1 and true/false are understood; name the "
        "values that count as positive in data.label.positive"
    )
    assert refusal(lambda: labels_of(block(["a", "c"]), LabelSettings.model_validate(named))) == (
        "log.csv:3: column 'x': the label 'c' is neither positive nor negative: name it in data.label.positive or "
        "data.label.negative, or drop the row"
    )


def tally(*blocks: tuple[list[float], list[float] | None]) -> TargetTally:
    found = TargetTally()
    for labels, weights in blocks:
        found.add(
            pl.Series(labels, dtype=pl.Float32), None if weights is None else pl.Series(weights, dtype=pl.Float32)
        )
    return found


def test_a_tally_sums_labels_and_weights_over_all_blocks() -> None:
    found = tally(([1.0, 0.0], [0.5, 1.5]), ([], []), ([3.0], [2.0]))
    assert (found.rows, found.label_sum, found.weight_sum) == (3, 4.0, 4.0)
    assert (found.label_min, found.label_max) == (0.0, 3.0)
    assert tally(([1.0], None)).weight_sum is None


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        ([0.0, 1.0], {}, None),
        ([1.0, 1.0], {}, "column 'y': the label is positive in all 2 train rows; both classes are needed: check "
         "data.label.positive, the files and the split"),
        ([0.0, 0.0], {"positive": ["a", "b"]}, "the label is negative in all 2 train rows; both classes are needed: check "
         "data.label.positive (a, b), the files and the split"),
        ([2.5, 2.5], {"kind": "regression"}, "column 'y': the label is 2.5 in all 2 train rows: nothing to learn"),
    ],
)  # fmt: skip
def test_a_constant_label_teaches_nothing(labels: list[float], settings: dict[str, Any], message: str | None) -> None:
    label = LabelSettings.model_validate({"column": "y", **settings})
    found = tally((labels[:1], None), (labels[1:], None))
    if message is None:
        found.refuse_constant_label(label)
    else:
        assert message in refusal(lambda: found.refuse_constant_label(label))


def test_one_row_must_weigh_something() -> None:
    tally(([1.0, 0.0], [0.0, 0.1])).refuse_zero_weights("test", "w")
    tally(([1.0, 0.0], None)).refuse_zero_weights("test", None)
    nothing = tally(([1.0, 0.0], [0.0, 0.0]))
    assert refusal(lambda: nothing.refuse_zero_weights("test", "w")) == (
        "column 'w': all 2 test rows have weight 0; at least one must count"
    )


# --------------------------------------------------------------------------------------------------------------- splits


def data(**settings: Any) -> DataSettings:
    return DataSettings.model_validate({"train": "a", "label": "y", **settings})


@pytest.mark.parametrize(
    ("settings", "parts", "columns"),
    [
        ({}, ("valid", "test"), ()),
        ({"valid": "v"}, ("test",), ()),
        ({"valid": "v", "test": "t", "split": {"kind": "key", "key": "k"}}, (), ()),
        ({"split": {"valid": 0}}, ("test",), ()),
        ({"split": {"kind": "key", "key": "k"}}, ("valid", "test"), ("k",)),
        ({"split": {"kind": "column", "column": "c", "test": ["x"]}}, ("test",), ("c",)),
        ({"time": "t", "split": {"kind": "time"}}, ("valid", "test"), ()),
    ],
)
def test_parts_without_files_are_drawn_and_need_their_columns(
    settings: dict[str, Any], parts: tuple[str, ...], columns: tuple[str, ...]
) -> None:
    assert drawn_parts(data(**settings)) == parts
    assert split_columns(data(**settings)) == columns


def test_a_part_with_files_takes_no_share_of_the_rows() -> None:
    rows = block(list(range(4000)))
    for settings, shares, expected in (
        ({}, {"valid": 0.25, "test": 0.5}, {0: 0.25, 1: 0.25, 2: 0.5}),
        ({"valid": "v"}, {"test": 0.5}, {0: 0.5, 2: 0.5}),
        ({"test": "t"}, {"valid": 0.25}, {0: 0.75, 1: 0.25}),
    ):
        for split in ({"kind": "random", **shares}, {"kind": "key", "key": "x", **shares}):
            counts = pl.Series(
                row_splits(data(split=split, **settings), rows, 0, listed_folds(data(split=split, **settings)))
            ).value_counts()
            found = dict(counts.iter_rows())
            assert {code: count / 4000 for code, count in found.items()} == pytest.approx(expected, abs=0.03)


def test_a_key_of_lists_and_a_missing_one_are_refused() -> None:
    settings = data(split={"kind": "key", "key": "x"})
    assert refusal(lambda: row_splits(settings, block([b"a"]), 0, {})).startswith("log.csv: column 'x': ")
    assert refusal(lambda: row_splits(settings, block(["a", None]), 0, {})) == (
        "log.csv:3: column 'x': the key of data.split is missing; fill it or drop the row"
    )


def test_rows_of_one_instant_stay_together_in_the_later_part() -> None:
    cuts = TimeCuts(valid=5.0, test=9.0)
    times = pl.Series([4.9, 5.0, 8.9, 9.0, 20.0]).to_numpy()
    assert cuts.row_splits(times).tolist() == [0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("times", "shares", "cuts"),
    [
        (list(range(10)), {"valid": 0.2, "test": 0.3}, (5.0, 7.0)),
        (list(range(10)), {"valid": 0.0, "test": 0.3}, (float("inf"), 7.0)),
        (list(range(10)), {"valid": 0.2, "test": 0.0}, (8.0, float("inf"))),
        (list(range(10)), {"valid": 0.01, "test": 0.01}, (8.0, 9.0)),
        ([0, 1, 2, 3, 4, 7, 7, 7, 7, 9], {"valid": 0.2, "test": 0.3}, (3.0, 7.0)),
        ([-3.5, -1.0, 0.0, 2.0], {"valid": 0.25, "test": 0.25}, (0.0, 2.0)),
        ([5.0] * 4, {"valid": 0.25, "test": 0.25}, (float("inf"), 5.0)),
    ],
)
def test_the_last_shares_of_the_rows_are_valid_and_test(
    times: list[float], shares: dict[str, float], cuts: tuple[float, float]
) -> None:
    settings = data(time="t", split={"kind": "time", **shares})
    numbers = pl.Series(times, dtype=pl.Float64).to_numpy()
    found = time_cuts(settings, RankedTimes.in_passes(lambda: [numbers[:3], numbers[3:]]))
    assert (found.valid, found.test) == cuts


def test_the_value_at_a_rank_is_that_of_the_sorted_times(monkeypatch: pytest.MonkeyPatch) -> None:
    times = pl.Series([3.0, -1.5, 1e300, -1e-300, 0.0, 3.0]).to_numpy()
    for held in (6, 5):  # in memory, and by passes
        monkeypatch.setattr("widedeep.table.time_cuts.HELD_TIMES", held)
        found = [RankedTimes.in_passes(lambda: [times]).at(rank).time for rank in range(6)]
        assert found == [-1.5, -1e-300, 0.0, 3.0, 3.0, 1e300]


# ------------------------------------------------------------------------------------------------------ times and types


def test_times_of_a_day_lists_and_unusable_patterns_say_no_moment() -> None:
    for values, kind in (([time(1, 2)], "Time"), ([[1]], "List(Int64)"), ([True], "Boolean")):
        assert refusal(lambda values=values: time_values(block(values), TimeSettings(column="x"))) == (
            f"log.csv: column 'x': {kind} values do not say when a row happened"
        )
    message = refusal(lambda: time_values(block(["5 5"]), TimeSettings(column="x", format="%M %d")))
    assert message.startswith("data.time.format: '%M %d' is not a usable strptime pattern: ")


def recipe_of(**features: Any) -> Recipe:
    return Recipe.model_validate({"name": "r", "data": {"train": "a", "label": "y"}, "features": features})


def test_what_a_columns_content_depends_on_is_its_reading() -> None:
    lists = {"column": "t", "separator": "|", "max_length": 5, "min_count": 9}
    dates = [{"column": "at", "format": "%Y", "since": {"column": "b", "format": "%m"}, "parts": ["hour"]}]
    recipe = recipe_of(numeric=["n"], multi_valued=[lists], date_time=dates)
    reading = {column.name: column.reading() for column in typed_columns(recipe)}
    assert reading["n"] == ["n", "n", "number", []]
    assert reading["t@values"] == [
        "t@values", "t", "values", [("max_length", 5), ("separator", "|"), ("weight_separator", None)],
    ]  # fmt: skip
    assert reading["at.hour"] == ["at.hour", "at", "part", [("format", "%Y")]]
    assert reading["at.age"][:3] == ["at.age", "at", "age"]
    assert [name for name, _ in reading["at.age"][3]] == ["format", "since"]


def test_values_that_came_as_codes_are_typed_once_each_and_checked_row_by_row() -> None:
    recipe = recipe_of(numeric=["n"], categorical=["c"])
    texts = {
        "n": CodedColumn(pl.Series([None, "1.5", "x", "7"]), pl.Series([1, 0, 3, 1], dtype=pl.UInt8)),
        "c": CodedColumn(pl.Series([None, "a", "b"]), pl.Series([1, 2, 0, 1], dtype=pl.UInt8)),
    }
    rows = RawBlock(pl.DataFrame({"y": ["0", "1", "0", "1"]}), "log.csv", 0, 0, first_line=2, coded=texts)
    typing = Typing(recipe)
    typed = typing.convert(rows)
    assert set(typed.values) == {"n", "c"}
    decoded = typed.decoded()
    assert decoded["n"].to_list() == [1.5, None, 7.0, 1.5]
    assert decoded["c"].to_list() == ["a", "b", None, "a"]
    assert typing.bad_numbers["n"] == 0
    texts["n"] = CodedColumn(texts["n"].values, pl.Series([1, 0, 2, 1], dtype=pl.UInt8))
    assert refusal(lambda: Typing(recipe).convert(rows)).startswith("log.csv:4: column 'n': 'x' is not a finite number")
    missing = Recipe.model_validate(
        {**recipe.model_dump(), "data": {"train": "a", "label": "y", "bad_numbers": "missing"}}
    )
    lenient = Typing(missing)
    assert lenient.convert(rows).decoded()["n"].to_list() == [1.5, None, None, 1.5]
    assert lenient.bad_numbers["n"] == 1
