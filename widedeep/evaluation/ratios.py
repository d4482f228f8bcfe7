"""More figures with their errors, by ratios of means: NE and calibration, or MAE and R² of a regression."""

import math

import numpy as np
from numpy.typing import NDArray

from widedeep.evaluation.comparison import Estimate, LabelledRows, mean_estimate, score_losses, without_undefined


def ratio_estimates(rows: LabelledRows, score: NDArray[np.floating]) -> dict[str, Estimate]:
    """`normalized_entropy` and `calibration` of probabilities [N], or `mae` and `r2` of predictions [N].

    Undefined figures are left out. Values are those of `MetricAccumulator`, errors those of the delta method, for units
    as in `estimates`.
    """
    loss = mean_estimate(rows, score_losses(rows.kind, rows.label, score))
    mean = mean_estimate(rows, rows.label)
    if loss is None or mean is None:
        return {}
    figures: dict[str, Estimate | None]
    if rows.kind == "binary":
        predicted = mean_estimate(rows, score.astype(np.float64))
        assert predicted is not None, "rows have a weight"
        figures = {"normalized_entropy": _entropy_ratio(loss, mean), "calibration": _ratio(predicted, mean)}
    else:
        spread = mean_estimate(rows, np.square(rows.label - mean.value))
        unexplained = None if spread is None else _ratio(loss, spread)
        figures = {
            "mae": mean_estimate(rows, np.abs(rows.label - score)),
            "r2": None if unexplained is None else Estimate(1.0 - unexplained.value, -unexplained.influence),
        }
    return without_undefined(rows, figures)


def _ratio(numerator: Estimate, denominator: Estimate) -> Estimate | None:
    if not denominator.value > 0.0:
        return None
    value = numerator.value / denominator.value
    return Estimate(value, (numerator.influence - value * denominator.influence) / denominator.value)


def _entropy_ratio(loss: Estimate, rate: Estimate) -> Estimate | None:
    """The loss over the entropy of the rate of positives, which is estimated from the same rows."""
    if not 0.0 < rate.value < 1.0:
        return None
    odds = (1.0 - rate.value) / rate.value
    entropy = -rate.value * math.log(rate.value) - (1.0 - rate.value) * math.log(1.0 - rate.value)
    return _ratio(loss, Estimate(entropy, math.log(odds) * rate.influence))
