"""Which files a recipe's paths mean, and reading any of them, or a stream, in blocks of rows."""

import glob
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import polars as pl

from widedeep.errors import DataError
from widedeep.recipe.schema import FormatSettings
from widedeep.table.blocks import RawBlock, clean_texts, require_columns
from widedeep.table.csv_blocks import read_csv_blocks
from widedeep.table.streams import ByteStream, uncompressed_name

BLOCK_BYTES = 16 << 20
_PARQUET_ENDINGS = (".parquet", ".pq")
_PARQUET_BLOCK_ROWS = 1 << 17


def expand_paths(patterns: Sequence[str], base_dir: Path) -> list[Path]:
    """Files that the patterns (a file, a glob, a directory; relative to `base_dir`) name, in order, each once.

    Of a directory its own files count, sorted; names that start with `.` or `_` do not. Raises DataError for a pattern
    that names nothing.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        place = base_dir / pattern
        try:
            if place.is_dir():
                files = _files_in(place)
            elif place.exists():
                files = [place]
            else:
                files = [file for match in sorted(glob.glob(str(place), recursive=True)) for file in _matched(match)]
        except OSError as error:
            raise DataError(f"{place}: cannot be read: {error.strerror or error}") from error
        if not files:
            what = "a directory without data files" if place.is_dir() else f"no such file ({place})"
            raise DataError(f"{pattern}: {what}")
        found.update(dict.fromkeys(files))
    return list(found)


def _matched(match: str) -> list[Path]:
    path = Path(match)
    return _files_in(path) if path.is_dir() else [path]


def _files_in(directory: Path) -> list[Path]:
    return sorted(file for file in directory.iterdir() if file.is_file() and file.name[0] not in "._")


def read_blocks(
    source: Path | BinaryIO,
    settings: FormatSettings,
    columns: Sequence[str] | None,
    *,
    name: str,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[RawBlock]:
    """Rows of one file or stream, in order, in bounded memory (a Parquet stream or compressed Parquet: all of it).

    `columns` are the ones wanted (None: all). Delimited text comes as String columns; texts are trimmed and missing
    ones null in either format. Raises ColumnError for a column that is not there, DataError for anything else.
    """
    if _is_parquet(source, settings):
        return _read_parquet_blocks(source, settings, columns, name)
    return read_csv_blocks(source, settings, columns, name=name, block_bytes=block_bytes)


def _is_parquet(source: Path | BinaryIO, settings: FormatSettings) -> bool:
    if settings.kind != "auto":
        return settings.kind == "parquet"
    return isinstance(source, Path) and has_parquet_ending(source)


def has_parquet_ending(path: Path) -> bool:
    """Whether the name says Parquet, compressed or not."""
    return uncompressed_name(path).suffix.lower() in _PARQUET_ENDINGS


def _read_parquet_blocks(
    source: Path | BinaryIO, settings: FormatSettings, columns: Sequence[str] | None, name: str
) -> Iterator[RawBlock]:
    stored: Path | io.BytesIO
    with ByteStream(source, name) as stream:
        if isinstance(source, Path) and uncompressed_name(source) == source:
            stored, size = source, source.stat().st_size
        else:
            stored = io.BytesIO(stream.read())
            size = stream.bytes_done
    if size == 0:
        raise DataError(f"{name}: the file is empty")
    try:
        table = pl.scan_parquet(stored, hive_partitioning=False, glob=False)
        present = table.collect_schema().names()
        num_rows: int = table.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{name}: not a readable Parquet file: {error}") from error
    require_columns(columns or (), present, name)
    if num_rows == 0:
        raise DataError(f"{name}: the file has no rows")
    wanted = table.select(present if columns is None else list(dict.fromkeys(columns)))
    for first_row in range(0, num_rows, _PARQUET_BLOCK_ROWS):
        try:
            frame = wanted.slice(first_row, _PARQUET_BLOCK_ROWS).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"{name}: damaged at or after row {first_row + 1}: {error}") from error
        # Categories differ between files and would carry their numbering into the texts' place.
        frame = frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))
        done = size * (first_row + frame.height) // num_rows
        yield RawBlock(clean_texts(frame, settings), name, first_row, done)
