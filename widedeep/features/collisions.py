"""What hashing a column's values into buckets costs: the values that share a bucket, and the traffic they carry.

A *collision* is a value that shares its bucket with another value. *Traffic* is the number of train rows that have a
value; in lists every value counts. Missing values have an index of their own and do not count. Values are told apart by
their 64-bit hashes: the chance that two of n values have the same hash is below n^2 / 2^65, which is 1 in 2000 for 134
million values.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from widedeep.features.vocabulary import PARTITIONS, SPILL_ENTRIES, ValueCounts

COLLISION_LIMIT = 0.01
"""There are enough buckets if the share of traffic in collided buckets is below this limit."""
WORST_BUCKETS = 5
"""Buckets that a report names."""
SHOWN_VALUES = 3
"""Values that a report names of each bucket."""
_MOST_BITS = 30
"""2**30 is the largest power of two that a recipe may ask for."""


@dataclass(frozen=True)
class CollidedBucket:
    """A bucket with more than one value."""

    bucket: int
    """The bucket's number: hash modulo the number of buckets."""
    rows: int
    num_values: int
    top: tuple[tuple[int, int], ...]
    """(hash, rows) of its most frequent values, ordered by (-rows, hash)."""


@dataclass(frozen=True)
class Collisions:
    """How a column's values collide in a given number of buckets."""

    buckets: int
    distinct: int
    """Number of distinct values."""
    rows: int
    """The traffic."""
    observed: int
    """Number of values that share their bucket."""
    collided_rows: int
    """Rows of the values that share their bucket."""
    worst: tuple[CollidedBucket, ...]
    """The collided buckets with the most rows."""

    @property
    def load(self) -> float:
        """Values per bucket."""
        return self.distinct / self.buckets

    @property
    def expected(self) -> float:
        """The number of values that would share a bucket under a uniform hash, on average."""
        return expected_collisions(self.distinct, self.buckets)

    @property
    def traffic(self) -> float:
        """The share of the rows whose value shares its bucket."""
        return self.collided_rows / self.rows if self.rows else 0.0


def expected_collisions(distinct: int, buckets: int) -> float:
    """The expected number of n values that share one of B buckets with another, under uniform, independent hashing.

    n * (1 - (1 - 1/B)^(n-1)): each of the other n - 1 values misses a value's bucket with probability 1 - 1/B, and
    expectations add up. Source: Feller, An Introduction to Probability Theory and Its Applications, vol. 1, II.5
    (occupancy). Every value runs the same risk, so the factor after n is also the expected share of traffic, however
    skewed the traffic is: about n / B, which is 1% at a hundred buckets per value.
    """
    if distinct < 2 or buckets == 1:
        return float(distinct if distinct > 1 else 0)
    return -distinct * math.expm1((distinct - 1) * math.log1p(-1.0 / buckets))


class HashTraffic:
    """The distinct hashes of a column (UInt64) with their rows, which can be put into any number of buckets."""

    def __init__(self, counts: ValueCounts, *, held_values: int = SPILL_ENTRIES) -> None:
        """About `held_values` values at most are held in memory, beyond those that `counts` itself holds."""
        self._counts = counts
        self.distinct, self.rows = 0, 0
        for part in counts.parts():
            self.distinct += len(part)
            self.rows += int(part["count"].sum())
        self._passes = max(1, math.ceil(self.distinct / held_values))

    def collisions(self, buckets: int) -> Collisions:
        """How the values collide in this number of buckets."""
        observed = collided_rows = 0
        worst = _NO_BUCKETS
        for collided in self._collided(buckets):
            observed += int(collided["num_values"].sum())
            collided_rows += int(collided["rows"].sum())
            worst = pl.concat([worst, collided]).sort(["rows", "bucket"], descending=[True, False]).head(WORST_BUCKETS)
        return Collisions(buckets, self.distinct, self.rows, observed, collided_rows, self._with_values(worst, buckets))

    def enough_buckets(self, limit: float = COLLISION_LIMIT) -> int | None:
        """The least power of two with which the share of traffic in collided buckets is below `limit` for these hashes.

        None if 2**30 buckets, the most that an index allows, are not enough. Doubling the buckets splits each into two,
        so values in different buckets stay apart: the share never rises, and bisection finds the least number.
        """
        bits = bisect_left(range(_MOST_BITS + 1), True, key=lambda bits: self._stays_below(limit, 2**bits))
        return 2**bits if bits <= _MOST_BITS else None

    def _stays_below(self, limit: float, buckets: int) -> bool:
        collided_rows = sum(int(collided["rows"].sum()) for collided in self._collided(buckets))
        return collided_rows < limit * self.rows or self.rows == 0

    def _collided(self, buckets: int) -> Iterator[pl.DataFrame]:
        """`bucket`, `num_values` and `rows` of the collided buckets, as frames of some buckets each."""
        if buckets % PARTITIONS == 0:
            # Values with equal remainders modulo `buckets` have equal ones modulo PARTITIONS, so they are in one part.
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
            values = part.with_columns(bucket=_bucket(buckets)).join(wanted, on="bucket", how="semi")
            ranked = pl.concat([top, values]).sort(["count", "value"], descending=[True, False])
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
