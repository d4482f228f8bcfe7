"""How far the scores of one model lie from those of another on the same rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widedeep.evaluation.comparison import Change, LabelledRows, Numbers, mean_estimate
from widedeep.shares import jensen_shannon

MOST_LEVEL = 0.25
"""The largest shift of the mean score that is no warning, see `ScoreShift.level`."""
MOST_DIVERGENCE = 0.25
"""The largest divergence that is no warning: that of two normal laws 1.3 deviations apart, or one 3 times as wide."""
LEAST_ROWS = 200
"""With fewer rows, bins are too empty to tell a divergence."""
_BINS = 20


@dataclass(frozen=True)
class ScoreShift:
    """A new model's scores against an old one's."""

    level: Change
    """The new mean less the old one, with the error of paired rows. For click rates it is a share of the old mean (of
    that of no clicks where these are fewer), for predicted numbers of the old scores' standard deviation."""
    divergence: float | None
    """Jensen–Shannon divergence of the two distributions, in bits, from 0 to 1; None for fewer than 200 rows."""

    def faults(self) -> list[str]:
        """What is past its limit, in words. The level counts as past it if its whole 95% interval is."""
        told = []
        if self.level.low > MOST_LEVEL or self.level.high < -MOST_LEVEL:
            told.append(f"its scores lie {self.level.value:+.0%} from those served now (limit: {MOST_LEVEL:.0%})")
        if self.divergence is not None and self.divergence > MOST_DIVERGENCE:
            told.append(
                f"its scores are spread otherwise than those served now: Jensen-Shannon divergence "
                f"{self.divergence:.2f} bits (limit: {MOST_DIVERGENCE})"
            )
        return told


def score_shift(rows: LabelledRows, new: NDArray[np.floating], old: NDArray[np.floating]) -> ScoreShift | None:
    """The shift from the scores `old` to `new`, [N] each, of `rows`; None if no row has a weight."""
    after, before = new.astype(np.float64), old.astype(np.float64)
    mean, change = mean_estimate(rows, before), mean_estimate(rows, after - before)
    if mean is None or change is None:
        return None
    unit = min(mean.value, 1.0 - mean.value) if rows.kind == "binary" else _deviation(before, rows.weight, mean.value)
    moved = change.change()
    if unit > 0.0:
        level = Change(moved.value / unit, moved.error / unit)
    else:
        level = Change(0.0 if moved.value == 0.0 else np.copysign(np.inf, moved.value), 0.0)
    counted = int(np.count_nonzero(rows.weight > 0.0))
    return ScoreShift(level, _divergence(after, before, rows.weight) if counted >= LEAST_ROWS else None)


def _deviation(values: Numbers, weight: Numbers, mean: float) -> float:
    return float(np.sqrt((weight * np.square(values - mean)).sum() / weight.sum()))


def _divergence(first: Numbers, second: Numbers, weight: Numbers) -> float:
    # Bins with equally many scores of both together: log-odds and click rates give the same bins.
    both = np.concatenate([first, second])
    edges = np.unique(np.quantile(both, np.linspace(0.0, 1.0, _BINS + 1)[1:-1], method="lower"))
    shares = [
        np.bincount(np.searchsorted(edges, scores, side="right"), weights=weight, minlength=len(edges) + 1)
        / weight.sum()
        for scores in (first, second)
    ]
    return jensen_shannon(shares[0], shares[1]).value
