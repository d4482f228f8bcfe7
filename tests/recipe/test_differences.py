"""What differs between recipes: sections that one has and another sets to null or lacks, and lists in few words."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from widedeep.recipe.differences import differing_settings, setting_texts
from widedeep.recipe.load import load_recipe
from widedeep.recipe.schema import Recipe

RECIPE = "data: {train: a.csv, label: y}\nfeatures: {numeric: [age], categorical: [a, b, c]}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Any:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)

    def load(*overrides: str) -> Recipe:
        return load_recipe(path, overrides).recipe

    return load


@pytest.mark.parametrize(
    ("setting", "null", "name"),
    [
        ("training.plateau={factor: 0.5}", "training.plateau=null", "training.plateau.factor"),
        ("data.tables={users: {files: u.csv, key: a}}", "data.tables={}", "data.tables.users.key"),
    ],
)
def test_a_section_differs_from_none(recipe: Any, setting: str, null: str, name: str) -> None:
    with_it, without = differing_settings([recipe(setting), recipe(null)])
    assert name in with_it
    assert name not in without
    assert all(one.startswith(name.rpartition(".")[0]) for one in with_it)
    assert differing_settings([recipe(setting), recipe(setting)]) == [{}, {}]


def test_a_kind_has_no_say_in_the_settings_of_parts_that_it_lacks(recipe: Any) -> None:
    wide, deep = recipe("model.kind=wide"), recipe("model.kind=deep", "model.deep.hidden=[8]")
    assert differing_settings([wide, deep]) == [{"model.kind": "wide"}, {"model.kind": "deep"}]


def test_the_order_of_the_recipes_does_not_show(recipe: Any) -> None:
    some = [
        recipe("model.kind=deep"),
        recipe("crosses=[[a, b]]"),
        recipe("data.tables={users: {files: u.csv, key: a}}"),
    ]
    orders = {order: differing_settings([some[one] for one in order]) for order in itertools.permutations(range(3))}
    for order, differs in orders.items():
        assert [list(differs[order.index(one)].items()) for one in range(3)] == [
            list(settings.items()) for settings in orders[0, 1, 2]
        ]


def test_entries_that_all_lists_share_are_told_in_one_sign(recipe: Any) -> None:
    both = differing_settings([recipe("crosses=[[a, b], [a, c]]"), recipe("crosses=[[a, b]]")])
    assert [len(one["crosses"]) for one in both] == [2, 1]
    assert [one["crosses"] for one in setting_texts(both)] == ["[…, a x c (min_count 2)]", "[…]"]


def test_lists_in_another_order_are_told_in_full(recipe: Any) -> None:
    both = differing_settings([recipe("crosses=[[a, b], [a, c]]"), recipe("crosses=[[a, c], [a, b]]")])
    assert [one["crosses"] for one in setting_texts(both)] == ["[a x b, a x c]", "[a x c, a x b]"]


def test_widths_of_layers_are_told_in_full(recipe: Any) -> None:
    differs = setting_texts(
        differing_settings([recipe("model.deep.hidden=[8, 4]"), recipe("model.deep.hidden=[8, 2]")])
    )
    assert differs == [{"model.deep.hidden": "[8, 4]"}, {"model.deep.hidden": "[8, 2]"}]
