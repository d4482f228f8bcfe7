"""Finds what a RECIPE or RUN argument means: a file, a run directory, or a bundled recipe."""

from collections.abc import Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from widedeep.errors import DataError, UsageError
from widedeep.reporting import Reporter

if TYPE_CHECKING:
    from widedeep.recipe.load import LoadedRecipe


def bundled_recipes() -> dict[str, Path]:
    """Name → file of every recipe that comes with widedeep, in order of name."""
    folder = resources.files("widedeep_cli.recipes")
    paths = [Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    return {path.stem: path for path in sorted(paths)}


def open_recipe(argument: str, overrides: Sequence[str] | None, reporter: Reporter) -> "LoadedRecipe":
    """Load the recipe that `argument` names, and pass its notes to the reporter.

    A file wins over a bundled recipe of the same name. Raises UsageError if it is neither, RecipeError for its faults,
    DataError if the data of a bundled recipe are missing.
    """
    path, bundled = Path(argument), bundled_recipes()
    if not path.is_file() and argument not in bundled:
        close = get_close_matches(path.stem, bundled, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(
            f"{argument}: there is no such recipe file, and the bundled recipes are {', '.join(bundled)}{hint}"
        )
    from widedeep.recipe.load import load_recipe

    if path.is_file():
        loaded = load_recipe(path, overrides or ())
    else:
        loaded = load_recipe(bundled[argument], overrides or (), base_dir=Path.cwd())
        _check_data_is_there(loaded)
    for note in loaded.notes:
        reporter.note(note)
    return loaded


def _check_data_is_there(loaded: "LoadedRecipe") -> None:
    """Raise DataError if a bundled recipe's data are missing; the message names the guide to them."""
    from widedeep.source.sources import expand_paths

    try:
        expand_paths(loaded.recipe.data.all_paths(), loaded.base_dir)
    except DataError as error:
        notes = resources.files("widedeep_cli.recipes") / "DATA.md"
        raise DataError(f"{error}; {notes} says where to get the data of a bundled recipe") from error


def open_run(argument: str, work: Path) -> Path:
    """The run directory that `argument` names: a run, `runs/<recipe>/latest`, or a recipe's latest finished run.

    Raises ArtefactError if there is none.
    """
    from widedeep.pipeline.past_runs import find_run
    from widedeep.recipe.load import load_recipe

    recipe_name = argument if argument in bundled_recipes() else None
    if Path(argument).is_file():
        recipe_name = load_recipe(Path(argument), ()).recipe.name
    return find_run(argument, work, recipe_name)


def open_runs(arguments: Sequence[str], work: Path) -> list[Path]:
    """The run directories that the arguments name, as for `open_run`.

    A folder of runs, such as `runs/<recipe>`, stands for all finished runs in it. Raises ArtefactError for an argument
    that names no run.
    """
    from widedeep.compare.run_table import runs_in

    return [path for argument in arguments for path in runs_in(argument, work) or [open_run(argument, work)]]
