"""From what a person calls a recipe to the recipe: a file, the name of a bundled one, a dictionary, another recipe."""

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from widedeep.api.runs import Run
from widedeep.errors import UsageError
from widedeep.reporting import Reporter

if TYPE_CHECKING:
    from widedeep.recipe.load import LoadedRecipe

RecipeSource: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any] | LoadedRecipe | Run"
"""What `load_recipe` takes."""
_BUNDLED = "widedeep_cli.recipes"
"""The package that holds the bundled recipes as data; it is looked up by name, as it belongs to the command line."""


def bundled_recipes() -> dict[str, Path]:
    """Name → file of every recipe that comes with widedeep, in order of name.

    >>> list(bundled_recipes())
    ['adult', 'criteo', 'frappe', 'movielens-100k', 'movielens-1m', 'quickstart']
    """
    folder = resources.files(_BUNDLED)
    paths = [Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    return {path.stem: path for path in sorted(paths)}


def load_recipe(
    source: RecipeSource,
    *,
    set: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> "LoadedRecipe":
    """Load the recipe that `source` means, with `set` (`part.field=value` each) on top.

    `source` is a recipe file (it wins over a bundled recipe of its name), the name of a bundled recipe, a dictionary
    with the keys of a recipe file, a recipe that was loaded before, or a run, whose recipe is meant. Relative data
    paths start from the file's folder; in a bundled recipe and in a dictionary from the current directory. `reporter`
    hears the recipe's notes.

    Raises UsageError for a text that is neither file nor bundled name, RecipeError with every fault at once.

    >>> recipe = load_recipe({"data": {"train": "log.csv", "label": "click"}, "features": {"categorical": ["ad"]}})
    >>> recipe.recipe.training.epochs == load_recipe(recipe, set=["training.epochs=3"]).recipe.training.epochs
    False
    >>> load_recipe(recipe, set=["training.epoch=3"])
    Traceback (most recent call last):
    widedeep.errors.RecipeError: --set: training.epoch: unknown setting 'epoch'; did you mean 'epochs'?
    """
    overrides = [set] if isinstance(set, str) else [*set]
    loaded = _loaded(source, overrides)
    for note in loaded.notes if reporter is not None else ():
        reporter.note(note)  # type: ignore[union-attr]
    return loaded


def _loaded(source: RecipeSource, overrides: Sequence[str]) -> "LoadedRecipe":
    # Only now: a name that is none need not wait for the schema.
    if isinstance(source, str | os.PathLike):
        path, base_dir = _file_of(os.fspath(source))
        from widedeep.recipe.load import load_recipe as load_file

        return load_file(path, overrides, base_dir=base_dir)
    from widedeep.recipe.load import LoadedRecipe

    if isinstance(source, Run):
        source = source.loaded_recipe
    if isinstance(source, LoadedRecipe):
        return source.changed(overrides)
    if isinstance(source, Mapping):
        from widedeep.recipe.plain_data import recipe_of_data

        return recipe_of_data(source, Path.cwd(), overrides)
    raise UsageError(
        "a recipe is a file, a bundled recipe's name, a dictionary, a recipe that was loaded or a run, not a value of "
        f"type {type(source).__qualname__}"
    )


def _file_of(argument: str) -> tuple[Path, Path | None]:
    """The recipe file that is meant and, for a bundled one, where its relative paths start. Raises UsageError."""
    path = Path(argument)
    if path.is_file():
        return path, None
    bundled = bundled_recipes()
    if argument in bundled:
        return bundled[argument], Path.cwd()
    close = get_close_matches(path.stem, bundled, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise UsageError(
        f"{argument}: there is no such recipe file, and the bundled recipes are {', '.join(bundled)}{hint}"
    )


def recipe_name(argument: str) -> str | None:
    """The name of the recipe that a text means, a file or a bundled one; None where it means none.

    Raises RecipeError for a file that is no recipe.
    """
    if not Path(argument).is_file():
        return argument if argument in bundled_recipes() else None
    return load_recipe(argument).recipe.name
