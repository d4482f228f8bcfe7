"""Reads Parquet and Arrow IPC in blocks of rows: a file lazily, a URL piece by piece, a stream at once."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from widedeep.errors import DataError, NoRowsError
from widedeep.recipe.schema import FormatSettings
from widedeep.source.blocks import RawBlock, clean_texts, require_columns
from widedeep.source.contents import signature_of
from widedeep.source.streams import ByteStream

ColumnarKind = Literal["parquet", "arrow"]

BLOCK_ROWS = 1 << 17
"""Rows of a block."""
_FETCHED_ROWS = 1 << 20
"""Rows fetched from a URL at a time. Large, because a row group is fetched again for every slice that touches it."""
_TITLES = {"parquet": "Parquet", "arrow": "Arrow IPC"}
_ARROW_FILE_MAGIC = b"ARROW1"
_SHOWN = 300
_FAULTS = (pl.exceptions.PolarsError, OSError, ValueError)


def read_columnar_blocks(
    source: ByteStream | str,
    kind: ColumnarKind,
    settings: FormatSettings,
    columns: Sequence[str] | None,
    *,
    name: str,
) -> Iterator[RawBlock]:
    """Yield rows in the file's own types, but categories as texts; texts are trimmed and missing ones null.

    A `source` of type `str` is a URL. Raises ColumnError for a column that is not there, NoRowsError for a file without
    rows, DataError for one of another kind, damaged or out of reach.
    """
    table, size = _scan(source, kind, name)
    present = _schema(table, kind, name).names()
    require_columns(columns or (), present, name)
    try:
        num_rows: int = table.select(pl.len()).collect().item()
    except _FAULTS as error:
        raise _unreadable(name, kind, error) from error
    if num_rows == 0:
        raise NoRowsError(f"{name}: the file has no rows")
    wanted = table.select(present if columns is None else list(dict.fromkeys(columns)))
    first_row, fetched_bytes = 0, 0
    for frame in _slices(wanted, num_rows, BLOCK_ROWS if size is not None else _FETCHED_ROWS, name):
        for part in frame.iter_slices(BLOCK_ROWS):
            fetched_bytes += int(part.estimated_size())
            done = size * (first_row + part.height) // num_rows if size is not None else fetched_bytes
            yield RawBlock(clean_texts(without_categories(part), settings), name, first_row, done)
            first_row += part.height


def columnar_columns(source: ByteStream | str, kind: ColumnarKind, *, name: str) -> list[str]:
    """Names of the columns. Raises DataError."""
    return _schema(_scan(source, kind, name)[0], kind, name).names()


def _scan(source: ByteStream | str, kind: ColumnarKind, name: str) -> tuple[pl.LazyFrame, int | None]:
    """The table, still unread, and its size on disk in bytes (None for a URL)."""
    if isinstance(source, str):
        return _lazy(source, kind, name, in_file_format=True), None
    if not source.head:
        raise NoRowsError(f"{name}: the file is empty")
    signature = signature_of(source.head)
    if signature is not None and signature.content != kind:
        raise DataError(f"{name}: {signature.title}, not {_TITLES[kind]}: {signature.advice}")
    in_file_format = source.head.startswith(_ARROW_FILE_MAGIC)
    if source.path is not None and source.as_stored:
        return _lazy(source.path, kind, name, in_file_format=in_file_format), source.path.stat().st_size
    content = source.read()
    return _lazy(io.BytesIO(content), kind, name, in_file_format=in_file_format), source.bytes_done


def _lazy(stored: str | Path | io.BytesIO, kind: ColumnarKind, name: str, *, in_file_format: bool) -> pl.LazyFrame:
    # Only a URL may be a glob here: globs of paths are expanded already, and a file may be called `odd[1].parquet`.
    is_url = isinstance(stored, str)
    try:
        if kind == "parquet":
            return pl.scan_parquet(stored, hive_partitioning=False, glob=is_url)
        if in_file_format:
            return pl.scan_ipc(stored, hive_partitioning=False, glob=is_url)
        # The streaming format has no index of its batches, so it can only be read as a whole.
        return pl.read_ipc_stream(stored).lazy()
    except _FAULTS as error:
        raise _unreadable(name, kind, error) from error


def _schema(table: pl.LazyFrame, kind: ColumnarKind, name: str) -> pl.Schema:
    try:
        return table.collect_schema()
    except _FAULTS as error:
        raise _unreadable(name, kind, error) from error


def _slices(table: pl.LazyFrame, num_rows: int, step: int, name: str) -> Iterator[pl.DataFrame]:
    for first_row in range(0, num_rows, step):
        try:
            yield table.slice(first_row, step).collect()
        except _FAULTS as error:
            raise DataError(f"{name}: damaged or lost at or after row {first_row + 1}: {_shortly(error)}") from error


def without_categories(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with categories as texts, in lists too."""
    # The numbering of categories differs between files, so that their codes cannot be compared.
    as_texts: dict[str, pl.DataType] = {}
    for column, dtype in frame.schema.items():
        if dtype in (pl.Categorical, pl.Enum):
            as_texts[column] = pl.String()
        elif isinstance(dtype, pl.List) and dtype.inner in (pl.Categorical, pl.Enum):
            as_texts[column] = pl.List(pl.String)
    return frame.cast(as_texts) if as_texts else frame  # type: ignore[arg-type]


def _unreadable(name: str, kind: ColumnarKind, error: Exception) -> DataError:
    return DataError(f"{name}: not a readable {_TITLES[kind]} file: {_shortly(error)}")


def _shortly(error: Exception) -> str:
    # A server may answer with a whole page.
    text = " ".join(str(error).split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
