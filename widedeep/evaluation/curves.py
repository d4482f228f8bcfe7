"""Curves of scored rows for charts: ROC, precision and recall, calibration by bins, histograms of scores and errors."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widedeep.evaluation.comparison import DEVIATIONS_95, LabelledRows, Numbers
from widedeep.shares import wilson

CURVE_POINTS = 400
"""A curve is thinned to about this many thresholds, spread evenly along it, which changes its area by some 1e-5."""
CALIBRATION_BINS = 12
LOG_ODDS_LIMIT = 12.0
"""The histogram of scores ends at this log-odds on either side."""
LOG_ODDS_STEP = 0.05
"""Width of a bin of the histogram of scores, in log-odds."""
ERROR_BINS = 60
_TAIL_SHARE = 0.005
"""Share of the errors beyond the histogram at either end; they count in its first and last bin."""


@dataclass(frozen=True)
class Curve:
    """Points of a curve, [P] each, with rising x."""

    x: Numbers
    y: Numbers


@dataclass(frozen=True)
class Bins:
    """Rows in bins of equal weight by their score, [B] each."""

    predicted: Numbers
    """Mean score of each bin."""
    observed: Numbers
    """Mean label of each bin."""
    low: Numbers
    """Lower end of the mean label's 95% interval."""
    high: Numbers
    """Upper end."""


@dataclass(frozen=True)
class Histogram:
    """Shares of weight in bins between rising edges [B + 1]; values beyond count in the first and the last bin."""

    edges: Numbers
    shares: dict[str, Numbers]
    """Name of a set of rows → its shares [B], which sum to 1."""


def roc_and_precision(rows: LabelledRows, score: NDArray[np.floating]) -> tuple[Curve, Curve] | None:
    """ROC (share of negatives, share of positives) and precision by recall, thresholds falling; None for one class."""
    order = np.argsort(-score, kind="stable")
    ordered, positive = score[order], rows.label[order] > 0.0
    weight = rows.weight[order]
    # Equal scores pass a threshold together: only the last of them is a point.
    last = (
        np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1) if len(ordered) else np.empty(0, dtype=np.int64)
    )
    positives = np.cumsum(np.where(positive, weight, 0.0))[last]
    negatives = np.cumsum(np.where(positive, 0.0, weight))[last]
    if not len(last) or not positives[-1] > 0.0 or not negatives[-1] > 0.0:
        return None
    recall, fall_out = positives / positives[-1], negatives / negatives[-1]
    passed = positives + negatives
    precision = np.divide(positives, passed, out=np.ones_like(passed), where=passed > 0.0)
    kept = _spread(recall + fall_out)
    roc = Curve(np.concatenate([[0.0], fall_out[kept]]), np.concatenate([[0.0], recall[kept]]))
    # Points before the first positive, with recall 0 and precision 0, tell nothing and are left out.
    with_positives = np.flatnonzero(recall)
    kept = with_positives[_spread(recall[with_positives])]
    return roc, Curve(np.concatenate([[0.0], recall[kept]]), np.concatenate([precision[kept[:1]], precision[kept]]))


def _spread(length: Numbers) -> NDArray[np.int64]:
    """Positions that are spread evenly along a rising length [N]; the last position is always among them."""
    wanted = np.linspace(length[0], length[-1], CURVE_POINTS)
    return np.unique(np.append(np.searchsorted(length, wanted), len(length) - 1))


def calibration_bins(rows: LabelledRows, score: NDArray[np.floating]) -> Bins:
    """Bins of equal weight by score; equal scores are in one bin. Rows are taken as independent.

    Intervals of shares are Wilson's for the effective number of rows (squared sum of the weights over the sum of their
    squares). Intervals of means of numbers are those of the normal law.
    """
    order = np.argsort(score, kind="stable")
    order = order[rows.weight[order] > 0.0]
    ordered, label, weight = score[order].astype(np.float64), rows.label[order], rows.weight[order]
    middle = (np.cumsum(weight) - weight / 2.0) / weight.sum()
    _, first, tie = np.unique(ordered, return_index=True, return_inverse=True)
    code = np.minimum((middle[first][tie] * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    _, code = np.unique(code, return_inverse=True)
    total = np.bincount(code, weights=weight)
    predicted = np.bincount(code, weights=weight * ordered) / total
    observed = np.bincount(code, weights=weight * label) / total
    if rows.kind == "regression":
        residual = weight * (label - observed[code])
        half = DEVIATIONS_95 * np.sqrt(np.bincount(code, weights=np.square(residual))) / total
        return Bins(predicted, observed, observed - half, observed + half)
    count = total**2 / np.bincount(code, weights=np.square(weight))
    return Bins(predicted, observed, *wilson(observed, count, DEVIATIONS_95))


def score_histogram(rows: LabelledRows, score: NDArray[np.floating]) -> Histogram:
    """Histograms of the log-odds of positives and of negatives, with edges that are the same for every model."""
    edges = np.linspace(-LOG_ODDS_LIMIT, LOG_ODDS_LIMIT, round(2.0 * LOG_ODDS_LIMIT / LOG_ODDS_STEP) + 1)
    with np.errstate(divide="ignore"):
        log_odds = np.log(score.astype(np.float64)) - np.log1p(-score.astype(np.float64))
    classes = {"positive": rows.label > 0.0, "negative": rows.label <= 0.0}
    return Histogram(edges, {name: _shares(edges, log_odds, rows.weight * kept) for name, kept in classes.items()})


def error_histogram(rows: LabelledRows, score: NDArray[np.floating]) -> Histogram:
    """Histogram of prediction minus label; the outermost percent counts in the bins at the ends."""
    error = score.astype(np.float64) - rows.label
    low, high = np.quantile(error, [_TAIL_SHARE, 1.0 - _TAIL_SHARE])
    edges = np.linspace(low, high if high > low else low + 1.0, ERROR_BINS + 1)
    return Histogram(edges, {"error": _shares(edges, error, rows.weight)})


def _shares(edges: Numbers, values: Numbers, weight: Numbers) -> Numbers:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges, weights=weight)
    total = float(counts.sum())
    return counts / total if total > 0.0 else counts.astype(np.float64)
