"""`widedeep ingest`: raw files to a typed, joined, split and profiled table."""

from pathlib import Path

from ..options import JsonOption, RecipeArgument, SetOption, WaitOption, WorkersOption, WorkOption
from ..profile_cells import short_number
from ..recipe_argument import open_recipe
from ..results import print_facts, print_json


def ingest(
    recipe: RecipeArgument,
    work: WorkOption = Path(),
    overrides: SetOption = None,
    workers: WorkersOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read the raw files into a typed, split table and profile it."""
    from ..console import ConsoleReporter, print_columns  # not at the top: `--help` should not wait for Rich

    reporter = ConsoleReporter()
    loaded = open_recipe(recipe, overrides, reporter)
    from widedeep.pipeline.ingest_stage import ingest as ingest_stage  # only now: a faulty recipe need not wait for it
    from widedeep.pipeline.workspace import read_report
    from widedeep.profile.findings import show_findings
    from widedeep.profile.report import IngestReport

    result = ingest_stage(loaded, work, reporter, wait=wait, workers=workers)
    report = IngestReport.from_json(read_report(result.path))
    if result.cached:
        show_findings(report.warnings, reporter)  # a stage that has just run has shown them already
    if as_json:
        shown = {name: value for name, value in report.to_json().items() if name != "source_kinds"}
        print_json({**shown, "path": result.path, "cached": result.cached})
        return
    print_columns(result.columns, sum(report.rows.values()))
    facts = {f"{split} rows": f"{rows:,}" for split, rows in report.rows.items()}
    facts["mean label"] = ", ".join(
        f"{short_number(tally.mean, 4)} in {split}" for split, tally in report.label.items()
    )
    if report.sampled_rows != report.rows:
        facts["profile of"] = ", ".join(f"{rows:,} {split} rows" for split, rows in report.sampled_rows.items())
    print_facts({**facts, "path": str(result.path), "cached": "yes" if result.cached else "no"})
