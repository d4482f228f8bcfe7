"""Two models on the same rows: how much better one is, with an interval that takes the pairing into account."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

DEVIATIONS_95 = 1.959963984540054
"""Half the width of a 95% interval of the normal law, in standard deviations."""


@dataclass(frozen=True)
class Change:
    """A mean change and its standard error."""

    value: float
    error: float

    @property
    def low(self) -> float:
        """Lower end of the 95% interval."""
        return self.value - DEVIATIONS_95 * self.error

    @property
    def high(self) -> float:
        """Upper end of the 95% interval."""
        return self.value + DEVIATIONS_95 * self.error

    @property
    def z(self) -> float:
        """The change in standard errors; 0 where nothing changes."""
        return self.value / self.error if self.error > 0.0 else 0.0

    @property
    def interval(self) -> tuple[float, float, float]:
        """Value, lower and upper end."""
        return self.value, self.low, self.high


def row_losses(kind: Literal["binary", "regression"], label: Numbers, logit: Numbers) -> Numbers:
    """Each row's log loss (nats), or squared error, [N], at float64 logits [N], or predictions."""
    if kind == "regression":
        return np.square(label - logit)
    losses: Numbers = np.logaddexp(0.0, np.where(label > 0.0, -logit, logit))
    return losses


def loss_fall(before: Numbers, after: Numbers, weight: Numbers | None = None) -> Change:
    """How much lower the weighted mean loss is after than before, of row losses [N] each; rows are taken as independent.

    The error is that of a ratio of sums: sqrt(sum (w (d - mean))^2) / sum w.
    """
    fall = before - after
    if weight is None:
        weight = np.ones(len(fall))
    total = float(weight.sum())
    mean = float((weight * fall).sum()) / total
    return Change(mean, float(np.sqrt(np.square(weight * (fall - mean)).sum())) / total)


def auc_rise(label: Numbers, before: Numbers, after: Numbers, weight: Numbers | None = None) -> Change | None:
    """How much higher the AUC of the scores `after` [N] is than that of `before` on the same rows; None with one class.

    The error is that of DeLong, DeLong and Clarke-Pearson (1988) for paired scores, with weighted placements.
    """
    positive = label > 0.0
    weights = np.ones(len(label)) if weight is None else weight
    of_positive, of_negative = weights[positive], weights[~positive]
    if not of_positive.sum() > 0.0 or not of_negative.sum() > 0.0:
        return None
    rises = []
    for scores in (before, after):
        higher, lower = scores[positive], scores[~positive]
        rises.append((_share_below(higher, lower, of_negative), 1.0 - _share_below(lower, higher, of_positive)))
    (positives_before, negatives_before), (positives_after, negatives_after) = rises
    by_positive = loss_fall(positives_after, positives_before, of_positive)
    by_negative = loss_fall(negatives_after, negatives_before, of_negative)
    return Change(by_positive.value, float(np.hypot(by_positive.error, by_negative.error)))


def _share_below(scores: Numbers, others: Numbers, weight: Numbers) -> Numbers:
    """The share of the others' weight that lies below each score, equal ones counting half."""
    order = np.argsort(others, kind="stable")
    held = np.concatenate([[0.0], np.cumsum(weight[order])])
    ordered = others[order]
    below = held[np.searchsorted(ordered, scores, side="left")]
    up_to = held[np.searchsorted(ordered, scores, side="right")]
    share: Numbers = (below + up_to) / (2.0 * held[-1])
    return share
