"""Figures that are ratios of means, with their errors: NE and calibration, or MAE and R² of a regression."""

import math

import numpy as np
from numpy.typing import NDArray

from widedeep.evaluation.comparison import Estimate, LabelledRows, mean_estimate, score_losses


def ratio_estimates(rows: LabelledRows, score: NDArray[np.floating]) -> dict[str, Estimate]:
    """`normalized_entropy` and `calibration` at probabilities [N], or `mae` and `r2` at predictions; without the undefined.

    Values are those of `MetricAccumulator`, errors those of the delta method, on units as in `estimates`.
    """
    loss = mean_estimate(rows, score_losses(rows.kind, rows.label, score))
    mean = mean_estimate(rows, rows.label)
    if loss is None or mean is None:
        return {}
    if rows.kind == "binary":
        predicted = mean_estimate(rows, score.astype(np.float64))
        assert predicted is not None, "rows have a weight"
        found = {"normalized_entropy": _entropy_ratio(loss, mean), "calibration": _ratio(predicted, mean)}
    else:
        spread = mean_estimate(rows, np.square(rows.label - mean.value))
        missed = None if spread is None else _ratio(loss, spread)
        found = {
            "mae": mean_estimate(rows, np.abs(rows.label - score)),
            "r2": None if missed is None else Estimate(1.0 - missed.value, -missed.influence),
        }
    known = {name: one for name, one in found.items() if one is not None}
    if rows.enough:
        return known
    return {name: Estimate(one.value, np.full_like(one.influence, np.nan)) for name, one in known.items()}


def _ratio(over: Estimate, under: Estimate) -> Estimate | None:
    if not under.value > 0.0:
        return None
    value = over.value / under.value
    return Estimate(value, (over.influence - value * under.influence) / under.value)


def _entropy_ratio(loss: Estimate, rate: Estimate) -> Estimate | None:
    """The loss over the entropy of the positives' rate, which is estimated from the same rows."""
    if not 0.0 < rate.value < 1.0:
        return None
    odds = (1.0 - rate.value) / rate.value
    entropy = -rate.value * math.log(rate.value) - (1.0 - rate.value) * math.log(1.0 - rate.value)
    return _ratio(loss, Estimate(entropy, math.log(odds) * rate.influence))
