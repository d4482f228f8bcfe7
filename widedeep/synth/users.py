"""The users of a sample log with `--new-users`: residents for the whole log, and visitors for half a day."""

from math import ceil

import numpy as np

from widedeep.synth.draws import Counter, Draws, FloatArray, IntArray

STRENGTH = 1.0
"""Standard deviation, in logits, of the effect of a user: large, so that it helps much to know the user."""

_STAY = 0.5 / 28
"""Share of the log's time that a visitor stays: half a day of four weeks. That is far shorter than the valid or test
rows of a split by time, so that hardly any of their visitors has train rows."""
_VISITOR_ROWS = 30
_RESIDENT_ROWS = 40
"""Mean number of rows of a visitor, and of a resident."""


class Users:
    """Residents, who have rows from the first to the last, and visitors, who arrive evenly over time.

    At any time a `share` of the rows has a visitor. So after a split by time, wherever its border lies, about that
    share of the later rows has a new user.
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
        """Names of the users, by number."""
        digits = len(str(self.size - 1))
        return [f"user_{number:0{digits}d}" for number in range(self.size)]

    def draw(self, draws: Draws, index: Counter, time: FloatArray) -> IntArray:
        """User numbers of the rows `index`, which lie at `time`, from 0 to 1 over the log: [N]."""
        arrived = time - _STAY * draws.uniform("user/arrived", index)
        visitor = self._residents + self._before + np.floor(arrived * self._arrivals).astype(np.int64)
        resident = (draws.uniform("user/resident", index) * self._residents).astype(np.int64)
        return np.where(draws.uniform("user/visitor", index) < self.share, visitor, resident)
