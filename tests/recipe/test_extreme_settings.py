"""Every setting takes every value or refuses it in a message: no recipe ends in a traceback or grows without end."""

import math
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from widedeep.errors import RecipeError
from widedeep.recipe import plain_data, strict_yaml
from widedeep.recipe.load import LoadedRecipe, parse_recipe
from widedeep.recipe.plain_data import recipe_of_data
from widedeep.recipe.schema import Recipe
from widedeep.recipe.strict_yaml import read_yaml

pytestmark = pytest.mark.usefixtures("held_against_the_schema")

RECIPE = """\
data:
  train: log.csv
  label: {column: click, positive: [1], negative: [0]}
  time: {column: time}
  format: {separator: ","}
  split: {kind: random, valid: 0.2}
  tables: {users: {files: users.csv, key: user}}
features:
  numeric: [{column: price, buckets: 5, clip: [0, 100]}]
  categorical: [{column: color}]
  multi_valued: [{column: tags, separator: "|"}]
  date_time: [{column: time, name: t, since: {column: since}}]
crosses: [{fields: [price, color], min_count: 1}]
training: {plateau: {patience: 0}}
"""
VALUES = (
    *(str(number) for number in (0, -1, 1, 2**31, 2**53, 2**63, 2**64, 10**60, 10**400)),
    *("1e60", "1e308", "-1e308", ".inf", "-.inf", ".nan", "5e-324"),
    *(f'"{text}"' for text in ("n" * 300, "a/b", "\\0", "\\e[31m", ".", "..", "[red]", "\\ud800", "", " ")),
    *("[]", "{}", "null", "true", "[[]]", "[1e60]", "[null]", "{a: b}"),
)


def members(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return members(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [member for choice in get_args(annotation) for member in members(choice)]
    return [annotation]


def places(section: type[BaseModel], above: str = "") -> list[str]:
    """Every setting as the left side of an override; the first entry of a list, and the table `users`."""
    found = []
    for name, setting in section.model_fields.items():
        path = f"{above}{name}"
        found.append(path)
        for member in members(setting.annotation):
            inner = get_args(member)[-1] if get_origin(member) is dict else None
            step = ".users." if inner is not None else "."
            if get_origin(member) is tuple:
                inner, step = get_args(member)[0], ".0."
            for below in members(member if inner is None else inner):
                if isinstance(below, type) and issubclass(below, BaseModel):
                    found += places(below, f"{path}{step}")
    return list(dict.fromkeys(found))


def read(*overrides: str, recipe: str = RECIPE) -> LoadedRecipe:
    return parse_recipe(recipe, "r.yaml", Path(), "r", overrides)


def refusal(override: str) -> str:
    try:
        read(override)
    except RecipeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("place", places(Recipe))
def test_every_setting_takes_an_extreme_value_or_refuses_it_in_a_message(place: str) -> None:
    for value in VALUES:
        told = refusal(f"{place}={value}")
        assert told == "" or place.split(".")[0] in told, (place, value)
        assert max(map(len, told.splitlines()), default=0) < 1000, (place, value)


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ("model.finalnet.blocks=3", "must be at most 2, is 3"),
        ("model.finalnet.blocks=true", "must be a whole number, is true"),
        (f"training.threads={2**53}", "must be at most 1024"),
        (f"training.epochs={2**63}", f"must be at most {2**53}"),
        (f"features.categorical.0.min_count={2**64}", f"must be at most {2**53}"),
        (f"data.label.positive=[{10**60}]", "a whole number has at most 127 bits"),
        (f"name={'n' * 300}", "text of length 200 or less"),
        ('data.format.missing=["\\ud800"]', "is not valid Unicode text"),
        ('data.label.positive=["\\ud800"]', "is not valid Unicode text"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_its_rule(setting: str, rule: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(setting)

    assert rule in str(caught.value)
    assert len(caught.value.faults) == 1


def test_a_power_of_ten_beyond_64_bits_is_a_number_all_the_same() -> None:
    label = read("data.label.positive=[1e60]").recipe.data.label

    assert label.positive == (1e60,)
    assert isinstance(label.positive[0], float)
    assert read("features.numeric.0.clip=[0, 1e30]").recipe.features.numeric[0].clip == (0, 1e30)


def test_a_long_file_name_makes_a_name_that_a_folder_can_have() -> None:
    assert len(parse_recipe(RECIPE, "r.yaml", Path(), "n" * 250).recipe.name) == 200


# -------------------------------------------------------------------------------------------- recipes without an end


def bomb(levels: int, first: str = "[x, x]", level: str = "[*{0}, *{0}]") -> str:
    """Aliases of aliases: each level stands for twice as many values as the one before."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{number}: &a{number} {level.format(f'a{number - 1}')}" for number in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("first", "level"),
    [("[x, x]", "[*{0}, *{0}]"), ("{x: 1}", "{{<<: [*{0}, *{0}]}}"), ("{x: 1}", "{{p: *{0}, q: *{0}}}")],
)
def test_aliases_of_aliases_are_refused_before_they_expand(
    monkeypatch: pytest.MonkeyPatch, first: str, level: str
) -> None:
    monkeypatch.setattr(strict_yaml, "_MOST_REPEATED", 1000)

    assert read_yaml(bomb(6, first, level)).findings == []
    assert "its aliases (*) stand for more than 1,000" in read_yaml(bomb(40, first, level)).findings[0].message
    with pytest.raises(RecipeError, match="aliases"):
        read("features=" + bomb(40).replace("\n", ", ").join("{}"))


def test_long_texts_count_where_aliases_repeat_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_yaml, "_MOST_REPEATED", 1000)
    text = f"a: &a {'x' * 10_000}\nb: [{', '.join(['*a'] * 100)}]\n"

    assert "aliases" in read_yaml(text).findings[0].message


def test_one_set_of_defaults_serves_thousands_of_columns() -> None:
    columns = "\n".join(f"    - {{<<: *usual, column: c{number}}}" for number in range(3000))
    text = f"usual: &usual {{min_count: 3, max_size: 9, embedding_dim: 4}}\nlist:\n{columns}\n"

    assert read_yaml(text).findings == []


@pytest.mark.parametrize("text", ["[" * 500, "[" * 120 + "]" * 120, "- " * 500, "{a: " * 500, "a: &a [*a]"])
def test_what_nests_without_end_is_refused(text: str) -> None:
    (finding,) = read_yaml(text).findings

    assert "nests too deeply" in finding.message
    assert read_yaml("[" * 90 + "]" * 90).findings == []


def test_plain_data_that_hold_themselves_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    itself: dict[str, Any] = {}
    itself["data"] = itself
    with pytest.raises(RecipeError, match="nests too deeply"):
        recipe_of_data(itself, Path())
    monkeypatch.setattr(plain_data, "_MOST_VALUES", 1000)
    shared: Any = [1]
    for _ in range(40):
        shared = [shared, shared]
    with pytest.raises(RecipeError, match="more than 1,000 values"):
        recipe_of_data({"data": shared}, Path())


def test_infinity_and_nan_are_no_settings() -> None:
    for value in (math.inf, math.nan):
        with pytest.raises(RecipeError, match="finite"):
            recipe_of_data({"data": {"train": "x", "label": "y"}, "features": {"numeric": ["a"]},
                            "training": {"deep": {"learning_rate": value}}}, Path())  # fmt: skip
