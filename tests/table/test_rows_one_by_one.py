"""Few rows are read and typed value by value: the typed rows are those of the readers of files, or there are none."""

import io
import json
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from widedeep.errors import DataError
from widedeep.recipe.schema import Recipe
from widedeep.source.forms import Forms
from widedeep.source.json_rows import columns_of_lines
from widedeep.source.sources import read_blocks
from widedeep.table.few_rows import RowTyping
from widedeep.table.typed import Typing

RECIPE = Recipe.model_validate(
    {
        "name": "r",
        "data": {"train": "log.ndjson", "label": "y", "format": {"missing": ["", "n/a"]}, "bad_numbers": "error"},
        "features": {
            "numeric": ["price", "age"],
            "categorical": ["color", "hour", "flag", "day", "age"],
            "multi_valued": [
                {"column": "tags", "separator": "|", "max_length": 3},
                {"column": "codes"},
                {"column": "words", "separator": " ", "weight_separator": ":"},
            ],
            "date_time": [{"column": "seen", "parts": ["hour", "weekday"], "since": "born"}],
        },
    }
)
FORMS = Forms(
    {
        "hour": "number",
        "flag": "boolean",
        "day": "time",
        "tags@values": "numbers",
        "codes@values": "number",
        "age@text": "number",
    }
)
COLUMNS = Typing(RECIPE, require_label=False).needed
PLAIN = {
    "price": 1.5,
    "age": 30,
    "color": "red",
    "hour": 7,
    "flag": True,
    "day": "2024-01-05",
    "tags": "a|b",
    "codes": [1, 2],
    "words": "x:2 y",
    "seen": "2024-01-05 10:00:00",
    "born": "2000-01-01",
}
TEXTS = st.sampled_from(
    [
        "",
        "n/a",
        " red ",
        "7",
        "007",
        "7.0",
        "1e3",
        "-0",
        "nan",
        "inf",
        "True",
        "2024-01-05 00:00:00",
        "é",
        "\x00",
        "\xa0x",
        "1_000",
        "12345678901234567890",
        "�",
        "5\n",
        "٣",
    ]
) | st.sampled_from(["a||b| c |n/a|d", "x:1 y:0.1 z"])
NUMBERS = st.sampled_from([0, -0.0, 1, 1.5, 0.1, 1e-7, 1e22, 2**53 + 1, 2**63, 10**40, -(2**63), 5e-324]) | st.floats()
SCALARS = st.none() | TEXTS | NUMBERS | st.booleans() | st.integers()
VALUES = SCALARS | st.lists(SCALARS, max_size=4) | st.just({"a": 1}) | st.just([[1]])
ROWS = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(PLAIN, VALUES)), min_size=1, max_size=3)


def typing_of(kinds: dict[str, Any]) -> Typing:
    return Typing(RECIPE, require_label=False, trained_kinds=kinds, forms=FORMS)


def by_files(lines: list[bytes], kinds: dict[str, Any]) -> pl.DataFrame | None:
    """What the readers of files and `Typing` make of the lines; None where they refuse them."""
    stream = io.BytesIO(b"\n".join([*lines, json.dumps(dict.fromkeys(COLUMNS)).encode()]) + b"\n")
    try:
        (block,) = read_blocks(
            stream, RECIPE.data.format.model_copy(update={"kind": "ndjson"}), COLUMNS, name="<stdin>"
        )
        return typing_of(kinds).apply(block).head(len(lines))
    except DataError:
        return None


def by_rows(lines: list[bytes], kinds: dict[str, Any]) -> dict[str, list[Any]] | None:
    typing = RowTyping.of(typing_of(kinds), RECIPE)
    assert typing is not None
    raw = columns_of_lines(lines, COLUMNS)
    return None if raw is None else typing.typed(raw, len(lines))


def lines_of(rows: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


def require_alike(lines: list[bytes], kinds: dict[str, Any]) -> bool:
    """Fails if both ways give other typed rows; whether the short way gave any."""
    few = by_rows(lines, kinds)
    if few is None:
        return False
    expected = by_files(lines, kinds)
    assert expected is not None, lines
    assert set(few) == set(expected.columns)
    for name, values in few.items():
        assert pl.Series(name, values, expected.schema[name]).equals(expected[name], null_equal=True), (name, values)
    return True


KINDS: list[dict[str, Any]] = [
    dict.fromkeys(COLUMNS, "text"),
    {"price": "number", "age": "number", "color": "text", "hour": "number", "flag": "boolean", "codes": "list"},
]


@given(ROWS, st.sampled_from(KINDS))
@example([PLAIN, {}], KINDS[0])
def test_odd_values_are_typed_as_in_files_or_left_to_their_readers(
    rows: list[dict[str, Any]], kinds: dict[str, Any]
) -> None:
    require_alike(lines_of(rows), kinds)


@given(st.dictionaries(st.sampled_from(list(PLAIN)), SCALARS, max_size=2), st.sampled_from(KINDS))
def test_a_plain_row_with_an_odd_value_or_two_is_typed_as_in_files(odd: dict[str, Any], kinds: dict[str, Any]) -> None:
    require_alike(lines_of([{**PLAIN, **odd}]), kinds)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"color": None, "price": None, "tags": None, "codes": None, "seen": None},
        {"color": " red ", "price": " 2.50 ", "hour": "7.0", "flag": "TRUE", "day": "2024-01-05 00:00:00"},
        {"hour": 7.0, "age": 2.5, "color": False, "tags": ["a", None, " b ", "n/a", "c", "d"], "codes": ["1.0", "x"]},
        {"tags": "", "codes": [], "words": "n/a", "born": None},
    ],
)
@pytest.mark.parametrize("num_rows", [1, 3])
def test_common_values_are_typed_without_the_readers_of_files(change: dict[str, Any], num_rows: int) -> None:
    assert require_alike(lines_of([{**PLAIN, **change}] * num_rows), KINDS[0])


@pytest.mark.parametrize(
    "line",
    [
        b'{"price": 1} {"price": 2}',
        b'{"price": 1',
        b"[1]",
        b'{"price": "\xff"}',
        b'{"price": 1, "price": 2}',
        b'{"price" : 1, "price":2}',
        b'{"price"\t:1,"age":2,"age"\r:3}',
        b'{"price": {"a": 1, "a": 2}}',
        b"[" * 100_000,
        b"\x0b{}",
        b"{" + b'"price": ' + b"9" * 5000 + b"}",
    ],
)
def test_lines_that_may_be_at_fault_are_left_to_their_reader(line: bytes) -> None:
    plain = lines_of([PLAIN])
    assert by_rows([*plain, line], {}) is None
    assert by_rows(plain, {}) is not None


def test_a_colon_in_a_text_is_no_second_key() -> None:
    assert require_alike([b'{"color": "a\\":b", "tags" : "12:30 :x"}'], {})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=5,
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["a", "b", "é", 'q"', ":"]), JSON_VALUES), min_size=1, max_size=5),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :"), ("\t,\r", "\t:\r")]),
    st.sampled_from(["", "\r", " \t"]),
)
def test_lines_hold_what_the_standard_library_reads_however_they_are_written(
    objects: list[dict[str, Any]], is_ascii: bool, separators: tuple[str, str], edge: str
) -> None:
    texts = [json.dumps(values, ensure_ascii=is_ascii, separators=separators) for values in objects]
    lines = [f"{edge}{text}{edge}\n".encode() for text in texts]
    for columns in (["a", "é"], ["a"]):
        raw = columns_of_lines(lines, columns)
        assert raw is not None
        of_rows = {column: [values.get(column) for values in objects] for column in columns}
        assert repr({column: list(raw[column]) for column in columns}) == repr(of_rows)


def test_another_kind_of_value_than_in_training_is_left_to_the_typing_that_refuses_it() -> None:
    assert by_rows(lines_of([{**PLAIN, "hour": True}]), KINDS[1]) is None
    assert by_rows(lines_of([{**PLAIN, "color": True}, {**PLAIN, "color": "red"}]), KINDS[0]) is None


def test_runs_that_list_numbers_as_missing_or_have_no_forms_are_typed_as_ever() -> None:
    data = RECIPE.data.model_copy(update={"format": RECIPE.data.format.model_copy(update={"missing": ("-1",)})})
    listing = RECIPE.model_copy(update={"data": data})
    assert RowTyping.of(Typing(listing, require_label=False, forms=FORMS), listing) is None
    assert RowTyping.of(Typing(RECIPE, require_label=False, forms=None), RECIPE) is None
