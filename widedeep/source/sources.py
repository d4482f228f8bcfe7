"""Finds the files and URLs that a recipe's paths mean, and reads any of them, a stream or a frame, in blocks of rows.

The reader of a kind is imported when something of its kind is read.
"""

import glob
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal
from urllib.parse import unquote

import polars as pl

from widedeep.errors import DataError
from widedeep.recipe.schema import FormatSettings
from widedeep.source.blocks import RawBlock
from widedeep.source.streams import uncompressed_name

Source = Path | str
"""A file of this machine (a `Path`), or the URL of a file that lies elsewhere (a `str`)."""
Frame = pl.DataFrame | pl.LazyFrame
"""A table in memory, or a query that makes one."""
FileKind = Literal["csv", "ndjson", "parquet", "arrow"]

BLOCK_BYTES = 16 << 20
_HEADER_BYTES = 1 << 16
_KIND_OF_ENDING: dict[str, FileKind] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss", "adl", "http", "https", "hf")


# ------------------------------------------------------------------------------------------------- paths and their URLs


def expand_paths(patterns: Sequence[str], base_dir: Path) -> list[Source]:
    """The files that the patterns name, in order, each once. A pattern is a file, glob, directory or URL.

    Relative paths start from `base_dir`. A directory stands for the files in it, sorted, without those whose name
    starts with `.` or `_`. A `file://` URL is a path; other URLs are kept unchecked. Raises DataError for a pattern
    that names nothing.
    """
    sources: dict[Source, None] = {}
    for pattern in patterns:
        url = _URL.match(pattern)
        if url is None or url[1].lower() == "file":
            sources.update(dict.fromkeys(_expand(pattern, base_dir / _local(pattern))))
        elif url[1].lower() in _SCHEMES:
            sources[pattern] = None
        else:
            raise DataError(f"{pattern}: {url[1]}:// is not understood: one of {', '.join(_SCHEMES)} or file is needed")
    return list(sources)


def _local(pattern: str) -> str:
    url = _URL.match(pattern)
    return unquote(pattern[url.end() :].removeprefix("localhost")) if url else pattern


def _expand(pattern: str, place: Path) -> list[Path]:
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
    return files


def _matched(match: str) -> list[Path]:
    path = Path(match)
    return _files_in(path) if path.is_dir() else [path]


def _files_in(directory: Path) -> list[Path]:
    return sorted(file for file in directory.iterdir() if file.is_file() and file.name[0] not in "._")


def size_of(source: Source | BinaryIO | Frame) -> int | None:
    """Size of a file in bytes, as stored; None for a URL, a stream or a frame, whose size only reading tells."""
    return source.stat().st_size if isinstance(source, Path) else None


def total_size(sources: Iterable[Source | BinaryIO | Frame]) -> int | None:
    """Size of all sources in bytes, as stored; None if one is no file."""
    sizes = [size_of(source) for source in sources]
    return None if None in sizes else sum(size for size in sizes if size is not None)


# ------------------------------------------------------------------------------------------------------------- reading


def read_blocks(
    source: Source | BinaryIO | Frame,
    settings: FormatSettings,
    columns: Sequence[str] | None,
    *,
    name: str,
    block_bytes: int = BLOCK_BYTES,
    coded: Collection[str] = (),
) -> Iterator[RawBlock]:
    """Yield the rows of a file, URL, stream or frame, in order.

    Memory is bounded, but a Parquet or Arrow file that is compressed as a whole, or a stream of one, is held in it.
    `columns` names the columns to read (None: all). Delimited text gives String columns, other formats keep their
    types; in all of them texts are trimmed and missing ones null. Columns that `coded` names may come as codes
    (`RawBlock.coded`). Raises ColumnError for a column that is not there, DataError for anything else.
    """
    if isinstance(source, Frame):
        from widedeep.source.frames import read_frame_blocks

        return read_frame_blocks(source, settings, columns, name=name)
    kind = _kind_of(source, settings, name)
    if kind == "parquet" or kind == "arrow":
        from widedeep.source.columnar_blocks import read_columnar_blocks

        return read_columnar_blocks(source, kind, settings, columns, name=name)
    assert not isinstance(source, str)
    if kind == "csv":
        from widedeep.source.csv_blocks import read_csv_blocks

        return read_csv_blocks(source, settings, columns, name=name, block_bytes=block_bytes, coded=coded)
    from widedeep.source.json_blocks import read_json_blocks

    return read_json_blocks(source, settings, columns, name=name, block_bytes=block_bytes)


def columns_in(source: Source | Frame, settings: FormatSettings, *, name: str) -> Sequence[str]:
    """Names of the columns of one file, URL (NDJSON: of its first lines) or frame. Raises DataError."""
    if isinstance(source, Frame):
        from widedeep.source.frames import frame_columns

        return frame_columns(source, name=name)
    kind = _kind_of(source, settings, name)
    if kind == "parquet" or kind == "arrow":
        from widedeep.source.columnar_blocks import columnar_columns

        return columnar_columns(source, kind, name=name)
    assert not isinstance(source, str)
    if kind == "ndjson":
        from widedeep.source.json_blocks import json_columns

        return json_columns(source, name=name, block_bytes=_HEADER_BYTES)
    return next(iter(read_blocks(source, settings, None, name=name, block_bytes=_HEADER_BYTES))).frame.columns


def kind_by_ending(source: Source) -> FileKind | None:
    """The kind of file that the name's ending says, compressed or not; None if it says none."""
    if isinstance(source, str):
        # In an http address the name ends at `?`; elsewhere a `?` may be part of a glob.
        source = Path(PurePosixPath(source.partition("?")[0] if source.lower().startswith("http") else source))
    return _KIND_OF_ENDING.get(uncompressed_name(source).suffix.lower())


def believed_format(source: Source, settings: FormatSettings) -> FormatSettings:
    """`settings` with the kind that the file's ending says; unchanged if it says none."""
    kind = kind_by_ending(source)
    return settings if kind is None else settings.model_copy(update={"kind": kind})


def _kind_of(source: Source | BinaryIO, settings: FormatSettings, name: str) -> FileKind:
    by_ending = kind_by_ending(source) if isinstance(source, (str, Path)) else None
    kind = settings.kind if settings.kind != "auto" else by_ending or "csv"
    if isinstance(source, str) and kind in ("csv", "ndjson"):
        what = "delimited text" if kind == "csv" else "NDJSON"
        raise DataError(f"{name}: {what} is not read from a URL, only Parquet and Arrow files are: download it first")
    return kind
