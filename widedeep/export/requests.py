"""Raw rows as the requests that a service gets: plain values of JSON."""

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from widedeep.source.canonical import as_decimals, canonical_text


def request_rows(raw: pl.DataFrame) -> list[dict[str, Any]]:
    """Each row as column → text, number, boolean, list of these, or None. What JSON has no type for is its text."""
    frame = as_decimals(raw)
    frame = frame.select(_plain(name, dtype) for name, dtype in frame.schema.items())
    columns = {name: [_finite(value) for value in frame[name].to_list()] for name in frame.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.Array):
        return _plain_items(column.arr.to_list(), dtype.inner)
    if isinstance(dtype, pl.List):
        return _plain_items(column, dtype.inner)
    return column if _is_plain(dtype) else canonical_text(column, dtype)


def _plain_items(lists: pl.Expr, inner: Any) -> pl.Expr:
    return lists if _is_plain(inner) else lists.list.eval(canonical_text(pl.element(), inner))


def _is_plain(dtype: pl.DataType) -> bool:
    return dtype in (pl.String, pl.Boolean, pl.Null) or dtype.is_integer() or dtype.is_float()


def _finite(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
