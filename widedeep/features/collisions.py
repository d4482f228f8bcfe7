"""What hashing a column's values into buckets costs: which of them share a bucket, and how much traffic that touches.

A *collision* is a value that shares its bucket with another one; *traffic* is the train rows that have a value, of lists
the values in rows (a missing value has an index of its own, and no part in this). Values are told apart by their 64-bit
hashes: that n of them are all different fails with a chance below n^2 / 2^65, 1 in 2000 for 134 million values.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from widedeep.features.vocabulary import PARTITIONS, SPILL_ENTRIES, ValueCounts

COLLISION_LIMIT = 0.01
"""The share of traffic in collided buckets that enough buckets stay below."""
WORST_BUCKETS = 5
SHOWN_VALUES = 3
"""Buckets that a report names, and values of each."""
_MOST_BITS = 30
"""2**30 is the largest power of two that a recipe may ask for."""


@dataclass(frozen=True)
class CollidedBucket:
    """A bucket with more than one value."""

    bucket: int
    """Hash modulo the number of buckets."""
    rows: int
    num_values: int
    top: tuple[tuple[int, int], ...]
    """Hash and rows of its most frequent values, by (-rows, hash)."""


@dataclass(frozen=True)
class Collisions:
    """A column's values in a number of buckets."""

    buckets: int
    distinct: int
    rows: int
    """The traffic."""
    observed: int
    """Values that share their bucket."""
    collided_rows: int
    """Their rows."""
    worst: tuple[CollidedBucket, ...]
    """The collided buckets with most rows."""

    @property
    def load(self) -> float:
        """Values per bucket."""
        return self.distinct / self.buckets

    @property
    def expected(self) -> float:
        """The collisions that a uniform hash would make."""
        return expected_collisions(self.distinct, self.buckets)

    @property
    def traffic(self) -> float:
        """The share of the rows whose value shares its bucket."""
        return self.collided_rows / self.rows if self.rows else 0.0


def expected_collisions(distinct: int, buckets: int) -> float:
    """How many of n values share one of B buckets with another, in the mean of uniform and independent hashing.

    n * (1 - (1 - 1/B)^(n-1)): each of the other n - 1 values misses a value's bucket with probability 1 - 1/B, and means
    add up. Source: Feller, An Introduction to Probability Theory and Its Applications, vol. 1, II.5 (occupancy). Every
    value runs that same risk, so the expected share of traffic is the factor behind n, however skewed the traffic is:
    about n / B, 1% at a hundred buckets per value.
    """
    if distinct < 2 or buckets == 1:
        return float(distinct if distinct > 1 else 0)
    return -distinct * math.expm1((distinct - 1) * math.log1p(-1.0 / buckets))


class HashTraffic:
    """The distinct hashes of a column (UInt64) with their rows, to be put into any number of buckets."""

    def __init__(self, counts: ValueCounts, *, held_values: int = SPILL_ENTRIES) -> None:
        """At most about `held_values` values are held in memory beyond what `counts` itself holds."""
        self._counts = counts
        self.distinct, self.rows = 0, 0
        for part in counts.parts():
            self.distinct += len(part)
            self.rows += int(part["count"].sum())
        self._passes = max(1, math.ceil(self.distinct / held_values))

    def collisions(self, buckets: int) -> Collisions:
        """What becomes of the values in so many buckets."""
        observed = collided_rows = 0
        worst = _NO_BUCKETS
        for collided in self._collided(buckets):
            observed += int(collided["num_values"].sum())
            collided_rows += int(collided["rows"].sum())
            worst = pl.concat([worst, collided]).sort(["rows", "bucket"], descending=[True, False]).head(WORST_BUCKETS)
        return Collisions(buckets, self.distinct, self.rows, observed, collided_rows, self._with_values(worst, buckets))

    def enough_buckets(self, limit: float = COLLISION_LIMIT) -> int | None:
        """The least power of two that keeps the share of traffic in collided buckets below `limit`, observed on these very
        hashes; None where 2**30, the largest that an index allows, does not.

        Values that part at one power of two stay apart at the next (a bucket splits into two), so the share only falls
        and bisection finds the least.
        """
        bits = bisect_left(range(_MOST_BITS + 1), True, key=lambda bits: self._stays_below(limit, 2**bits))
        return 2**bits if bits <= _MOST_BITS else None

    def _stays_below(self, limit: float, buckets: int) -> bool:
        collided_rows = sum(int(collided["rows"].sum()) for collided in self._collided(buckets))
        return collided_rows < limit * self.rows or self.rows == 0

    def _collided(self, buckets: int) -> Iterator[pl.DataFrame]:
        """`bucket`, `num_values` and `rows` of the collided buckets, some of the buckets at a time."""
        if buckets % PARTITIONS == 0:
            # Equal remainders modulo the buckets are equal modulo PARTITIONS: no bucket reaches beyond its part.
            for part in self._counts.parts():
                yield _grouped(part.lazy(), buckets).filter(pl.col("num_values") > 1)
            return
        for number in range(self._passes):
            chosen = _bucket(buckets) % self._passes == number
            grouped = [_grouped(part.lazy().filter(chosen), buckets) for part in self._counts.parts()]
            yield _merged(grouped).filter(pl.col("num_values") > 1)

    def _with_values(self, worst: pl.DataFrame, buckets: int) -> tuple[CollidedBucket, ...]:
        wanted = worst.select("bucket")
        top = pl.DataFrame(schema={"value": pl.UInt64, "count": pl.Int64, "bucket": pl.UInt64})
        for part in self._counts.parts():
            found = part.with_columns(bucket=_bucket(buckets)).join(wanted, on="bucket", how="semi")
            ranked = pl.concat([top, found]).sort(["count", "value"], descending=[True, False])
            top = ranked.group_by("bucket", maintain_order=True).head(SHOWN_VALUES).select(top.columns)
        return tuple(
            CollidedBucket(number, rows, num_values, tuple(top.filter(bucket=number).select("value", "count").rows()))
            for number, num_values, rows in worst.select("bucket", "num_values", "rows").rows()
        )


_NO_BUCKETS = pl.DataFrame(schema={"bucket": pl.UInt64, "num_values": pl.Int64, "rows": pl.Int64})


def _bucket(buckets: int) -> pl.Expr:
    return pl.col("value") % pl.lit(buckets, dtype=pl.UInt64)


def _grouped(part: pl.LazyFrame, buckets: int) -> pl.DataFrame:
    by_bucket = part.group_by(bucket=_bucket(buckets))
    return by_bucket.agg(num_values=pl.len().cast(pl.Int64), rows=pl.col("count").sum()).collect()


def _merged(parts: list[pl.DataFrame]) -> pl.DataFrame:
    if len(parts) == 1:
        return parts[0]
    return pl.concat([_NO_BUCKETS, *parts]).group_by("bucket").agg(pl.col("num_values").sum(), pl.col("rows").sum())
