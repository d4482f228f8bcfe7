"""The sections with charts: how the runs learnt, how well they rank, whether their scores are right."""

from widedeep.comparison.measured_runs import RunReport
from widedeep.comparison.run_table import RANKED_BY
from widedeep.evaluation.curves import CALIBRATION_BINS
from widedeep.evaluation.formulas import metric_title
from widedeep.figures import figure
from widedeep.report import charts
from widedeep.report.blocks import Chart, Legend, Section
from widedeep.report.names import legend, name

_LOSS = {"binary": "log_loss", "regression": "rmse"}


def learning(report: RunReport) -> Section:
    """The loss, and the metric that ranks the runs, by epoch."""
    kind = report.runs[0].finished.recipe.data.label.kind
    if not any(measured.epochs for measured in report.runs):
        told = "What training logged, `events.jsonl`, is no longer with the runs."
        return Section("learning", "Learning curves", intro=[told])
    valid = any(epoch["valid"] for measured in report.runs for epoch in measured.epochs)
    drawn = [_loss_by_epoch(report, kind)]
    if valid and _LOSS[kind] != RANKED_BY[kind]:
        drawn.append(_metric_by_epoch(report, RANKED_BY[kind]))
    intro = [] if valid else ["These runs were trained without valid rows: only the loss in training is known."]
    return Section("learning", "Learning curves", intro=intro, charts=drawn)


def _loss_by_epoch(report: RunReport, kind: str) -> Chart:
    square = kind == "regression"
    of_train = [[_root(epoch["train_loss"], square) for epoch in measured.epochs] for measured in report.runs]
    of_valid = [[epoch["valid"].get(_LOSS[kind]) for epoch in measured.epochs] for measured in report.runs]
    title = "RMSE by epoch" if square else "Log loss by epoch"
    label = "RMSE, in the label's units" if square else "log loss, nats a row"
    sampled = any(measured.finished.recipe.data.keep_negatives < 1.0 for measured in report.runs)
    more = " Training saw a part of the negatives only, so that its loss is on another scale." if sampled else ""
    return Chart(
        title,
        charts.epochs_chart("loss", title, label, of_valid, of_train, _best_epochs(report)),
        "Where the loss of valid rows stops falling while that in training goes on, the model begins to learn rows by "
        "heart. The loss in training is a mean over the epoch, while the weights still move, with dropout if there is "
        f"any.{more}",
        [*legend(report), Legend("whole line: valid rows", None), Legend("dotted: in training", None), *_ring(report)],
    )


def _root(loss: float | None, square: bool) -> float | None:
    return loss**0.5 if square and loss is not None else loss


def _metric_by_epoch(report: RunReport, metric: str) -> Chart:
    title = f"{metric_title(metric)} of valid rows by epoch"
    values = [[epoch["valid"].get(metric) for epoch in measured.epochs] for measured in report.runs]
    return Chart(
        title,
        charts.epochs_chart("metric", title, metric_title(metric), values, best=_best_epochs(report)),
        "The weights of the epoch in a ring are the run's: training keeps the best by "
        f"{', '.join(sorted({_stopped_by(report, run) for run in range(len(report.runs))}))} of valid rows.",
        [*legend(report), *_ring(report)],
    )


def _stopped_by(report: RunReport, run: int) -> str:
    return metric_title(report.runs[run].finished.recipe.training.early_stopping.metric)


def _best_epochs(report: RunReport) -> list[int]:
    return [measured.finished.facts.get("best_epoch") or 0 for measured in report.runs]


def _ring(report: RunReport) -> list[Legend]:
    return [Legend("ring: the epoch that was kept", None)] if any(_best_epochs(report)) else []


def ranking(report: RunReport) -> Section | None:
    """ROC, and precision by recall; None for a regression."""
    roc, precision = [measured.roc for measured in report.runs], [measured.precision for measured in report.runs]
    if not any(roc):
        return None
    rate = report.runs[0].metrics["positives"] or 0.0
    title = "ROC: positives found by negatives let through"
    drawn = [
        Chart(
            title,
            charts.roc_chart(title, roc),
            "The higher the curve, the better the ranking; the area below it is the AUC. The broken line is chance.",
            legend(report, _figures(report, "auc")),
        )
    ]
    title = "Precision by recall"
    drawn.append(
        Chart(
            title,
            charts.precision_chart(title, precision, rate),
            f"Of the rows with the highest scores, how many are positive. The broken line is chance: {100 * rate:.3g}% "
            f"of all {report.split} rows are positive. Its mean height is the average precision (AP).",
            legend(report, _figures(report, "average_precision", "AP")),
        )
    )
    return Section("ranking", "Ranking", charts=drawn)


def _figures(report: RunReport, metric: str, title: str | None = None) -> list[str]:
    return [f"{title or metric_title(metric)} {figure(measured.metrics.get(metric))}" for measured in report.runs]


def scores(report: RunReport) -> Section:
    """Calibration, and the distribution of scores or errors."""
    binary = report.runs[0].finished.recipe.data.label.kind == "binary"
    drawn = [_calibration(report, binary)]
    if binary:
        shown = charts.shown_bins([measured.spread for measured in report.runs])
        for run, measured in enumerate(report.runs):
            title = f"Scores of positives and negatives{f': {name(report, run)}' if len(report.runs) > 1 else ''}"
            drawn.append(
                Chart(
                    title,
                    charts.score_chart(f"scores-{run + 1}", title, run, measured.spread, shown),
                    "The less the two overlap, the better the model tells them apart. Each adds up to 100% of its "
                    "class.",
                    [Legend("filled: positives", run), Legend("outline: negatives", None)],
                )
            )
    else:
        title = "Errors"
        drawn.append(
            Chart(
                title,
                charts.error_chart(title, [measured.spread for measured in report.runs]),
                "The narrower and the closer to 0, the better; the outermost 1% of the errors count at the ends.",
                legend(report),
            )
        )
    return Section("scores", "Scores" if binary else "Predictions", charts=drawn)


def _calibration(report: RunReport, binary: bool) -> Chart:
    rate = report.runs[0].metrics["positives"] if binary else None
    title = "Calibration: what was seen by what was predicted"
    told = "the score is the rate" if binary else "the prediction is the label"
    bins = [measured.calibration for measured in report.runs]
    drawn = len(bins) <= charts.INTERVALS_OF_RUNS
    bars = " Bars are 95% intervals of rows taken as independent." if drawn else ""
    axes = (
        " Both axes are logarithmic; a bin without a positive is left out." if charts.is_logarithmic(bins, rate) else ""
    )
    return Chart(
        title,
        charts.calibration_chart(title, bins, rate),
        f"Rows in up to {CALIBRATION_BINS} bins of equal size by their {'score' if binary else 'prediction'}. On the "
        f"broken line {told}; above it the model says too little, below too much.{bars}{axes}",
        legend(report, _figures(report, "calibration")) if binary else legend(report),
    )
