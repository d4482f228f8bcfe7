"""Buckets between cut points: which one a number is in, and what one holds, in words."""

from collections.abc import Sequence

import polars as pl


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
    digits = next((n for n in range(6, 17) if len({_text(bound, n) for bound in bounds}) == len(bounds)), 17)
    if bucket == 0:
        return f"< {_text(bounds[0], digits)}"
    if bucket == len(cuts):
        return f">= {_text(bounds[0], digits)}"
    return f"[{_text(bounds[0], digits)}, {_text(bounds[1], digits)})"


def _text(value: float, digits: int) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.{digits}g}"
