"""The users of a sample log with `--new-users`: some stay for the whole log, the others come for half a day and never return."""

from math import ceil

import numpy as np

from widedeep.synth.draws import Counter, Draws, FloatArray, IntArray

STRENGTH = 1.0
"""Standard deviation, in logits, of what a user adds: knowing one helps much."""

_STAY = 0.5 / 28
"""Part of the log's time that a visitor stays: half a day of four weeks. It is far shorter than the held-out parts of a
split, so that a visitor of theirs is one whom train rows do not know, however the rows are split by time."""
_VISITOR_ROWS = 30
_RESIDENT_ROWS = 40
"""Rows of a visitor, and of a user who stays, on average."""


class Users:
    """Residents, who come from the first row to the last, and visitors, who arrive evenly over time.

    At any time the same share of rows, `share`, holds a visitor: after a split by time, that is about the share of rows
    whose user is new, at every border.
    """

    def __init__(self, rows: int, share: float) -> None:
        self.share = share
        self._residents = max(1, round((1.0 - share) * rows / _RESIDENT_ROWS))
        self._arrivals = share * rows / _VISITOR_ROWS
        """Visitors that arrive during the log."""
        self._before = ceil(_STAY * self._arrivals)
        """Visitors that arrived before its first row."""
        self.size = self._residents + self._before + ceil(self._arrivals)

    def names(self) -> list[str]:
        """Texts of the users by their number."""
        digits = len(str(self.size - 1))
        return [f"user_{number:0{digits}d}" for number in range(self.size)]

    def draw(self, draws: Draws, index: Counter, time: FloatArray) -> IntArray:
        """User numbers of the rows `index`, which lie at `time`, from 0 to 1 over the log: [N]."""
        arrived = time - _STAY * draws.uniform("user/arrived", index)
        visitor = self._residents + self._before + np.floor(arrived * self._arrivals).astype(np.int64)
        resident = (draws.uniform("user/resident", index) * self._residents).astype(np.int64)
        return np.where(draws.uniform("user/visitor", index) < self.share, visitor, resident)
