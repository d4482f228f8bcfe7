"""`widedeep check`: whether a recipe is right, and what it says, without reading any data."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from widedeep.api.recipes import load_recipe
from widedeep.errors import RecipeError

from ..options import JsonOption, RecipeArgument, SetOption
from ..recipe_facts import crosses_told, fields_told
from ..results import print_facts, print_json

if TYPE_CHECKING:
    from widedeep.errors import Fault
    from widedeep.recipe.schema import Recipe, SweepSettings


def check(recipe: RecipeArgument, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Tell all faults of a recipe at once, each with its line; no data are read.

    The exit code is 0 for a recipe without faults, else 2. Whether its files and columns are there, `ingest` tells.
    """
    from ..console import ConsoleReporter  # not at the top: `--help` should not wait for Rich

    try:
        loaded = load_recipe(recipe, set=overrides or ())
    except RecipeError as error:
        if not as_json:
            raise
        print_json({"valid": False, "faults": [_as_object(fault) for fault in error.faults], "notes": []})
        raise typer.Exit(error.exit_code) from None
    if as_json:
        print_json({"valid": True, "faults": [], "notes": loaded.notes, "name": loaded.recipe.name})
        return
    reporter = ConsoleReporter()
    for note in loaded.notes:
        reporter.note(note)
    print_facts({"recipe": loaded.title, **_facts(loaded.recipe), "faults": "none"})


def _facts(recipe: "Recipe") -> dict[str, str | Sequence[str]]:
    label, split = recipe.data.label, recipe.data.split
    return {
        "label": f"{label.column}, {label.kind}",
        "split": "files of their own" if split is None else split.kind,
        "fields": fields_told(recipe),
        "crosses": crosses_told(recipe),
        "model": recipe.model.kind,
        **({} if recipe.sweep is None else {"sweep": _sweep_told(recipe.sweep)}),
    }


def _sweep_told(sweep: "SweepSettings") -> str:
    settings = len(sweep.space)
    return f"{settings} setting{'s' * (settings != 1)}, {sweep.trials:,} trials"


def _as_object(fault: "Fault") -> dict[str, Any]:
    return {"source": fault.source, "line": fault.line, "setting": fault.where, "message": fault.message}
