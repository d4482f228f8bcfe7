"""Lists that a text holds, as JSON, Python and databases write them, and what `init` makes of them."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from widedeep.errors import DataError
from widedeep.recipe.schema import DataSettings, MultiValuedField
from widedeep.source.blocks import RawBlock
from widedeep.table.list_texts import parse_lists
from widedeep.table.lists import ListTally, list_values

CommandLine = Callable[..., tuple[int, str, str]]

TAGS = [["red", "it's"], ["green"], ["red", "blue", "a b"], ["blue", "green"], ["a b", "red"]]
RECIPE = """\
name: r
data:
  train: {file}
  label: y
  split: {{valid: 0.2, test: 0.2}}
features:
  categorical: [z]
  multi_valued: [{{column: tags, {settings}}}]
model: {{deep: {{hidden: [4]}}}}
training: {{epochs: 1, threads: 1}}
"""
FORMS: dict[str, tuple[Callable[[list[str]], str], str]] = {
    "python": (repr, "form: python"),
    "python tuple": (lambda tags: repr(tuple(tags)), "form: python"),
    "json": (lambda tags: "[" + ", ".join(f'"{tag}"' for tag in tags) + "]", "form: json"),
    "braces": (lambda tags: "{" + ",".join(tags).replace("'", "") + "}", "form: bracketed"),
    "numpy": (lambda tags: "[" + " ".join(f'"{tag}"' for tag in tags) + "]", 'form: bracketed, separator: " "'),
    **{f"separated by {mark!r}": (mark.join, f'separator: "\\x{ord(mark):02x}"') for mark in "\x02\x03\x1d\x1f"},
}


@pytest.mark.parametrize("ending", ["csv", "parquet", "ndjson"])
@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_list_is_found_by_init_and_brackets_and_quotes_are_no_part_of_its_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: CommandLine, form: str, ending: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write, settings = FORMS[form]
    frame = pl.DataFrame(
        {
            "tags": [write(TAGS[row * 3 % 5][:: 1 if row % 2 else -1]) for row in range(60)],
            "z": ["abcd"[row % 4] for row in range(60)],
            "y": [int(row * 37 % 11 < 5) for row in range(60)],
        }
    )
    {"csv": frame.write_csv, "parquet": frame.write_parquet, "ndjson": frame.write_ndjson}[ending](f"log.{ending}")
    (tmp_path / "r.yaml").write_text(RECIPE.format(file=f"log.{ending}", settings=settings))

    assert widedeep("init", f"log.{ending}", "--label", "y", "-o", "suggested.yaml")[0] == 0
    assert f"{{column: tags, {settings}}}  # 5 values" in (tmp_path / "suggested.yaml").read_text()
    assert widedeep("train", "r.yaml")[0] == 0
    assert widedeep("eval", "r.yaml", f"log.{ending}")[0] == 0
    assert widedeep("predict", "r.yaml", f"log.{ending}", "-o", "scores.csv")[0] == 0


@pytest.mark.parametrize(
    ("form", "separator", "text", "items"),
    [
        ("json", None, '["a", "b"]', ["a", "b"]),
        ("json", None, '[1, 2.0, 0.5, true, null, ""]', ["1", "2", "0.5", "true", None, ""]),
        ("json", None, "[]", []),
        ("json", None, '{"a": 1}', None),
        ("json", None, "[[1]]", None),
        ("json", None, '"a"', None),
        ("json", None, '["a"', None),
        ("python", None, "['a', \"b\", 'it\\'s']", ["a", "b", "it's"]),
        ("python", None, "('a',)", ["a"]),
        ("python", None, "()", []),
        ("python", None, "{'b', 'a'}", ["a", "b"]),
        ("python", None, "[1, 2.5, True, None]", ["1", "2.5", "true", None]),
        ("python", None, "['a' 'b']", None),
        ("python", None, "['', '']", ["", ""]),
        ("python", None, "[1 2]", None),
        ("python", None, "{'a': 1}", None),
        ("python", None, "[open('x')]", None),
        ("python", None, "[b'a']", None),
        ("bracketed", None, '{a, "b, c",NULL}', ["a", "b, c", None]),
        ("bracketed", None, '{"a\\"b"}', ['a"b']),
        ("bracketed", None, "(a,)", ["a"]),
        ("bracketed", None, "{}", []),
        ("bracketed", None, "{a,,b}", ["a", "", "b"]),
        ("bracketed", None, "{{a},{b}}", None),
        ("bracketed", None, "[a, b}", None),
        ("bracketed", None, "a, b", None),
        ("bracketed", " ", "[a   b]", ["a", "b"]),
        ("bracketed", " ", "['a' 'b c'\n 'd']", ["a", "b c", "d"]),
        ("bracketed", "; ", "(a; b)", ["a", "b"]),
    ],
)
def test_a_text_is_read_by_its_form_or_not_at_all(
    form: str, separator: str | None, text: str, items: list[str | None] | None
) -> None:
    assert parse_lists(pl.Series([text]), form, separator) == [items]  # type: ignore[arg-type]


def read(
    values: list[str | None], bad_numbers: str = "error", **settings: str
) -> tuple[list[object], object, ListTally]:
    block = RawBlock(pl.DataFrame({"tags": pl.Series(values, dtype=pl.String)}), "log.csv", 0, 0, first_line=2)
    data = DataSettings.model_validate({"train": "log.csv", "label": "y", "bad_numbers": bad_numbers})
    tally = ListTally()
    field = MultiValuedField.model_validate({"column": "tags", **settings})
    lists, weights = list_values(block, field, data, tally)
    return lists.to_list(), None if weights is None else weights.to_list(), tally


def test_a_text_of_another_form_is_refused_by_row_or_counted() -> None:
    values = ['["a", "b"]', "a, b", None, "[]"]
    with pytest.raises(DataError, match=r"log\.csv:3: column 'tags': 'a, b' is no list of the form json"):
        read(values, form="json")

    lists, _, tally = read(values, "missing", form="json")

    assert lists == [["a", "b"], None, None, None]
    assert tally.bad_lists["tags"] == 1


def test_items_of_a_form_have_weights_and_the_missing_texts_of_the_format() -> None:
    lists, weights, tally = read(['["a:0.5", "b", null, ""]'], form="json", weight_separator=":")

    assert lists == [["a", "b"]]
    assert weights == [[0.5, 1.0]]
    assert tally.empty_items["tags"] == 2


@pytest.mark.parametrize("form", ["json", "python"])
def test_a_form_that_has_its_own_separator_takes_none(form: str) -> None:
    with pytest.raises(ValueError, match="takes no `separator`"):
        MultiValuedField.model_validate({"column": "tags", "form": form, "separator": ","})


def test_vectors_of_fractions_are_no_lists_of_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: CommandLine
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pl.DataFrame(
        {
            "v": [f"[{row / 7}, {row / 9}]" for row in range(60)],
            "z": ["abcd"[row % 4] for row in range(60)],
            "y": [int(row * 37 % 11 < 5) for row in range(60)],
        }
    )
    frame.write_csv("log.csv")

    assert widedeep("init", "log.csv", "--label", "y", "-o", "suggested.yaml")[0] == 0
    assert "#   v: lists of fractions" in (tmp_path / "suggested.yaml").read_text()
