"""Tables that are in memory already, or a query that makes one, in blocks of rows."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from widedeep.errors import DataError
from widedeep.recipe.schema import FormatSettings
from widedeep.source.blocks import RawBlock, require_columns
from widedeep.source.columnar_blocks import BLOCK_ROWS, typed_block
from widedeep.source.paths import Frame

_FAULTS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


def frame_of(stream: Any, *, name: str) -> pl.DataFrame:
    """The rows of an object with the Arrow C stream, such as a frame of pandas (whose index comes along as a column,
    unless it only counts the rows), a table of pyarrow or a relation of DuckDB.

    Raises DataError, which `name` starts, for one that cannot be read.
    """
    try:
        return pl.DataFrame(_StreamAlone(stream))
    except (Exception, pl.exceptions.PanicException) as error:  # each library has faults of its own kind
        raise DataError(f"{name}: its rows cannot be read as Arrow: {_first_line(error)}") from error


class _StreamAlone:
    """Shows Polars nothing but the stream: it would take a frame of pandas in its own way, without the index."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._stream.__arrow_c_stream__(requested_schema)


def read_frame_blocks(
    frame: Frame, settings: FormatSettings, columns: Sequence[str] | None, *, name: str
) -> Iterator[RawBlock]:
    """Rows of a frame, as those of a Parquet file: in its own types, but plain ones, texts trimmed and missing ones
    null. Of a frame without rows, one block without rows.

    Raises ColumnError; DataError for a lazy frame whose query fails, and for a moment out of range.
    """
    present = frame_columns(frame, name=name)
    require_columns(columns or (), present, name)
    wanted = frame.select(present if columns is None else list(dict.fromkeys(columns)))
    first_row, num_bytes = 0, 0
    for part in _parts(wanted, name):
        num_bytes += int(part.estimated_size())
        yield typed_block(part, settings, name, first_row, num_bytes)
        first_row += part.height


def frame_columns(frame: Frame, *, name: str) -> list[str]:
    """Names of the columns. Raises DataError for a lazy frame whose query fails."""
    try:
        return frame.collect_schema().names()
    except _FAULTS as error:
        raise DataError(f"{name}: the query of the lazy frame fails: {_first_line(error)}") from error


def _parts(frame: Frame, name: str) -> Iterator[pl.DataFrame]:
    if isinstance(frame, pl.DataFrame):
        yield from frame.iter_slices(BLOCK_ROWS) if frame.height else [frame]
        return
    empty = True
    try:
        # Once through the query, in bounded memory: asked for slice by slice it would run as often.
        for batch in frame.collect_batches(chunk_size=BLOCK_ROWS, maintain_order=True):
            for part in batch.iter_slices(BLOCK_ROWS):
                yield part
                empty = False
        if empty:
            yield pl.DataFrame(schema=frame.collect_schema())
    except _FAULTS as error:
        raise DataError(f"{name}: the query of the lazy frame fails: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
