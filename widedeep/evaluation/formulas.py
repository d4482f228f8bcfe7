"""The metrics: the name, title, direction and formula of each, from sums over the rows."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from widedeep.evaluation.grouped import GROUP_COUNTS, grouped_title
from widedeep.recipe.data import LabelKind

Direction = Literal["max", "min"]
FloatArray = NDArray[np.float64]

Totals = Mapping[str, FloatArray]
"""Name of a sum → its total over all rows, float64 with shape [] or, for `bin_gaps`, [ECE_BINS]."""


def _ratio(numerator: FloatArray | float, denominator: FloatArray | float) -> float | None:
    return float(numerator) / float(denominator) if denominator else None


def _auc(totals: Totals) -> float | None:
    return _ratio(totals["concordant"], totals["positive"] * totals["negative"])


def _average_precision(totals: Totals) -> float | None:
    return _ratio(totals["precision"], totals["positive"]) if totals["negative"] else None


def _normalized_entropy(totals: Totals) -> float | None:
    """Log loss over the entropy of the base rate (He et al. 2014, Practical Lessons from Predicting Clicks on Ads)."""
    positive, negative, weight = (float(totals[name]) for name in ("positive", "negative", "weight"))
    if not positive or not negative:
        return None
    base_entropy = -positive * math.log(positive / weight) - negative * math.log(negative / weight)
    return _ratio(totals["log_loss"], base_entropy)


def _rmse(totals: Totals) -> float | None:
    mean = _ratio(totals["squared_error"], totals["weight"])
    return None if mean is None else math.sqrt(mean)


def _r2(totals: Totals) -> float | None:
    if not totals["weight"]:
        return None
    spread = totals["squared_offset"] - totals["offset"] ** 2 / totals["weight"]
    # A constant label leaves no spread to explain, only rounding in the last digits of the sums.
    if spread <= 1e-14 * totals["squared_offset"]:
        return None
    return 1.0 - float(totals["squared_error"]) / float(spread)


@dataclass(frozen=True)
class Metric:
    """A metric."""

    name: str
    """Its key in results and in JSON."""
    title: str
    """Its heading in tables."""
    better: Direction | None
    """Whether larger or smaller is better; None for a figure that describes rows or is best in the middle."""
    formula: Callable[[Totals], float | None]


BY_KIND: dict[LabelKind, tuple[Metric, ...]] = {
    "binary": (
        Metric("auc", "AUC", "max", _auc),
        Metric("log_loss", "log loss", "min", lambda t: _ratio(t["log_loss"], t["weight"])),
        Metric("normalized_entropy", "NE", "min", _normalized_entropy),
        Metric("brier", "Brier", "min", lambda t: _ratio(t["squared_error"], t["weight"])),
        Metric("calibration", "calibration", None, lambda t: _ratio(t["predicted"], t["positive"])),
        Metric("ece", "ECE", "min", lambda t: _ratio(np.abs(t["bin_gaps"]).sum(), t["weight"])),
        Metric("average_precision", "avg. precision", "max", _average_precision),
        Metric("accuracy", "accuracy", "max", lambda t: _ratio(t["correct"], t["weight"])),
        Metric("positives", "positives", None, lambda t: _ratio(t["positive"], t["weight"])),
    ),
    "regression": (
        Metric("rmse", "RMSE", "min", _rmse),
        Metric("mae", "MAE", "min", lambda t: _ratio(t["absolute_error"], t["weight"])),
        Metric("r2", "R²", "max", _r2),
    ),
}
"""Kind of label → its metrics, in the order in which they are shown."""
_ALL = [metric for metrics in BY_KIND.values() for metric in metrics]

DIRECTIONS: dict[str, Direction] = {metric.name: metric.better for metric in _ALL if metric.better is not None}
"""Metric that a model can be chosen by, but none by group → whether larger ("max") or smaller ("min") is better."""

TITLES: dict[str, str] = {metric.name: metric.title for metric in _ALL} | {"rows": "rows"}
"""Key of a result → its heading in tables; without those by group."""


def metric_direction(name: str) -> Direction | None:
    """Whether larger ("max") or smaller ("min") is better; None for a figure that no model is chosen by, such as
    `rows`.

    Figures by group (`gauc`, `ndcg@5`, …) are known too. Raises KeyError for an unknown name.
    """
    if name in TITLES:
        return DIRECTIONS.get(name)
    grouped_title(name)
    return None if name in GROUP_COUNTS else "max"


def metric_title(name: str) -> str:
    """Heading of a figure in tables, also of one by group: `map@5` → "MAP@5". Raises KeyError for an unknown name."""
    return TITLES.get(name) or grouped_title(name)
