"""`widedeep report`: runs as a single self-contained page."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from widedeep.api.experiments import run_paths
from widedeep.errors import UsageError
from widedeep.files import check_output, write_text

from .. import without_collecting
from ..drawing import require_drawing
from ..options import ForceOption, JsonOption, RunsArgument, TrustOption, WaitOption, WorkOption
from ..results import print_facts, print_json, stdout_bytes

if TYPE_CHECKING:
    from widedeep.comparison.measured_runs import MeasuredRun, RunReport
    from widedeep.evaluation.by_value import ValueFigures
    from widedeep.evaluation.comparison import Change


def report(
    runs: RunsArgument,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="PAGE", help="Where the page goes; - writes stdout.")
    ],
    split: Annotated[
        Literal["valid", "test"] | None, typer.Option("--split", help="Rows to measure on; default: test, else valid.")
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option("--slice", metavar="COLUMN", help="Metrics at each of its values; may be repeated."),
    ] = None,
    force: ForceOption = False,
    trust: TrustOption = False,
    work: WorkOption = Path(),
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page about one run or several: metrics, curves, calibration, slices, crosses, recipes.

    The page needs no network and nothing beside it, and reads on a phone and in print. Needs Matplotlib:
    pip install 'widedeep[report]'.
    """
    if output == "-" and as_json:
        raise UsageError("`-o -` writes the page to stdout, where --json would write its object: drop one of them")
    require_drawing("report")
    path = None if output == "-" else Path(output)
    target = None if path is None else check_output(path, force=force)
    if target is not None:
        from widedeep.source.paths import refuse_as_output

        refuse_as_output(target, [run for run in runs if os.path.isfile(run)])  # recipes
    with without_collecting():
        from widedeep.comparison.measured_runs import measure_runs
        from widedeep.report.page import page

    from ..console import ConsoleReporter  # not at the top: `--help` should not wait for Rich

    measured = measure_runs(run_paths(runs, work), split, slices or (), work, ConsoleReporter(), trust=trust, wait=wait)
    text = page(measured, datetime.now(UTC))
    if path is None or target is None:
        stdout_bytes().write(text.encode())
        return
    write_text(target, text)
    if as_json:
        print_json(_as_object(measured, path))
        return
    rows = " or ".join(
        f"{count:,}" for count in sorted({int(measured_run.metrics["rows"] or 0) for measured_run in measured.runs})
    )
    print_facts({f"{measured.split} rows": rows, "runs": str(len(measured.runs)), "path": str(path)})


def _as_object(measured: "RunReport", path: Path) -> dict[str, Any]:
    return {
        "path": path,
        "split": measured.split,
        "runs": [_run_object(measured_run) for measured_run in measured.runs],
    }


def _run_object(measured_run: "MeasuredRun") -> dict[str, Any]:
    return {
        "run": measured_run.finished.path,
        "metrics": measured_run.metrics,
        "intervals": _change_objects(measured_run.changes),
        "differences": _change_objects(measured_run.behind),
        "slices": {
            column: [_slice_object(figures) for figures in by_value] for column, by_value in measured_run.slices.items()
        },
    }


def _slice_object(figures: "ValueFigures") -> dict[str, Any]:
    return {
        "value": figures.value,
        "rows": figures.rows,
        "mean_label": figures.mean_label,
        "metrics": _change_objects(figures.metrics),
    }


def _change_objects(changes: "dict[str, Change]") -> dict[str, dict[str, float]]:
    return {name: {"value": change.value, "low": change.low, "high": change.high} for name, change in changes.items()}
