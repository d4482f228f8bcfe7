"""Heavy values of a sample log: a few values of a few columns whose rows are positive far more often than the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from widedeep.synth.draws import Draws, FloatArray, IntArray

NUM_HEAVY = 4
"""Heavy values of a log, each in a column of its own."""
SHARES = (0.01, 0.05)
"""Shares of the rows that a heavy value may have: enough rows to learn from, too few to be the usual case."""


@dataclass(frozen=True)
class HeavyValue:
    """A main effect of one value: its rows have `lift` times the odds of a positive label that they would have without."""

    column: str
    code: int
    """The value's number."""
    lift: float

    def effect(self, codes: IntArray) -> FloatArray:
        """What it adds to the logits of rows with these value numbers of its column, [N]."""
        return np.where(codes == self.code, np.log(self.lift), 0.0)


def heavy_values(draws: Draws, shares: Mapping[str, FloatArray], lift: float) -> list[HeavyValue]:
    """The heavy values of a seed, the strongest last: lifts rise evenly in logits from about a sixth of `lift` to `lift`.

    `shares` has the expected shares of rows of each column's first values. A lift of 1 has no heavy values.
    """
    if lift == 1.0:
        return []
    fitting = {column: _middling(share) for column, share in shares.items()}
    columns = [column for column, codes in fitting.items() if len(codes)]
    order = np.argsort(draws.uniform("heavy/column", np.arange(len(columns))), kind="stable")[:NUM_HEAVY]
    # A sixth of a small lift would be none.
    lifts = np.geomspace(max(lift / 6, lift**0.5), lift, len(order))
    chosen = [(columns[place], fitting[columns[place]]) for place in order]
    uniform = draws.uniform("heavy/value", np.arange(len(chosen)))
    return [
        HeavyValue(column, int(codes[int(u * len(codes))]), round(float(lift_of_value), 4))
        for (column, codes), u, lift_of_value in zip(chosen, uniform, lifts, strict=True)
    ]


def heavy_logit(heavy: Sequence[HeavyValue], codes: Mapping[str, IntArray]) -> FloatArray | float:
    """What all heavy values add to the logits of rows, whose value numbers `codes` has by column: [N], or 0 without any."""
    return sum((value.effect(codes[value.column]) for value in heavy), start=0.0)


def _middling(share: FloatArray) -> IntArray:
    return np.flatnonzero((share >= SHARES[0]) & (share <= SHARES[1]))
