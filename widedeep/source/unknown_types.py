"""Files that Polars cannot read as they are, and pyarrow can, where it is installed.

A column of a type that Polars does not know keeps it from reading the others. And pandas writes a missing category into
an Arrow file (Feather) as the key -1, which Polars takes for a fault although the value is marked as missing.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl


@dataclass(frozen=True)
class KnownColumns:
    """What could be read."""

    frame: pl.DataFrame
    unreadable: dict[str, str]
    """Column that Polars cannot read → what it holds, to follow its name in a message."""


def read_around(stored: Path | io.BytesIO, kind: Literal["parquet", "arrow"]) -> KnownColumns | None:
    """The columns of a file that Polars can read, all rows; None where pyarrow is absent or cannot read it either."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return None
    try:
        schema, read = _opened(pyarrow, stored, kind)
        unknown = {field.name: str(field.type) for field in schema if not _is_known(pyarrow, field)}
        frame = pl.from_arrow(read([name for name in schema.names if name not in unknown]))
    except (pyarrow.ArrowException, OSError, ValueError, pl.exceptions.PolarsError):
        return None
    assert isinstance(frame, pl.DataFrame)
    return KnownColumns(frame, {name: f"holds {dtype} values, which cannot be read" for name, dtype in unknown.items()})


def is_of_a_missing_key(error: BaseException) -> bool:
    """Whether that is what Polars says of the key of a missing category."""
    return "dictionary key must fit" in str(error)


def categories_of(stored: Path | io.BytesIO) -> pl.DataFrame | None:
    """The columns of an Arrow IPC file that hold categories of any type, all rows; None as for `read_around`."""
    try:
        import pyarrow
    except ImportError:
        return None
    try:
        schema = pyarrow.ipc.open_file(_source(pyarrow, stored)).schema
        places = [place for place, field in enumerate(schema) if pyarrow.types.is_dictionary(field.type)]
        options = pyarrow.ipc.IpcReadOptions(included_fields=places)
        frame = pl.from_arrow(pyarrow.ipc.open_file(_source(pyarrow, stored), options=options).read_all())
    except (pyarrow.ArrowException, OSError, ValueError, pl.exceptions.PolarsError):
        return None
    assert isinstance(frame, pl.DataFrame)
    return frame


def _opened(pyarrow: Any, stored: Path | io.BytesIO, kind: Literal["parquet", "arrow"]) -> tuple[Any, Any]:
    """The file's schema, and a function that reads columns."""
    source = _source(pyarrow, stored)
    if kind == "parquet":
        file = pyarrow.parquet.ParquetFile(source)
        return file.schema_arrow, file.read
    try:
        table = pyarrow.ipc.open_file(source).read_all()
    except pyarrow.ArrowInvalid:
        source.seek(0)
        table = pyarrow.ipc.open_stream(source).read_all()
    return table.schema, table.select


def _source(pyarrow: Any, stored: Path | io.BytesIO) -> Any:
    return pyarrow.memory_map(str(stored)) if isinstance(stored, Path) else pyarrow.BufferReader(stored.getvalue())


def _is_known(pyarrow: Any, field: Any) -> bool:
    try:
        pl.from_arrow(pyarrow.schema([field]).empty_table())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False
    return True
