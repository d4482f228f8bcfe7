"""`widedeep ingest`: raw files to a typed, joined, split and profiled table."""

from pathlib import Path

from .console import ConsoleReporter, print_columns
from .lookup import open_recipe
from .options import JsonOption, RecipeArgument, SetOption, WaitOption, WorkOption
from .results import print_facts, print_json


def ingest(
    recipe: RecipeArgument,
    work: WorkOption = Path(),
    overrides: SetOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read the raw files into a typed, split table and profile it."""
    reporter = ConsoleReporter()
    loaded = open_recipe(recipe, overrides, reporter)
    from widedeep.pipeline.stages import ingest as ingest_stage  # only now: a faulty recipe need not wait for it

    result = ingest_stage(loaded, work, reporter, wait=wait)
    if as_json:
        print_json({"rows": result.rows, "columns": result.columns, "path": result.path, "cached": result.cached})
        return
    print_columns(result.columns)
    facts = {f"{split} rows": f"{rows:,}" for split, rows in result.rows.items()}
    print_facts({**facts, "path": str(result.path), "cached": "yes" if result.cached else "no"})
