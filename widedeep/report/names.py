"""Short and full names of the runs on a page, and cells with their figures."""

import math

from widedeep.comparison.measured_runs import MeasuredRun, RunReport
from widedeep.evaluation.comparison import Change
from widedeep.figures import figure
from widedeep.report.blocks import Cell, Legend

MINUS = "−"


def name(report: RunReport, run: int) -> str:
    """The recipe's name, marked for a refit; with the seed or a number if several runs have the name."""
    titles = [_title(measured) for measured in report.runs]
    alike = [place for place, title in enumerate(titles) if title == titles[run]]
    if len(alike) == 1:
        return titles[run]
    seeds = [measured.finished.recipe.seed for measured in report.runs]
    if len({seeds[place] for place in alike}) == len(alike):
        return f"{titles[run]} (seed {seeds[run]})"
    return f"{titles[run]} ({alike.index(run) + 1})"


def _title(run: MeasuredRun) -> str:
    return run.finished.recipe.name if run.finished.refit is None else f"{run.finished.recipe.name}, refit"


def detail(report: RunReport, run: int) -> str:
    """The model's kind and the seed; for a refit also the rows that it saw."""
    finished = report.runs[run].finished
    seen = "" if finished.trained_on is None else f", refit on {finished.trained_on} rows"
    return f"{finished.recipe.model.kind}, seed {finished.recipe.seed}{seen}"


def run_cell(report: RunReport, run: int, small: str = "") -> Cell:
    """A cell with the run's colour and name."""
    return Cell(name(report, run), small, run=run, is_number=False)


def legend(report: RunReport, more: list[str] | None = None) -> list[Legend]:
    """A legend of the runs, each with its text from `more`; empty for a single run without such a text."""
    if len(report.runs) == 1 and more is None:
        return []
    said = more or [""] * len(report.runs)
    return [Legend(f"{name(report, run)} {said[run]}".strip(), run) for run in range(len(report.runs))]


def change_cell(change: Change | None, *, signed: bool = False) -> Cell:
    """A cell with a figure, and its 95% interval below it."""
    if change is None:
        return Cell("–")
    shown = signed_text if signed else figure
    if math.isinf(change.error):
        return Cell(shown(change.value), "too few rows")
    between = " to " if signed or change.low < 0.0 else "–"
    return Cell(shown(change.value), f"{shown(change.low)}{between}{shown(change.high)}")


def signed_text(value: float) -> str:
    """A difference, with its sign."""
    return (f"{value:+.4f}" if abs(value) < 10.0 else f"{value:+.4g}").replace("-", MINUS)


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
