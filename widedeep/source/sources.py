"""Reads any source, a file, URL, stream or frame, in blocks of rows.

The reader of a kind is imported when something of its kind is read.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeGuard, Union

from widedeep.errors import DataError, NoRowsError
from widedeep.recipe.kinds import FileKind
from widedeep.recipe.schema import FormatSettings
from widedeep.reporting import Reporter
from widedeep.source.blocks import RawBlock
from widedeep.source.contents import is_json_line, signature_of
from widedeep.source.paths import Frame, Source, partition_texts
from widedeep.source.streams import ByteStream, uncompressed_name

if TYPE_CHECKING:
    from widedeep.source.csv_blocks import CsvCut

Cut = Union["CsvCut", tuple[int, int]]
"""A part of a file: blocks of delimited text, or the first row and the one to stop at."""
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


def read_blocks(
    source: Source | BinaryIO | Frame,
    settings: FormatSettings,
    columns: Sequence[str] | None,
    *,
    name: str,
    block_bytes: int = BLOCK_BYTES,
    coded: Collection[str] = (),
    cut: "Cut | None" = None,
) -> Iterator[RawBlock]:
    """Yield the rows of a file, URL, stream or frame, in order; a stream or named pipe is read once.

    Memory is bounded, but a Parquet or Arrow file that is compressed as a whole, or a stream of one, is held in it.
    `columns` names the columns to read (None: all), also such as stand in the path (see `with_partitions`). Delimited
    text gives String columns, other formats keep their types; in all of them texts are trimmed and missing ones null.
    Columns that `coded` names may come as codes (`RawBlock.coded`). `cut` is a part of a file that `cuts_of` gave.
    Raises ColumnError for a column that is not there, NoRowsError where there are no rows, DataError for anything else.
    """
    texts = {} if columns == [] else _partition_texts(source)
    if columns is not None:
        texts = {column: text for column, text in texts.items() if column in columns}
    if not texts:
        yield from _own_blocks(source, settings, columns, name=name, block_bytes=block_bytes, coded=coded, cut=cut)
        return
    from widedeep.source.partitions import with_partitions

    assert isinstance(source, (str, Path))
    wanted = None
    if columns is not None:
        own = own_columns(source, settings, name=name)
        # One is read at least: it tells how many rows there are.
        wanted = [column for column in columns if column not in texts or column in own] or list(own[:1])
    coded = [column for column in coded if column not in texts]
    blocks = _own_blocks(source, settings, wanted, name=name, block_bytes=block_bytes, coded=coded, cut=cut)
    yield from with_partitions(blocks, texts, settings, columns)


def cuts_of(
    source: Source,
    settings: FormatSettings,
    columns: Sequence[str],
    *,
    name: str,
    cut_bytes: int,
    block_bytes: int = BLOCK_BYTES,
) -> "Iterator[Cut]":
    """Yield a large file in parts of about `cut_bytes` stored bytes that can be read apart, in order; none if it is not
    large, or can only be read from the front: what is packed, NDJSON (whose types are found on the way), a table, a
    URL.

    The blocks of all parts are those that `read_blocks` yields. A file of delimited text is read once for that, to see
    where its records end; the parts in front come before that is done. Raises what `read_blocks` does of what it sees.
    """
    if not isinstance(source, Path) or not source.is_file() or source.stat().st_size < 2 * cut_bytes:
        return
    own = set(own_columns(source, settings, name=name)) if _partition_texts(source) else set(columns)
    with ByteStream(source, name) as stream:
        kind = _kind_of(stream, settings)
        if kind == "csv":
            from widedeep.source.csv_blocks import csv_cuts

            wanted = [column for column in columns if column in own]
            yield from csv_cuts(stream, settings, wanted, name=name, block_bytes=block_bytes, cut_bytes=cut_bytes)
        if (kind != "parquet" and kind != "arrow") or not stream.as_stored:
            return
        from widedeep.source.columnar_blocks import BLOCK_ROWS, columnar_height

        height = columnar_height(stream, kind, name=name)
        if height is None:
            return
        blocks_each = max(1, -(-height // BLOCK_ROWS) * cut_bytes // source.stat().st_size)
        step = BLOCK_ROWS * blocks_each
        yield from ((start, min(start + step, height)) for start in range(0, height, step))


def _partition_texts(source: Source | BinaryIO | Frame) -> dict[str, str | None]:
    return partition_texts(source) if isinstance(source, (str, Path)) else {}


def _own_blocks(
    source: Source | BinaryIO | Frame,
    settings: FormatSettings,
    columns: Sequence[str] | None,
    *,
    name: str,
    block_bytes: int,
    coded: Collection[str],
    cut: "Cut | None",
) -> Iterator[RawBlock]:
    if isinstance(source, Frame):
        from widedeep.source.frames import read_frame_blocks

        yield from read_frame_blocks(source, settings, columns, name=name)
        return
    if isinstance(source, str):
        from widedeep.source.columnar_blocks import read_columnar_blocks

        yield from read_columnar_blocks(source, _kind_of_url(source, settings, name), settings, columns, name=name)
        return
    if _is_table(source):
        from widedeep.source.tables import read_table_blocks

        yield from read_table_blocks(source, settings, columns, name=name)
        return
    if settings.version is not None:
        raise DataError(f"{name}: data.format.version is of a Delta or Iceberg table, which this is not: leave it out")
    with ByteStream(source, name) as stream:
        kind = _kind_of(stream, settings)
        if kind == "parquet" or kind == "arrow":
            from widedeep.source.columnar_blocks import read_columnar_blocks

            rows = cut if isinstance(cut, tuple) else None
            yield from read_columnar_blocks(stream, kind, settings, columns, name=name, rows=rows)
        elif kind == "csv":
            from widedeep.source.csv_blocks import CsvCut, read_csv_blocks

            blocks = cut if isinstance(cut, CsvCut) else None
            yield from read_csv_blocks(
                stream, settings, columns, name=name, block_bytes=block_bytes, coded=coded, cut=blocks
            )
        else:
            from widedeep.source.json_blocks import read_json_blocks

            yield from read_json_blocks(stream, settings, columns, name=name, block_bytes=block_bytes)


def columns_in(source: Source | Frame, settings: FormatSettings, *, name: str) -> Sequence[str]:
    """Names of the columns of one file, URL (NDJSON: of its first lines) or frame, those in its path behind its own.

    Raises NoRowsError for a file without rows, DataError.
    """
    return list(dict.fromkeys([*own_columns(source, settings, name=name), *_partition_texts(source)]))


def own_columns(source: Source | Frame, settings: FormatSettings, *, name: str) -> Sequence[str]:
    """The same without the columns that stand in the path alone."""
    if isinstance(source, Frame):
        from widedeep.source.frames import frame_columns

        return frame_columns(source, name=name)
    if isinstance(source, str):
        from widedeep.source.columnar_blocks import columnar_columns

        return columnar_columns(source, _kind_of_url(source, settings, name), name=name)
    if _is_table(source):
        from widedeep.source.tables import table_columns

        return table_columns(source, settings, name=name)
    with ByteStream(source, name) as stream:
        kind = _kind_of(stream, settings)
        if kind == "parquet" or kind == "arrow":
            from widedeep.source.columnar_blocks import columnar_columns

            return columnar_columns(stream, kind, name=name)
        if kind == "ndjson":
            from widedeep.source.json_blocks import json_columns

            return json_columns(stream, name=name, block_bytes=_HEADER_BYTES)
        from widedeep.source.csv_blocks import read_csv_blocks

        return next(read_csv_blocks(stream, settings, None, name=name, block_bytes=_HEADER_BYTES)).frame.columns


class RowlessFiles:
    """Passes over those of several files that have no rows, unless none has any."""

    def __init__(self) -> None:
        self._errors: list[NoRowsError] = []
        self._others = 0

    @contextmanager
    def passed_over(self) -> Iterator[None]:
        """Around the reading of one file."""
        try:
            yield
        except NoRowsError as error:
            self._errors.append(error)
        else:
            self._others += 1

    def settle(self, reporter: Reporter | None = None) -> None:
        """Tell, once all are read, which were passed over. Raises NoRowsError, as of the first, where all were."""
        if self._errors and not self._others:
            raise self._errors[0]
        if self._errors and reporter is not None:
            more = f" (and {len(self._errors) - 1:,} more like it)" if len(self._errors) > 1 else ""
            reporter.note(f"{self._errors[0]}: it is passed over{more}")


# --------------------------------------------------------------------------------------------------------------- kinds


def _is_table(source: Path | BinaryIO) -> TypeGuard[Path]:
    """Whether it is a Delta or Iceberg table: other folders stand for the files in them."""
    return isinstance(source, Path) and source.is_dir()


def kind_by_ending(source: Source) -> FileKind | None:
    """The kind of file that the name's ending says, packed or not; None if it says none."""
    if isinstance(source, str):
        # In an http address the name ends at `?`; elsewhere a `?` may be part of a glob.
        source = Path(PurePosixPath(source.partition("?")[0] if source.lower().startswith("http") else source))
    return _KIND_OF_ENDING.get(uncompressed_name(source).suffix.lower())


def kind_of(source: Source) -> FileKind:
    """The kind of a file by its first bytes, where these say it for certain, else by its ending. Raises DataError."""
    if isinstance(source, str):
        return kind_by_ending(source) or "csv"
    with ByteStream(source, str(source)) as stream:
        return _kind_of(stream, FormatSettings())


def believed_format(source: Source, settings: FormatSettings) -> FormatSettings:
    """`settings` for a file that need not be of their kind: its bytes and its ending say it, where the latter does.

    Neither need it be a table's version that they name.
    """
    kind = settings.kind if kind_by_ending(source) is None else "auto"
    return settings.model_copy(update={"kind": kind, "version": None})


def _kind_of(stream: ByteStream, settings: FormatSettings) -> FileKind:
    by_ending = kind_by_ending(stream.named) if stream.named is not None else None
    signature = signature_of(stream.head)
    if signature is not None and (signature.content == "parquet" or signature.content == "arrow"):
        if settings.kind not in ("auto", signature.content):
            raise DataError(
                f"{stream.name}: {signature.title}, which data.format.kind or --input-format says is {settings.kind}: "
                f"say {signature.content} or leave it out"
            )
        return signature.content
    if settings.kind != "auto":
        return settings.kind
    if by_ending in (None, "csv") and is_json_line(stream.head):
        return "ndjson"
    return by_ending or "csv"


def _kind_of_url(url: str, settings: FormatSettings, name: str) -> Literal["parquet", "arrow"]:
    kind = settings.kind if settings.kind != "auto" else kind_by_ending(url) or "csv"
    if kind == "parquet" or kind == "arrow":
        return kind
    what = "delimited text" if kind == "csv" else "NDJSON"
    raise DataError(f"{name}: {what} is not read from a URL, only Parquet and Arrow files are: download it first")
