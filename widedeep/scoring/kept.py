"""The columns that `predict` copies beside the scores: whether the output can hold them, and as what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from widedeep.errors import UsageError
from widedeep.scoring.outputs import OutputFormat

_TEXT = ("csv", "ndjson")
_UINT64 = 1 << 64
_INT64 = 1 << 63


@dataclass
class _Seen:
    """What a column held so far."""

    dtype: pl.DataType
    """Null while all values are missing; Int128 for integers of several types."""
    changes: bool = False
    """Whether blocks with values differ in their type."""
    nulls: bool = False
    """Whether a block had no type, all its values being missing."""
    lowest: int = 0
    highest: int = 0
    is_uuid: bool = False
    """Whether its bytes are UUIDs, which are written as text."""


class KeptColumns:
    """The kept columns of blocks that come one after the other."""

    def __init__(self, names: Sequence[str], output_format: OutputFormat | Literal["frame"]) -> None:
        self._names, self._format = names, output_format
        self._seen: dict[str, _Seen] = {}

    def check(self, raw: pl.DataFrame) -> None:
        """Look at the next block, before it is scored. Raises UsageError for values that the output cannot hold."""
        for name in self._names:
            column = raw[name]
            seen = self._seen.setdefault(name, _Seen(pl.Null()))
            if seen.dtype == pl.Null:
                seen.is_uuid = _holds_uuids(column)
            self._refuse_type(name, column, seen)
            self._note(name, column, seen)

    def of(self, raw: pl.DataFrame) -> list[pl.Series]:
        """The kept columns of a block that was checked."""
        return [_uuid_texts(raw[name]) if self._is_text_of_uuid(name) else raw[name] for name in self._names]

    def final_types(self) -> dict[str, pl.DataType]:
        """After the last block: columns whose blocks must become one type, and that type.

        Integers of more than 64 bits, which few programs read, are UInt64 where all values of all blocks fit, else
        texts.
        """
        final: dict[str, pl.DataType] = {}
        for name, seen in self._seen.items():
            if seen.dtype == pl.Int128 or seen.dtype == pl.UInt128:
                final[name] = _narrowest(seen)
            elif seen.changes or (seen.nulls and seen.dtype != pl.Null):
                final[name] = seen.dtype
        return final

    def _is_text_of_uuid(self, name: str) -> bool:
        return self._format in _TEXT and self._seen[name].is_uuid

    def _refuse_type(self, name: str, column: pl.Series, seen: _Seen) -> None:
        dtype = column.dtype
        if self._format == "csv" and dtype.is_nested():
            raise UsageError(f"--keep {name}: holds {dtype} values, which CSV cannot: write ndjson or parquet")
        if seen.is_uuid and self._format in _TEXT and (dtype == pl.Null or _holds_uuids(column)):
            return
        if self._format in _TEXT and _has_no_text(dtype):
            raise UsageError(
                f"--keep {name}: holds {dtype} values, which have no text: write parquet, or make texts of them first"
            )
        if self._format == "parquet" and dtype.is_nested() and "Int128" in repr(dtype):
            raise UsageError(
                f"--keep {name}: holds {dtype} values, which hardly any program reads from Parquet: write ndjson"
            )

    def _note(self, name: str, column: pl.Series, seen: _Seen) -> None:
        before, now = seen.dtype, column.dtype
        if now == pl.Null:
            seen.nulls = True
            return
        if before != pl.Null and before != now:
            seen.changes = True
            if before.is_integer() and now.is_integer():
                now = pl.Int128()
            elif self._format in ("parquet", "frame"):
                # In NDJSON, and from file to file, a column may change its type.
                way = "write ndjson or csv" if self._format == "parquet" else "score the files one by one"
                one = "Parquet file" if self._format == "parquet" else "frame"
                raise UsageError(
                    f"--keep {name}: holds {before} values first and {now} later, which one {one} cannot: {way}"
                )
        seen.dtype = now
        if now.is_integer() and column.null_count() < len(column):
            low, high = column.min(), column.max()
            assert isinstance(low, int)
            assert isinstance(high, int)
            seen.lowest, seen.highest = min(seen.lowest, low), max(seen.highest, high)


def _narrowest(seen: _Seen) -> pl.DataType:
    if seen.lowest >= -_INT64 and seen.highest < _INT64:
        return pl.Int64()
    return pl.UInt64() if seen.lowest >= 0 and seen.highest < _UINT64 else pl.String()


def _has_no_text(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.List | pl.Array):
        inner = dtype.inner
        return isinstance(inner, pl.DataType) and _has_no_text(inner)
    if isinstance(dtype, pl.Struct):
        return any(isinstance(field.dtype, pl.DataType) and _has_no_text(field.dtype) for field in dtype.fields)
    return dtype in (pl.Binary, pl.Duration, pl.Object) or isinstance(dtype, pl.BaseExtension)


_UUID = r"^[0-9a-f]{12}[1-8][0-9a-f]{3}[89ab][0-9a-f]{15}$"
"""Its bytes in hexadecimal: a version and a variant stand at fixed places."""


def _holds_uuids(column: pl.Series) -> bool:
    """Whether all values are the 16 bytes of a UUID. Polars drops the type that says so."""
    return column.dtype == pl.Binary and bool(column.bin.encode("hex").str.contains(_UUID).drop_nulls().all())


def _uuid_texts(column: pl.Series) -> pl.Series:
    if column.dtype == pl.Null:
        return column
    digits = column.bin.encode("hex")
    places = ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))
    parts = digits.to_frame("d").select(
        pl.concat_str([pl.col("d").str.slice(*place) for place in places], separator="-").alias(column.name)
    )
    return parts.to_series()
