"""Warnings of models that are no good: worse than a constant, a level that is off, or a training loss that grows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from widedeep.recipe.data import LabelKind

LOWEST_LEVEL, HIGHEST_LEVEL = 0.8, 1.25
"""A calibration (mean score / rate of positives) outside these bounds is worth a warning, unless chance explains it."""
_SURE = 2.5758
"""Half the width of a 99% interval of the normal law, in standard deviations."""
_ROUNDING = 1e-3
"""Share by which a train loss may end above its first value without a warning: nothing may be there to learn."""
_GROWN = 0.05
"""Share by which a train loss may end above its lowest value without a warning: dropout, for example, causes that."""

_TRY_LESS = (
    "try a lower `training.deep.learning_rate` or `training.wide.learning_rate`, fewer fields or buckets, a larger "
    "`training.deep.embedding_l2`, or in place of listed crosses those that `widedeep crosses --discover` proves"
)
_TRY_LEVEL = (
    "check that all splits count the same thing as a positive (`data.label`) and were sampled alike, then try a lower "
    "`training.deep.learning_rate` or `training.wide.learning_rate`, or more `training.epochs`"
)
_TRY_SLOWER = (
    "try a lower `training.deep.learning_rate` or `training.wide.learning_rate`, or some `training.warmup_steps`"
)


@dataclass(frozen=True)
class ModelWarning:
    """A fault of a model."""

    kind: Literal["worse_than_constant", "level", "growing_loss"]
    split: str | None
    """The split whose metrics show it; None for a fault in training, and for new files."""
    message: str
    """A sentence with the figures and with what to try."""

    def to_json(self) -> dict[str, Any]:
        """`kind`, `split` where it has one, `message`."""
        split = {} if self.split is None else {"split": self.split}
        return {"kind": self.kind, **split, "message": self.message}


class LabelTally:
    """Weighted sums of the labels of rows."""

    def __init__(self) -> None:
        self._weight = self._label = self._squares = 0.0

    def add(self, label: NDArray[np.floating], weight: NDArray[np.floating] | None = None) -> None:
        """Add the labels and weights of a block, [rows] each."""
        label = label.astype(np.float64)
        weighted = label if weight is None else label * weight
        self._weight += float(len(label) if weight is None else weight.sum(dtype=np.float64))
        self._label += float(weighted.sum())
        self._squares += float((weighted * weighted).sum())

    @property
    def mean(self) -> float | None:
        """Mean label, which for a binary label is the rate of positives; None without weight."""
        return self._label / self._weight if self._weight else None

    @property
    def positives(self) -> float:
        """Effective number of positives: (sum of their weights)² / sum of their squared weights (Kish 1965)."""
        return self._label**2 / self._squares if self._squares else 0.0


def judge_split(
    kind: LabelKind,
    split: str | None,
    metrics: Mapping[str, float | None],
    positives: float,
    train_rate: float | None = None,
) -> tuple[ModelWarning, ...]:
    """The warnings that the metrics of a split, or of new files (`split` None), give reason for.

    `positives` is `LabelTally.positives`, unused for regression. `train_rate` is the rate of positives in train, before
    negatives were left out. A model is worse than a constant if its log loss is above that of always predicting
    `train_rate`; without `train_rate`, if the normalized entropy is at least 1; for regression, if R² is below 0.

    The level is off if the calibration's 99% interval, from the Poisson error of the number of positives, is wholly
    outside .8 to 1.25. Without positives there is no such warning.
    """
    where = f"the {split} rows" if split is not None else "these rows"
    if kind == "regression":
        return _worse_than_mean(split, where, metrics)
    return (*_worse_than_rate(split, where, metrics, train_rate), *_level(split, where, metrics, positives))


def judge_training(losses: Sequence[float | None]) -> tuple[ModelWarning, ...]:
    """Warn if the last epoch's train loss is above the first's, or more than 5% above the lowest.

    `losses` are those of the epochs in order, None if no row had weight. Differences below a thousandth count as
    rounding.
    """
    known = {epoch: loss for epoch, loss in enumerate(losses, start=1) if loss is not None}
    if len(known) < 2:
        return ()
    first, last, lowest = min(known), max(known), min(known, key=lambda epoch: known[epoch])
    if known[last] > known[first] * (1.0 + _ROUNDING):
        since = first
    elif known[last] > known[lowest] * (1.0 + _GROWN):
        since = lowest
    else:
        return ()
    message = (
        f"the training loss grows, from {known[since]:.4f} in epoch {since} to {known[last]:.4f} in epoch {last}: "
        f"{_TRY_SLOWER}"
    )
    return (ModelWarning("growing_loss", None, message),)


def _worse_than_rate(
    split: str | None, where: str, metrics: Mapping[str, float | None], train_rate: float | None
) -> tuple[ModelWarning, ...]:
    loss, rate, entropy = (metrics.get(name) for name in ("log_loss", "positives", "normalized_entropy"))
    if loss is None or rate is None:
        return ()
    if train_rate is not None and 0.0 < train_rate < 1.0:
        constant = -rate * math.log(train_rate) - (1.0 - rate) * math.log1p(-train_rate)
        if loss <= constant:
            return ()
        against = (
            f"the log loss is {loss:.4f}, and always predicting the train rate of {_rate(train_rate)} gives "
            f"{constant:.4f}"
        )
    elif entropy is not None and entropy >= 1.0:
        against = f"the normalized entropy is {entropy:.4f}, and always predicting their rate of {_rate(rate)} gives 1"
    else:
        return ()
    return (
        ModelWarning(
            "worse_than_constant", split, f"the model is worse than a constant: on {where} {against}; {_TRY_LESS}"
        ),
    )


def _worse_than_mean(split: str | None, where: str, metrics: Mapping[str, float | None]) -> tuple[ModelWarning, ...]:
    error, explained = metrics.get("rmse"), metrics.get("r2")
    if error is None or explained is None or explained >= 0.0:
        return ()
    # R² = 1 - (RMSE / deviation)²
    constant = error / math.sqrt(1.0 - explained)
    message = (
        f"the model is worse than a constant: on {where} the RMSE is {error:.4g}, and always predicting their mean "
        f"gives {constant:.4g} (R² is {explained:.3f}); {_TRY_LESS}"
    )
    return (ModelWarning("worse_than_constant", split, message),)


def _level(
    split: str | None, where: str, metrics: Mapping[str, float | None], positives: float
) -> tuple[ModelWarning, ...]:
    ratio, rate = metrics.get("calibration"), metrics.get("positives")
    if ratio is None or rate is None or positives <= 0.0:
        return ()
    fewest, most = poisson_interval(positives)
    low, high = ratio * positives / most, ratio * positives / fewest if fewest > 0.0 else math.inf
    if low <= HIGHEST_LEVEL and high >= LOWEST_LEVEL:
        return ()
    message = (
        f"the level is off: on {where} the mean score is {ratio:.2f} times the rate of positives, {ratio * rate:.4g} "
        f"against {rate:.4g} (99% interval {low:.2f} to {high:.2f}); {_TRY_LEVEL}"
    )
    return (ModelWarning("level", split, message),)


def poisson_interval(count: float) -> tuple[float, float]:
    """99% interval of the mean of a Poisson count (Byar's approximation, Breslow and Day 1987)."""
    more = count + 1.0
    low = count * (1.0 - 1.0 / (9.0 * count) - _SURE / (3.0 * math.sqrt(count))) ** 3 if count > 0.0 else 0.0
    high = more * (1.0 - 1.0 / (9.0 * more) + _SURE / (3.0 * math.sqrt(more))) ** 3
    return max(low, 0.0), high


def _rate(rate: float) -> str:
    return f"{rate:.3g}"
