"""Rows spread over a whole table, in bounded memory: what a first look at unknown files rests on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import ColumnError, ColumnValuesError, DataError
from widedeep.recipe.base import why_no_name
from widedeep.recipe.schema import FormatSettings
from widedeep.source.blocks import require_columns
from widedeep.source.canonical import why_unusable
from widedeep.source.columnar_blocks import OpenedTable, open_columnar, read_slice, typed_block
from widedeep.source.paths import Source, partition_texts, size_of
from widedeep.source.plain_types import holds_bytes
from widedeep.source.sources import kind_by_ending, kind_of
from widedeep.source.streams import ByteStream
from widedeep.source.tables import scan_table
from widedeep.suggest.once import readable_again
from widedeep.suggest.sniff import HEAD_BYTES, sniff
from widedeep.suggest.spread_lines import Lines, flat_keys, head_of, line_frames

MAX_ROWS = 250_000
_MAX_CELLS = 16_000_000
"""A wide table is judged by fewer rows."""
_MAX_FILES = 32
_SLICES = 10
"""Logs drift: as many places of the table are looked at."""
_FAULTS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)


@dataclass(frozen=True)
class SpreadSample:
    """Some of a table's rows, in its order."""

    frame: pl.DataFrame
    """String columns of delimited text, else the files' own types; texts trimmed, empty ones null."""
    pieces: NDArray[np.int64]
    """Per row, the number of the run of neighbouring rows that it belongs to."""
    num_rows: int
    """Rows of the whole table; an estimate unless `exact`."""
    exact: bool
    format: dict[str, Any]
    """What differs from the default `data.format`."""
    is_text: bool
    """Whether it comes from delimited text, which knows no types."""
    left_out: dict[str, str]
    """Columns that cannot be read at all, and why."""

    @property
    def whole(self) -> bool:
        """Whether every row of the table is in it."""
        return self.exact and self.frame.height == self.num_rows

    @property
    def rows_told(self) -> str:
        """Rows of the whole table, in words."""
        return f"{self.num_rows:,}" if self.exact else f"about {float(f'{self.num_rows:.2g}'):,.0f}"


def spread_sample(
    files: Sequence[Source], label: str, max_rows: int = MAX_ROWS, *, head_only: bool = False
) -> SpreadSample:
    """Up to about `max_rows` rows of the files, which are parts of one table, in their order.

    With `head_only`, of text those at the front of each file, which say what its columns are: a packed file can be read
    from its front alone. `label` helps to tell a header from data. Raises DataError, ColumnError, UsageError (see
    `sniff`).
    """
    with readable_again(files) as again:
        return _spread_sample(_with_bytes(again), label, max_rows, head_only=head_only)


def _with_bytes(files: Sequence[Source]) -> Sequence[Source]:
    """The files without the empty ones, unless all are."""
    return [file for file in files if size_of(file) != 0] or files


def _spread_sample(files: Sequence[Source], label: str, max_rows: int, *, head_only: bool) -> SpreadSample:
    if (reason := why_no_name(label)) is not None:
        raise ColumnError(f"{files[0]}: a label called {label!r} {reason}; rename the column")
    kinds = {"parquet" if isinstance(file, Path) and file.is_dir() else kind_of(file) for file in files}
    if len(kinds) > 1:
        raise DataError(f"{files[0]}, …: parts of one table must be of one kind; these are {', '.join(sorted(kinds))}")
    kind = kinds.pop()
    if kind in ("parquet", "arrow"):
        return _columnar_sample(files, kind, label, max_rows)
    paths = [_local(file) for file in files]
    heads = ((path, head_of(path)) for path in paths)
    # A part of the table may have a header alone, which says little of what rows look like.
    first, head = next((found for found in heads if found[1].strip().count(b"\n")), (paths[0], b""))
    head = head or head_of(first)
    changes: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    in_path = partition_texts(first)
    if kind == "csv":
        layout = sniff(head, str(first), None if label in in_path else label, whole=len(head) < HEAD_BYTES)
        changes = layout.changed()
        lines = Lines(layout.settings, layout.columns)
    else:
        keys = flat_keys(head, str(first))
        left_out = {key: "holds objects or lists of lists" for key, is_flat in keys.items() if not is_flat}
        lines = Lines(FormatSettings(kind="ndjson"), [key for key, is_flat in keys.items() if is_flat])
        require_columns([label], [*lines.columns, *in_path], str(first))
    rows = min(max_rows, _MAX_CELLS // len(lines.columns) + 1)
    budget = max(rows * len(head) // max(head.count(b"\n"), 1), HEAD_BYTES)
    frames, share = line_frames(spread(paths, _MAX_FILES), lines, budget, head_only=head_only)
    if len(paths) > _MAX_FILES:
        share *= _MAX_FILES / len(paths)
    unusable = _unusable_names(lines.columns)
    frames = [frame[[name for name in frame.columns if name not in unusable]] for frame in frames]
    left_out |= unusable
    return _joined(frames, share, format=changes, is_text=kind == "csv", left_out=left_out)


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items, the first and the last among them."""
    places = np.linspace(0, len(items) - 1, min(len(items), most)).round().astype(int)
    return [items[place] for place in dict.fromkeys(places.tolist())]


def _local(file: Source) -> Path:
    if isinstance(file, str):
        raise DataError(f"{file}: text is not read from a URL, only Parquet and Arrow files are: download it first")
    return file


def _joined(frames: list[pl.DataFrame], share: float, **what: Any) -> SpreadSample:
    """`share` is how much of the table the frames are."""
    try:
        frame = pl.concat(frames, how="diagonal_relaxed") if len(frames) > 1 else frames[0]
    except pl.exceptions.PolarsError as error:
        raise DataError(f"a column holds values of different kinds in different places: {error}") from error
    pieces = np.repeat(np.arange(len(frames)), [piece.height for piece in frames])
    return SpreadSample(frame, pieces, round(frame.height / share), share == 1.0, **what)


# -------------------------------------------------------------------------------------------------- Parquet and Arrow


def _unusable_names(names: Iterable[str]) -> dict[str, str]:
    """The names that no recipe can have, and why."""
    reasons = ((name, why_no_name(name)) for name in names)
    return {name: f"its name {reason}: rename it" for name, reason in reasons if reason is not None}


def _columnar_sample(
    files: Sequence[Source], kind: Literal["parquet", "arrow"], label: str, max_rows: int
) -> SpreadSample:
    chosen = spread(files, _MAX_FILES)
    tables = [(file, _opened(file, kind)) for file in chosen]
    first = tables[0][1]
    schema = first.schema
    require_columns([label], [*schema.names(), *first.unreadable], str(files[0]))
    left_out = dict(first.unreadable)
    # Whether bytes are texts shows when they are read as such.
    bytes_in = {name for name, dtype in schema.items() if holds_bytes(dtype)}
    others = {name: dtype for name, dtype in schema.items() if name not in bytes_in}
    left_out |= {name: why for name, dtype in others.items() if (why := why_unusable(dtype)) is not None}
    left_out |= _unusable_names(schema.names())
    if label in left_out:
        raise DataError(f"{files[0]}: column {label!r} {left_out[label]}: it cannot be the label")
    counts = [_num_rows(file, opened.table) for file, opened in tables]
    total = sum(counts)
    if total == 0:
        raise DataError(f"{files[0]}: the file has no rows")
    frames: list[pl.DataFrame] = []
    while not frames:
        columns = [name for name in schema.names() if name not in left_out]
        rows = min(max_rows, _MAX_CELLS // len(columns) + 1, total)
        try:
            for (file, opened), count in zip(tables, counts, strict=True):
                require_columns(columns, [*opened.schema.names(), *opened.unreadable], str(file))
                for name in columns:
                    if name in opened.unreadable:
                        raise ColumnValuesError(str(file), name, opened.unreadable[name])
                table = opened.table.select(columns)
                frames += _slices(file, table, opened, count, -(-rows * count // total), -(-_SLICES // len(chosen)))
        except ColumnValuesError as error:
            if error.column == label:
                raise
            left_out[error.column] = error.reason
            frames = []
    num_rows = total * len(files) // len(chosen)
    sampled = sum(frame.height for frame in frames)
    joined = _joined(frames, sampled / num_rows, format={}, is_text=False, left_out=left_out)
    form = {"binary": "text"} if bytes_in - left_out.keys() else {}
    return SpreadSample(joined.frame, joined.pieces, num_rows, len(chosen) == len(files), form, False, left_out)


def _opened(file: Source, kind: Literal["parquet", "arrow"]) -> OpenedTable:
    name = str(file)
    if isinstance(file, str):
        return _with_path_columns(open_columnar(file, kind, name=name), file)
    if file.is_dir():
        table = scan_table(file, None, name=name)
        return _with_path_columns(OpenedTable(table, table.collect_schema(), None), file)
    with ByteStream(file, name) as stream:
        return _with_path_columns(open_columnar(stream, kind, name=name), file)


def _with_path_columns(opened: OpenedTable, file: Source) -> OpenedTable:
    own = {*opened.schema.names(), *opened.unreadable}
    texts = {column: text for column, text in partition_texts(file).items() if column not in own}
    if not texts:
        return opened
    table = opened.table.with_columns(pl.lit(text, pl.String).alias(column) for column, text in texts.items())
    return replace(opened, table=table, schema=table.collect_schema())


def _num_rows(file: Source, table: pl.LazyFrame) -> int:
    try:
        return int(table.select(pl.len()).collect().item())
    except _FAULTS as error:
        raise DataError(f"{file}: cannot be read as {kind_by_ending(file)}: {error}") from error


def _slices(
    file: Source, table: pl.LazyFrame, opened: OpenedTable, num_rows: int, wanted: int, most: int
) -> list[pl.DataFrame]:
    """`wanted` of the rows in up to `most` runs spread over the file, in plain types."""
    runs = 1 if wanted >= num_rows else most
    step = min(wanted, num_rows) // runs or 1
    frames = []
    for first_row in np.linspace(0, num_rows - step, runs).astype(np.int64).tolist():
        frames.append(_plain(table, opened, first_row, step, str(file)))
    return [frame for frame in frames if frame.height]


def _plain(table: pl.LazyFrame, opened: OpenedTable, first_row: int, num_rows: int, name: str) -> pl.DataFrame:
    frame = read_slice(table, first_row, num_rows, opened, name=name)
    return typed_block(frame, FormatSettings(binary="text"), name, first_row, 0).frame
