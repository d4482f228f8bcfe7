"""`widedeep backtest`: train up to a day, score the next, go on, and see how the ways of doing so compare."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widedeep.figures import duration, figure
from widedeep.files import check_output, write_text

from .. import without_collecting
from ..drawing import require_drawing
from ..options import ForceOption, JsonOption, RecipeArgument, SetOption, WaitOption, WorkOption
from ..recipe_argument import open_recipe, refuse_data_file
from ..results import print_facts, print_json, print_sentences

if TYPE_CHECKING:
    from widedeep.comparison.backtest import Backtest, ScoredStep, Way
    from widedeep.evaluation.comparison import Change


def backtest(
    recipe: RecipeArgument,
    step: Annotated[
        str,
        typer.Option(
            "--step",
            metavar="LENGTH",
            help="Length of a step: 1d, 12h, 30m or 1w; a bare number is in the unit of data.time.",
        ),
    ] = "1d",
    cold: Annotated[
        bool, typer.Option("--cold", help="A fresh model of all rows before each step. Default: all three ways.")
    ] = False,
    warm: Annotated[
        bool, typer.Option("--warm", help="The model goes on from the step before, on that step's rows.")
    ] = False,
    frozen: Annotated[bool, typer.Option("--frozen", help="The first model scores every step.")] = False,
    days: Annotated[
        int | None,
        typer.Option("--days", min=1, metavar="N", help="Score the last N steps; default: all but the first."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="PAGE", help="Write the figures as one HTML page with charts.")
    ] = None,
    force: ForceOption = False,
    work: WorkOption = Path(),
    overrides: SetOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train up to a day, score the next, go on: what trained anew, going on and left alone are worth over time."""
    from ..console import ConsoleReporter, print_comparison  # not at the top: `--help` should not wait for Rich

    target = None
    if html is not None:
        require_drawing("backtest --html")
        target = check_output(html, force=force)
    reporter = ConsoleReporter()
    loaded = open_recipe(recipe, overrides, reporter)
    if target is not None:
        from widedeep.source.paths import refuse_as_output

        refuse_as_output(target, [] if loaded.path is None else [loaded.path])
        refuse_data_file(target, loaded)
    with without_collecting():
        from widedeep.comparison.backtest import WAYS
        from widedeep.comparison.backtest import backtest as run_backtest
    from widedeep.evaluation.formulas import metric_title
    from widedeep.evaluation.verdict import holds_for, verdict

    asked: dict[Way, bool] = {"frozen": frozen, "cold": cold, "warm": warm}
    ways = [way for way in WAYS if asked[way]] or WAYS
    result = run_backtest(loaded, work, reporter, step=step, ways=ways, days=days, wait=wait)
    verdicts = [
        verdict(name, change, *pair) for pair, changes in result.differences.items() for name, change in changes.items()
    ]
    if target is not None:
        from widedeep.report.over_time import over_time

        write_text(target, over_time(result, loaded.recipe.name, datetime.now(UTC)))
    if as_json:
        print_json(_as_object(result) | {"verdict": verdicts})
        return
    for name in result.metrics:
        lines = [_cells(result, scored, name) for scored in result.steps]
        print_sentences(["", f"{metric_title(name)}, ± half of a 95% interval", ""])
        print_comparison([*lines, _all_cells(result, name)])
    print_sentences(["", *verdicts, "", holds_for(grouped=result.grouped), ""])
    print_facts(
        {
            "first model": f"{result.first_rows:,} rows",
            **{f"{way} training": duration(seconds) for way, seconds in result.seconds.items()},
            **({} if html is None else {"page": str(html)}),
            **({"not learnt from alone": f"{result.unlearnt} steps"} if result.unlearnt else {}),
        }
    )


def _cells(result: "Backtest", scored: "ScoredStep", name: str) -> dict[str, str]:
    cells = {"step": result.step_name(scored), "rows": f"{scored.rows:,}", "mean": figure(scored.mean)}
    return cells | {way: _cell(figures.get(name)) for way, figures in scored.figures.items()}


def _all_cells(result: "Backtest", name: str) -> dict[str, str]:
    rows = sum(scored.rows for scored in result.steps)
    mean = sum(scored.mean * scored.rows for scored in result.steps) / rows
    cells = {"step": "all", "rows": f"{rows:,}", "mean": figure(mean)}
    return cells | {way: _cell(figures.get(name)) for way, figures in result.overall.items()}


def _cell(change: "Change | None") -> str:
    if change is None:
        return "–"
    half = change.high - change.value
    return figure(change.value) if half == float("inf") else f"{figure(change.value)} ±{half:.4f}".replace("±0", "±")


def _as_object(result: "Backtest") -> dict[str, Any]:
    return {
        "steps": [
            {
                "start": scored.start,
                "rows": scored.rows,
                "label_mean": scored.mean,
                **{way: _figures(figures) for way, figures in scored.figures.items()},
            }
            for scored in result.steps
        ],
        "all": {way: _figures(figures) for way, figures in result.overall.items()},
        "differences": {f"{one} - {other}": _figures(c) for (one, other), c in result.differences.items()},
        "seconds": result.seconds,
        "first_rows": result.first_rows,
        "not_learnt_from": result.unlearnt,
        "by_group": result.grouped,
    }


def _figures(changes: "dict[str, Change]") -> dict[str, dict[str, float | None]]:
    return {
        name: {"value": change.value, "low": _finite(change.low), "high": _finite(change.high)}
        for name, change in changes.items()
    }


def _finite(value: float) -> float | None:
    return value if abs(value) != float("inf") else None
