"""A suggested recipe as text: it reads back as it was meant, whatever columns are called, and lines stay short."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import ROWS, clicks, suggested

from widedeep.recipe.strict_yaml import read_yaml
from widedeep.suggest.fields import Entry
from widedeep.suggest.settings import Setting
from widedeep.suggest.suggestion import Suggestion
from widedeep.suggest.text import flow, recipe_text

pytestmark = pytest.mark.usefixtures("held_against_the_schema")

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=6,
)


def read(text: str) -> Any:
    return read_yaml(text, {}).data


@given(VALUES)
def test_any_value_reads_back(value: Any) -> None:
    assert read(f"v: {flow(value)}\n") == {"v": value}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain words", "plain words"),
        ("user_id", "user_id"),
        ("a-b/c.csv", "a-b/c.csv"),
        ("two  blanks", '"two  blanks"'),
        ("", '""'),
        ("7", '"7"'),
        ("true", '"true"'),
        ("Null", '"Null"'),
        ("~", '"~"'),
        (".nan", '".nan"'),
        ("a: b", '"a: b"'),
        ("#", '"#"'),
        ('say "x"', '"say \\"x\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("tab\there", '"tab\\there"'),
        ("two\nlines\r", '"two\\nlines\\r"'),
        ("\x01", '"\\x01"'),
        ("\xff", '"ÿ"'),
        ("\x80", '"\\x80"'),
        ("\u200b", '"\\u200b"'),
        ("\U000e0001", '"\\U000e0001"'),
        ("café", '"café"'),
        ("cost ${x}", '"cost $${x}"'),
        (True, "true"),
        (False, "false"),
        (None, "null"),
        (7, "7"),
        (0.001, "0.001"),
        (["a", 1], "[a, 1]"),
        ({"a": [1, "x y"], "b": {"c": None}}, "{a: [1, x y], b: {c: null}}"),
    ],
)
def test_a_value_is_written_plainly_where_it_can_be(value: Any, text: str) -> None:
    assert flow(value) == text


def suggestion(**changes: Any) -> Suggestion:
    whole = {
        "name": "log",
        "title": ("Two lines.", "Of a title."),
        "data": (Setting("train", "log.csv"), Setting("label", "click", "30.0% positive")),
        "fields": {
            "numeric": [Entry({"column": "price", "buckets": 10}, "0 to 9"), Entry({"column": "age"})],
            "categorical": [Entry({"column": "city"}, "3 values")],
        },
        "left_out": (("id", "names single rows"),),
        "model": (Setting("kind", "wide_deep", "a comment"),),
        "training": (Setting("batch_size", 32),),
        "notes": (),
    }
    return Suggestion(**{**whole, **changes})


def test_the_whole_text_is_this() -> None:
    assert recipe_text(suggestion()) == (
        "# Two lines.\n# Of a title.\nname: log\n\n"
        "data:\n  train: log.csv\n  label: click  # 30.0% positive\n\n"
        "features:\n"
        "  numeric:                          # scaled by quantiles for the deep part, cut into `buckets` for the wide part\n"
        "    - {column: price, buckets: 10}  # 0 to 9\n"
        "    - age\n"
        "  categorical:  # a weight and an embedding per value; values below min_count share one\n"
        "    - city  # 3 values\n\n"
        "# crosses:  # a weight of its own for every pair of values that the wide part should know by heart\n"
        "#   - [city, price]\n\n"
        "model:\n  kind: wide_deep  # a comment\n\n"
        "training:\n  batch_size: 32\n\n"
        "# Left out; to bring one back, list it under features:\n#   id: names single rows\n"
    )


def test_without_a_pair_of_columns_the_example_of_a_cross_names_none_and_nothing_left_out_is_not_told() -> None:
    text = recipe_text(suggestion(fields={"categorical": [Entry({"column": "city"})]}, left_out=()))
    assert "#   - [first, second]\n" in text
    assert "Left out" not in text
    assert text.endswith("batch_size: 32\n")


def test_comments_too_long_for_their_line_stand_above_it_and_long_values_are_broken() -> None:
    many = {"train": [f"folder/part-{number:05}.csv" for number in range(20)]}
    long = {"columns": [f"column_{number}" for number in range(30)], "header": False, "separator": ";"}
    data = (
        Setting("train", many["train"], "several files"),
        Setting("format", long),
        Setting("label", "click", " ".join(["words"] * 30)),
    )
    text = recipe_text(suggestion(data=data, left_out=(("x", " ".join(["reasons"] * 16)),)))
    assert max(map(len, text.splitlines())) <= 120
    lines = text.splitlines()
    assert "  train: [  # several files" in lines
    assert lines[lines.index("  train: [  # several files") + 1].startswith(
        "    folder/part-00000.csv, folder/part-00001.csv,"
    )
    assert "  format:" in lines
    assert "    header: false" in lines
    assert lines[lines.index("  label: click") - 1].startswith("  # ")
    assert [line[:8] for line in lines[-2:]] == ["#   x: r", "#       "]
    found = read(text)
    assert found["data"] == {"train": many["train"], "format": long, "label": "click"}


@pytest.mark.parametrize(("count", "is_short"), [(60, False), (61, True)])
def test_many_fields_are_listed_without_comments(count: int, is_short: bool) -> None:
    entries = [Entry({"column": f"c{number}", "buckets": 10}, "a comment") for number in range(count)]
    text = recipe_text(suggestion(fields={"numeric": entries}))
    assert ("a comment" not in text.split("crosses")[0].split("model:")[0]) == is_short
    assert read(text)["features"]["numeric"] == [entry.settings for entry in entries]
    assert max(map(len, text.splitlines())) <= 120
    if is_short:
        assert "  numeric: [  # scaled by quantiles" in text
        assert "\n  ]\n" in text


def test_a_lines_comments_stand_in_one_column_but_for_very_long_ones() -> None:
    entries = [Entry({"column": "c" * 70}, "long"), Entry({"column": "d"}, "short")]
    lines = recipe_text(suggestion(fields={"categorical": entries})).splitlines()
    assert f"    - {'c' * 70}  # long" in lines
    assert f"{'    - d'.ljust(60)}  # short" in lines


# ---------------------------------------------------------------------------------------------------------- suggestion


def city() -> list[str]:
    cities = ["oslo", "rome", "lima"] * (ROWS // 3)
    random.Random(1).shuffle(cities)
    return cities


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("log", "log"),
        ("my log (2)", "my-log--2-"),
        ("-_x", "x"),
        ("***", "recipe"),
        ("a.b-c_d", "a.b-c_d"),
        ("7é", "7-"),
    ],
)
def test_the_name_is_one_that_a_recipe_may_have(name: str, written: str) -> None:
    assert suggested({"city": city(), "click": clicks()}, name=name).name == written


def title(columns: dict[str, Any], **options: Any) -> tuple[str, ...]:
    return suggested({**columns, "click": clicks()}, **options).title


def test_the_title_says_what_was_looked_at() -> None:
    first, second = title({"city": city(), "same": ["x"] * ROWS})
    assert first == "Suggested by `widedeep init` after a look at all 600 rows; every choice is yours to change."
    assert second == "3 columns: the label, 1 in use, 1 left out (see the end)."
    first, second = title({"city": city()}, num_rows=70_000)
    assert "after a look at 600 of 70,000 rows;" in first
    assert second == "2 columns: the label, 1 in use."
    assert "600 of about 12,000 rows;" in title({"city": city()}, num_rows=12_345, exact=False)[0]


@pytest.mark.parametrize(
    ("click", "value", "comment"),
    [
        (clicks(rate=0.4), "click", "{share:.1%} positive"),
        (["yes" if one else "no" for one in clicks()], {"column": "click", "positive": ["yes"], "negative": ["no"]},
         "{share:.1%} positive; reads as a yes"),
        ([1, 2, 5] * 200, {"column": "click", "kind": "regression"},
         "a number, 3 values: 1, 2, 5; for two classes: positive: [5] in place of kind"),
    ],
)  # fmt: skip
def test_the_label_is_written_as_the_recipe_needs_it(click: list[Any], value: Any, comment: str) -> None:
    found = next(one for one in suggested({"city": city(), "click": click}).data if one.key == "label")
    share = sum(one in (1, "yes") for one in click) / ROWS
    assert (found.value, found.comment) == (value, comment.format(share=share))


def test_a_rare_label_has_its_share_to_three_digits() -> None:
    rows = 4000
    click = [int(row in (5, 700, 2000)) for row in range(rows)]
    columns = {"city": ["oslo", "rome", "lima", "rome"] * 1000, "click": click}
    found = next(one for one in suggested(columns).data if one.key == "label")
    assert found.comment == "0.00075 positive"


def test_a_label_of_words_is_told_at_once() -> None:
    found = suggested({"city": city(), "click": ["yes" if one else "no" for one in clicks()]})
    assert found.notes == ("positive is 'yes': reads as a yes",)


@pytest.mark.parametrize(
    ("num_rows", "positives", "kept"),
    [
        (2_000_000, 20, 0.25),
        (2_000_000, 5, 0.06),
        (50_000_000, 35, 0.44),
        (2_000_000, 40, None),
        (900_000, 20, None),
        (2_000_000, 1, 0.05),
    ],
)
def test_of_a_million_negatives_to_few_positives_fifty_to_one_are_kept(
    num_rows: int, positives: int, kept: float | None
) -> None:
    click = [int(row < positives) for row in range(4000)]
    random.Random(1).shuffle(click)
    columns = {"city": ["oslo", "rome", "lima", "rome", "oslo"] * 800, "click": click}
    found = [one.value for one in suggested(columns, num_rows=num_rows).data if one.key == "keep_negatives"]
    assert found == ([] if kept is None else [kept])


@pytest.mark.parametrize(
    ("numbers", "options", "reason"),
    [
        ([f"{row / 7:.3f}" for row in range(595)] + ["oops"] * 5, {}, "such as 'oops' in n"),
        ([row / 7 for row in range(599)] + [float("nan")], {}, "such as 'NaN' in n"),
        ([row / 7 for row in range(600)], {"num_rows": 9000}, "only some rows were looked at: an odd one elsewhere must not end the run"),
        ([row / 7 for row in range(600)], {"files": {"train": ["a"], "valid": ["b"]}}, "only the train rows were looked at: an odd one elsewhere must not end the run"),
        ([row / 7 for row in range(600)], {}, None),
        (["a", "b", "c", "d"] * 150, {"num_rows": 9000}, None),
    ],
)  # fmt: skip
def test_odd_numbers_are_taken_for_missing_where_there_are_or_may_be_some(
    numbers: list[Any], options: dict[str, Any], reason: str | None
) -> None:
    mixed = numbers[1::2] + numbers[::2]
    found = suggested({"n": mixed, "city": city(), "click": clicks()}, **options)
    bad = [(one.value, one.comment) for one in found.data if one.key == "bad_numbers"]
    assert bad == ([] if reason is None else [("missing", reason)])


def test_markers_and_the_files_form_are_said() -> None:
    found = suggested({"city": ["?", *city()[1:]], "click": clicks()}, form={"separator": ";"})
    assert next(one.value for one in found.data if one.key == "format") == {"separator": ";", "missing": ["?", ""]}
    plain = suggested({"city": city(), "click": clicks()})
    assert [one.key for one in plain.data] == ["train", "label", "split"]


def test_what_gives_the_label_away_is_told_at_once() -> None:
    click = clicks()
    found = suggested({"city": city(), "paid": [9 * one for one in click], "click": click})
    assert found.notes == ("left out paid: gives the label away: held-out AUC 1.000 alone",)


def test_a_table_without_a_usable_column_is_refused_with_the_reasons() -> None:
    columns = {f"same{number}": ["x"] * ROWS for number in range(7)}
    with pytest.raises(Exception, match="no column is left to predict 'click' from") as caught:
        suggested({**columns, "click": clicks()})
    assert str(caught.value).count("always x") == 6
    with pytest.raises(Exception, match=r"\(there is none\)"):
        suggested({"click": clicks()})


@pytest.mark.parametrize(("share", "batch"), [(0.5, 32), (0.005, 64)])
def test_a_rare_class_on_either_side_makes_the_batch_larger(share: float, batch: int) -> None:
    rows = 4000
    for flipped in (False, True):
        click = [int((row % round(1 / share) == 0) != flipped) for row in range(rows)]
        found = suggested({"city": ["a", "b", "c", "d", "e"] * 800, "click": click})
        assert next(one.value for one in found.training if one.key == "batch_size") == batch
