"""Loads a recipe from a file, the name of a bundled recipe, a dictionary, a loaded recipe or a run."""

import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from widedeep.api.runs import Run
from widedeep.errors import DataError, UsageError
from widedeep.reporting import Reporter

if TYPE_CHECKING:
    from widedeep.recipe.load import LoadedRecipe

RecipeSource: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any] | LoadedRecipe | Run"
"""What `load_recipe` takes."""
_BUNDLED = "widedeep_cli.recipes"
"""The package that holds the bundled recipes as data. It belongs to the command line, so it is looked up by name."""


_SCHEMA_LINE = "# yaml-language-server: $schema="


def bundled_recipes() -> dict[str, Path]:
    """Name → file of every recipe that comes with widedeep, ordered by name.

    >>> list(bundled_recipes())
    ['adult', 'criteo', 'frappe', 'movielens-100k', 'movielens-1m', 'quickstart']
    """
    folder = resources.files(_BUNDLED)
    paths = [Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    return {path.stem: path for path in sorted(paths)}


def bundled_recipe(name: str) -> Path:
    """The file of the bundled recipe of this name. Raises UsageError if there is none."""
    bundled = bundled_recipes()
    if name not in bundled:
        raise UsageError(f"{name}: no recipe of this name comes with widedeep: {_bundled_told(name)}")
    return bundled[name]


def bundled_facts() -> list[dict[str, Any]]:
    """What is known of each bundled recipe: `name`, `about` (a sentence), `model`, the files of its `data`, `path`.

    `data_here` is whether these files are where their paths lead from the current directory.
    """
    from widedeep.source.paths import expand_paths  # not at the top: a name need not wait for Polars

    listed = []
    for name, path in bundled_recipes().items():
        loaded = load_recipe(name)
        data = loaded.recipe.data.all_paths()
        try:
            expand_paths(data, loaded.base_dir)
            here = True
        except DataError:
            here = False
        about, model = _first_sentence(path.read_text(encoding="utf-8")), loaded.recipe.model.kind
        listed.append({"name": name, "about": about, "model": model, "data": data, "data_here": here, "path": path})
    return listed


def _first_sentence(recipe: str) -> str:
    """The first sentence of the comment below the line about the schema."""
    comment = " ".join(line.removeprefix("# ") for line in recipe.split("\n")[1:5])
    sentence = re.match(r".*?[.?](?=\s|$)", comment)
    return comment if sentence is None else sentence[0]


def _bundled_told(name: str) -> str:
    bundled = bundled_recipes()
    close = get_close_matches(name, bundled, n=1)
    return f"the bundled recipes are {', '.join(bundled)}" + (f"; did you mean {close[0]}?" if close else "")


def schema_file() -> Path:
    """The JSON Schema (draft 2020-12) of recipes, which is installed beside the bundled ones."""
    return Path(str(resources.files(_BUNDLED) / "recipe.schema.json"))


def schema_line(schema: str | None = None) -> str:
    """The first line of a recipe, by which editors with yaml-language-server know its settings.

    It leads to `schema`, by default to the installed file, which is there without a network and of the version that
    reads the recipe. On a machine without that file an editor says so, and the recipe loads as ever.
    """
    return f"{_SCHEMA_LINE}{schema or schema_file().as_uri()}"


def with_schema_line(recipe: str) -> str:
    """The text of a bundled recipe for another folder: its first line leads to the schema beside it by name alone."""
    line, _, rest = recipe.partition("\n")
    return f"{schema_line()}\n{rest}" if line == f"{_SCHEMA_LINE}{schema_file().name}" else recipe


def load_recipe(
    source: RecipeSource,
    *,
    set: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> "LoadedRecipe":
    """Load the recipe of `source`, with the overrides `set` (`part.field=value` each) applied.

    `source` is a recipe file, the name of a bundled recipe (a file with that name comes first), a dictionary with the
    keys of a recipe file, a loaded recipe, or a run, whose recipe is taken. Relative data paths start from the file's
    folder; in a bundled recipe, a dictionary and `set`, from the current directory. `reporter` gets the recipe's notes.

    Raises UsageError for a text that is neither a file nor a bundled name, RecipeError with all faults at once.

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
    # Imports are down here, because a wrong name need not wait for the schema.
    if isinstance(source, str | os.PathLike):
        path, base_dir = _file_of(os.fspath(source))
        from widedeep.recipe.load import load_recipe as load_file

        return load_file(path, overrides, base_dir=base_dir, overrides_dir=Path.cwd())
    from widedeep.recipe.load import LoadedRecipe

    if isinstance(source, Run):
        source = source.loaded_recipe
    if isinstance(source, LoadedRecipe):
        return source.changed(overrides, Path.cwd())
    if isinstance(source, Mapping):
        from widedeep.recipe.plain_data import recipe_of_data

        return recipe_of_data(source, Path.cwd(), overrides)
    raise UsageError(
        "a recipe is a file, a bundled recipe's name, a dictionary, a loaded recipe or a run, not a value of "
        f"type {type(source).__qualname__}"
    )


def _file_of(argument: str) -> tuple[Path, Path | None]:
    """The recipe file and, for a bundled recipe, the folder that its relative paths start from. Raises UsageError."""
    path = Path(argument)
    try:
        if path.is_file():
            return path, None
    except OSError as error:  # a folder that may not be read, a name that is too long
        raise UsageError(f"{argument}: cannot be read: {error.strerror}") from error
    bundled = bundled_recipes()
    if argument in bundled:
        return bundled[argument], Path.cwd()
    raise UsageError(f"{argument}: there is no such recipe file, and {_bundled_told(path.stem)}")


def recipe_name(argument: str) -> str | None:
    """The name of the recipe in a file, or of a bundled recipe; None if `argument` is neither.

    Raises RecipeError for a file that is no recipe.
    """
    if not os.path.isfile(argument):
        return argument if argument in bundled_recipes() else None
    return load_recipe(argument).recipe.name
