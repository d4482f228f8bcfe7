"""Crosses are added to a recipe's text, and everything else in it stays as it was written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.api.recipes import bundled_recipes
from widedeep.errors import RecipeError
from widedeep.recipe.add_crosses import add_crosses
from widedeep.recipe.base import why_no_name
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.load import load_recipe, parse_recipe
from widedeep.recipe.schema import CrossSettings, Recipe
from widedeep.recipe.strict_yaml import read_yaml

pytestmark = pytest.mark.usefixtures("held_against_the_schema")

HEAD = """\
# My experiment
data: {train: log.csv, label: click}
features:
  numeric: [n]
  categorical: [a, b, c]  # three
"""
TAIL = """
# the model
model:
  kind: wide_deep  # both
"""


def cross(*fields: str, **rest: Any) -> CrossSettings:
    return CrossSettings.model_validate({"fields": list(fields), **rest})


NEW = [cross("c", "a"), cross("b", "n", granularity={"n": 8}, buckets=4096, promised=(2e-3, 1e-3, 3e-3))]
NEW_LINES = ["[c, a]", "{fields: [b, n], granularity: {n: 8}, buckets: 4096, promised: [0.002, 0.001, 0.003]}"]


def read(text: str) -> Recipe:
    return parse_recipe(text, "r.yaml", Path("."), "sample").recipe


@pytest.mark.parametrize(
    ("section", "edited"),
    [
        ("crosses:\n  - [a, b]\n", "crosses:\n  - [a, b]\n  - {0}\n  - {1}\n"),
        ("crosses:\n- [a, b]\n", "crosses:\n- [a, b]\n- {0}\n- {1}\n"),
        ("crosses:\n   -   [a, b]   # first\n", "crosses:\n   -   [a, b]   # first\n   - {0}\n   - {1}\n"),
        (
            "crosses:  # mine\n  - fields: [a, b]\n    min_count: 3 # few\n  # - [b, c] was no good\n",
            "crosses:  # mine\n  - fields: [a, b]\n    min_count: 3 # few\n  # - [b, c] was no good\n  - {0}\n  - {1}\n",
        ),
        ("crosses:\n  - - a\n    - b\n", "crosses:\n  - - a\n    - b\n  - {0}\n  - {1}\n"),
        ('"crosses" :\n  - [a, b]\n', '"crosses" :\n  - [a, b]\n  - {0}\n  - {1}\n'),
        ("? crosses\n: - [a, b]\n", "? crosses\n: - [a, b]\n  - {0}\n  - {1}\n"),
        ("crosses: []\n", "crosses:\n  - {0}\n  - {1}\n"),
        ("crosses: [ ]  # none\n", "crosses:  # none\n  - {0}\n  - {1}\n"),
        ("crosses:\n", "crosses:\n  - {0}\n  - {1}\n"),
        ("crosses: # none yet\n  # a x c?\n", "crosses: # none yet\n  # a x c?\n  - {0}\n  - {1}\n"),
        ("crosses: null\n", "crosses:\n  - {0}\n  - {1}\n"),
        ("crosses: # why\n  ~\n", "crosses: # why\n  \n  - {0}\n  - {1}\n"),
        ("crosses: [[a, b]]\n", "crosses:\n  - [a, b]\n  - {0}\n  - {1}\n"),
        (
            "crosses: [[a,  b], {fields: ['b', c], min_count: 3},]  # two\n",
            "crosses:  # two\n  - [a,  b]\n  - {fields: ['b', c], min_count: 3}\n  - {0}\n  - {1}\n",
        ),
        (
            "crosses: [\n    [a, b],\n    [b, c]  # last\n]  # end\n",
            "crosses: [\n    [a, b],\n    [b, c],  # last\n    {0},\n    {1},\n]  # end\n",
        ),
        ("crosses: [\n  [a, b],\n]\n", "crosses: [\n  [a, b],\n  {0},\n  {1},\n]\n"),
        ("crosses: [[a, b],\n  [b, c]]\n", "crosses: [[a, b],\n  [b, c],\n  {0},\n  {1},\n]\n"),
        ("crosses:\n  [[a, b]] # one\n", "crosses:\n  [[a, b],\n  {0},\n  {1},\n] # one\n"),
        ("crosses: [ # none\n]\n", "crosses: [ # none\n  {0},\n  {1},\n]\n"),
        ("", "crosses:\n  - {0}\n  - {1}\n"),
    ],
)
def test_a_section_grows_in_the_style_it_is_written_in(section: str, edited: str) -> None:
    def filled(text: str) -> str:
        return text.replace("{0}", NEW_LINES[0]).replace("{1}", NEW_LINES[1])

    old = HEAD + section + TAIL
    new = add_crosses(old, NEW)
    assert new == HEAD + filled(edited) + TAIL
    listed = read_yaml(old).data.get("crosses") or []
    assert read(new).crosses == (
        *(CrossSettings.model_validate(entry) for entry in listed),
        *NEW,
    )


def test_each_cross_may_have_a_comment_of_its_own() -> None:
    comments = ["fall 0.002", "odd:\n# a\u2028b\0"]
    for section in ("crosses:\n  - [a, b]\n", "crosses: []\n", ""):
        added = add_crosses(HEAD + section, NEW, comments)
        assert added.endswith(f"  - {NEW_LINES[0]}  # fall 0.002\n  - {NEW_LINES[1]}  # odd: # a b\n")
    within = add_crosses(HEAD + "crosses: [[a, b],\n  [b, c]]\n", NEW, ["", comments[1]])
    assert within.endswith(f"  {NEW_LINES[0]},\n  {NEW_LINES[1]},  # odd: # a b\n]\n")


def test_a_new_section_stands_behind_features_and_leaves_the_next_ones_comment_with_it() -> None:
    text = HEAD + "  # (and no more)\n\n  # really\n# --- the model\nmodel: {kind: wide}\n"
    expected = HEAD + "  # (and no more)\n\n  # really\ncrosses:\n  - [c, a]\n# --- the model\nmodel: {kind: wide}\n"
    assert add_crosses(text, NEW[:1]) == expected
    features_last = "data: {train: x, label: y}\nfeatures:\n  categorical:\n  - a\n  - c"
    assert add_crosses(features_last, NEW[:1]) == features_last + "\ncrosses:\n  - [c, a]"


def test_crosses_that_are_listed_in_any_order_or_given_twice_are_left_out() -> None:
    text = HEAD + "crosses:\n  - [a, c]\n  - {fields: [n, b], granularity: {n: 5}}\n"
    assert add_crosses(text, NEW) is text
    assert add_crosses(text, []) is text
    again = [cross("a", "b"), cross("b", "a"), *NEW]
    assert add_crosses(text, again, ["first", "second", "", ""]) == text + "  - [a, b]  # first\n"


@pytest.mark.parametrize(
    ("section", "line", "told"),
    [
        ("crosses:\n  - &x [a, b]\n  - [b, c]\n", 7, "anchors"),
        ("crosses: !!seq\n  - [a, b]\n", 6, "tags"),
        ("crosses: [a, b\n", 7, "not valid YAML"),
        ("crosses: 3\n", 6, "must be a list"),
        ("crosses: {fields: [a, b]}\n", 6, "must be a list"),
        ("crosses: []\ncrosses: []\n", 7, "written twice"),
        ("crosses:\n  - fields: [a, b]\n    x: |\n      y\n", 8, "block style"),
    ],
)
def test_what_cannot_be_edited_is_refused_with_its_line(section: str, line: int, told: str) -> None:
    with pytest.raises(RecipeError, match=told) as caught:
        add_crosses(HEAD + section, [cross("a", "c")], source="r.yaml")
    (fault,) = caught.value.faults
    assert str(fault).startswith(f"r.yaml:{line}: ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "mapping of sections"),
        ("- a\n", "mapping of sections"),
        ("{data: {}, features: {}, crosses: []}\n", "in { } is not edited"),
        ("data: {}\n", "`features`"),
        ("x: &x {crosses: [[a, b]], features: {}}\n<<: *x\n", "`features`"),
        ("a: &a [[a, b]]\ncrosses: *a\n", "aliases"),
    ],
)
def test_a_text_that_is_no_plain_recipe_is_refused(text: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        add_crosses(text, [cross("a", "c")])


@pytest.mark.parametrize("name", sorted(bundled_recipes()))
@pytest.mark.parametrize("form", ["as written", "dumped"])
def test_a_bundled_recipe_and_a_resolved_one_take_crosses(name: str, form: str, tmp_path: Path) -> None:
    path = bundled_recipes()[name]
    recipe = load_recipe(path).recipe
    text = path.read_text() if form == "as written" else dump_recipe(recipe)
    names = [field.name or field.column for field in recipe.features.all_categorical()]
    new = [cross(*names[:3], min_count=5), cross(*names[:4])]
    (tmp_path / path.name).write_text(add_crosses(text, new))
    assert load_recipe(tmp_path / path.name).recipe.crosses == (*recipe.crosses, *new)
    assert_lines_kept(text.replace("crosses: []", "crosses:"), (tmp_path / path.name).read_text())


def assert_lines_kept(old: str, new: str) -> None:
    rest = iter(new.splitlines(keepends=False))
    for line in old.splitlines(keepends=False):
        assert line in rest, line


# ------------------------------------------------------------------------------------------------ any text at all

NAMES = ["no", "On", "true", "null", "~", "12:30", "1e-3", "1e5", "010", "2024-01-02", "<<", " x ", "a: b", "#", "- a"]
NAMES += [
    "*.csv",
    "'",
    '"',
    "\\t",
    "a\nb\n",
    "\t",
    "\u2028",
    "\ufeff",
    "🙂",
    "${HOME}",
    "$${HOME}",
    "${",
    "[a, b]",
    "{a}",
    "a,b",
]
NAMES += ["@x", "|", ">50K", "!x", "&x", "?", "a", "größe", "x" * 200]
any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
names = st.sampled_from(NAMES) | any_text.filter(lambda name: why_no_name(name) is None)
comments = st.sampled_from(["", "", " # note", "  # it's: [odd] {x}"])
gaps = st.lists(st.sampled_from(["", "# about", "  # indented", "   ", "    # - [a, b]", "#"]), max_size=4)


def quoted(name: str) -> str:
    plain = {"\\": "\\\\", '"': '\\"'}
    letters = (plain.get(letter, letter if letter.isprintable() else f"\\U{ord(letter):08x}") for letter in name)
    return '"' + "".join(letters).replace("${", "$${") + '"'


@st.composite
def recipe_texts(draw: st.DrawFn) -> tuple[str, list[str], bool]:
    """A recipe's text, its categorical fields, and whether its `crosses` are lines (or absent), which stay whole."""
    fields = draw(st.lists(names, min_size=4, max_size=6, unique=True))
    old = [fields[:2], fields[1:3]][: draw(st.integers(0, 2))]
    flow = [draw(st.sampled_from(["[{}, {}]", "[ {},{} ]", "{{fields: [{}, {}], min_count: 3}}"])) for _ in old]
    entries = [form.format(*map(quoted, pair)) for form, pair in zip(flow, old, strict=True)]
    margin = draw(st.sampled_from(["", " ", "  ", "    "]))
    forms: list[Callable[[], list[str]]] = [
        lambda: [f"crosses: [{', '.join(entries)}]" + draw(comments)],
        lambda: ["crosses: [", *(f"  {entry}," + draw(comments) for entry in entries), "]" + draw(comments)],
        lambda: ["crosses:", f"  [{', '.join(entries)}]" + draw(comments)],
    ]
    if old:
        forms.append(
            lambda: ["crosses:" + draw(comments), *(f"{margin}- {entry}" + draw(comments) for entry in entries)]
        )
    else:
        forms += [list, lambda: ["crosses:" + draw(comments)], lambda: ["crosses: null" + draw(comments)]]
    number = draw(st.integers(0, len(forms) - 1))
    as_list = draw(st.booleans())
    categorical = (
        ["  categorical:", *(f"  - {quoted(name)}" + draw(comments) for name in fields)]
        if as_list
        else [f"  categorical: [{', '.join(map(quoted, fields))}]" + draw(comments)]
    )
    parts = [
        ["data: {train: log.csv, label: {column: the label}}" + draw(comments)],
        ["features:" + draw(comments), *categorical],
        forms[number](),
        ["training:", "  epochs: 3" + draw(comments)],
    ]
    order = draw(st.permutations(parts))
    lines = [line for part in order for line in [*draw(gaps), *part]] + draw(gaps)
    lines = draw(st.sampled_from([[], ["---"], ["%YAML 1.2", "---"]])) + lines + draw(st.sampled_from([[], ["..."]]))
    line_break = draw(st.sampled_from(["\n", "\r\n"]))
    text = draw(st.sampled_from(["", "\ufeff"])) + line_break.join(lines) + draw(st.sampled_from(["", line_break]))
    return text, fields, number in (3, 4)


@settings(max_examples=300)
@given(recipe_texts(), st.data())
def test_any_recipe_gains_the_crosses_and_keeps_every_line(
    drawn: tuple[str, list[str], bool], data: st.DataObject
) -> None:
    text, fields, kept_whole = drawn
    pairs = [[fields[2], fields[3]], [fields[0], fields[3]], [fields[3], fields[1], fields[0]]]
    new = [
        cross(
            *pair,
            **data.draw(st.sampled_from([{}, {"min_count": 4}, {"buckets": 77}, {"promised": [1e-5, -1.0, 1e16]}])),
        )
        for pair in pairs[: data.draw(st.integers(1, 3))]
    ]
    told = data.draw(st.lists(st.text(max_size=12), min_size=len(new), max_size=len(new)))
    old = read_yaml(text).data
    listed = old.pop("crosses", None) or []
    edited = add_crosses(text, new, told)
    assert read(edited).crosses == (
        *(CrossSettings.model_validate(entry) for entry in listed),
        *new,
    )
    assert {key: value for key, value in read_yaml(edited).data.items() if key != "crosses"} == old
    assert edited.endswith("\n") == text.endswith("\n")
    assert edited.startswith("\ufeff") == text.startswith("\ufeff")
    if "\r\n" in text:
        assert edited.count("\n") == edited.count("\r\n")
    if kept_whole:
        assert_lines_kept(text, edited)
    assert add_crosses(edited, new) == edited
