"""`widedeep runs`: the runs of a work directory, which of them is served, and what they take."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widedeep.api.runs import recipe_folder
from widedeep.figures import age, figure, size

from ..options import JsonOption, WorkOption
from ..results import print_facts, print_json, print_sentences

if TYPE_CHECKING:
    from widedeep.pipeline.listed_runs import ListedRun


def runs(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE", help="A recipe, its name or its folder of runs; default: all.", show_default=False
        ),
    ] = None,
    work: WorkOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """List the runs of a work directory, the newest first: what is served, the best, their size and age."""
    from widedeep.pipeline.listed_runs import folders_of_runs, list_runs

    from ..console import print_runs  # not at the top: `--help` should not wait for Rich

    folders = folders_of_runs(work) if recipe is None else [recipe_folder(recipe, work)]
    listed = {folder: list_runs(folder) for folder in folders}
    now = datetime.now(UTC)
    if as_json:
        print_json({"recipes": [_as_object(folder, of_recipe, now) for folder, of_recipe in listed.items()]})
        return
    for number, (folder, of_recipe) in enumerate(listed.items()):
        if number:
            print_sentences([""])
        print_runs(_lines(of_recipe, now))
        total = sum(run.bytes for run in of_recipe)
        print_facts({"recipe": folder.name, "runs": f"{len(of_recipe)}, {size(total)}", "in": str(folder)})
    if not listed:
        print_facts({"runs": "0", "in": str(work)})


def _as_object(folder: Path, listed: "Sequence[ListedRun]", now: datetime) -> dict[str, Any]:
    return {"recipe": folder.name, "path": folder, "runs": [_run_object(run, now) for run in listed]}


def _run_object(run: "ListedRun", now: datetime) -> dict[str, Any]:
    return {
        "run": run.path.name,
        "path": run.path,
        "state": run.state,
        "links": run.links,
        "was_served": run.was_served,
        "best": run.is_best,
        "metric": run.metric,
        "valid": run.valid,
        "rows": run.rows,
        "bytes": run.bytes,
        "began": run.began.isoformat(),
        "age_seconds": (now - run.began).total_seconds(),
    }


def _lines(listed: "Sequence[ListedRun]", now: datetime) -> list[dict[str, str]]:
    from widedeep.evaluation.formulas import metric_title  # not at the top: `--help` should not wait for NumPy

    metric = next((run.metric for run in listed if run.metric is not None), None)
    title = "valid" if metric is None else metric_title(metric)
    return [
        {
            "run": run.path.name,
            title: figure(run.valid if run.metric == metric else None),
            "rows": figure(run.rows.get("train")),
            "size": size(run.bytes),
            "age": age((now - run.began).total_seconds()),
            "": ", ".join(_marks(run)),
        }
        for run in listed
    ]


def _marks(run: "ListedRun") -> list[str]:
    marks = [*run.links, *(["best"] if run.is_best else [])]
    if run.was_served and not run.links:
        marks.append("served before")
    return [*marks, *([run.state] if run.state != "finished" else [])]
