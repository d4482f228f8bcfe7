"""Reads Delta and Iceberg tables, by Polars."""

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from widedeep.errors import DataError, NoRowsError
from widedeep.recipe.schema import FormatSettings
from widedeep.source.blocks import RawBlock
from widedeep.source.frames import frame_columns, read_frame_blocks
from widedeep.source.table_logs import is_delta, table_log

_PLAIN_PATH = re.compile(r"[^\s\"#%<>?\\`{}\x7f-\U0010ffff]*")
"""Polars would look for the table's files under the names that other characters have in a URL."""


def read_table_blocks(
    path: Path, settings: FormatSettings, columns: Sequence[str] | None, *, name: str
) -> Iterator[RawBlock]:
    """The rows of a table, as those of a frame: of the newest state, or of `settings.version`.

    Raises ColumnError, NoRowsError, and DataError for a table that cannot be read.
    """
    for block in read_frame_blocks(scan_table(path, settings.version, name=name), settings, columns, name=name):
        if block.num_rows == 0:
            raise NoRowsError(f"{name}: the table has no rows")
        yield block


def table_columns(path: Path, settings: FormatSettings, *, name: str) -> list[str]:
    """Names of the columns of a table. Raises DataError."""
    return frame_columns(scan_table(path, settings.version, name=name), name=name)


def scan_table(path: Path, version: int | None, *, name: str) -> pl.LazyFrame:
    """The table, still unread. Raises DataError for one that cannot be, and where a package that reads it is absent."""
    if is_delta(path) and not _PLAIN_PATH.fullmatch(str(path.absolute())):
        raise DataError(f"{name}: a Delta table whose path holds other characters than its reader takes: move it")
    what, package = ("Delta", "deltalake") if is_delta(path) else ("Iceberg", "pyiceberg")
    try:
        if is_delta(path):
            table = pl.scan_delta(str(path.absolute()), version=version)
        else:
            # Which of its readers Polars plans with is no concern of a user's.
            warnings.filterwarnings("ignore", message="Iceberg scan planning")
            table = pl.scan_iceberg(str(table_log(path).absolute()), snapshot_id=version)  # type: ignore[union-attr]
        table.collect_schema()
    except ImportError as error:
        raise DataError(
            f"{name}: reading a {what} table needs {package}, which is not installed: "
            f"pip install 'widedeep[{what.lower()}]'"
        ) from error
    except (Exception, pl.exceptions.PanicException) as error:  # each library has faults of its own kind
        at = f" at version {version}" if version is not None else ""
        raise DataError(f"{name}: a {what} table that cannot be read{at}: {' '.join(str(error).split())}") from error
    return table
