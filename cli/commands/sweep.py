"""`widedeep sweep`: searches settings of a recipe for the best valid metric."""

import os
import shlex
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from widedeep.api.recipes import schema_line
from widedeep.errors import UsageError
from widedeep.figures import duration, figure
from widedeep.files import check_output, write_text

from .. import without_collecting
from ..drawing import require_drawing
from ..options import ForceOption, JsonOption, QuietOption, RecipeArgument, SetOption, WaitOption, WorkOption
from ..recipe_argument import open_recipe, refuse_data_file
from ..results import print_facts, print_json, print_sentences

if TYPE_CHECKING:
    from widedeep.pipeline.experiment import SeedsResult
    from widedeep.search.journal import EndedTrial
    from widedeep.search.sweep import SweepResult

_SHOWN = 10
"""Trials that the table has at most; `--json` and the page have all."""


def sweep(
    recipe: RecipeArgument,
    space: Annotated[
        list[str] | None,
        typer.Option(
            "--space",
            metavar="PART.FIELD=WHAT",
            help="Search this setting: float(LOW,HIGH), log(…), int(…), log_int(…) or [A, B, …]; may be repeated.",
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, metavar="N", help="Finished trials in the end; default: 20.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", metavar="S", help="Begin no further trial after so many seconds.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="Valid metric to choose by; default: that of early stopping.")
    ] = None,
    pruner: Annotated[
        Literal["median", "none"] | None,
        typer.Option("--pruner", help="End trials early that fall behind, or none; default: median."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Trials at a time.")] = 1,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="BEST.yaml", help="Write the best trial's recipe.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="PAGE", help="Write a page with charts and all trials.")
    ] = None,
    confirm: Annotated[
        int | None,
        typer.Option("--confirm", min=1, metavar="K", help="Then train the best trial's recipe with K seeds."),
    ] = None,
    force: ForceOption = False,
    work: WorkOption = Path(),
    overrides: SetOption = None,
    wait: WaitOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search settings of a recipe, trial by trial, for the best metric on the valid rows.

    The recipe's section `sweep` says what is searched, options say more or other. Ended in whatever way, the same
    command goes on; on several machines with a shared --work, each takes part. Needs Optuna: pip install
    'widedeep[sweep]'.
    """
    if find_spec("optuna") is None:
        raise UsageError("`sweep` asks Optuna what to try, which is not installed: pip install 'widedeep[sweep]'")
    if seconds is not None and not 0.0 < seconds < float("inf"):
        raise UsageError(f"--seconds {seconds:g}: must be a number above 0")
    if html is not None:
        require_drawing("sweep --html")
    targets = {path: check_output(path, force=force) for path in (output, html) if path is not None}
    if len(set(targets.values())) < sum(path is not None for path in (output, html)):
        raise UsageError(f"-o and --html both name {output}: give one of them another name")
    from ..console import ConsoleReporter  # not at the top: `--help` should not wait for Rich

    reporter = ConsoleReporter(quiet=quiet)
    loaded = open_recipe(recipe, overrides, reporter)
    for target in targets.values():
        refuse_data_file(target, loaded)
        if loaded.path is not None and target == Path(os.path.realpath(loaded.path)):
            raise UsageError(f"{target}: is the recipe itself: name another file")
    from widedeep.recipe.sweep_space import read_options
    from widedeep.search import sweep as search

    changes = {"trials": trials, "seconds": seconds, "metric": metric, "pruner": pruner}
    given = {name: value for name, value in changes.items() if value is not None}
    plan = search.plan_of(loaded, read_options(space or ()), given)
    result = search.sweep(loaded, plan, work, reporter, workers=workers, wait=wait)
    best = result.best
    if output is not None and best is not None:
        made_by = shlex.join(["widedeep", *sys.argv[1:]])
        text = search.best_recipe_text(loaded, result, best, targets[output].parent, made_by)
        write_text(targets[output], f"{schema_line()}\n{text}")
    if html is not None:
        with without_collecting():
            from widedeep.report.search import search_page
        write_text(targets[html], search_page(result, loaded.recipe.name, datetime.now(UTC)))
    confirmed = None
    if confirm is not None and best is not None:
        with without_collecting():
            from widedeep.pipeline.experiment import Asked, train_seeds  # only now: it imports torch
        reporter.note(f"confirming the best trial's recipe with {confirm} seed{'s' * (confirm > 1)}")
        # Other commands of this search may confirm it at the same time: one trains, the others wait for it.
        confirmed = train_seeds(
            search.best_recipe(loaded, best), work, reporter, confirm, Asked(again=False, wait=True)
        )
    if as_json:
        print_json(_as_object(result, loaded.recipe.name, output if best else None, html, confirmed))
        return
    _print(result, output, html, confirmed)


def _print(result: "SweepResult", output: Path | None, html: Path | None, confirmed: "SeedsResult | None") -> None:
    from widedeep.evaluation.formulas import metric_title
    from widedeep.recipe.sweep_space import written

    from ..console import print_comparison, print_metrics  # not at the top: `--help` should not wait for Rich

    ranked, best = result.ranked, result.best
    title = metric_title(result.metric)
    shown = ranked[:_SHOWN]
    if shown:
        print_comparison([_cells(place, trial, title) for place, trial in enumerate(shown, start=1)])
        print_sentences(
            ["", f"{title} of the valid rows, best first; of a pruned trial the best until then. Settings:"]
        )
        print_sentences(
            [
                f"{place}. {'; '.join(f'{setting}={written(value)}' for setting, value in trial.settings.items())}"
                for place, trial in enumerate(shown, start=1)
            ]
        )
        print_sentences([""])
    if result.importance is not None:
        print_comparison(
            [{"setting": setting, "importance": f"{share:.0%}"} for setting, share in result.importance.items()]
        )
        print_sentences(["", "Importance: its share in what sets the better trained trials apart (PED-ANOVA).", ""])
    if confirmed is not None:
        print_sentences([f"The best trial's recipe, {len(confirmed.runs)} seeds (mean ± deviation):", ""])
        print_metrics(confirmed.summary)
        print_sentences([""])
    counts = {state: sum(trial.state == state for trial in result.trials) for state in ("trained", "pruned", "failed")}
    facts = {"trials": ", ".join(f"{number} {state}" for state, number in counts.items() if number) or "none"}
    if len(ranked) > _SHOWN:
        facts["shown"] = f"the best {_SHOWN}; --json and --html have all"
    if best is not None:
        facts["best run"] = str(best.run)
        if output is not None:
            facts["recipe"] = str(output)
    elif output is not None:
        facts["recipe"] = "not written: no trial is trained"
    if html is not None:
        facts["page"] = str(html)
    if confirmed is not None:
        facts["confirmed"] = f"{confirmed.runs[-1].run.parent}/"
    print_facts(facts | {"journal": str(result.folder)})


def _cells(place: int, trial: "EndedTrial", title: str) -> dict[str, str]:
    return {
        "": f"{place}",
        "trial": f"{trial.number}",
        title: figure(trial.value),
        "epochs": f"{trial.epochs}",
        "time": duration(trial.seconds),
        "ended": trial.state,
    }


def _as_object(
    result: "SweepResult", name: str, output: Path | None, html: Path | None, confirmed: "SeedsResult | None"
) -> dict[str, Any]:
    best = result.best
    return {
        "recipe": name,
        "metric": result.metric,
        "better": "lower" if result.minimize else "higher",
        "wanted": result.wanted,
        "finished": len(result.finished),
        "trials": [_trial_object(trial) for trial in result.trials],
        "best": None if best is None else _trial_object(best),
        "importance": result.importance,
        "output": output,
        "page": html,
        "confirmed": None if confirmed is None else _confirmed_object(confirmed),
        "journal": result.folder,
    }


def _trial_object(trial: "EndedTrial") -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "settings": trial.settings,
        "value": trial.value,
        "epochs": trial.epochs,
        "seconds": trial.seconds,
        "run": trial.run,
        "why": trial.why,
    }


def _confirmed_object(confirmed: "SeedsResult") -> dict[str, Any]:
    return {"seeds": len(confirmed.runs), "metrics": confirmed.summary, "runs": [run.run for run in confirmed.runs]}
