"""`widedeep compare`: a table of runs, best first; the seeds of a recipe become mean and deviation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from widedeep.api.experiments import run_paths
from widedeep.figures import duration, figure

from ..options import JsonOption, RunsArgument, WorkOption
from ..results import print_facts, print_json, print_sentences

if TYPE_CHECKING:
    from widedeep.comparison.run_table import Figure, TableLine

_SHOWN = ("auc", "gauc", "log_loss", "rmse", "mae")
_MARK = "!"
_MEANING = (
    "± is the deviation between seeds; rows ± is half of a 95% interval for rows drawn anew. Of two runs on the same "
    "rows the difference is surer than that: `widedeep eval RUN --against RUN2` pairs their rows. Below: what differs "
    "in their recipes; … stands for entries of a list that all have."
)


def compare(
    runs: RunsArgument,
    split: Annotated[
        Literal["valid", "test"] | None, typer.Option("--split", help="Whose metrics; default: test, else valid.")
    ] = None,
    work: WorkOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Put runs beside each other, best first; seeds of one recipe are one line."""
    from widedeep.comparison.run_table import run_table
    from widedeep.recipe.differences import setting_texts

    from ..console import ConsoleReporter, print_comparison  # not at the top: `--help` should not wait for Rich

    lines, chosen = run_table(run_paths(runs, work), split, ConsoleReporter())
    if as_json:
        print_json({"split": chosen, "lines": [_as_object(line) for line in lines]})
        return
    metrics = [name for name in _SHOWN if any(name in line.metrics for line in lines)]
    print_comparison([_cells(number, line, metrics) for number, line in enumerate(lines, start=1)])
    marked = (
        f" {_MARK} marks a model that is no good, with what is wrong below." if any(x.warnings for x in lines) else ""
    )
    print_sentences(["", f"Metrics of the {chosen} rows. {_MEANING}{marked}", ""])
    differs = setting_texts([line.differs for line in lines])
    for number, (line, different) in enumerate(zip(lines, differs, strict=True), start=1):
        print_sentences([f"{number}. {_told(line, different)}", *_warned(line)])
        print_facts({" ": _place(line)})


def _as_object(line: "TableLine") -> dict[str, Any]:
    return {
        "name": line.name,
        "differs": line.differs,
        "seeds": [run.recipe.seed for run in line.runs],
        "runs": [run.path for run in line.runs],
        "refit": line.runs[0].refit,
        "goes_on_from": line.runs[0].goes_on_from,
        "precisions": line.precisions,
        "dropped_values": line.runs[0].facts.get("dropped_values"),
        "metrics": {name: _figure_object(measured) for name, measured in line.metrics.items()},
        "parameters": line.mean_of("parameters"),
        "rows_per_second": line.mean_of("rows_per_second"),
        "seconds": line.mean_of("seconds"),
        "warnings": [warning for alike in line.warnings.values() for warning in alike],
    }


def _figure_object(measured: "Figure") -> dict[str, float | None]:
    rows = measured.rows
    interval = {"low": None, "high": None} if rows is None else {"low": rows.low, "high": rows.high}
    return {"mean": measured.mean, "deviation": measured.deviation, **interval}


def _cells(number: int, line: "TableLine", metrics: Sequence[str]) -> dict[str, str]:
    from widedeep.evaluation.formulas import metric_title

    cells = {"": f"{number}{_MARK if line.warnings else ''}"}
    for name in metrics:
        measured = line.metrics.get(name)
        deviation = None if measured is None else measured.deviation
        seeds = "" if deviation is None else f" ±{_short(deviation)}"
        cells[metric_title(name)] = f"{figure(None if measured is None else measured.mean)}{seeds}"
        if name == metrics[0]:
            cells["rows ±"] = (
                "–" if measured is None or measured.rows is None else _short(measured.rows.high - measured.mean)
            )
    return cells | {
        "params": _rounded(line.mean_of("parameters")),
        "rows/s": f"{line.mean_of('rows_per_second'):,.0f}",
        "time": duration(line.mean_of("seconds")),
    }


def _short(value: float) -> str:
    return f"{value:.4f}".removeprefix("0") if value < 10.0 else figure(value)


def _rounded(count: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.0f}"


def _told(line: "TableLine", differs: Mapping[str, str]) -> str:
    seeds = f"{len(line.runs)} seeds" if len(line.runs) > 1 else f"seed {line.runs[0].recipe.seed}"
    seen = line.runs[0].trained_on
    refit = "" if seen is None else f", refit on {seen} rows"
    before = line.runs[0].goes_on_from
    parents = [] if before is None else [before["run"], *before["ancestors"]]
    chain = f", going on from {' ← '.join(parents)}" if parents else ""
    dropped = line.runs[0].facts.get("dropped_values")
    if dropped is not None:
        chain += f", {sum(dropped.values()):,} values dropped"
    trained = ", ".join([f"{seeds}{refit}{chain}", *line.precisions])
    return "; ".join([f"{line.name}, {trained}", *(f"{name}={value}" for name, value in differs.items())])


def _warned(line: "TableLine") -> list[str]:
    """A sentence for each kind of warning, from the first seed that has it."""
    told = []
    for alike in line.warnings.values():
        seeds = f" ({len(alike)} of {len(line.runs)} seeds, such as {alike[0]['seed']})" if len(line.runs) > 1 else ""
        told.append(f"  {_MARK} warning{seeds}: {alike[0]['message']}")
    return told


def _place(line: "TableLine") -> str:
    path = line.runs[-1].path
    return f"{path.parent}/" if len(line.runs) > 1 else str(path)
