"""`widedeep clean`: drops old runs, and the stages that no other run was trained on."""

from pathlib import Path
from typing import Annotated

import typer

from widedeep.figures import size

from ..options import JsonOption, WaitOption, WorkOption
from ..results import print_facts, print_json


def clean(
    keep: Annotated[
        int, typer.Option("--keep", metavar="N", min=1, help="So many of the last finished runs of each recipe stay.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be dropped, and drop nothing.")] = False,
    work: WorkOption = Path(),
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Drop old runs, and the stages in stages/ that no run left was trained on.

    What is served stays, what was served before (so that `promote --back` works), what any other link leads to, what
    is newer, an unfinished run for a week, and a damaged one.
    """
    from widedeep.pipeline.listed_runs import clean as clean_work

    from ..console import ConsoleReporter  # not at the top: `--help` should not wait for Rich

    cleared = clean_work(work, keep=keep, dry_run=dry_run, reporter=ConsoleReporter(), wait=wait)
    if as_json:
        print_json(
            {
                "runs": cleared.runs,
                "stages": cleared.stages,
                "bytes": cleared.bytes,
                "kept": cleared.kept,
                "dry_run": dry_run,
            }
        )
        return
    would = "would be " if dry_run else ""
    facts = {f"runs {would}dropped": [str(path.relative_to(work)) for path in cleared.runs] or "none"}
    facts |= {f"stages {would}dropped": [str(path.relative_to(work)) for path in cleared.stages] or "none"}
    print_facts(facts | {f"{would}freed": size(cleared.bytes), "runs left": f"{cleared.kept:,}"})
