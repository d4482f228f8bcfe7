"""Fits numeric fields: scales, cut points and bounds, by statistics that merge in any order."""

import math
from collections.abc import Set

import numpy as np
import polars as pl

from widedeep.errors import DataError
from widedeep.features.fields import FittedNumeric, clipped, signed_log1p
from widedeep.features.moments import Moments
from widedeep.features.quantiles import QuantileGrid
from widedeep.recipe.schema import NumericField
from widedeep.source.coded import CodedRows


class NumericFit:
    """Fits a numeric field; a number of them, of some rows each, merge to that of all rows."""

    def __init__(self, field: NumericField, cut_by_crosses: Set[str]) -> None:
        self.field, self.name = field, field.name or field.column
        self.needs_grid = self.name in cut_by_crosses or field.transform == "cdf" or field.buckets is not None
        self.moments, self.grid = Moments(), QuantileGrid()
        self.has_missing = False
        self.least, self.largest = math.inf, -math.inf

    def add(self, block: CodedRows) -> None:
        name, counts = self.field.column, None
        values = block.frame[name]
        if name in block.values:
            if self.field.transform in ("cdf", "none"):  # the others' sums and bounds go over the rows
                counted = block.counts(name)
                values, counts = counted["value"].alias(name), counted["count"].to_numpy()
            else:
                values = block.column(name)
        values = values.to_frame().select(clipped(pl.col(name), self.field.clip)).to_series()
        self.has_missing |= values.null_count() > 0
        if counts is not None and values.null_count():
            counts = counts[values.is_not_null().to_numpy()]
        present = values.drop_nulls()
        if self.field.transform == "minmax" and len(present):
            self.least = min(self.least, float(present.to_numpy().min()))
            self.largest = max(self.largest, float(present.to_numpy().max()))
        if self.field.transform == "standard":
            self.moments.add(present.to_numpy())
        elif self.field.transform == "log1p":
            self.moments.add(present.to_frame().select(signed_log1p(pl.col(name)))[name].to_numpy())
        if self.needs_grid and counts is not None:
            self.grid.add_counted(present.to_numpy(), counts)
        elif self.needs_grid:
            self.grid.add(np.ascontiguousarray(present.to_numpy()))

    def merge(self, other: "NumericFit") -> None:
        """Add the rows that `other`, of the same field, has seen."""
        self.moments.merge(other.moments)
        self.grid.merge(other.grid)
        self.has_missing |= other.has_missing
        self.least, self.largest = min(self.least, other.least), max(self.largest, other.largest)

    def result(self) -> FittedNumeric:
        field = self.field
        origin, scale = self._origin_and_scale()
        return FittedNumeric(
            name=self.name,
            column=field.column,
            transform=field.transform,
            clip=field.clip,
            mean=origin,
            scale=scale if scale > 0.0 else 1.0,
            cuts=tuple(self.grid.cut_points(field.quantiles)) if field.transform == "cdf" else (),
            flagged=field.missing_flag and self.has_missing,
            bucket_cuts=None if field.buckets is None else self.bucket_cuts(field.buckets),
        )

    def bucket_cuts(self, buckets: int) -> tuple[float, ...]:
        return tuple(self.grid.bucket_cuts(buckets))

    def _origin_and_scale(self) -> tuple[float, float]:
        match self.field.transform:
            case "standard" | "log1p":
                return self.moments.mean(), self.moments.deviation()
            case "minmax" if self.least <= self.largest:
                span = self.largest - self.least
                if math.isinf(span):
                    raise DataError(
                        f"column {self.field.column!r}: {self.least} and {self.largest} lie too far apart for minmax: "
                        "set `clip` at its entry under features.numeric, or another `transform`"
                    )
                return self.least, span
            case _:
                return 0.0, 1.0
