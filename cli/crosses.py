"""`widedeep crosses`: fit the plan, encode, report on each cross and on what hashing costs."""

from pathlib import Path

from .console import ConsoleReporter, print_collisions, print_crosses
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
    """Fit the features, encode every row, and report on each cross and on the collisions of what is hashed."""
    reporter = ConsoleReporter()
    loaded = open_recipe(recipe, overrides, reporter)
    from widedeep.pipeline.collisions import build_crosses_and_report  # only now: a faulty recipe need not wait for it

    result, collisions = build_crosses_and_report(loaded, work, reporter, wait=wait)
    if as_json:
        facts = {"crosses": result.crosses, "collisions": collisions}
        print_json({**facts, "path": result.path, "cached": result.cached})
        return
    print_crosses(result.crosses)
    if collisions:
        print_collisions(collisions, apart=bool(result.crosses))
    print_facts({"path": str(result.path), "cached": "yes" if result.cached else "no"})
