"""Reads Parquet and Arrow IPC in blocks of rows: a file lazily, a URL piece by piece, a stream at once."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import polars as pl

from widedeep.errors import ColumnValuesError, DataError, NoRowsError
from widedeep.files import for_polars
from widedeep.recipe.schema import FormatSettings
from widedeep.source.blocks import RawBlock, clean_texts, require_columns
from widedeep.source.contents import signature_of
from widedeep.source.plain_types import plain_types, refuse_far_moments, with_texts_of_bytes
from widedeep.source.streams import ByteStream

ColumnarKind = Literal["parquet", "arrow"]

BLOCK_ROWS = 1 << 17
"""Rows of a block."""
_FETCHED_ROWS = 1 << 20
"""Rows fetched from a URL at a time. Large, because a row group is fetched again for every slice that touches it."""
_TITLES = {"parquet": "Parquet", "arrow": "Arrow IPC"}
_ARROW_FILE_MAGIC = b"ARROW1"
_SHOWN = 300
_IN_MICROSECONDS: dict[pl.DataType, pl.DataType] = {
    pl.Datetime("ns"): pl.Datetime("us"),
    pl.List(pl.Datetime("ns")): pl.List(pl.Datetime("us")),
}
_LAST_NANOSECOND = 2**63 - 1
# A panic of Polars' Rust code is no `Exception`.
_FAULTS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)
_OF_A_COLUMN = (pl.exceptions.PanicException, pl.exceptions.InvalidOperationError)
"""Faults of a value or a type, not of the file."""


def read_columnar_blocks(
    source: ByteStream | str,
    kind: ColumnarKind,
    settings: FormatSettings,
    columns: Sequence[str] | None,
    *,
    name: str,
    rows: tuple[int, int] | None = None,
) -> Iterator[RawBlock]:
    """Yield rows in the file's own types, but categories as texts and halves as Float32; texts are trimmed and missing
    ones null.

    A `source` of type `str` is a URL. `rows` are the first row (0-based) to read and the one to stop at. `columns` None
    leaves out those of a type that Polars cannot read. Raises ColumnError for a column that is not there, NoRowsError
    for a file without rows, DataError for one of another kind, damaged or out of reach, and for a wanted column of such
    a type or with a value that is out of range.
    """
    opened = open_columnar(source, kind, name=name)
    table, size, present = opened.table, opened.size, opened.schema.names()
    require_columns(columns or (), [*present, *opened.unreadable], name)
    for column in columns or ():
        if column in opened.unreadable:
            raise ColumnValuesError(name, column, f"{opened.unreadable[column]}: write it as another type")
    try:
        num_rows: int = table.select(pl.len()).collect().item()
    except _FAULTS as error:
        raise _unreadable(name, kind, error) from error
    if num_rows == 0:
        raise NoRowsError(f"{name}: the file has no rows")
    wanted = table.select(present if columns is None else list(dict.fromkeys(columns)))
    (first_row, stop), fetched_bytes = rows or (0, num_rows), 0
    step = BLOCK_ROWS if size is not None else _FETCHED_ROWS
    for frame in _slices(wanted, first_row, stop, step, opened, name):
        for part in frame.iter_slices(BLOCK_ROWS):
            fetched_bytes += int(part.estimated_size())
            done = size * (first_row + part.height) // num_rows if size is not None else fetched_bytes
            yield typed_block(part, settings, name, first_row, done)
            first_row += part.height


def columnar_columns(source: ByteStream | str, kind: ColumnarKind, *, name: str) -> list[str]:
    """Names of the columns. Raises DataError."""
    opened = open_columnar(source, kind, name=name)
    return [*opened.schema.names(), *opened.unreadable]


def typed_block(frame: pl.DataFrame, settings: FormatSettings, name: str, first_row: int, bytes_done: int) -> RawBlock:
    """A block of rows that came with types: in plain ones, texts clean.

    Raises DataError for a moment out of range, and for bytes that are no text where the format says that they are.
    """
    block = RawBlock(frame, name, first_row, bytes_done)
    if settings.binary == "text":
        block = with_texts_of_bytes(block)
    block = replace(block, frame=clean_texts(plain_types(block.frame), settings))
    refuse_far_moments(block)
    return block


@dataclass(frozen=True)
class OpenedTable:
    """A file that is open but still unread."""

    table: pl.LazyFrame
    """The columns that can be read."""
    schema: pl.Schema
    size: int | None
    """Bytes on disk; None for a URL."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Columns of a type that Polars cannot read, and what they hold."""
    in_microseconds: pl.LazyFrame | None = None
    """Of Parquet with times in nanoseconds, the table with these in microseconds, if they are stored in 96 bits."""
    arrow_file: "Path | io.BytesIO | None" = None
    """Where the bytes of an Arrow IPC file are; None for other kinds, and for a URL."""

    @cached_property
    def categories(self) -> pl.DataFrame | None:
        """All rows of an Arrow file's categories, read by pyarrow; None where it cannot, or is absent."""
        if self.arrow_file is None:
            return None
        from widedeep.source.unknown_types import categories_of  # only here: few files need it

        return categories_of(self.arrow_file)


def open_columnar(source: ByteStream | str, kind: ColumnarKind, *, name: str) -> OpenedTable:
    """The table of a file or stream, or of a URL (`str`).

    Polars reads no column of a file where it does not know one of the types. Then pyarrow, where it is installed, reads
    the others, all rows at once. Raises NoRowsError for an empty file, DataError.
    """
    stored, size, in_file_format = _stored(source, kind, name)
    try:
        table = _lazy(stored, kind, in_file_format=in_file_format)
        schema = table.collect_schema()
        arrow_file = stored if kind == "arrow" and not isinstance(stored, str) else None
        return OpenedTable(table, schema, size, {}, _in_microseconds(stored, kind, schema), arrow_file)
    except _FAULTS as error:
        from widedeep.source.unknown_types import (
            is_of_a_missing_key,
            read_around,
        )  # only here: few files have such types

        of_a_key = is_of_a_missing_key(error)
        if not (of_a_key or isinstance(error, pl.exceptions.PanicException)) or isinstance(stored, str):
            raise _unreadable(name, kind, error) from error
        found = read_around(stored, kind)
        if found is None and of_a_key:
            raise _missing_category(name) from error
        if found is None:
            raise DataError(
                f"{name}: a column is of a type that Polars cannot read ({_shortly(error)}): write it as another type "
                "or leave it out; with pyarrow installed (pip install pyarrow) the other columns can be used"
            ) from error
        return OpenedTable(found.frame.lazy(), found.frame.schema, size, found.unreadable)


_Stored = Path | str | io.BytesIO


def _stored(source: ByteStream | str, kind: ColumnarKind, name: str) -> tuple[_Stored, int | None, bool]:
    """Where the plain bytes are, their size on disk (None for a URL), and whether Arrow has its format for files."""
    if isinstance(source, str):
        return source, None, True
    if not source.head:
        raise NoRowsError(f"{name}: the file is empty")
    signature = signature_of(source.head)
    if signature is not None and signature.content != kind:
        raise DataError(f"{name}: {signature.title}, not {_TITLES[kind]}: {signature.advice}")
    in_file_format = source.head.startswith(_ARROW_FILE_MAGIC)
    if source.path is not None and source.as_stored:
        return for_polars(source.path), source.path.stat().st_size, in_file_format
    content = source.read()
    return io.BytesIO(content), source.bytes_done, in_file_format


def _lazy(stored: _Stored, kind: ColumnarKind, *, in_file_format: bool) -> pl.LazyFrame:
    # Only a URL may be a glob here: globs of paths are expanded already, and a file may be called `odd[1].parquet`.
    is_url = isinstance(stored, str)
    if kind == "parquet":
        return pl.scan_parquet(stored, hive_partitioning=False, glob=is_url)
    if in_file_format:
        return pl.scan_ipc(stored, hive_partitioning=False, glob=is_url)
    # The streaming format has no index of its batches, so it can only be read as a whole.
    assert not isinstance(stored, str)
    return pl.read_ipc_stream(stored).lazy()


def _in_microseconds(stored: _Stored, kind: ColumnarKind, schema: pl.Schema) -> pl.LazyFrame | None:
    units = {name: _IN_MICROSECONDS.get(dtype, dtype) for name, dtype in schema.items()}
    if kind != "parquet" or units == dict(schema):
        return None
    return pl.scan_parquet(stored, schema=units, hive_partitioning=False, glob=isinstance(stored, str))


def columnar_height(source: ByteStream, kind: ColumnarKind, *, name: str) -> int | None:
    """The number of rows of a file, None of one that can only be read as a whole. Raises DataError."""
    if kind == "arrow" and not source.head.startswith(_ARROW_FILE_MAGIC):
        return None
    try:
        height: int = open_columnar(source, kind, name=name).table.select(pl.len()).collect().item()
    except _FAULTS as error:
        raise _unreadable(name, kind, error) from error
    return height


def _slices(
    table: pl.LazyFrame, start: int, stop: int, step: int, opened: OpenedTable, name: str
) -> Iterator[pl.DataFrame]:
    for first_row in range(start, stop, step):
        yield read_slice(table, first_row, min(step, stop - first_row), opened, name=name)


def read_slice(table: pl.LazyFrame, first_row: int, num_rows: int, opened: OpenedTable, *, name: str) -> pl.DataFrame:
    """So many rows from a row on (0-based) of some columns of the `opened` table.

    Raises DataError, with column and row where one value cannot be read.
    """
    try:
        rows = table.slice(first_row, num_rows).collect()
    except _FAULTS as error:
        from widedeep.source.unknown_types import is_of_a_missing_key  # only here: few files need it

        if not is_of_a_missing_key(error):
            raise _lost(table, first_row, num_rows, name, error) from error
        if opened.categories is None:
            raise _missing_category(name) from error
        try:
            return _with_categories(table, first_row, num_rows, opened.categories)
        except _FAULTS as of_others:
            raise _lost(table, first_row, num_rows, name, of_others) from of_others
    if opened.in_microseconds is None:
        return rows
    far = [column.name for column in rows.iter_columns() if column.dtype in _IN_MICROSECONDS and _is_cut(column)]
    if not far:
        return rows
    try:
        return rows.with_columns(opened.in_microseconds.select(far).slice(first_row, num_rows).collect())
    except pl.exceptions.SchemaError:
        return rows  # not in 96 bits: then the nanoseconds are what was written


def _with_categories(table: pl.LazyFrame, first_row: int, num_rows: int, categories: pl.DataFrame) -> pl.DataFrame:
    names = table.collect_schema().names()
    others = table.select(name for name in names if name not in categories.columns).slice(first_row, num_rows).collect()
    wanted = categories.select(name for name in names if name in categories.columns).slice(first_row, num_rows)
    return pl.concat([others, wanted], how="horizontal").select(names)


def _is_cut(moments: pl.Series) -> bool:
    """Whether Polars put the last moment that 64 bits of nanoseconds hold in place of one that they do not hold."""
    if isinstance(moments.dtype, pl.List):
        moments = moments.explode()
    return bool((moments.to_physical() == _LAST_NANOSECOND).any())


def _lost(table: pl.LazyFrame, first_row: int, num_rows: int, name: str, error: BaseException) -> DataError:
    """What to say of rows that could not be read: the column, if it is its fault, and the row, if it is a value's."""
    for column in table.collect_schema().names() if isinstance(error, _OF_A_COLUMN) else ():
        alone = table.select(column)
        if (fault := _fault(alone, first_row, num_rows)) is None:
            continue
        low, high = 0, num_rows  # the first `low` rows can be read, the first `high` cannot
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _fault(alone, first_row, middle) is None else (low, middle)
        if low == 0 and _fault(alone, first_row + 1, num_rows - 1) is not None:
            reason = f"values of type {table.collect_schema()[column]} cannot be read ({_shortly(fault)}): write it as"
            return ColumnValuesError(name, column, f"{reason} another type")
        reason = f"the value cannot be read ({_shortly(fault)}): mend it or write null"
        return ColumnValuesError(f"{name}: row {first_row + low + 1}", column, reason)
    return DataError(f"{name}: damaged or lost at or after row {first_row + 1}: {_shortly(error)}")


def _fault(table: pl.LazyFrame, first_row: int, num_rows: int) -> BaseException | None:
    try:
        table.slice(first_row, num_rows).collect()
    except _FAULTS as error:
        return error
    return None


def _missing_category(name: str) -> DataError:
    return DataError(
        f"{name}: a column of categories has missing values as pandas writes them, which Polars cannot read: install "
        "pyarrow (pip install pyarrow), or write Parquet, or turn the column into text before writing"
    )


def _unreadable(name: str, kind: ColumnarKind, error: BaseException) -> DataError:
    return DataError(f"{name}: not a readable {_TITLES[kind]} file: {_shortly(error)}")


def _shortly(error: BaseException) -> str:
    # A server may answer with a whole page.
    text = " ".join(str(error).split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
