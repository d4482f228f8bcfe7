"""`widedeep promote`: chooses the run that is served, after holding it against the one that was."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widedeep.api.runs import recipe_folder, run_path
from widedeep.errors import UsageError
from widedeep.figures import figure
from widedeep.runs import RUNS, SERVING, RunDirectory

from ..options import JsonOption, QuietOption, TableOption, TrustOption, WaitOption, WorkOption, side_table_files
from ..results import print_facts, print_json, print_sentences

if TYPE_CHECKING:
    from widedeep.comparison.promotion import Promotion


def promote(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help="The run to serve; with --back a recipe, if several have one.", show_default=False
        ),
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NEW",
            help="The newest labelled rows; default: the run's own held-out rows.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str, typer.Option("--as", metavar="NAME", help="The link beside the runs that is to lead to it.")
    ] = SERVING,
    back: Annotated[bool, typer.Option("--back", help="Return to the run that was served before.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Promote a run that is not fit, and note why it is not.")
    ] = False,
    table: TableOption = None,
    trust: TrustOption = False,
    work: WorkOption = Path(),
    wait: WaitOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let runs/RECIPE/serving lead to a run, unless it is worse than the run that is served.

    Both are scored on the same labelled rows. Exit code 7, and nothing is moved, if the run is worse beyond a 95%
    interval, if its scores lie elsewhere and the labels do not bear that out, if it does not read a column that the
    other reads, if fewer may read its files, or if its golden rows score differently. The first run of a recipe has to
    score its golden rows only. Why it was promoted is noted in both runs, in promotions.jsonl.
    """
    tables = side_table_files(table)
    if back and (files or tables or force):
        raise UsageError("--back returns to a run that was served: it takes no rows to measure on, and no --force")
    if run is None and not back:
        raise UsageError("name the run to serve, `widedeep promote RUN`, or return to the one before with --back")
    folder = _folder_of_back(run, name, work) if back else None
    from widedeep.comparison.promotion import promote as promote_run
    from widedeep.comparison.promotion import promote_back

    from ..console import ConsoleReporter  # not at the top: `--help` should not wait for Rich

    reporter = ConsoleReporter(quiet=quiet)
    if folder is not None:
        promotion = promote_back(folder, name=name, reporter=reporter, wait=wait)
    else:
        assert run is not None
        promotion = promote_run(
            RunDirectory(run_path(run, work), trust),
            files or (),
            name=name,
            force=force,
            work_dir=work,
            reporter=reporter,
            tables=tables,
            wait=wait,
        )
    if as_json:
        print_json(_as_object(promotion))
        return
    if promotion.told:
        print_sentences([*promotion.told, ""])
    print_facts(_facts(promotion))


def _folder_of_back(recipe: str | None, name: str, work: Path) -> Path:
    """The folder of runs in which to go back. Raises UsageError if it is not told which."""
    if recipe is not None:
        return recipe_folder(recipe, work)
    folders = sorted(path.parent for path in (work / RUNS).glob(f"*/{name}") if path.is_symlink())
    if len(folders) != 1:
        which = f"one of {', '.join(folder.name for folder in folders)}" if folders else "no recipe has a run served"
        raise UsageError(f"--back: name the recipe, `widedeep promote --back RECIPE`: {which}")
    return folders[0].resolve()


def _as_object(promotion: "Promotion") -> dict[str, Any]:
    return {
        "run": promotion.run,
        "pointer": promotion.pointer,
        "incumbent": promotion.incumbent,
        "moved": promotion.moved,
        "measured": promotion.facts.get("measured"),
        "forced_past": promotion.facts.get("forced_past", []),
    }


def _facts(promotion: "Promotion") -> dict[str, str]:
    facts = {}
    if measured := promotion.facts.get("measured"):
        from widedeep.evaluation.formulas import metric_title

        metric = measured["metric"]
        against = f", {figure(measured['incumbent'][metric])} before" if "incumbent" in measured else ""
        facts[metric_title(metric)] = f"{figure(measured['run'][metric])}{against}"
        facts["rows"] = f"{measured['rows']:,}"
    if promotion.moved:
        facts["before"] = "none" if promotion.incumbent is None else str(promotion.incumbent)
    return facts | {"served": str(promotion.run), "link": str(promotion.pointer)}
