"""The RECIPE argument of the commands that read a recipe's data."""

import os
import shlex
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from widedeep.api.recipes import bundled_recipes, load_recipe
from widedeep.errors import DataError
from widedeep.reporting import Reporter

if TYPE_CHECKING:
    from widedeep.recipe.load import LoadedRecipe


def open_recipe(argument: str, overrides: Sequence[str] | None, reporter: Reporter) -> "LoadedRecipe":
    """Load the recipe that `argument` names; its notes go to the reporter.

    Raises UsageError and RecipeError as `load_recipe` does, DataError where the data of a bundled recipe are missing:
    the message names the guide to them, which is installed beside it.
    """
    loaded = load_recipe(argument, set=overrides or (), reporter=reporter)
    if loaded.path == bundled_recipes().get(argument):
        _check_data_is_there(loaded, argument)
    return loaded


def refuse_data_file(output: Path, loaded: "LoadedRecipe") -> None:
    """Raise UsageError if `output` would take the place of a table that the recipe reads."""
    from widedeep.source.paths import expand_paths, refuse_as_output

    refuse_as_output(output, expand_paths(loaded.recipe.data.all_paths(), loaded.base_dir))


def _check_data_is_there(bundled: "LoadedRecipe", name: str) -> None:
    from widedeep.source.paths import expand_paths  # not at the top: a name that is none need not wait for Polars

    try:
        expand_paths(bundled.recipe.data.all_paths(), bundled.base_dir)
    except DataError as error:
        if bundled.recipe.data.all_paths() != load_recipe(name).recipe.data.all_paths():
            raise  # of files that --set names
        raise DataError(f"{error}: {_way_to_data(bundled)}") from error


def _way_to_data(bundled: "LoadedRecipe") -> str:
    """What to do for the data of a bundled recipe."""
    (file,) = bundled.recipe.data.train[:1]
    if bundled.recipe.name == "quickstart":
        return f"`widedeep synth -o {shlex.quote(os.path.dirname(file))} --seed 1` writes it"
    return f"the page {data_guide()} says where to get it; WIDEDEEP_DATA=DIR names another folder than data/"


def data_guide() -> str:
    """The installed page that says where to get the data of the bundled recipes."""
    return str(resources.files("widedeep_cli.recipes") / "DATA.md")
