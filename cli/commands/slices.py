"""`widedeep eval RUN --slice COLUMN`: one run at each value of a column."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from widedeep.figures import figure

from .. import without_collecting
from ..console import ConsoleReporter, print_comparison, print_metrics
from ..results import print_facts, print_json, print_sentences
from .evaluate import as_object, facts

if TYPE_CHECKING:
    from widedeep.api.runs import Run
    from widedeep.comparison.sliced_run import SlicedResult
    from widedeep.evaluation.by_value import ValueFigures

_SHOWN_VALUES = 12
_SHOWN_METRICS = ("auc", "log_loss", "calibration", "rmse", "mae")


def show_slices(
    run: "Run",
    files: Sequence[str],
    columns: Sequence[str],
    *,
    split: str | None,
    tables: Mapping[str, str],
    work: Path,
    wait: bool,
    workers: str | None,
    as_json: bool,
) -> None:
    """Print the metrics of a run, and its figures at each value of the columns."""
    with without_collecting():
        from widedeep.comparison.sliced_run import evaluate_slices
    from widedeep.evaluation.slices import LEAST_ROWS
    from widedeep.evaluation.verdict import holds_for

    result = evaluate_slices(
        run.directory,
        run.scorer,
        files,
        columns,
        split=split,
        work_dir=work,
        reporter=ConsoleReporter(),
        tables=tables,
        wait=wait,
        workers=workers,
    )
    if as_json:
        slices = {column: [_value_object(value) for value in values] for column, values in result.slices.items()}
        print_json({**as_object(result.whole, run.path), "slices": slices, "by_group": result.grouped})
        return
    print_metrics({result.whole.split or "files": result.whole.metrics})
    for column, values in result.slices.items():
        print_sentences([""])
        print_comparison([_cells(column, value, _metrics(result)) for value in values[:_SHOWN_VALUES]])
        if len(values) > _SHOWN_VALUES:
            print_sentences([f"and {len(values) - _SHOWN_VALUES:,} more values with fewer rows: --json has all"])
    few = f"– where a value has fewer than {LEAST_ROWS} rows, or too few of either class or of groups"
    print_sentences(["", f"{holds_for(grouped=result.grouped)}; {few}", ""])
    print_facts(facts(result.whole, run.path))


def _metrics(result: "SlicedResult") -> list[str]:
    """The metrics that are shown: those that the run has, whether any value has rows enough or none has."""
    return [name for name in _SHOWN_METRICS if name in result.whole.metrics]


def _cells(column: str, value: "ValueFigures", metrics: Sequence[str]) -> dict[str, str]:
    from widedeep.evaluation.formulas import metric_title

    cells = {
        column: "(missing)" if value.value is None else value.value,
        "rows": f"{value.rows:,}",
        "mean label": figure(value.mean_label),
    }
    for name in metrics:
        change = value.metrics.get(name)
        cells[metric_title(name)] = "–" if change is None else f"{change.value:.4f} ±{1.96 * change.error:.4f}"
    return cells


def _value_object(value: "ValueFigures") -> dict[str, Any]:
    metrics = {
        name: {"value": change.value, "low": change.low, "high": change.high} for name, change in value.metrics.items()
    }
    return {"value": value.value, "rows": value.rows, "mean_label": value.mean_label, "metrics": metrics}
