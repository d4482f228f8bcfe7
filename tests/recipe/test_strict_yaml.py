"""Strict YAML: the traps are closed, and every key knows its line."""

import math
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from widedeep.recipe.strict_yaml import read_yaml


def value_of(text: str, **environment: str) -> object:
    document = read_yaml(f"key: {text}", environment)
    assert document.findings == []
    return document.data["key"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E-3", 0.001),
        ("2.5e6", 2.5e6),
        ("1.", 1.0),
        (".5", 0.5),
        ("-0.25", -0.25),
        ("1e400", math.inf),
        ("-.inf", -math.inf),
    ],
)
def test_numbers_with_a_point_or_an_exponent_are_numbers(text: str, value: float) -> None:
    read = value_of(text)
    assert read == value
    assert isinstance(read, float)


@pytest.mark.parametrize(("text", "value"), [("1e5", 100_000), ("2e+6", 2_000_000), ("12", 12), ("-3", -3), ("0", 0)])
def test_whole_numbers_stay_whole_with_an_exponent_too(text: str, value: int) -> None:
    read = value_of(text)
    assert read == value
    assert isinstance(read, int)


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "yes",
        "on",
        "off",
        "y",
        "N",
        "12:30",
        "1:30:00",
        "2024-01-02",
        "010",
        "0x1f",
        "0o17",
        "0b1",
        "1_000",
        "=",
        "1e",
    ],
)
def test_words_clocks_dates_and_odd_numbers_are_text(text: str) -> None:
    assert value_of(text) == text


@pytest.mark.parametrize(("text", "value"), [("true", True), ("TRUE", True), ("False", False), ("~", None), ("", None)])
def test_only_true_false_and_null_are_special_words(text: str, value: object) -> None:
    assert value_of(text) is value


def test_quotes_make_text_of_anything() -> None:
    assert read_yaml("['1', \"true\", '', 'null']").data == ["1", "true", "", "null"]


def test_each_key_and_entry_knows_its_line() -> None:
    document = read_yaml("# comment\na:\n  b: 1\n  c:\n    - x\n    - d: 2\n")
    assert document.lines == {
        (): 2,
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "c"): 4,
        ("a", "c", 0): 5,
        ("a", "c", 1): 6,
        ("a", "c", 1, "d"): 6,
    }


def test_anchors_aliases_and_merges_work_and_own_keys_win() -> None:
    document = read_yaml("base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\nsame: *base\n")
    assert document.findings == []
    assert document.data["other"] == {"a": 1, "b": 3}
    assert document.data["same"] == {"a": 1, "b": 2}


def test_of_several_merged_mappings_the_first_wins() -> None:
    document = read_yaml("x: &x {a: 1}\ny: &y {a: 2, b: 2}\nz: {<<: [*x, *y]}\n")
    assert document.data["z"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "written twice, first in line 1"),
        ("a:\n  5: x\n", 2, "a key must be text, is 5"),
        ("a: 1\n? [x, y]\n: 2\n", 2, "a key must be text"),
        ("a: 1\n\tb: 2\n", 2, "blanks, not tabs"),
        ("a: 1\nb: [2\n", 3, "not valid YAML"),
        ("a: 1\nb: *.csv\n", 2, "starts with `*` needs quotes"),
        ("a: 1\nb: *unknown\n", 2, "alias"),
        ("a: 1\nb: \x01\n", 2, "is not allowed"),
        ("a: 1\n---\nb: 2\n", 2, "document"),
        ("a: 1\nb: !!int x\n", 2, "does not read as !!int"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "tag"),
        ("a: 1\nb: !!set {x}\n", 2, "tag"),
        ("a: 1\nb: {<<: 3}\n", 2, "`<<`"),
        ("a: 1\nb: ${NOPE}\n", 2, "NOPE is not set"),
        ("a: 1\nb: [${HOME}/x]\n", 2, "text with `${NAME}` needs quotes"),
        ("a: 1\nb: ${1}\n", 2, "starts a variable"),
    ],
)
def test_what_is_wrong_is_found_with_its_line(text: str, line: int, told: str) -> None:
    (finding,) = read_yaml(text, {}).findings
    assert finding.line == line
    assert told in finding.message


def test_an_alias_inside_its_own_anchor_and_deep_nesting_end_in_a_finding() -> None:
    for text in ("a: &a [*a]", "a: &a {<<: *a}", "[" * 5000):
        assert "nests too deeply" in read_yaml(text).findings[0].message


def test_variables_expand_inside_text_and_stay_text() -> None:
    assert value_of("${DIR}/x/${DAY:-today}.csv", DIR="/data") == "/data/x/today.csv"
    assert value_of("'${N}'", N="5") == "5"
    assert value_of("${N}", N="5") == "5"
    assert value_of("${N}", N="") == ""
    assert value_of("${N:-7}", N="") == "7"
    assert value_of("${N:-}") == ""


def test_a_value_from_the_environment_is_not_expanded_again() -> None:
    assert value_of("${A}", A="${B}", B="x") == "${B}"


def test_a_doubled_dollar_writes_the_text_itself() -> None:
    assert value_of("$${HOME} $$${HOME} $HOME", HOME="x") == "${HOME} $${HOME} $HOME"


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_but_never_crashes(text: str) -> None:
    document = read_yaml(text, {})
    assert document.findings or document.data is None or document.lines


# `1e3` is a number here, as in YAML 1.2 and as the cases above ask; PyYAML, which reads it as text, writes such a text bare.
TEXTS = st.text().filter(lambda text: not re.fullmatch("[-+]?[0-9]+[eE][-+]?[0-9]+", text))


@given(st.recursive(st.integers() | TEXTS, lambda inner: st.lists(inner, max_size=4), max_leaves=8))
def test_what_pyyaml_writes_of_plain_data_reads_back(data: object) -> None:
    """Oracle: PyYAML's own writer."""
    document = read_yaml(yaml.safe_dump({"key": data}).replace("${", "$${"), {})
    assert document.findings == []
    assert document.data["key"] == data
