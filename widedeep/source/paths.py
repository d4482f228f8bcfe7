"""Finds the files and URLs that a recipe's paths mean."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote

import polars as pl

from widedeep.errors import DataError, UsageError

Source = Path | str
"""A file of this machine (a `Path`), or the URL of a file that lies elsewhere (a `str`)."""
Frame = pl.DataFrame | pl.LazyFrame
"""A table in memory, or a query that makes one."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss", "adl", "http", "https", "hf")
_HIDDEN = (".", "_")
_MISSING = "__HIVE_DEFAULT_PARTITION__"


def expand_paths(patterns: Sequence[str], base_dir: Path) -> list[Source]:
    """The files that the patterns name, in order, each once. A pattern is a file, glob, directory or URL.

    Relative paths start from `base_dir`. A directory stands for the files in it and in its folders called
    `column=value`, sorted, without those whose name starts with `.` or `_`; neither does a glob mean these, unless it
    starts so itself. A directory that is a Delta or Iceberg table stands for itself. What lies there under the very
    name is meant rather than a pattern. A `file://` URL is a path; other URLs are kept unchecked. Raises DataError for
    a pattern that names nothing.
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
        files = list(_meant(place)) if place.exists() else [file for match in _matches(place) for file in _meant(match)]
    except OSError as error:
        raise DataError(f"{place}: cannot be read: {error.strerror or error}") from error
    if not files:
        what = "a directory without data files" if place.is_dir() else f"no such file ({os.path.normpath(place)})"
        raise DataError(f"{pattern}: {what}")
    return files


def _matches(place: Path) -> list[Path]:
    """What a glob matches, sorted. The folders in front of it that are there are no patterns, whatever their names."""
    front, parts = Path(place.anchor), list(place.relative_to(place.anchor).parts)
    while parts and (front / parts[0]).exists():
        front /= parts.pop(0)
    matches = glob.glob(os.path.join(*parts), root_dir=front, recursive=True) if parts else []
    hidden = tuple(mark for mark in _HIDDEN if not any(part.startswith(mark) for part in parts))
    return [
        front / match
        for match in sorted(matches)
        if not (hidden and any(name.startswith(hidden) for name in Path(match).parts))
    ]


def _meant(path: Path) -> Iterator[Path]:
    """A file itself, as is a directory that is a Delta or Iceberg table; the data files of another directory."""
    if not path.is_dir() or _is_table(path):
        yield path
        return
    files: list[Path] = []
    for entry in path.iterdir():
        if entry.name.startswith(_HIDDEN):
            continue
        if entry.is_file():
            files.append(entry)
        elif entry.is_dir() and _is_partition(entry.name):
            files += _meant(entry)
    yield from sorted(files)


def _is_table(folder: Path) -> bool:
    from widedeep.source.table_logs import table_log  # only here: most files lie in no such folder

    return table_log(folder) is not None


def _is_partition(folder: str) -> bool:
    """Whether a folder's name says a column and its value."""
    return folder.find("=") > 0 and folder[0] not in "._"


def partition_texts(source: Path | str) -> dict[str, str | None]:
    """Column → text, from the folders right above a file or URL whose names say one; null for Hive's name for it."""
    if isinstance(source, str):
        url = source.partition("?")[0] if source.lower().startswith("http") else source
        # A URL may be a glob, of files in several folders.
        folders = PurePosixPath(url).parts[:-1] if not any(mark in url for mark in "*?[") else ()
    else:
        folders = source.absolute().parts[:-1]
    texts: dict[str, str | None] = {}
    for folder in reversed(folders):
        if not _is_partition(folder):
            break
        column, _, text = folder.partition("=")
        # Of two folders that name a column, the one nearer to the file tells more.
        texts.setdefault(unquote(column), None if text == _MISSING else unquote(text))
    return dict(reversed(texts.items()))


def can_be_read_again(source: Source | BinaryIO | Frame) -> bool:
    """Whether reading a part of it takes nothing away: so it is but for streams, and files such as named pipes."""
    return isinstance(source, (str, Frame)) or (isinstance(source, Path) and not _gives_once(source))


def _gives_once(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def refuse_as_output(output: Path, inputs: Iterable[Source | BinaryIO | Frame]) -> None:
    """Raise UsageError if `output` is, under any name, a file that is to be read; DataError for one that is gone."""
    if not os.path.isfile(output):  # as pathlib raises for a name that is too long
        return
    there = output.stat()
    for given in inputs:
        for source in expand_paths([os.fspath(given)], Path()) if isinstance(given, (str, Path)) else [given]:
            if _is_there(source, there):
                read = source if isinstance(source, Path) else "stdin"
                raise UsageError(f"{output}: is what is read ({read}): name another file to write")


def _is_there(source: Source | BinaryIO | Frame, there: os.stat_result) -> bool:
    if isinstance(source, (str, Frame)):
        return False
    try:
        return os.path.samestat(source.stat() if isinstance(source, Path) else os.fstat(source.fileno()), there)
    except OSError:  # bytes in memory are nowhere else
        return False


def size_of(source: Source | BinaryIO | Frame) -> int | None:
    """Size of a file in bytes, as stored; None for a URL, a stream or a frame, whose size only reading tells."""
    return source.stat().st_size if isinstance(source, Path) and source.is_file() else None


def total_size(sources: Iterable[Source | BinaryIO | Frame]) -> int | None:
    """Size of all sources in bytes, as stored; None if one is no file."""
    sizes = [size_of(source) for source in sources]
    return None if None in sizes else sum(size for size in sizes if size is not None)
