"""A bounded sample of a table's rows that does not depend on how the rows came in blocks."""

import io
from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.draws import random_draws
from widedeep.source.coded import CodedRows
from widedeep.source.forms import Forms
from widedeep.table.parts import shortened
from widedeep.table.typed import rows_in_forms

SAMPLE_ROWS = 1 << 15
"""Rows held per split: enough for shares to half a percent and for an AUC to about .003."""
_MOST_BLOCKS = 8
"""Blocks that are held on to, with all their texts, until what was chosen of them is copied."""
_AMPLE = 1.5
"""Draws below 1.5 * n / N hold n rows of N for certain, as good as: at n = 32768 they miss by over 70 deviations."""
_SEED = 0x70726F66696C65
"""Apart from the seeds of splits, so that what is sampled says nothing of where it went ("profile" in ASCII)."""


class RowSample:
    """The `max_rows` rows with the smallest draws; a row's draw depends on the seed and its position only."""

    def __init__(
        self, max_rows: int = SAMPLE_ROWS, seed: int = _SEED, *, first_row: int = 0, all_rows: int | None = None
    ) -> None:
        """`first_row`, of `all_rows`, is the position of the first row that is added, if there are others."""
        self.rows_seen = first_row
        self._seed = seed
        self._max_rows = max_rows
        # Of all rows, some more than those wanted have draws below it: rows above it need not be held.
        self._limit = 1.0 if all_rows is None else min(1.0, _AMPLE * max_rows / max(all_rows, 1))
        self._held: list[CodedRows] = []
        self._draws: list[NDArray[np.float64]] = []
        self._num_held = 0

    def add(self, rows: CodedRows) -> None:
        """Take in the next rows."""
        draws = random_draws(self._seed, self.rows_seen, rows.height)
        self.rows_seen += rows.height
        chosen = np.flatnonzero(draws <= self._limit)
        if len(chosen) == 0:
            return
        self._held.append(_chosen(rows, chosen))
        self._draws.append(draws[chosen])
        self._num_held += len(chosen)
        if self._num_held > 2 * self._max_rows:
            self._prune()
        if len(self._held) > _MOST_BLOCKS:
            self._join()

    def merge(self, other: "RowSample") -> None:
        """Take in what `other` holds, of the rows that follow."""
        if other._held:
            other._prune()
        self._held += other._held
        self._draws += other._draws
        self._num_held += other._num_held
        self.rows_seen = other.rows_seen
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

    def rows(self) -> pl.DataFrame:
        """The sampled rows in their order."""
        if not self._held:
            return pl.DataFrame()
        if self._num_held > self._max_rows or len(self._held) > 1 or self._held[0].values:
            self._join()
        return self._held[0].frame

    def write_in(self, forms: Forms, longest: Mapping[str, int]) -> None:
        """Write the sampled texts in the forms of their columns, with lists cut to the `longest` of each."""
        self.rows()  # joined, because blocks hold the texts of all rows, sampled or not
        self._held = [shortened(rows_in_forms(rows, forms), longest) for rows in self._held]

    def __getstate__(self) -> dict[str, object]:
        if self._held:  # a few rows of large blocks
            self._prune()
        return self.__dict__

    def _prune(self) -> None:
        """Drop the rows that are no longer among the smallest draws."""
        draws = np.concatenate(self._draws)
        if len(draws) <= self._max_rows:
            return
        self._limit = float(np.partition(draws, self._max_rows - 1)[self._max_rows - 1])
        kept = [np.flatnonzero(block <= self._limit) for block in self._draws]
        self._held = [_chosen(rows, ones) for rows, ones in zip(self._held, kept, strict=True)]
        self._draws = [block[ones] for block, ones in zip(self._draws, kept, strict=True)]
        self._num_held = sum(map(len, kept))

    def _join(self) -> None:
        """Make one block of all, which holds just their own texts."""
        self._prune()
        frame = _copied([rows.decoded() for rows in self._held])
        self._held, self._draws = [CodedRows(frame)], [np.concatenate(self._draws)]


def _chosen(rows: CodedRows, chosen: NDArray[np.int64]) -> CodedRows:
    return rows if len(chosen) == rows.height else rows.on_rows(rows.frame[chosen])


def _copied(frames: list[pl.DataFrame]) -> pl.DataFrame:
    # Chosen rows alone would hold on to the texts of all the others, which Polars keeps in shared buffers. Arrow's
    # older layout has no such buffers: writing it copies just what is there.
    content = io.BytesIO()
    pl.concat(frames).rechunk().write_ipc(content, compat_level=pl.CompatLevel.oldest())
    content.seek(0)
    return pl.read_ipc(content)
