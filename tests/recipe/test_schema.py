"""The schema's own promises: airtight, documented, immutable."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from write_recipe_reference import docstrings

from widedeep.errors import RecipeError
from widedeep.recipe import schema
from widedeep.recipe.load import parse_recipe
from widedeep.recipe.schema import Recipe, Settings

pytestmark = pytest.mark.usefixtures("held_against_the_schema")

SECTIONS = [section for section in vars(schema).values() if isinstance(section, type) and issubclass(section, Settings)]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_and_every_setting_is_documented(section: type[Settings]) -> None:
    assert section.__doc__
    documented = docstrings(section)
    for name, field in section.model_fields.items():
        # a setting that is a section is documented by that section
        holds_a_section = any(known.__name__ in str(field.annotation) for known in SECTIONS)
        assert name in documented or holds_a_section, f"{section.__name__}.{name} has no docstring"


@pytest.mark.parametrize("section", SECTIONS)
def test_no_section_takes_a_setting_that_it_does_not_know(section: type[Settings]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        section.model_validate({"no_such_setting": 1})


def test_a_recipe_cannot_be_changed() -> None:
    recipe = Recipe.model_validate({"name": "a", "data": {"train": "x", "label": "y"}, "features": {}})
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 3


@pytest.mark.parametrize("name", ["*", "^city|price$"])
def test_a_column_whose_name_stands_for_others_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="reads as a pattern of names"):
        parse_recipe(
            f"data: {{train: log.csv, label: click}}\nfeatures: {{categorical: ['{name}']}}", "recipe", Path(), "a"
        )


def test_an_infinite_number_is_refused() -> None:
    with pytest.raises(ValidationError, match="finite"):
        schema.WideOptimizer(learning_rate=float("inf"))
