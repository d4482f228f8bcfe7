"""One JSON object a line: types, lines, what is refused, and that no way of cutting it into blocks changes a value."""

import gzip
import io
import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.errors import ColumnError, DataError
from widedeep.recipe.schema import FormatSettings
from widedeep.source import json_blocks
from widedeep.source.blocks import RawBlock
from widedeep.source.canonical import canonical_text
from widedeep.source.sources import read_blocks

PLAIN = FormatSettings(kind="ndjson", trim=False, missing=())


def blocks(content: bytes | str, columns=None, *, settings=PLAIN, block_bytes=1 << 20) -> list[RawBlock]:
    stored = io.BytesIO(content.encode() if isinstance(content, str) else content)
    return list(read_blocks(stored, settings, columns, name="log.ndjson", block_bytes=block_bytes))


def only(content: bytes | str, columns=None, **how) -> pl.DataFrame:
    (block,) = blocks(content, columns, **how)
    return block.frame


def lines(*values: object) -> str:
    return "".join(json.dumps({"a": value}) + "\n" for value in values)


# --------------------------------------------------------------------------------------------------------------- types


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, None, -5], pl.Int64),
        ([2**63, -(2**64)], pl.Int128),
        ([1.5, None], pl.Float64),
        ([1, 2.5, 2**53], pl.Float64),
        ([True, None], pl.Boolean),
        (["x", "", None], pl.String),
        ([None, None], pl.Null),
        ([["a", None], [], None], pl.List(pl.String)),
        ([[1], [2.5, None]], pl.List(pl.Float64)),
        ([[], None], pl.List(pl.String)),
    ],
)
def test_values_of_one_kind_keep_it(values, dtype):
    frame = only(lines(*values))
    assert frame["a"].dtype == dtype
    assert frame["a"].to_list() == values


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1, "x", 1.0, 0.1, True, None], ["1", "x", "1", "0.1", "true", None]),
        (["98101", 98101], ["98101", "98101"]),
        ([True, 1], ["true", "1"]),
        ([2**53 + 1, 0.5], ["9007199254740993", "0.5"]),
        ([10**40, 1], ["1" + "0" * 40, "1"]),
        ([-0.0, "x", 1e-7], ["0", "x", "1e-7"]),
        ([[1, "x"], [None, 1e3]], [["1", "x"], [None, "1000"]]),
    ],
)
def test_values_of_several_kinds_and_integers_that_no_number_type_holds_become_canonical_texts(values, texts):
    assert only(lines(*values))["a"].to_list() == texts


def test_a_big_integer_among_floats_or_texts_is_exact_though_it_comes_in_a_later_block():
    for first in (0.5, "x"):
        found = blocks(lines(*[first] * 1500, 2**53 + 1, 2**70), ["a"], block_bytes=1 << 10)
        assert [str(value) for value in found[-1].frame["a"][-2:]] == ["9007199254740993", str(2**70)]


def test_a_type_may_change_from_block_to_block():
    found = blocks(lines(*range(50), *[0.5] * 50, *["x"] * 50, *range(50)), ["a"], block_bytes=100)
    dtypes = [block.frame["a"].dtype for block in found]
    assert {pl.Int64(), pl.Float64(), pl.String()} <= set(dtypes)
    assert dtypes[0] == pl.Int64
    texts = pl.concat([block.frame.select(canonical_text(pl.col("a"), block.frame["a"].dtype)) for block in found])
    numbers = [str(number) for number in range(50)]
    assert texts["a"].to_list() == [*numbers, *["0.5"] * 50, *["x"] * 50, *numbers]


def test_texts_are_trimmed_and_missing_ones_null_as_in_delimited_text():
    frame = only('{"a": " x\\t"}\n{"a": " ? "}\n{"a": ""}\n', settings=FormatSettings(kind="ndjson", missing=["", "?"]))
    assert frame["a"].to_list() == ["x", None, None]


def test_texts_come_with_their_escapes_undone():
    frame = only(r'{"a": "\u00e9\n\"q\" \ud83d\ude00", "b\u00e9": 1}' + "\n" + '{"a": "é", "bé": 2}\n', ["a", "bé"])
    assert frame["a"].to_list() == ['é\n"q" \U0001f600', "é"]
    assert frame["bé"].to_list() == [1, 2]


def test_what_python_writes_for_numbers_that_are_not_finite_is_read():
    values = only('{"a": NaN}\n{"a": Infinity}\n{"a": 1}\n')["a"]
    assert values.is_nan().to_list() == [True, False, False]
    assert values[1] == float("inf")


# ---------------------------------------------------------------------------------------------------- columns and lines


def test_a_key_that_a_line_lacks_is_missing_and_only_wanted_columns_are_read():
    frame = only('{"a": 1, "deep": {"x": 1}}\n{"b": "x"}\n{}\n', ["b", "a"])
    assert frame.to_dict(as_series=False) == {"b": [None, "x", None], "a": [1, None, None]}


def test_without_wanted_columns_all_keys_of_the_first_block_are_read_in_order_of_appearance():
    assert only('{"b": 1, "a": 2}\n{"c": 3, "a": 4}\n').columns == ["b", "a", "c"]


def test_of_a_key_that_a_line_has_twice_the_first_counts_in_any_case():
    assert only('{"a": 1, "a": 2}\n')["a"].to_list() == [1]
    assert only('{"a": 1, "a": 2}\n{"a": "x"}\n')["a"].to_list() == ["1", "x"]


def test_lines_are_counted_over_blank_ones_and_blocks():
    content = '\ufeff\n{"a": 1}\n  \n\r\n{"a": 2}\r\n{"a": 3}\n\n{"a": "x"}'
    for block_bytes in (8, 20, 1000):
        found = blocks(content, ["a"], block_bytes=block_bytes)
        places = [block.place_of(row) for block in found for row in range(block.frame.height)]
        assert places == [f"log.ndjson:{line}" for line in (2, 5, 6, 8)]
        first_rows = [block.first_row for block in found]
        assert first_rows == [sum(block.frame.height for block in found[:number]) for number in range(len(found))]


@pytest.mark.parametrize("name", ["log.ndjson", "log.jsonl", "log.jsonl.gz"])
def test_a_file_is_known_by_its_ending(tmp_path, name):
    content = lines(*range(3000)).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    found = list(read_blocks(tmp_path / name, FormatSettings(), ["a"], name=name, block_bytes=1 << 12))
    assert len(found) > 1
    assert pl.concat([block.frame for block in found])["a"].to_list() == list(range(3000))
    assert found[-1].bytes_done == (tmp_path / name).stat().st_size


# -------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "log.ndjson: the file is empty"),
        ("\n \n", "log.ndjson: the file has no rows"),
        ('{"a": 1}\n\n{"a": 2', "log.ndjson:3: not valid JSON (Expecting ',' delimiter at character 8): '{\"a\": 2'"),
        ('{"a": 1}\nfoo\n', "log.ndjson:2: not valid JSON (Expecting value at character 1): 'foo'"),
        ('{"a": 1} {"a": 2}\n', "log.ndjson:1: not valid JSON (Extra data at character 10)"),
        ('{\n  "a": 1\n}\n', "log.ndjson: a JSON document that does not hold one object a line"),
        ('[{"a": 1}]\n', "log.ndjson: a JSON document that does not hold one object a line"),
        (b'{"a": 1}\n{"b": "\xff"}\n', "log.ndjson:2: byte 0xff is not valid UTF-8"),
        ('{"a": 1}\n{"a": {"b": 1}}\n', "log.ndjson:2: column 'a': '{\"b\": 1}' is an object; flatten it"),
        ('{"a": "x"}\n{"a": {"b": 1}}\n', "log.ndjson:2: column 'a': '{\"b\": 1}' is an object; flatten it"),
        ('{"a": [1]}\n{"a": [[1]]}\n', "log.ndjson:2: column 'a': '[[1]]' is a list of objects or lists; flatten it"),
        ('{"a": [1]}\n{"a": 1}\n', "log.ndjson:2: column 'a': '1' is a single value where earlier lines hold lists"),
        ('{"a": 1}\n{"a": [1]}\n', "log.ndjson:2: column 'a': '[1]' is a list where earlier lines hold single values"),
        ('{"a": "\\ud800"}\n', r"log.ndjson:1: column 'a': '\ud800' holds half a character"),
        ('{"a": ["x", "\\ud800"]}\n', "log.ndjson:1: column 'a': ['x', '\\ud800'] holds half a character"),
        ('{"a": ' + "1" * 5000 + "}\n", "log.ndjson:1: cannot be read as JSON (Exceeds the limit"),
        ('{"a": ' + "[" * 100_000 + "\n", "log.ndjson:1: cannot be read as JSON (maximum recursion depth"),
        ('{"b": 1, "A": 2}\n', "log.ndjson: no column 'a'; did you mean 'A'? It has: b, A"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_place(content, message):
    with pytest.raises((DataError, ColumnError)) as caught:
        blocks(content, ["a"], block_bytes=16)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"a": 2', ":3001: not valid JSON (Expecting ',' delimiter at character 8): '{\"a\": 2'"),
        (b'{"b": "\xff"}', ":3001: byte 0xff is not valid UTF-8"),
        ("[1]", ":3001: '[1]' is no JSON object"),
        ('{"a": {"b": 1}}', ":3001: column 'a': '{\"b\": 1}' is an object; flatten it"),
        ('{"a": ["y"]}', ":3001: column 'a': '[\"y\"]' is a list where earlier lines hold single values"),
        ('{"a": "\\ud800"}', r":3001: column 'a': '\ud800' holds half a character"),
    ],
)
@pytest.mark.parametrize("block_bytes", [100, 1 << 20])
def test_a_bad_line_is_refused_with_its_place_though_the_lines_before_were_read_by_their_types(
    line, message, block_bytes
):
    content = lines(*["x"] * 3000).encode() + (line.encode() if isinstance(line, str) else line)
    with pytest.raises(DataError) as caught:
        blocks(content, ["a"], block_bytes=block_bytes)
    assert str(caught.value).startswith("log.ndjson" + message)


def test_long_lines_are_shown_by_their_beginning_only():
    with pytest.raises(DataError) as caught:
        blocks('{"a": "' + "x" * 10_000, ["a"])
    assert len(str(caught.value)) < 250
    assert "xxx'…;" in str(caught.value)


def test_a_file_without_line_breaks_is_not_read_into_memory_whole(monkeypatch):
    monkeypatch.setattr(json_blocks, "_LINE_LIMIT", 1000)
    with pytest.raises(DataError, match=r"log.ndjson:2: a line longer than 0 MiB; is this NDJSON\?"):
        blocks('{"a": 1}\n' + "x" * 5000, ["a"], block_bytes=100)


def test_a_rare_key_may_come_late_and_one_that_never_comes_is_refused_before_the_first_row_of_a_file(tmp_path):
    path = tmp_path / "log.ndjson"
    path.write_text(lines(*range(2000)) + '{"rare": 1}\n' + lines(*range(2000)))

    def read(source, columns):
        return read_blocks(source, FormatSettings(), columns, name="log.ndjson", block_bytes=1 << 12)

    found = pl.concat([block.frame.cast(pl.Int64) for block in read(path, ["a", "rare"])])
    assert found["rare"].drop_nulls().to_list() == [1]
    with pytest.raises(ColumnError, match=r"log.ndjson: no column 'rara'.* It has: a$"):
        next(read(path, ["a", "rara"]))
    with path.open("rb") as stream:
        late = read_blocks(stream, PLAIN, ["a", "rara"], name="<stdin>", block_bytes=1 << 12)
        assert next(late).frame["rara"].null_count() > 0
        with pytest.raises(ColumnError, match=r"<stdin>: no column 'rara'"):
            list(late)


def test_a_key_of_nulls_is_there(tmp_path):
    (tmp_path / "log.ndjson").write_text('{"a": 1, "né": null}\n{"a": 2}\n')
    (tmp_path / "escaped.ndjson").write_text('{"a": 1, "n\\u00e9": null}\n{"a": 2}\n')
    for name in ("log.ndjson", "escaped.ndjson"):
        (block,) = read_blocks(tmp_path / name, FormatSettings(), ["né"], name=name)
        assert block.frame["né"].null_count() == 2


ELSEWHERE = [
    {"a": "b"},
    {"a": ["b", "c"]},
    {"a": 1, "nested": {"b": 2}},
    {"a": 1, "list": [{"b": 2}]},
    {"a": '"b": 1'},
    {"b ": 1, "a": 1},
]


@pytest.mark.parametrize("row", ELSEWHERE)
@pytest.mark.parametrize("rows", [3, 3000])
@pytest.mark.parametrize("packed", [False, True])
def test_a_key_whose_name_stands_elsewhere_in_a_line_is_not_there(row, rows, packed, tmp_path):
    content = (json.dumps(row) + "\n").encode() * rows
    path = tmp_path / ("log.ndjson.gz" if packed else "log.ndjson")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ColumnError, match=r"log.ndjson: no column 'b'"):
        next(read_blocks(path, FormatSettings(), ["a", "b"], name="log.ndjson", block_bytes=1 << 12))
    with pytest.raises(ColumnError, match=r"log.ndjson: no column 'b'"):
        blocks(content, ["a", "b"], block_bytes=1 << 12)


@pytest.mark.parametrize(
    "line",
    [
        '{"\\u0062/": null}',
        '{ "b\\/" : null}',
        '{"b\\u002F": null}',
        '{"a": {"b/": 1}, "b/": null}',
        '{"a": "b/", "b/": null}',
    ],
)
@pytest.mark.parametrize("before", [0, 3000])
def test_a_key_is_there_however_json_spells_it(line, before, tmp_path):
    (tmp_path / "log.ndjson").write_text(lines(*range(before)) + line + "\n" + lines(1))
    read = read_blocks(tmp_path / "log.ndjson", FormatSettings(), ["b/"], name="log.ndjson", block_bytes=1 << 12)
    assert sum(block.frame["b/"].null_count() for block in read) == before + 2


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6), st.lists(st.booleans(), min_size=6))
def test_every_spelling_of_a_key_is_that_key(key, is_escaped):
    letters = [
        "".join(f"\\u{unit:04x}" for unit in memoryview(letter.encode("utf-16-le")).cast("H"))
        if escaped
        else json.dumps(letter, ensure_ascii=False)[1:-1]
        for letter, escaped in zip(key, is_escaped, strict=False)
    ]
    line = f'{{"other": 1, "{"".join(letters)}" : null}}'
    assert key in json.loads(line)
    assert json_blocks.has_key(f'{{"another": 0}}\n{line}'.encode(), key)


def test_thousands_of_keys_that_no_line_has_are_sought_in_one_pass_over_the_lines(monkeypatch):
    texts_sought = []
    has_key = json_blocks.has_key
    monkeypatch.setattr(json_blocks, "has_key", lambda lines, key: texts_sought.append(key) or has_key(lines, key))
    lines = b'{"a": {"inner": 1}}\n{"b": null}\n'
    keys = [*(f"k{number}" for number in range(100)), "a", "b", "inner"]
    assert json_blocks.held_keys(lines * 3, keys) == {"a", "b"}
    line_of_all = json.dumps(dict.fromkeys(keys)).encode()
    texts_sought.clear()
    assert json_blocks.held_keys(lines + line_of_all, keys) == set(keys)
    assert not texts_sought


# ---------------------------------------------------------------------------------------------------------- any content

_INTEGERS = st.integers() | st.sampled_from([2**53 + 1, 2**63, 2**64, 2**127, -(2**127), 2**130])
_FLOATS = st.floats(allow_nan=False)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(
    ["1", "1.0", '{"k": 1}', "[1]", "null", "true", "Static("]
)
_KINDS = st.sampled_from([st.booleans(), _INTEGERS, _FLOATS, _TEXTS, st.booleans() | _INTEGERS | _FLOATS | _TEXTS])


@st.composite
def columns_of_values(draw) -> list[object]:
    """One value per line, of a kind that changes once, or lists of such."""
    first, second = draw(_KINDS), draw(_KINDS)
    if draw(st.booleans()):
        first, second = st.lists(st.none() | first, max_size=3), st.lists(st.none() | second, max_size=3)
    return draw(st.lists(st.none() | first, min_size=1, max_size=10)) + draw(st.lists(st.none() | second, max_size=10))


def _text(value: object) -> str | None:
    """Canonical text by plain Python and one value at a time."""
    if isinstance(value, bool) or value is None:
        return None if value is None else str(value).lower()
    if isinstance(value, float):
        return pl.select(canonical_text(pl.lit(value), pl.Float64())).item()
    return str(value)


def _texts(series: pl.Series) -> list[object]:
    if isinstance(series.dtype, pl.List):
        return series.list.eval(canonical_text(pl.element(), series.dtype.inner)).to_list()
    return series.to_frame("a").select(canonical_text(pl.col("a"), series.dtype)).to_series().to_list()


@given(columns_of_values(), st.booleans(), st.integers(3, 200))
def test_the_texts_of_all_values_are_the_same_however_they_are_cut_into_blocks(values, escaped, block_bytes):
    content = "".join(json.dumps({"x": 0, "a": value}, ensure_ascii=escaped) + "\n" for value in values)
    found = blocks(content, ["a"], block_bytes=block_bytes)
    texts = [text for block in found for text in _texts(block.frame["a"])]
    assert texts == [[_text(item) for item in value] if isinstance(value, list) else _text(value) for value in values]


@given(st.lists(st.text('{}[]":,a1 \\', max_size=12), min_size=1, max_size=5), st.integers(1, 3))
def test_what_is_not_json_for_python_is_refused_and_nothing_else_is(texts, good):
    content = lines(*["x"] * good).encode() + "".join(text + "\n" for text in texts).encode()

    def fits(line: bytes) -> bool:
        try:
            value = json.loads(line)
        except ValueError:
            return False
        return isinstance(value, dict) and not isinstance(value.get("a"), (dict, list))

    written = [line for line in content.split(b"\n") if line.strip()]
    try:
        num_rows = sum(block.frame.height for block in blocks(content, ["a"], block_bytes=16))
    except DataError:
        assert not all(map(fits, written))
    else:
        assert num_rows == len(written)
        assert all(map(fits, written))
