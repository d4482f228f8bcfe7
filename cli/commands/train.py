"""`widedeep train`: runs the stages that are missing, trains and evaluates."""

import os
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from widedeep.api.runs import run_path
from widedeep.errors import UsageError
from widedeep.figures import duration

from .. import without_collecting
from ..options import JsonOption, QuietOption, RecipeArgument, SetOption, WaitOption, WorkOption
from ..recipe_argument import open_recipe
from ..results import print_facts, print_json

if TYPE_CHECKING:
    from widedeep.pipeline.crew import Crew
    from widedeep.pipeline.experiment import SeedsResult, TrainResult


class TrainCommand(TyperCommand):
    """Allows `--refit` without a value, which Typer cannot do: it means `--refit valid`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Add the missing value. Only `valid` and `all` are taken for a value, so that RECIPE may follow the option."""
        written = list(args)
        options = written.index("--") if "--" in written else len(written)
        for place in range(options):
            if written[place] == "--refit":
                following = written[place + 1] if place + 1 < options else ""
                written[place] = "--refit" if following in ("valid", "all") else "--refit=valid"
        return super().parse_args(ctx, written)


PARSER = TrainCommand


def train(
    recipe: RecipeArgument,
    work: WorkOption = Path(),
    overrides: SetOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the unfinished run of this very recipe, --set included.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Train anew, though a finished run of the same training is there.")
    ] = False,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, metavar="N", help="Train N seeds; report mean and deviation.")
    ] = None,
    refit: Annotated[
        Literal["valid", "all"] | None,
        typer.Option(
            "--refit",
            metavar="[valid|all]",
            help="Then train a new run on train and valid rows (all: test rows too), for the epochs that the recipe's "
            "finished run found best.",
        ),
    ] = None,
    from_run: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Go on from this run's weights, optimizers and vocabularies: the recipe's rows are the new ones.",
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            min=1,
            metavar="N",
            help="Train in N processes of this machine, to the same bytes: at most as many as `training.parts`.",
        ),
    ] = None,
    wait: WaitOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run every stage that is missing, train the model and evaluate it.

    If the same training is finished already, its run is taken as it is.
    """
    if again and resume:
        raise UsageError("--again trains anew, --resume goes on with what is there: leave one of them out")
    from ..console import ConsoleReporter  # not at the top: `--help` should not wait for Rich

    crew = _crew_of_torchrun(processes)
    reporter = ConsoleReporter(quiet=quiet)
    loaded = open_recipe(recipe, overrides, reporter)
    with without_collecting():
        from widedeep.pipeline import experiment  # only now: a faulty recipe need not wait for torch
        from widedeep.pipeline.crew import crew_of

    before = None if from_run is None else run_path(from_run, work)
    asked = experiment.Asked(
        resume=resume, again=again, refit=refit, goes_on_from=before, wait=wait, crew=crew or crew_of(processes or 1)
    )
    if seeds is None:
        _print_run(experiment.train(loaded, work, reporter, asked), as_json)
    else:
        _print_seeds(experiment.train_seeds(loaded, work, reporter, seeds, asked), as_json)
    asked.crew.dismiss()


def _crew_of_torchrun(processes: int | None) -> "Crew | None":
    """The processes that torchrun has started, if it has. In all but the first of them, trains and leaves."""
    if not {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        return None
    with without_collecting():
        from widedeep.pipeline.crew import crew_of_environment  # not at the top: it imports torch

    crew = crew_of_environment(processes)
    if isinstance(crew, int):
        raise typer.Exit(crew)
    return crew


def _as_object(result: "TrainResult") -> dict[str, Any]:
    return {
        "run": result.run,
        "metrics": result.metrics,
        "warnings": result.warnings,
        "crosses": result.crosses,
        "best_epoch": result.best_epoch,
        "epochs": result.epochs,
        "stopped": result.stopped,
        "rows_per_second": result.rows_per_second,
        "parameters": result.parameters,
        "seconds": result.seconds,
        "already_done": result.already_done,
        "refit": result.refit,
        "goes_on_from": result.goes_on_from,
        "dropped_values": result.dropped_values,
    }


def _print_run(result: "TrainResult", as_json: bool) -> None:
    from ..console import print_gains, print_metrics  # not at the top: `--help` should not wait for Rich

    if as_json:
        print_json(_as_object(result))
        return
    if result.metrics:
        print_metrics(result.metrics)
    if result.crosses is not None:
        print_gains(result.crosses, "test" if "test" in result.metrics else "valid")
    print_facts(
        {
            "epochs": _epochs(result),
            "parameters": f"{result.parameters:,}",
            "training": f"{duration(result.seconds)}, {result.rows_per_second:,.0f} rows/s",
            **_refit_fact(result.refit),
            **({} if result.goes_on_from is None else {"went on from": result.goes_on_from["run"]}),
            **({} if result.dropped_values is None else {"dropped": _dropped(result.dropped_values)}),
            "run": str(result.run),
        }
    )


def _dropped(values: Mapping[str, int]) -> str:
    from widedeep.recipe.base import OURS  # not at the top: `--help` should not wait for Pydantic

    return ", ".join(f"{name.removesuffix(OURS)}: {number:,}" for name, number in values.items()) or "no values"


def _epochs(result: "TrainResult") -> str:
    best = f"best epoch {result.best_epoch} of {result.epochs}"
    return best if result.stopped is None else f"{best}; {result.stopped}"


def _refit_fact(refit: Mapping[str, Any] | None) -> dict[str, str]:
    if refit is None:
        return {}
    epochs = f"{refit['epochs']} epoch{'s' * (refit['epochs'] != 1)}"
    return {"refit": f"{epochs} on the {' + '.join(refit['splits'])} rows, as {refit['of']} chose"}


def _print_seeds(result: "SeedsResult", as_json: bool) -> None:
    from ..console import print_metrics  # not at the top: `--help` should not wait for Rich

    speed = fmean(run.rows_per_second for run in result.runs)
    if as_json:
        runs = [_as_object(run) for run in result.runs]
        print_json({"metrics": result.summary, "rows_per_second": speed, "seeds": len(runs), "runs": runs})
        return
    if result.summary:
        print_metrics(result.summary)
    best = ", ".join(f"{run.best_epoch} of {run.epochs}" for run in result.runs)
    facts = {
        "seeds": f"{len(result.runs)} (mean ± deviation)",
        "best epochs": best,
        "training": f"{speed:,.0f} rows/s",
    }
    print_facts(facts | {f"run {number}": str(run.run) for number, run in enumerate(result.runs, start=1)})
