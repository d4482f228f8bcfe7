"""Fitted fields and crosses: what each learnt from train rows, and the Polars expressions that encode it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import polars as pl

from widedeep.features.crosses import MixTable, mix
from widedeep.features.value_hash import CROSS_SEED, value_hash
from widedeep.recipe.base import OURS

MISSING, UNKNOWN, FIRST = 0, 1, 2
"""Index of a missing value, index of an unknown (or too rare) value, and the first index of known values."""
UNSEEN = "unseen_runs"
"""Column that counts of a run with `training.evict` have: the number of runs in a row, up to this one, without a train
row that has the value."""

LARGEST = 1e18
"""Scaled numbers are clipped to ±LARGEST: sums of larger ones overflow float32, and every score would be NaN."""


@dataclass(frozen=True)
class FittedNumeric:
    """A numeric field: its scaling, and its buckets if the recipe asks for them."""

    name: str
    column: str
    transform: str
    clip: tuple[float | None, float | None] | None
    mean: float
    """The number that is subtracted: the mean, or for minmax the least value."""
    scale: float
    """The number that is divided by: the standard deviation, or for minmax the span."""
    cuts: tuple[float, ...]
    """For cdf: ascending cut points between quantiles."""
    flagged: bool
    """Whether a second input tells that the value is missing."""
    bucket_cuts: tuple[float, ...] | None
    """Ascending cut points between buckets."""

    def value(self) -> pl.Expr:
        """The number, clipped as the recipe says."""
        return clipped(pl.col(self.column), self.clip)

    def scaled(self) -> pl.Expr:
        """The scaled number, Float32. A missing value becomes 0.5 for cdf and minmax, else 0."""
        value = self.value()
        match self.transform:
            case "cdf":
                number = bucket_number(value, list(self.cuts)).cast(pl.Float64)
                scaled = (number / max(1, len(self.cuts))).fill_null(0.5)
            case "log1p":
                scaled = ((signed_log1p(value) - self.mean) / self.scale).fill_null(0.0)
            case "minmax":
                scaled = ((value - self.mean) / self.scale).clip(0.0, 1.0).fill_null(0.5)
            case "standard":
                scaled = ((value - self.mean) / self.scale).fill_null(0.0)
            case _:
                scaled = value.fill_null(0.0)
        return scaled.clip(-LARGEST, LARGEST).cast(pl.Float32).alias(self.name)

    def flag(self) -> pl.Expr:
        """1 where the value is missing, else 0; Float32."""
        return pl.col(self.column).is_null().cast(pl.Float32).alias(flag_name(self.name))

    def bucket(self) -> pl.Expr:
        """Bucket number as Int32, null for a missing value."""
        assert self.bucket_cuts is not None, f"{self.name} has no buckets"
        return bucket_number(self.value(), list(self.bucket_cuts))

    def bucket_index(self) -> pl.Expr:
        """MISSING or FIRST + bucket number, Int32."""
        return (self.bucket() + FIRST).fill_null(MISSING).alias(bucket_name(self.name))

    def interval(self, bucket: int) -> str:
        """The numbers that a bucket holds, such as `[3, 12.5)`."""
        assert self.bucket_cuts is not None, f"{self.name} has no buckets"
        return bucket_interval(self.bucket_cuts, bucket)

    def member_hash(self) -> pl.Expr:
        """The field's hash in a cross: the value hash of the bucket number's decimal text; null for a missing value."""
        return value_hash(self.bucket().cast(pl.String), CROSS_SEED)


def signed_log1p(value: pl.Expr) -> pl.Expr:
    """sign(x) * log(1 + |x|)."""
    return value.sign() * value.abs().log1p()


def clipped(value: pl.Expr, clip: tuple[float | None, float | None] | None) -> pl.Expr:
    """`value` clipped to the bounds, either of which may be None."""
    return value if clip is None else value.clip(*clip)


def flag_name(field: str) -> str:
    """Column of a numeric field's missing flag."""
    return f"{field}{OURS}missing"


def bucket_name(field: str) -> str:
    """Column of a numeric field's bucket index."""
    return f"{field}{OURS}buckets"


def weight_name(field: str) -> str:
    """Column of the weights of a multi-valued field's or a cross's indices."""
    return f"{field}{OURS}weights"


def hash_name(field: str, cuts: tuple[float, ...] | None = None) -> str:
    """Temporary column of a member's hash while crosses are encoded. `cuts`: cut points of a number for this cross."""
    return f"\0hash of {field}" if cuts is None else f"\0hash at {cuts} of {field}"


def bucket_number(expr: pl.Expr, cuts: list[float]) -> pl.Expr:
    """The number of the ascending `cuts` at or below each Float64 value, as Int32; null for null."""
    number = pl.lit(pl.Series(cuts, dtype=pl.Float64)).search_sorted(expr, side="right").cast(pl.Int32)
    return pl.when(expr.is_not_null()).then(number)


def bucket_interval(cuts: Sequence[float], bucket: int) -> str:
    """The numbers that a bucket between ascending `cuts` holds, as `< 3`, `[3, 12.5)` or `>= 12.5`.

    Bounds have six digits, or as many as it takes to tell the two apart.
    """
    if not cuts:
        return "any number"
    bounds = cuts[max(bucket - 1, 0) : bucket + 1]
    digits = next((n for n in range(6, 17) if len({_bound_text(bound, n) for bound in bounds}) == len(bounds)), 17)
    if bucket == 0:
        return f"< {_bound_text(bounds[0], digits)}"
    if bucket == len(cuts):
        return f">= {_bound_text(bounds[0], digits)}"
    return f"[{_bound_text(bounds[0], digits)}, {_bound_text(bounds[1], digits)})"


def _bound_text(value: float, digits: int) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.{digits}g}"


@dataclass(frozen=True)
class FittedCategorical:
    """A categorical field, encoded by vocabulary or by hash."""

    name: str
    column: str
    embedding_dim: int | None
    shared: str | None
    """Name of the vocabulary that it shares with other fields: equal indices, one embedding table."""
    buckets: int | None
    """Number of buckets if the field is hashed, else None."""
    seed: int
    """Seed of the value hash."""
    vocabulary: pl.DataFrame
    """`value` (String) and `count`, in order of index; empty if the field is hashed."""
    cardinality: int
    """Number of values that have an index of their own, or of buckets."""

    @property
    def size(self) -> int:
        """Number of indices: the known values or buckets, and the two reserved ones."""
        return FIRST + (self.buckets if self.buckets is not None else len(self.vocabulary))

    @cached_property
    def _rank(self) -> pl.Expr:
        # An Enum finds a value's rank in its own hash table; unknown values become null. Cached, because writing a
        # large Enum into an expression (0.1 s for 500,000 values) takes longer than encoding a small block.
        known = pl.Enum(self.vocabulary["value"])
        return pl.col(self.column).cast(known, strict=False).to_physical().cast(pl.Int32)

    def index(self) -> pl.Expr:
        """Int32 index."""
        value = pl.col(self.column)
        if self.buckets is not None:
            known = (value_hash(value, self.seed) % self.buckets).cast(pl.Int32) + FIRST
            return known.fill_null(MISSING).alias(self.name)
        return (
            pl.when(value.is_null())
            .then(MISSING)
            .otherwise((self._rank + FIRST).fill_null(UNKNOWN))
            .cast(pl.Int32)
            .alias(self.name)
        )

    def member_hash(self) -> pl.Expr:
        """The field's hash in a cross: its value's hash, rare values included; null for a missing value."""
        return value_hash(pl.col(self.column), CROSS_SEED)


@dataclass(frozen=True)
class FittedMultiValued(FittedCategorical):
    """A field with several values in a row.

    `column` holds lists; the expressions apply to exploded lists, with a value in each row.
    """

    weights: str | None
    """Typed column of the values' weights, if they have any."""
    pooling: Literal["sum", "mean", "max"]


@dataclass(frozen=True)
class FittedCross:
    """A cross: an AND of fields, encoded by a vocabulary of mixes or by hash."""

    name: str
    fields: tuple[str, ...]
    """Its members, in the order in which they are mixed."""
    buckets: int | None
    """Number of buckets if the cross is hashed, else None."""
    vocabulary: pl.DataFrame
    """`value` (the mix, UInt64) and `count`, in order of index; empty if the cross is hashed."""
    distinct: int | None
    """Number of combinations seen in train, rare ones included; None for a hashed cross, which does not count them."""
    cuts: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Member → cut points, for numeric members with a granularity in this cross, in place of the field's cut points."""

    @property
    def size(self) -> int:
        """Number of indices: the known combinations or buckets, and the two reserved ones."""
        return FIRST + (self.buckets if self.buckets is not None else len(self.vocabulary))

    @cached_property
    def _table(self) -> MixTable:
        # Cached, because sorting a large vocabulary takes longer than encoding a small block.
        return MixTable(self.vocabulary["value"].to_numpy())

    @property
    def hash_columns(self) -> dict[str, str]:
        """Member → column of its hash, in the order of mixing. Crosses with equal cut points for a member share it."""
        return {name: hash_name(name, self.cuts.get(name)) for name in self.fields}

    def mixed(self) -> pl.Expr:
        """The mix of the members' hashes, UInt64; reads `hash_columns`."""
        return mix([pl.col(column) for column in self.hash_columns.values()])

    def index(self) -> pl.Expr:
        """Int32 index. It is never MISSING: a missing member makes another combination."""
        mixed = self.mixed()
        if self.buckets is not None:
            return ((mixed % self.buckets).cast(pl.Int32) + FIRST).alias(self.name)
        ranks = mixed.map_batches(self._ranks, return_dtype=pl.Int32, is_elementwise=True)
        return pl.when(ranks >= 0).then(ranks + FIRST).otherwise(UNKNOWN).cast(pl.Int32).alias(self.name)

    def _ranks(self, mixes: pl.Series) -> pl.Series:
        return pl.Series(mixes.name, self._table.ranks(mixes.to_numpy()))
