"""A bounded sample of a table's rows that does not depend on how the rows came in blocks."""

import io

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.table.split import random_draws

SAMPLE_ROWS = 1 << 15
"""Rows held per split: enough for shares to half a percent and for an AUC to about .003."""
_SEED = 0x70726F66696C65
"""Apart from the seeds of splits, so that what is sampled says nothing of where it went ("profile" in ASCII)."""


class RowSample:
    """The `max_rows` rows with the smallest draws; a row's draw depends on the seed and its position only."""

    def __init__(self, max_rows: int = SAMPLE_ROWS, seed: int = _SEED) -> None:
        self.rows_seen = 0
        self._seed = seed
        self._max_rows = max_rows
        self._limit = 1.0
        self._frames: list[pl.DataFrame] = []
        self._draws: list[NDArray[np.float64]] = []
        self._num_held = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Take in the next rows."""
        draws = random_draws(self._seed, self.rows_seen, frame.height)
        self.rows_seen += frame.height
        chosen = np.flatnonzero(draws <= self._limit)
        if len(chosen) == 0:
            return
        self._frames.append(frame if len(chosen) == frame.height else _copy_of_rows(frame, chosen))
        self._draws.append(draws[chosen])
        self._num_held += len(chosen)
        if self._num_held > 2 * self._max_rows:
            self._prune()

    @property
    def num_rows(self) -> int:
        """Rows in the sample."""
        return min(self.rows_seen, self._max_rows)

    @property
    def is_whole(self) -> bool:
        """Whether every row that was seen is in the sample."""
        return self.rows_seen <= self._max_rows

    def rows(self) -> tuple[pl.DataFrame, NDArray[np.float64]]:
        """The sampled rows in their order and their draws, Float64 [rows]."""
        if not self._frames:
            return pl.DataFrame(), np.empty(0)
        if self._num_held > self._max_rows or len(self._frames) > 1:
            self._prune()
        return self._frames[0], self._draws[0]

    def _prune(self) -> None:
        frame, draws = pl.concat(self._frames), np.concatenate(self._draws)
        if len(draws) > self._max_rows:
            self._limit = float(np.partition(draws, self._max_rows - 1)[self._max_rows - 1])
            chosen = np.flatnonzero(draws <= self._limit)
            frame, draws = _copy_of_rows(frame, chosen), draws[chosen]
        self._frames, self._draws, self._num_held = [frame.rechunk()], [draws], len(draws)


def _copy_of_rows(frame: pl.DataFrame, rows: NDArray[np.int64]) -> pl.DataFrame:
    # Chosen rows alone would hold on to the texts of all the others, which Polars keeps in shared buffers. Arrow's older
    # layout has no such buffers: writing it copies just what is there.
    content = io.BytesIO()
    frame[rows].write_ipc(content, compat_level=pl.CompatLevel.oldest())
    content.seek(0)
    return pl.read_ipc(content)
