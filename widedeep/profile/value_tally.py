"""Rows per value of a column in bounded memory: exact up to a number of values, beyond it of a fair choice of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import polars_hash

_HASH_SEED = 0x74616C6C79
_HASHES = 2.0**64


class ValueTally:
    """Rows per value for the `max_values` values with the smallest hashes, whatever the blocks they came in.

    A bottom-k sketch (Bar-Yossef et al. 2002; Beyer et al. 2007): which values are held says nothing of how frequent
    they are, and the largest hash held says how many there are in all.
    """

    def __init__(self, max_values: int) -> None:
        self.max_values = max_values
        self.limit: int | None = None
        """Only hashes at or below are held; None for all."""
        self._frames: list[pl.DataFrame] = []
        self._num_waiting = 0

    def add(self, texts: pl.Series) -> None:
        """Count the texts [rows]; null is no value."""
        hashes = texts.alias("value").to_frame().select(hash=polars_hash.col("value").nchash.xxhash64(seed=_HASH_SEED))
        counted = (
            _within(hashes.lazy(), self.limit).group_by("hash").agg(pl.len().cast(pl.Int64).alias("rows")).collect()
        )
        self._frames.append(counted)
        self._num_waiting += counted.height
        if self._num_waiting > 2 * self.max_values:
            self._merge()

    def merge(self, other: "ValueTally") -> None:
        """Add what `other`, of as many values at most, has counted of other rows."""
        self._frames.append(other.counts())
        self._num_waiting += other.counts().height
        if other.limit is not None:
            self.limit = other.limit if self.limit is None else min(self.limit, other.limit)
            self._frames = [_within(frame.lazy(), self.limit).collect() for frame in self._frames]
        if self._num_waiting > 2 * self.max_values:
            self._merge()

    def counts(self) -> pl.DataFrame:
        """`hash` (UInt64, ascending) and `rows` (Int64) of the values held."""
        self._merge()
        return self._frames[0]

    def distinct(self) -> int:
        """How many values there are: exact while all are held (see `is_exact`), else to about 1 / sqrt(max_values)."""
        held = self.counts().height
        return held if self.limit is None else round((held - 1) * _HASHES / self.limit)

    @property
    def is_exact(self) -> bool:
        """Whether all values are held."""
        return self.limit is None

    def _merge(self) -> None:
        empty = pl.DataFrame(schema={"hash": pl.UInt64, "rows": pl.Int64})
        merged = pl.concat([empty, *self._frames]).group_by("hash").agg(pl.col("rows").sum()).sort("hash")
        if merged.height > self.max_values:
            merged = merged.head(self.max_values)
            self.limit = int(merged["hash"][-1])
        self._frames, self._num_waiting = [merged], merged.height


def _within(hashes: pl.LazyFrame, limit: int | None) -> pl.LazyFrame:
    held = pl.col("hash").is_not_null()
    return hashes.filter(held if limit is None else held & (pl.col("hash") <= limit))


@dataclass(frozen=True)
class SharedGroups:
    """Groups of one split that have train rows too, of those that were looked at."""

    rows: int
    shared_rows: int
    groups: int
    shared_groups: int
    is_exact: bool
    """Whether all groups were looked at, or a fair choice of them."""


def shared_groups(tallies: Mapping[str, ValueTally]) -> dict[str, SharedGroups]:
    """For each split but train."""
    counted = {split: tally.counts() for split, tally in tallies.items()}
    limits = [tally.limit for tally in tallies.values() if tally.limit is not None]
    limit = min(limits) if limits else None
    held = {split: _within(counts.lazy(), limit).collect() for split, counts in counted.items()}
    shared: dict[str, SharedGroups] = {}
    for split, counts in held.items():
        if split != "train":
            in_train = counts["hash"].is_in(held["train"]["hash"].implode()).to_numpy()
            rows = counts["rows"].to_numpy()
            shared[split] = SharedGroups(
                rows=int(rows.sum()),
                shared_rows=int(rows[in_train].sum()),
                groups=len(rows),
                shared_groups=int(np.count_nonzero(in_train)),
                is_exact=limit is None,
            )
    return shared
