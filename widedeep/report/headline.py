"""The first section: the figures of all runs, best first, and whether their differences are more than chance."""

from itertools import islice

from widedeep.comparison.measured_runs import RunReport
from widedeep.comparison.run_table import Figure
from widedeep.evaluation.formulas import metric_title
from widedeep.evaluation.verdict import better, holds_for, verdict
from widedeep.figures import duration, figure
from widedeep.report.blocks import Cell, Section, Table, text
from widedeep.report.names import change_cell, detail, name, run_cell

_SHOWN = ("auc", "gauc", "log_loss", "normalized_entropy", "calibration", "ece", "rmse", "mae", "r2")
MEANING = {
    "auc": "AUC: the chance that a positive scores above a negative",
    "gauc": "GAUC: the AUC within groups, averaged by their rows",
    "log_loss": "log loss: in nats a row, the lower the better",
    "normalized_entropy": "NE: log loss over that of always saying the rate of positives; below 1 something was learnt",
    "calibration": "calibration: mean score over the rate of positives, 1 is right",
    "ece": "ECE: mean distance of score and rate over 20 bins of the score",
    "rmse": "RMSE: root of the mean squared error, in the label's units",
    "mae": "MAE: mean absolute error, in the label's units",
    "r2": "R²: share of the label's variance that is explained",
}


def headline(report: RunReport) -> Section:
    """The metrics, the differences from the best, the deviation between seeds."""
    names = [name for name in _SHOWN if any(measured.metrics.get(name) is not None for measured in report.runs)]
    tables = [_metrics(report, names), *_differences(report), *_seeds(report, names)]
    return Section(
        "metrics",
        "Metrics",
        intro=[*_warnings(report), *_verdicts(report)],
        tables=tables,
        notes=[f"{'; '.join(MEANING[name] for name in names)}.", f"{holds_for(grouped=report.grouped)}."],
    )


def _metrics(report: RunReport, names: list[str]) -> Table:
    titles = [text("run"), *(Cell(metric_title(name)) for name in names), Cell("parameters"), Cell("trained in")]
    rows = []
    for run, measured in enumerate(report.runs):
        figures = [
            change_cell(measured.changes[name])
            if name in measured.changes
            else Cell(figure(measured.metrics.get(name)))
            for name in names
        ]
        facts = measured.finished.facts
        cost = [Cell(f"{facts['parameters']:,}"), Cell(duration(facts["seconds"]))]
        rows.append([run_cell(report, run, detail(report, run)), *figures, *cost])
    order = "Best first. " if len(rows) > 1 else ""
    return Table(titles, rows, f"{order}Below each figure its 95% interval, where one is known.", stacks=True)


def _warnings(report: RunReport) -> list[str]:
    """The warnings about the models from when they were trained."""
    return [
        f"Warning, {name(report, run)}: {warning['message']}."
        for run, measured in enumerate(report.runs)
        for warning in measured.finished.warnings
    ]


def _verdicts(report: RunReport) -> list[str]:
    """The paired differences of the metric that ranks the runs, in words; or why they tell nothing.

    Where that metric, such as the AUC, tells no difference, the next one that does, such as the log loss, is told too.
    """
    if len(report.runs) > 1 and report.other_rows:
        return [
            f"The runs differ in {', '.join(report.other_rows)}: their {report.split} rows, or what these count for, "
            "are not the same, so that differences of their figures say little."
        ]
    paired = []
    for run, measured in enumerate(report.runs):
        names = name(report, run), name(report, 0)
        differences = iter(measured.behind.items())
        for metric, change in islice(differences, 1):
            told = verdict(metric, change, *names)
            paired.append(f"{told if told.startswith(names) else told[0].upper() + told[1:]}.")
            if better(metric, change) is None:
                paired += [f"But {verdict(*next_one, *names)}." for next_one in differences if better(*next_one)][:1]
    return paired


def _differences(report: RunReport) -> list[Table]:
    behind_best = [(run, measured.behind) for run, measured in enumerate(report.runs) if measured.behind]
    if not behind_best:
        return []
    metrics = list(behind_best[0][1])
    return [
        Table(
            [text("run"), *(Cell(metric_title(metric)) for metric in metrics)],
            [
                [run_cell(report, run), *(change_cell(behind.get(metric), signed=True) for metric in metrics)]
                for run, behind in behind_best
            ],
            "Each run minus the best one, paired row by row: surer than the intervals above, for what is hard for one "
            "run is mostly hard for the other. An interval that holds 0 tells no difference.",
            title=f"Differences from {name(report, 0)}",
            stacks=True,
        )
    ]


def _seeds(report: RunReport, names: list[str]) -> list[Table]:
    if all(len(line.runs) == 1 for line in report.lines):
        return []
    rows = []
    for line in report.lines:
        settings = f"{len(line.runs)} seeds" if len(line.runs) > 1 else "1 seed"
        seen = line.runs[0].trained_on
        settings += "" if seen is None else f", refit on {seen} rows"
        rows.append([text(line.name, settings), *(_over_seeds(line.metrics.get(name)) for name in names)])
    return [
        Table(
            [text("recipe"), *(Cell(metric_title(name)) for name in names)],
            rows,
            "Mean over the seeds of a recipe, below it the deviation between them.",
            title="Over seeds",
            stacks=True,
        )
    ]


def _over_seeds(over_seeds: Figure | None) -> Cell:
    if over_seeds is None:
        return Cell("–")
    return Cell(figure(over_seeds.mean), "" if over_seeds.deviation is None else f"±{over_seeds.deviation:.4f}")
