"""Columns that come with types, in the plain ones of these that all later code reads; moments that no calendar has."""

from dataclasses import replace

import numpy as np
import polars as pl

from widedeep.errors import ColumnValuesError
from widedeep.source.blocks import RawBlock

_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""The years 1 to 9999 in days since 1970: what calendars hold, those of Polars and of Python alike."""
_PER_DAY = {"ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def plain_types(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with categories as texts and half floats as Float32, in lists and arrays too, and arrays as lists."""
    changed = [_plain(column) for column in frame.iter_columns() if column.dtype != _plain_type(column.dtype)]
    return frame.with_columns(changed) if changed else frame


def _plain_type(dtype: pl.DataType) -> pl.DataType:
    if isinstance(dtype, pl.List | pl.Array):
        inner = dtype.inner
        assert isinstance(inner, pl.DataType)
        return pl.List(_plain_type(inner)) if not inner.is_nested() else dtype
    # The numbering of categories differs between files, so that their codes cannot be compared.
    if dtype in (pl.Categorical, pl.Enum):
        return pl.String()
    # Polars does not calculate with halves: it floors none.
    return pl.Float32() if dtype == pl.Float16 else dtype


def _plain(column: pl.Series) -> pl.Series:
    inner = column.dtype.inner if isinstance(column.dtype, pl.List | pl.Array) else column.dtype
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    column = column.cast(_plain_type(column.dtype))
    if inner != pl.Float16:
        return column
    # The decimal that a half was written as: .1, not .099975586. A whole number is exact: 65504, not 65500.
    values = column.explode().drop_nulls().unique() if isinstance(column.dtype, pl.List) else column.unique()
    meant = [value if value is None or value.is_integer() else float(str(np.float16(value))) for value in values]
    spoken = pl.element().replace(values, pl.Series(meant, dtype=pl.Float32))
    if isinstance(column.dtype, pl.List):
        return column.list.eval(spoken)
    return column.replace(values, pl.Series(meant, dtype=pl.Float32))


def with_texts_of_bytes(block: RawBlock) -> RawBlock:
    """The block with columns of bytes, in lists too, as the texts that they are in UTF-8.

    Raises ColumnValuesError for the first value that is none.
    """
    texts = [_text_of_bytes(block, column) for column in block.frame.iter_columns() if holds_bytes(column.dtype)]
    return replace(block, frame=block.frame.with_columns(texts)) if texts else block


def holds_bytes(dtype: pl.DataType) -> bool:
    """Whether values of the type are bytes, or lists of them."""
    return (dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype) == pl.Binary


def _text_of_bytes(block: RawBlock, column: pl.Series) -> pl.Series:
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    try:
        return column.cast(pl.List(pl.String) if isinstance(column.dtype, pl.List) else pl.String)
    except pl.exceptions.PolarsError as error:
        for row, value in enumerate(column):
            if not all(_is_utf8(item) for item in (value if isinstance(value, pl.Series) else (value,))):
                reason = "holds bytes that are no text in UTF-8: mend the value, or leave the column out"
                raise ColumnValuesError(block.place_of(row), column.name, reason) from error
        raise


def _is_utf8(value: bytes | None) -> bool:
    try:
        return value is None or value.decode() is not None
    except UnicodeDecodeError:
        return False


def refuse_far_moments(block: RawBlock) -> None:
    """Raise ColumnValuesError for a date or time outside the years 1 to 9999, or a time of day beyond midnight."""
    for column in block.frame.iter_columns():
        dtype = column.dtype
        inner = dtype.inner if isinstance(dtype, pl.List) else dtype
        if not isinstance(inner, pl.Date | pl.Datetime | pl.Time):
            continue
        if isinstance(inner, pl.Datetime) and inner.time_unit == "ns":  # 64 bits of them reach from 1677 to 2262
            continue
        in_range = _in_range(pl.element() if isinstance(dtype, pl.List) else pl.col(column.name), inner)
        if isinstance(dtype, pl.List):
            in_range = pl.col(column.name).list.eval(in_range).list.all()
        far = (~column.to_frame().select(in_range.fill_null(True)).to_series()).arg_true()
        if len(far):
            reason = "a moment outside the years 1 to 9999, which no calendar here holds: mend it or write null"
            raise ColumnValuesError(block.place_of(far[0]), column.name, reason)


def _in_range(moment: pl.Expr, dtype: pl.Date | pl.Datetime | pl.Time) -> pl.Expr:
    number = moment.to_physical()
    if isinstance(dtype, pl.Time):
        return number.is_between(0, _PER_DAY["ns"], closed="left")
    if isinstance(dtype, pl.Date):
        return number.is_between(_FIRST_DAY, _LAST_DAY)
    unit = _PER_DAY[dtype.time_unit]
    return number.is_between(_FIRST_DAY * unit, (_LAST_DAY + 1) * unit, closed="left")
