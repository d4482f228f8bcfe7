"""The typed table of one block: names, types, bad numbers, kinds that change, labels, weights, times."""

import io
import math
from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.errors import ColumnError, DataError
from widedeep.recipe.schema import Recipe
from widedeep.source.blocks import RawBlock
from widedeep.source.sources import read_blocks
from widedeep.table.typed import Typing, check_kinds
from widedeep.table.typed_columns import LABEL, TIME, WEIGHT, text_name, typed_columns


def recipe_of(numeric=(), categorical=(), **data) -> Recipe:
    data = {"train": "log.csv", "label": "y", **data}
    return Recipe.model_validate(
        {"name": "r", "data": data, "features": {"numeric": numeric, "categorical": categorical}}
    )


def csv_block(text: str, recipe: Recipe) -> RawBlock:
    (block,) = read_blocks(io.BytesIO(text.encode()), recipe.data.format, None, name="log.csv")
    return block


def parquet_block(**columns) -> RawBlock:
    return RawBlock(pl.DataFrame(columns), "log.parquet", 10, 0)


def typed_csv(text: str, recipe: Recipe) -> pl.DataFrame:
    return Typing(recipe).apply(csv_block(text, recipe))


def refusal(block_or_text: RawBlock | str, recipe: Recipe) -> str:
    block = csv_block(block_or_text, recipe) if isinstance(block_or_text, str) else block_or_text
    with pytest.raises(DataError) as caught:
        Typing(recipe).apply(block)
    return str(caught.value)


def test_label_weight_time_numbers_and_texts_come_in_that_order_with_their_types():
    recipe = recipe_of(["age"], ["sex", "age"], weight="w", time="t")
    typed = typed_csv("age,sex,w,t,y\n1e3,m,2,5,1\n -.5 ,,0,6,0\n", recipe)
    assert typed.schema == {
        LABEL: pl.Float32,
        WEIGHT: pl.Float32,
        TIME: pl.Float64,
        "age": pl.Float64,
        "sex": pl.String,
        "age@text": pl.String,
    }
    assert typed.rows() == [(1.0, 2.0, 5.0, 1000.0, "m", "1e3"), (0.0, 0.0, 6.0, -0.5, None, "-.5")]
    assert text_name("age", recipe.features) == "age@text"
    assert text_name("sex", recipe.features) == "sex"


def test_the_texts_of_a_number_take_no_other_columns_name():
    names = [column.name for column in typed_columns(recipe_of(["age", "age@text"], ["age"]))]

    assert len(set(names)) == len(names)


def test_a_part_of_a_time_that_is_called_as_a_column_is_refused():
    features = {"numeric": [{"column": "t.hour", "name": "hour"}], "date_time": ["t"]}
    recipe = Recipe.model_validate({"name": "x", "data": {"train": "x.csv", "label": "click"}, "features": features})

    with pytest.raises(ColumnError, match=r"'t\.hour', which is made of a time.* give the time another `name`"):
        typed_columns(recipe)


def test_the_same_table_as_text_and_as_parquet_is_the_same_typed_table():
    recipe = recipe_of(["n", "b"], ["i", "f", "b", "d"])
    text = "y,n,b,i,f,d\n1,1.5,1,7,2,2024-01-02\n0,,0,,0.5,\n"
    columns = {
        "y": [True, False],
        "n": [1.5, None],
        "b": pl.Series([1, 0], dtype=pl.Int8),
        "i": [7.0, None],
        "f": [2.0, 0.5],
        "d": [date(2024, 1, 2), None],
    }
    assert Typing(recipe).apply(parquet_block(**columns)).equals(typed_csv(text, recipe))


def test_booleans_are_numbers_0_and_1():
    typed = Typing(recipe_of(["b"])).apply(parquet_block(y=[0, 1], b=[True, False]))
    assert typed["b"].to_list() == [1.0, 0.0]


@pytest.mark.parametrize("bad", ["abc", "1,000", "NaN", "inf", "-Infinity", "1e999", "1_000", "0x1"])
def test_a_text_that_is_no_finite_number_is_refused_with_line_column_and_value(bad):
    message = refusal(f'y,n\n0,1\n\n1,"{bad}"\n', recipe_of(["n"]))
    assert message == (
        f"log.csv:4: column 'n': {bad!r} is not a finite number; "
        "list it in data.format.missing, or set data.bad_numbers: missing"
    )


def test_bad_numbers_of_a_typed_source_are_refused_with_their_row():
    for values, shown in (([1.0, math.nan], "nan"), ([1.0, math.inf], "inf"), (["1", "x"], "'x'")):
        message = refusal(parquet_block(y=[0, 1], n=values), recipe_of(["n"]))
        assert message.startswith(f"log.parquet: row 12: column 'n': {shown} is not a finite number")
    assert "holds Date values, not numbers" in refusal(
        parquet_block(y=[0, 1], n=[date(2024, 1, 2)] * 2), recipe_of(["n"])
    )


def test_bad_numbers_become_missing_and_are_counted_where_the_recipe_says_so():
    recipe = recipe_of(["n"], ["c"], bad_numbers="missing")
    typing = Typing(recipe)
    for _ in range(2):
        typed = typing.apply(csv_block("y,n,c\n0,x,\n1,,a\n1,inf,b\n0,3,b\n", recipe))
    assert typed["n"].to_list() == [None, None, None, 3.0]
    assert typing.bad_numbers["n"] == 4


def test_an_empty_text_in_a_numeric_column_is_missing_whatever_the_missing_texts_are():
    typed = typed_csv("y,n,c\n0,,\n1,NA,NA\n", recipe_of(["n"], ["c"], format={"missing": ["NA"]}))
    assert typed.select("n", "c").rows() == [(None, ""), (None, None)]


def test_without_a_label_required_label_weight_and_time_may_be_absent():
    recipe = recipe_of(["n"], weight="w", time="t")
    typing = Typing(recipe, require_label=False)
    assert typing.needed == ("n",)
    assert typing.apply(csv_block("n\n1\n", recipe)).to_dict(as_series=False) == {"n": [1.0]}


def test_a_column_whose_kind_changed_since_training_is_refused_but_text_stands_for_any_kind():
    with pytest.raises(DataError, match=r"new.parquet: column 'c' holds boolean values where training saw number"):
        check_kinds({"c": "number"}, {"c": "boolean"}, "new.parquet")
    check_kinds({"c": "number", "d": "text"}, {"c": "text", "d": "temporal"}, "new.csv")
    recipe = recipe_of([], ["c"])
    trained = Typing(recipe)
    trained.apply(parquet_block(y=[0, 1], c=[5, 6]))
    assert trained.kinds == {"y": "number", "c": "number"}
    scoring = Typing(recipe, require_label=False, trained_kinds=trained.kinds)
    assert scoring.apply(csv_block("c\n5\n", recipe)).rows() == [("5",)]
    assert scoring.apply(parquet_block(c=[None, None])).rows() == [(None,), (None,)]
    with pytest.raises(DataError, match=r"log.parquet: column 'c' holds temporal values"):
        scoring.apply(parquet_block(c=[date(2024, 1, 2)]))


def test_a_type_that_no_field_can_use_is_refused_with_its_column():
    message = refusal(parquet_block(y=[0, 1], c=[{"a": 1}, {"a": 2}]), recipe_of([], ["c"]))
    assert message.startswith("log.parquet: column 'c': values of type Struct({'a': Int64}) are not supported")
    message = refusal(parquet_block(y=[0, 1], c=[[1], [2]]), recipe_of([], ["c"]))
    assert message == "log.parquet: column 'c': holds lists, which belong under features.multi_valued"


# --------------------------------------------------------------------------------------------------------- label


def labels(values: list[str], **label) -> list[float]:
    recipe = recipe_of(["n"], label={"column": "y", **label})
    return typed_csv("n,y\n" + "".join(f"1,{value}\n" for value in values), recipe)[LABEL].to_list()


def test_zero_one_and_true_false_are_understood_in_any_writing():
    assert labels(["0", "1", "0.0", "1.0", "True", "FALSE", "true"]) == [0, 1, 0, 1, 1, 0, 1]
    for values in ([True, False], [1, 0], [1.0, 0.0], ["1", "false"]):
        assert Typing(recipe_of(["n"])).apply(parquet_block(n=[1, 2], y=values))[LABEL].to_list() == [1, 0]


def test_positive_values_may_be_listed_and_are_compared_as_text():
    assert labels([">50K", "<=50K", ">50K."], positive=[">50K", ">50K."]) == [1, 0, 1]
    assert labels(["4", "5", "3"], positive=[4, 5]) == [1, 1, 0]
    assert labels(["yes", "no"], positive="yes", negative="no") == [1, 0]
    typed = Typing(recipe_of(["n"], label={"column": "y", "positive": [2]})).apply(
        parquet_block(n=[1, 2], y=[2.0, 1.0])
    )
    assert typed[LABEL].to_list() == [1, 0]


def test_a_third_label_value_is_refused_with_line_and_value():
    message = refusal("n,y\n1,0\n1,2\n", recipe_of(["n"]))
    assert message.startswith("log.csv:3: column 'y': the label '2' is neither positive nor negative")
    assert "data.label.positive" in message
    with pytest.raises(DataError, match="'maybe' is neither"):
        labels(["yes", "maybe"], positive="yes", negative="no")


@pytest.mark.parametrize("label", [{}, {"positive": ["1"]}, {"kind": "regression"}])
def test_a_missing_label_is_refused_with_its_line(label):
    message = refusal("n,y\n1,0\n1,\n", recipe_of(["n"], label={"column": "y", **label}))
    assert message.startswith("log.csv:3: column 'y': ")
    assert "is missing" in message


def test_a_regression_label_is_any_finite_number():
    assert labels(["-1.5", "7"], kind="regression") == [-1.5, 7]
    for bad in ("x", "nan", "inf", "1e60"):
        with pytest.raises(DataError, match=rf"log.csv:2: column 'y': '{bad}' cannot be the label of a regression"):
            labels([bad], kind="regression")


def test_weights_that_are_missing_negative_or_not_finite_are_refused_with_their_line():
    recipe = recipe_of(["n"], weight="w")
    for bad, reason in (
        ("", "is missing"),
        ("-1", "-1.0 is negative"),
        ("x", "'x' cannot be a row weight"),
        ("inf", "'inf'"),
    ):
        message = refusal(f"n,y,w\n1,0,1\n1,1,{bad}\n", recipe)
        assert message.startswith("log.csv:3: column 'w': ")
        assert reason in message


# ---------------------------------------------------------------------------------------------------------- time


def times(*values: str, **time) -> list[float]:
    recipe = recipe_of(["n"], time={"column": "t", **time})
    return typed_csv("n,y,t\n" + "".join(f"1,0,{value}\n" for value in values), recipe)[TIME].to_list()


def test_numbers_are_times_as_they_are():
    assert times("1510047000", "1.5", "-3") == [1510047000.0, 1.5, -3.0]


def test_iso_8601_in_its_usual_writings_is_seconds_since_1970():
    moment = datetime(2017, 11, 7, 9, 30, tzinfo=UTC).timestamp()
    assert times(
        "2017-11-07 09:30", "2017-11-07T09:30:00Z", "2017-11-07T10:30:00+01:00", "2017-11-07 09:30:00.250"
    ) == [
        moment,
        moment,
        moment,
        moment + 0.25,
    ]
    assert times("2017-11-07") == [moment - 9.5 * 3600]


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)))
def test_typed_and_written_datetimes_are_the_same_time(moment):
    typed = Typing(recipe_of(["n"], time="t")).apply(parquet_block(n=[1], y=[0], t=[moment]))
    assert typed[TIME].to_list() == times(moment.isoformat())
    assert typed[TIME][0] == pytest.approx(moment.replace(tzinfo=UTC).timestamp(), abs=1e-6)


def test_a_format_reads_other_writings_and_numbers_too():
    moment = datetime(2017, 11, 7, 9, 30, tzinfo=UTC).timestamp()
    assert times("07.11.2017 09:30", format="%d.%m.%Y %H:%M") == [moment]
    recipe = recipe_of(["n"], time={"column": "t", "format": "%Y%m%d"})
    typed = Typing(recipe).apply(parquet_block(n=[1], y=[0], t=[20171107]))
    assert typed[TIME].to_list() == [moment - 9.5 * 3600]


def test_dates_and_zoned_datetimes_are_times():
    for values in ([date(1970, 1, 2)], [datetime(1970, 1, 2, tzinfo=UTC)]):
        typed = Typing(recipe_of(["n"], time="t")).apply(parquet_block(n=[1], y=[0], t=values))
        assert typed[TIME].to_list() == [86400.0]


@pytest.mark.parametrize("bad", ["yesterday", "2017-13-01", "2017-11-07 25:00", "inf"])
def test_a_time_that_cannot_be_understood_is_refused_with_line_column_and_value(bad):
    with pytest.raises(DataError, match=rf"log.csv:3: column 't': '{bad}' is not a time .*data.time.format"):
        times("2017-11-07", bad)


def test_a_missing_time_and_an_unusable_format_are_refused():
    with pytest.raises(DataError, match=r"log.csv:3: column 't': the time is missing"):
        times("5", "")
    with pytest.raises(DataError, match=r"data.time.format: '%M %d' is not a usable strptime pattern"):
        times("5 5", format="%M %d")
