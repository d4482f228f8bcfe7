"""Heavy values of a sample log: a few values whose rows are positive far more often than the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from widedeep.synth.draws import Draws, FloatArray, IntArray

NUM_HEAVY = 4
"""Number of heavy values in a log, each in a different column."""
SHARES = (0.01, 0.05)
"""Smallest and largest share of the rows that a heavy value may have: enough to learn from, but no usual case."""


@dataclass(frozen=True)
class HeavyValue:
    """A value whose rows have `lift` times the odds of a positive label."""

    column: str
    code: int
    """The value's number."""
    lift: float

    def effect(self, codes: IntArray) -> FloatArray:
        """Its effect on the logits, [N], of rows with these value numbers in its column."""
        return np.where(codes == self.code, np.log(self.lift), 0.0)


def heavy_values(draws: Draws, shares: Mapping[str, FloatArray], lift: float) -> list[HeavyValue]:
    """The heavy values of a seed, the strongest last; none with a `lift` of 1.

    Their lifts rise evenly in logits, from about a sixth of `lift` to `lift`. `shares` holds, for each column, the
    expected shares of rows of its first values.
    """
    if lift == 1.0:
        return []
    fitting = {column: _middling(share) for column, share in shares.items()}
    columns = [column for column, codes in fitting.items() if len(codes)]
    order = np.argsort(draws.uniform("heavy/column", np.arange(len(columns))), kind="stable")[:NUM_HEAVY]
    # A sixth of a small lift would be below 1, which is no lift.
    lifts = np.geomspace(max(lift / 6, lift**0.5), lift, len(order))
    chosen = [(columns[place], fitting[columns[place]]) for place in order]
    uniform = draws.uniform("heavy/value", np.arange(len(chosen)))
    return [
        HeavyValue(column, int(codes[int(u * len(codes))]), round(float(lift_of_value), 4))
        for (column, codes), u, lift_of_value in zip(chosen, uniform, lifts, strict=True)
    ]


def heavy_logit(heavy: Sequence[HeavyValue], codes: Mapping[str, IntArray]) -> FloatArray | float:
    """The effect of all heavy values on the logits, [N], or 0; `codes` has the rows' value numbers by column."""
    return sum((value.effect(codes[value.column]) for value in heavy), start=0.0)


def _middling(share: FloatArray) -> IntArray:
    return np.flatnonzero((share >= SHARES[0]) & (share <= SHARES[1]))
