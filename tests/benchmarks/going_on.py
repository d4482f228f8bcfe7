"""Is a model that goes on from yesterday's as good as one trained anew, and at what share of its time? To run it:

    python tests/benchmarks/going_on.py RESULT.json WORK [SET …]

prints the table of results/warm.md. Sets: `drifting` (a log of 30 days drawn here) and `movielens-100k` (by week; WIDEDEEP_DATA
says where it lies). Runs lie in the folder WORK: stopped and started again, it goes on. CPU seconds are those of this process,
so what was finished before it started is not in them: such a result has no times.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import machine_facts

from widedeep.api.recipes import load_recipe
from widedeep.comparison.backtest import WAYS, Backtest, backtest
from widedeep.files import write_json
from widedeep.recipe.load import LoadedRecipe
from widedeep.reporting import Reporter
from widedeep.synth.sample_log import write_drifting_log

DAY = 86_400.0


@dataclass(frozen=True)
class LogSet:
    """A log, cut into steps."""

    step: float
    """Seconds."""
    steps: int
    """The last steps are scored, so many."""
    overrides: tuple[str, ...] = ()
    rows: int = 0
    """Of a log that is drawn."""
    days: int = 0


SETS = {
    "drifting": LogSet(DAY, 29, ("training.threads=1",), rows=180_000, days=30),
    "movielens-100k": LogSet(
        7 * DAY, 20, ("training.early_stopping.metric=log_loss", "training.epochs=8", "training.threads=1")
    ),
}


def recipe_of(name: str, log: LogSet, work: Path) -> LoadedRecipe:
    """The recipe of a set; its log is drawn into `work` unless it is there."""
    if not log.rows:
        return load_recipe(name, set=log.overrides)
    folder = work / f"{name}-log"
    if not (folder / "recipe.yaml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_drifting_log(folder, log.rows, 11, Reporter(), days=log.days)
    return load_recipe(folder / "recipe.yaml", set=log.overrides)


def measured(name: str, log: LogSet, work: Path) -> dict[str, Any]:
    """Figures of the three ways on all scored steps together, their paired differences, and CPU seconds of each way.

    The first model, which all ways share, is trained before the clock starts.
    """
    recipe = recipe_of(name, log, work)
    seconds: dict[str, float] = {}
    for way in WAYS:
        began = time.process_time()
        backtest(recipe, work, Reporter(), step=log.step, ways=[way], days=log.steps)
        seconds[way] = time.process_time() - began
    result = backtest(recipe, work, Reporter(), step=log.step, days=log.steps)
    return {**_figures(result), "cpu_seconds": seconds, "steps": len(result.steps)}


def _figures(result: Backtest) -> dict[str, Any]:
    def told(changes: dict[str, Any]) -> dict[str, list[float]]:
        return {name: list(change.interval) for name, change in changes.items()}

    first = result.seconds["frozen"]
    return {
        "first_rows": result.first_rows,
        "rows": sum(step.rows for step in result.steps),
        "all": {way: told(changes) for way, changes in result.overall.items()},
        "differences": {f"{one} - {other}": told(changes) for (one, other), changes in result.differences.items()},
        "training_seconds": {way: seconds - first for way, seconds in result.seconds.items()},
        "by_step": [{way: figures["log_loss"].value for way, figures in s.figures.items()} for s in result.steps],
    }


def lines_of(name: str, facts: dict[str, Any]) -> list[str]:
    """The rows of the table for one set."""
    lines = []
    for way in WAYS:
        figures, cpu = facts["all"][way], facts["cpu_seconds"][way]
        cells = [f"{figures[metric][0]:.4f}" for metric in ("log_loss", "auc", "calibration")]
        less = "" if way == "cold" else _difference(facts, way)
        share = f"{cpu / facts['cpu_seconds']['cold']:.2f}" if way == "warm" else ""
        taken = "" if way == "frozen" else f"{cpu:.0f}"
        lines.append(f"| {name} | {way} | {' | '.join(cells)} | {less} | {taken} | {share} |")
    return lines


def _difference(facts: dict[str, Any], way: str) -> str:
    sign = 1.0 if f"{way} - cold" in facts["differences"] else -1.0
    known = facts["differences"][f"{way} - cold" if sign > 0 else f"cold - {way}"]
    value, *ends = (sign * number for number in known["log_loss"])
    return f"{value:+.4f} ({min(ends):+.4f} to {max(ends):+.4f})"


def main(arguments: list[str]) -> None:
    """Measure the sets that the arguments name, or all; write the result after each."""
    result_path, work, *asked = arguments
    results: dict[str, Any] = {"machine": machine_facts()}
    print("| log | way | log loss | AUC | calibration | log loss - cold's (95%) | CPU s | of cold's |")
    print("|---|---|---|---|---|---|---|---|")
    for name in asked or SETS:
        results[name] = measured(name, SETS[name], Path(work))
        write_json(Path(result_path), results)
        print("\n".join(lines_of(name, results[name])), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
