"""Compares models on the same rows: figures with their errors, and the paired difference of two models."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widedeep.evaluation.grouped import group_aucs
from widedeep.recipe.data import LabelKind

Numbers = NDArray[np.float64]

DEVIATIONS_95 = 1.959963984540054
"""Half the width of a 95% interval of the normal law, in standard deviations."""
LEAST_OF_CLASS = 20
"""With fewer positives or negatives (or rows of a regression), an interval would mean nothing."""
LEAST_GROUPS = 30
"""With fewer groups, if rows come in groups, an interval would mean nothing."""


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
        """The change in standard errors; 0 if the error is 0."""
        return self.value / self.error if self.error > 0.0 else 0.0

    @property
    def interval(self) -> tuple[float, float, float]:
        """(value, lower end, upper end)."""
        return self.value, self.low, self.high


@dataclass(frozen=True)
class Estimate:
    """A figure of one model, and how much each unit of the sample (a row, or a group of rows) moves it."""

    value: float
    influence: Numbers
    """[units]: each unit's contribution to the figure's error, to first order; sums to 0. NaN for too few units."""

    def minus(self, other: "Estimate") -> "Estimate":
        """The difference from another model's figure on the same units."""
        return Estimate(self.value - other.value, self.influence - other.influence)

    def change(self) -> Change:
        """The figure with its standard error, the root of the sum of squared influences; units are independent.

        The error is infinite if the influences are unknown.
        """
        return change_over_seeds([self])


def change_over_seeds(estimates: Sequence[Estimate]) -> Change:
    """The mean of a figure, such as a difference, over seeds that are measured on the same units.

    With one seed the error is that of the units. With more, the interval holds for other seeds too. The variance of the
    mean between seeds is added; because few seeds give a poor estimate of it, the law is Student's, with degrees of
    freedom by Welch and Satterthwaite (1946). `error` is that of a normal law with the same 95% interval.
    """
    values = np.array([estimate.value for estimate in estimates])
    mean = float(values.mean())
    influence = np.mean([estimate.influence for estimate in estimates], axis=0)
    unit_variance = float(np.square(influence).sum())
    if math.isnan(unit_variance):
        return Change(mean, math.inf)
    if len(values) == 1:
        return Change(mean, math.sqrt(unit_variance))
    seed_variance = float(values.var(ddof=1)) / len(values)
    variance = unit_variance + seed_variance
    # Without any variance between seeds, the poor estimate has no part in the sum.
    freedom = (len(values) - 1) * (variance / seed_variance) ** 2 if seed_variance > 0.0 else math.inf
    return Change(mean, math.sqrt(variance) * _student_deviations_95(freedom) / DEVIATIONS_95)


def _student_deviations_95(freedom: float) -> float:
    """Half the width of a 95% interval of Student's law; degrees of freedom are rounded down.

    It is exact for 1 and 2. From 3 on, it is the expansion of Fisher and Cornish (Abramowitz and Stegun, 26.7.5), which
    is right within 0.2%.
    """
    z = DEVIATIONS_95
    if freedom < 2.0:
        return math.tan(math.pi * 0.475)
    if freedom < 3.0:
        return 0.95 * math.sqrt(2.0 / (1.0 - 0.95**2))
    n = math.floor(freedom) if math.isfinite(freedom) else freedom
    terms = (
        (z**3 + z) / 4.0,
        (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0,
        (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0,
        (79.0 * z**9 + 776.0 * z**7 + 1482.0 * z**5 - 1920.0 * z**3 - 945.0 * z) / 92160.0,
    )
    return z + sum(term / n**power for power, term in enumerate(terms, start=1))


@dataclass(frozen=True)
class LabelledRows:
    """The labelled rows on which models are measured."""

    kind: LabelKind
    label: Numbers
    """[N]."""
    weight: Numbers
    """[N]."""
    group: NDArray[np.int64] | None
    """[N], numbers from 0; None if rows are independent."""

    @classmethod
    def of(
        cls,
        kind: LabelKind,
        label: NDArray[np.floating],
        weight: NDArray[np.floating] | None = None,
        group: NDArray[np.uint64] | None = None,
    ) -> "LabelledRows":
        """The rows of stored targets, [N] each; `group` may be any numbers that tell groups apart."""
        weights = np.ones(len(label)) if weight is None else weight.astype(np.float64)
        codes = None if group is None else np.unique(group, return_inverse=True)[1].astype(np.int64)
        return cls(kind, label.astype(np.float64), weights, codes)

    @property
    def enough(self) -> bool:
        """Whether enough rows have a weight for errors to mean something."""
        kept = self.weight > 0.0
        positives = int(np.count_nonzero(self.label[kept] > 0.0))
        count = int(np.count_nonzero(kept))
        if min(positives, count - positives) < LEAST_OF_CLASS if self.kind == "binary" else count < LEAST_OF_CLASS:
            return False
        return self.group is None or len(np.unique(self.group[kept])) >= LEAST_GROUPS

    def by_unit(self, influence: Numbers) -> Numbers:
        """Influences [N] of rows as those of independent units: summed by group, if there are groups."""
        return influence if self.group is None else np.bincount(self.group, weights=influence).astype(np.float64)


def estimates(rows: LabelledRows, score: NDArray[np.floating]) -> dict[str, Estimate]:
    """AUC, GAUC (if rows have groups) and log loss of probabilities [N], or RMSE of predictions [N].

    Undefined figures are left out. If rows have groups, every error is that of groups drawn anew with all of their
    rows.
    """
    loss = mean_estimate(rows, score_losses(rows.kind, rows.label, score))
    figures: dict[str, Estimate | None]
    if rows.kind == "regression":
        figures = {"rmse": None if loss is None else _root(loss)}
    else:
        figures = {"auc": auc_estimate(rows, score), "gauc": _gauc_estimate(rows, score), "log_loss": loss}
    return without_undefined(rows, figures)


def without_undefined(rows: LabelledRows, figures: Mapping[str, Estimate | None]) -> dict[str, Estimate]:
    """The figures that are not None; their influences are NaN if `rows` are too few."""
    known = {name: estimate for name, estimate in figures.items() if estimate is not None}
    if rows.enough:
        return known
    return {
        name: Estimate(estimate.value, np.full_like(estimate.influence, np.nan)) for name, estimate in known.items()
    }


def score_losses(kind: LabelKind, label: Numbers, score: NDArray[np.floating]) -> Numbers:
    """Each row's log loss (nats) at probabilities [N], or squared error at predictions [N]; the result is [N].

    Probabilities are clipped as in `MetricAccumulator`.
    """
    if kind == "regression":
        return np.square(label - score)
    eps = float(np.finfo(score.dtype).eps)
    label_probability = np.where(label > 0.0, score, 1.0 - score.astype(np.float64))
    losses: Numbers = -np.log(np.clip(label_probability, eps, 1.0 - eps))
    return losses


def mean_estimate(rows: LabelledRows, values: Numbers) -> Estimate | None:
    """The weighted mean of the rows' `values` [N]; None if no row has a weight."""
    total = float(rows.weight.sum())
    if not total > 0.0:
        return None
    mean = float((rows.weight * values).sum()) / total
    return Estimate(mean, rows.by_unit(rows.weight * (values - mean) / total))


def _root(square: Estimate) -> Estimate:
    root = float(np.sqrt(square.value))
    return Estimate(root, square.influence / (2.0 * root) if root > 0.0 else np.zeros_like(square.influence))


def auc_estimate(rows: LabelledRows, score: NDArray[np.floating]) -> Estimate | None:
    """The AUC of scores [N]; None if there is only one class.

    Influences are those of DeLong, DeLong and Clarke-Pearson (1988), summed by group as in Obuchowski (1997). A
    positive moves the AUC by its placement, which is the share of the negatives' weight below it; a negative likewise.
    """
    positive = rows.label > 0.0
    positive_weights, negative_weights = rows.weight[positive], rows.weight[~positive]
    if not positive_weights.sum() > 0.0 or not negative_weights.sum() > 0.0:
        return None
    placement = np.empty(len(score))
    positives, negatives = _Ranked(score[positive], positive_weights), _Ranked(score[~positive], negative_weights)
    placement[positive] = positives.share_of(negatives)
    placement[~positive] = 1.0 - negatives.share_of(positives)
    share = np.where(positive, rows.weight / positive_weights.sum(), rows.weight / negative_weights.sum())
    value = float((positive_weights * placement[positive]).sum() / positive_weights.sum())
    return Estimate(value, rows.by_unit(share * (placement - value)))


def _gauc_estimate(rows: LabelledRows, score: NDArray[np.floating]) -> Estimate | None:
    """GAUC, a ratio of sums over groups, and its linearised error, which is the limit of a bootstrap by group."""
    if rows.group is None:
        return None
    signed_weight = np.where(rows.label > 0.0, rows.weight, -rows.weight)
    group, auc, weight = group_aucs(rows.group.astype(np.uint64), score.astype(np.float64), signed_weight)
    if not len(group):
        return None
    value = float((weight * auc).sum() / weight.sum())
    influence = np.zeros(int(rows.group.max()) + 1)
    # Groups with one class have no AUC, so there must be enough groups with both classes.
    known = weight * (auc - value) / weight.sum() if len(group) >= LEAST_GROUPS else np.nan
    influence[group.astype(np.int64)] = known
    return Estimate(value, influence)


def row_losses(kind: LabelKind, label: Numbers, logit: Numbers) -> Numbers:
    """Each row's log loss (nats) at float64 logits [N], or squared error at predictions [N]; returns [N]."""
    if kind == "regression":
        return np.square(label - logit)
    losses: Numbers = np.logaddexp(0.0, np.where(label > 0.0, -logit, logit))
    return losses


def loss_fall(before: Numbers, after: Numbers, weight: Numbers | None = None) -> Change:
    """The fall of the weighted mean loss from row losses `before` to `after`, [N] each; rows are taken as independent.

    The error is that of a ratio of sums: sqrt(sum (w (d - mean))^2) / sum w.
    """
    fall = before - after
    if weight is None:
        weight = np.ones(len(fall))
    total = float(weight.sum())
    mean = float((weight * fall).sum()) / total
    return Change(mean, float(np.sqrt(np.square(weight * (fall - mean)).sum())) / total)


class _Ranked:
    """Scores of one class of rows, with weights, by rising score."""

    def __init__(self, scores: NDArray[np.floating], weight: Numbers) -> None:
        self._order = np.argsort(scores, kind="stable")
        self._scores = scores[self._order]
        self._cumulative = np.concatenate([[0.0], np.cumsum(weight[self._order])])

    def share_of(self, others: "_Ranked") -> Numbers:
        """The share of the other scores' weight that is below each score, in the order given; equal ones count half."""
        # Scores in rising order are looked up much faster than others.
        below = others._cumulative[np.searchsorted(others._scores, self._scores, side="left")]
        up_to = others._cumulative[np.searchsorted(others._scores, self._scores, side="right")]
        share = np.empty(len(self._order))
        share[self._order] = (below + up_to) / (2.0 * others._cumulative[-1])
        return share
