"""`widedeep crosses`: fit the plan, encode, report on each cross."""

from pathlib import Path

from .console import ConsoleReporter, print_crosses
from .lookup import open_recipe
from .options import JsonOption, RecipeArgument, SetOption, WaitOption, WorkOption
from .results import print_facts, print_json


def crosses(
    recipe: RecipeArgument,
    work: WorkOption = Path(),
    overrides: SetOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the features, encode every row, and report on each cross."""
    reporter = ConsoleReporter()
    loaded = open_recipe(recipe, overrides, reporter)
    from widedeep.pipeline.stages import build_crosses  # only now: a faulty recipe need not wait for it

    result = build_crosses(loaded, work, reporter, wait=wait)
    if as_json:
        print_json({"crosses": result.crosses, "path": result.path, "cached": result.cached})
        return
    print_crosses(result.crosses)
    print_facts({"path": str(result.path), "cached": "yes" if result.cached else "no"})
