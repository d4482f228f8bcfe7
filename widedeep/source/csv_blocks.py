"""Reads delimited text in blocks: the bytes of every record are checked, then parsed by Polars.

Polars fills short rows silently and refuses a quote inside an unquoted value. So the bytes are checked before it sees
them, and rewritten where their quotes are unusual (`csv_quotes`). Large files of plain text are read by compiled loops
instead (`csv_codes`), with the same result.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import DataError, Fault, NoRowsError, RecipeError
from widedeep.ordered import map_in_order
from widedeep.recipe.schema import FormatSettings
from widedeep.source.blocks import BLANKS, NO_BREAK_SPACE, RawBlock, clean_texts, count_newlines, require_columns
from widedeep.source.coded import CodedColumn
from widedeep.source.csv_quotes import Dialect, complete_records
from widedeep.source.streams import ByteStream

if TYPE_CHECKING:
    from widedeep.source.csv_codes import Scratch

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SEPARATOR_LINE = re.compile(rb"(?:\xef\xbb\xbf)?sep=([\t -\x7e])\r?\n", re.IGNORECASE)
_NEWLINE = 10
_RECORD_LIMIT = 64 << 20
"""Most bytes in one record. Without a limit, a quote that is never closed would read a whole log into memory."""
_COMPILED_BYTES = 32 << 20
"""Files from this size on are read by compiled loops. Importing Numba takes as long as reading this much without it."""


def read_csv_blocks(
    stream: ByteStream,
    settings: FormatSettings,
    columns: Sequence[str] | None,
    *,
    name: str,
    block_bytes: int,
    coded: Collection[str] = (),
    cut: "CsvCut | None" = None,
) -> Iterator[RawBlock]:
    """Yield blocks of about `block_bytes` decompressed bytes; all columns are String, missing texts null.

    Where it is quicker, the columns that `coded` names come as codes in `RawBlock.coded`.

    A quote opens a value only at its start (after blanks where they are trimmed) and is a plain character elsewhere, as
    in Python's `csv`. Blank lines and comment lines are dropped, except that in a table of one column a blank line is
    a missing value. Raises ColumnError for a column that is not there; DataError with file and line for a record of
    another length than the header, an unclosed quote, bytes that are not UTF-8, a name that the header has twice, a
    first line such as `sep=;` that names another separator; NoRowsError for no header or no rows.

    With a `cut`, only its blocks are read, which may have no rows, and a block's `first_row` counts from the cut.
    """
    dialect = dialect_of(settings)
    first_row = 0
    stream.as_text(settings.encoding)
    large = stream.path is not None and stream.path.stat().st_size >= _COMPILED_BYTES
    table = _Table(settings, dialect.of_rewritten, columns, name, coded, compiled=large)
    if cut is not None and cut.names is not None:
        table.names = list(cut.names)
    records = _record_runs(stream, settings, dialect, block_bytes) if cut is None else _runs_of(stream, cut, dialect)
    runs = table.without_header(records)
    for block in map_in_order(table.parse, runs):
        if block.num_rows:
            yield replace(block, first_row=first_row)
            first_row += block.num_rows
    if first_row == 0 and cut is None:
        _refuse_no_rows(stream, settings, table.names, name)


@dataclass(frozen=True)
class CsvCut:
    """Consecutive blocks of a file of delimited text, each of whole records."""

    names: tuple[str, ...] | None
    """The columns of the table; None if the header is in the first block."""
    blocks: tuple[tuple[int, int, int], ...]
    """First byte, number of bytes, 1-based line of the first record."""


def csv_cuts(
    stream: ByteStream,
    settings: FormatSettings,
    columns: Sequence[str] | None,
    *,
    name: str,
    block_bytes: int,
    cut_bytes: int,
) -> Iterator[CsvCut]:
    """Yield the blocks of `read_csv_blocks` as cuts of at least `cut_bytes` bytes, as they are found; none if it can
    only be read from the front, as what is packed or in another encoding. Raises what `read_csv_blocks` does before it
    parses records.
    """
    stream.as_text(settings.encoding)
    if stream.path is None or not stream.as_stored:
        return
    dialect = dialect_of(settings)
    table = _Table(settings, dialect.of_rewritten, columns, name, (), compiled=False)
    waiting: list[tuple[int, int, int]] = []

    def noted() -> Iterator[_Run]:
        for run in _record_runs(stream, settings, dialect, block_bytes):
            waiting.append((run.start, run.length, run.line))
            yield run

    names: tuple[str, ...] | None = None  # the header is in the first cut
    for _ in table.without_header(noted()):
        if sum(length for _, length, _ in waiting) >= cut_bytes:
            yield CsvCut(names, tuple(waiting))
            names = tuple(table.names or ())
            waiting.clear()
    if waiting:
        yield CsvCut(names, tuple(waiting))


def _runs_of(stream: ByteStream, cut: CsvCut, dialect: Dialect) -> "Iterator[_Run]":
    assert stream.path is not None
    done = 0
    with stream.path.open("rb") as file:
        for start, length, line in cut.blocks:
            file.seek(start)
            data = file.read(length)
            data = data if data.endswith(b"\n") else data + b"\n"
            run = complete_records(data, dialect)
            if len(data) < length or run.consumed < len(data):
                raise DataError(f"{stream.name}: was changed while it was read: run again")
            done += length
            num_lines = count_newlines(np.frombuffer(run.records, dtype=np.uint8))
            yield _Run(run.records, num_lines, line, done)


def dialect_of(settings: FormatSettings) -> Dialect:
    """The characters that structure text of this format. Raises RecipeError for one that cannot."""
    for setting in ("separator", "quote"):
        character = getattr(settings, setting)
        if character is not None and (not character.isascii() or character in "\r\n"):
            message = f"must be one ASCII character that is no line break; got {character!r}"
            raise RecipeError([Fault(f"data.format.{setting}", message)])
    return Dialect(
        separator=settings.separator.encode(),
        quote=settings.quote.encode() if settings.quote is not None else None,
        comment=settings.comment.encode() if settings.comment is not None else None,
        trim=settings.trim,
        escape=settings.escape.encode() if settings.escape is not None else None,
    )


def _refuse_no_rows(stream: ByteStream, settings: FormatSettings, names: list[str] | None, name: str) -> None:
    if stream.bytes_read == 0:
        raise NoRowsError(f"{name}: the file is empty")
    if settings.header and names is not None:
        raise NoRowsError(f"{name}: the file has a header and no rows")
    missing = "neither header nor rows" if settings.header else "no rows"
    raise NoRowsError(f"{name}: the file has {missing} (after skipped, comment and blank lines)")


# ------------------------------------------------------------------------------------------- whole records from bytes


@dataclass(frozen=True)
class _Run:
    """Whole records with plain quotes."""

    data: bytes
    num_lines: int
    """Line breaks in it."""
    line: int
    """1-based line it starts on."""
    bytes_done: int
    """Bytes of the source, as stored, that were read by the end of this run."""
    header_bytes: int = 0
    """Bytes before the first record. Cutting them off copies all others, which is left to the thread that parses."""
    start: int = 0
    length: int = 0
    """Which of the unpacked bytes it is made of."""


def _record_runs(stream: ByteStream, settings: FormatSettings, dialect: Dialect, block_bytes: int) -> Iterator[_Run]:
    carry, line, left = _after_skipped_lines(stream, settings, block_bytes)
    start, final = stream.bytes_read - len(carry), False
    while not final:
        # Reading at least as much as is left over keeps the cost of a very long record linear. What the stream left is
        # counted in: where blocks end must not depend on it.
        chunk, left = stream.read_lines(max(block_bytes, len(carry) + left) + left)
        final = not chunk
        # The bytes after the last line break are kept apart: cutting them off the joined data would copy all of it.
        end = chunk.rfind(b"\n") + 1 or len(chunk)
        is_whole = not carry and end == len(chunk)
        data = chunk if is_whole else b"".join([carry, memoryview(chunk)[:end]])
        rest = chunk[end:]
        if final and data and not data.endswith(b"\n"):
            data += b"\n"
        run = complete_records(data, dialect)
        too_long = len(data) - run.consumed > max(_RECORD_LIMIT, block_bytes)
        if run.open_quote is not None and (final or too_long):
            at = line + data.count(b"\n", 0, run.open_quote)
            rule = "is never closed" if final else f"is not closed within {_RECORD_LIMIT >> 20} MiB"
            raise DataError(
                f"{stream.name}:{at}: a quoted value {rule}; close or double the quote, or set data.format.quote: null"
            )
        if too_long:
            at = line + data.count(b"\n", 0, run.consumed)
            raise DataError(
                f"{stream.name}:{at}: a line longer than {_RECORD_LIMIT >> 20} MiB; is this delimited text?"
            )
        num_lines = count_newlines(np.frombuffer(run.records, dtype=np.uint8))
        if run.records:
            length = min(run.consumed, stream.bytes_read - start)
            yield _Run(run.records, num_lines, line, stream.bytes_done, start=start, length=length)
        start += run.consumed
        line += num_lines
        carry = data[run.consumed :] + rest


def _after_skipped_lines(stream: ByteStream, settings: FormatSettings, block_bytes: int) -> tuple[bytes, int, int]:
    """The first bytes after the byte order mark and the lines to skip, the line they start on, and how many bytes, in
    place of them, are left for the next call to read."""
    skip_lines = settings.skip_lines
    if skip_lines == 0 and _is_separator_line(stream.head, settings, stream.name):
        skip_lines = 1
    first_bytes = max(block_bytes, len(_BYTE_ORDER_MARK))
    is_large = stream.path is not None and stream.as_stored and stream.path.stat().st_size > 2 * first_bytes
    if is_large and skip_lines == 0 and not stream.head.startswith(_BYTE_ORDER_MARK):
        return b"", 1, first_bytes  # nothing has to be cut off, and so nothing copied
    data = stream.read(first_bytes).removeprefix(_BYTE_ORDER_MARK)
    for _ in range(skip_lines):
        while (end := data.find(b"\n")) < 0:
            data = stream.read(block_bytes)
            if not data:
                return b"", skip_lines + 1, 0
        data = data[end + 1 :]
    return data, skip_lines + 1, 0


def named_separator(head: bytes) -> str | None:
    """The separator that a first line such as `sep=;`, which Excel reads and writes, names; None if it is none."""
    match = _SEPARATOR_LINE.match(head)
    return match[1].decode() if match is not None else None


def _is_separator_line(head: bytes, settings: FormatSettings, name: str) -> bool:
    """Whether the first line names the separator and nothing else. Raises DataError where it names another one."""
    separator = named_separator(head)
    if separator is not None and separator != settings.separator:
        raise DataError(f"{name}:1: the first line names {separator!r} as separator: set data.format.separator to it")
    return separator is not None


def with_names(names: Sequence[str]) -> list[str]:
    """The names of a header, in which several columns may lack one: a spreadsheet's empty columns, the levels of an
    index. The first has the empty name, the others are called by their place, as pandas calls them."""
    first = names.index("") if "" in names else None
    return [name or ("" if place == first else f"Unnamed: {place}") for place, name in enumerate(names)]


def _check_utf8(data: bytes, line: int, name: str) -> None:
    if data.isascii():
        return
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = line + data.count(b"\n", 0, error.start)
        raise DataError(
            f"{name}:{at}: byte 0x{data[error.start]:02x} is not valid UTF-8; save the file as UTF-8, or set "
            "data.format.encoding: latin-1 if that is what it is"
        ) from None


def _header(data: bytes, dialect: Dialect, name: str, line: int) -> tuple[list[str], int, int] | None:
    """The column names, where the header ends and the lines up to there; None if all are blank or comments."""
    start = 0
    while start < len(data):
        values, end = dialect.values_at(data, start)
        at = line + data.count(b"\n", 0, start)
        if dialect.comment is not None and data.startswith(dialect.comment, start):
            end = data.index(b"\n", start) + 1
        elif len(values) > 1 or values[0].strip():
            names = [value.decode() for value in values]
            names = [value.strip(BLANKS) for value in names] if dialect.trim else names
            names = with_names(names)
            if len(set(names)) < len(names):
                twice = next(value for number, value in enumerate(names) if value in names[:number])
                raise DataError(
                    f"{name}:{at}: the header names column {twice!r} twice; "
                    "rename one, or set data.format.header: false and name the columns"
                )
            return names, end, data.count(b"\n", 0, end)
        start = end
    return None


class _Table:
    """A table that is being read: its names and settings, with which runs of records are parsed."""

    def __init__(
        self,
        settings: FormatSettings,
        dialect: Dialect,
        columns: Sequence[str] | None,
        name: str,
        coded: Collection[str],
        *,
        compiled: bool,
    ) -> None:
        self.names = list(settings.columns) if settings.columns is not None else None
        self._settings, self._dialect, self._columns, self._name = settings, dialect, columns, name
        self._coded, self._compiled = coded, compiled
        self._spare: list[Scratch] = []
        """Memory that a block was coded in, for the next block; several threads code blocks at the same time."""

    def without_header(self, runs: Iterable[_Run]) -> Iterator[_Run]:
        """Yield the runs after the header, which must have the wanted columns. Raises ColumnError, DataError."""
        is_first = True
        for run in runs:
            if self.names is None:
                _check_utf8(run.data, run.line, self._name)
                header = _header(run.data, self._dialect, self._name, run.line)
                if header is None:
                    continue
                self.names, end, num_lines = header
                run = _Run(run.data, run.num_lines - num_lines, run.line + num_lines, run.bytes_done, end)
            if is_first:
                require_columns(self._columns or (), self.names, self._name)
                is_first = False
            yield run

    def parse(self, run: _Run) -> RawBlock:
        """The run's rows as a block. Its `first_row` is 0, for the caller to set. Raises DataError."""
        assert self.names is not None
        run = replace(run, data=run.data[run.header_bytes :], header_bytes=0)
        _check_utf8(run.data, run.line, self._name)
        wanted = self.names if self._columns is None else list(dict.fromkeys(self._columns))
        texts = self._coded_texts(run, _places(wanted, self.names)) if self._compiled else None
        if texts is not None:
            coded = {column: values for column, values in zip(wanted, texts, strict=True) if column in self._coded}
            plain = {
                column: values.of_rows()
                for column, values in zip(wanted, texts, strict=True)
                if column not in self._coded
            }
            return RawBlock(pl.DataFrame(plain), self._name, 0, run.bytes_done, run.line, coded=coded)
        records = _records(run.data, run.line, self._dialect, len(self.names), self._name)
        frame = _parse(records, self.names, wanted, self._settings, self._name)
        return RawBlock(frame, self._name, 0, run.bytes_done, records.first_line, records.lines)

    def _coded_texts(self, run: _Run, columns: Sequence[int]) -> list[CodedColumn] | None:
        """The columns (numbered from 0) as codes; None if the run is not plain lines with a value for each column."""
        special = [
            character for character in (self._dialect.quote, self._dialect.comment, b"\r") if character is not None
        ]
        width = len(self.names or ())
        if width == 1 or not run.data or not columns or any(character in run.data for character in special):
            return None
        from widedeep.source.csv_codes import (  # only here: Numba takes as long to import as Polars
            Scratch,
            coded_columns,
        )

        try:
            scratch = self._spare.pop()
        except IndexError:  # asked for before, one could be gone by then
            scratch = Scratch()
        texts = coded_columns(run.data, run.num_lines, width, columns, self._settings, scratch)
        self._spare.append(scratch)
        return texts


class CsvRows:
    """Delimited text that comes line by line: each record is a row as soon as its last line is there."""

    def __init__(self, settings: FormatSettings, columns: Sequence[str], *, name: str) -> None:
        """Raises RecipeError for a separator or a quote that cannot be one."""
        self._settings, self._dialect, self._name = settings, dialect_of(settings), name
        self._table = _Table(settings, self._dialect.of_rewritten, columns, name, (), compiled=False)
        self._special = tuple(c for c in (self._dialect.quote, self._dialect.comment, b"\r") if c is not None)
        self._to_skip = settings.skip_lines
        self._pending, self._first = b"", 1

    @property
    def names(self) -> Sequence[str] | None:
        """The columns of the table; None until the header is read."""
        return self._table.names

    def values_of(self, line: bytes) -> dict[str, Sequence[str]] | None:
        """Column → the one text of a plain line as it stands there; None for any other line, which `add` takes."""
        names = self._table.names
        if names is None or self._pending or self._to_skip:
            return None
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        if len(names) == 1 or any(character in line for character in self._special):
            return None
        try:
            values = line.decode().split(self._settings.separator)
        except UnicodeDecodeError:
            return None
        return (
            {name: (value,) for name, value in zip(names, values, strict=True)} if len(values) == len(names) else None
        )

    def add(self, line: bytes, number: int) -> RawBlock | None:
        """The record that ends with this line, which is line `number`; None for a header, a comment, a blank line, and
        a record that goes on. Raises ColumnError and DataError as `read_csv_blocks` does."""
        if number == 1 and not self._to_skip and _is_separator_line(line, self._settings, self._name):
            return None
        if self._to_skip:
            self._to_skip -= 1
            return None
        if not self._pending:
            self._first = number
        self._pending += line
        run = complete_records(self._pending, self._dialect)
        if not run.records:
            if len(self._pending) > _RECORD_LIMIT:
                self.refuse_open_quote()
            return None
        self._pending = b""
        for rest in self._table.without_header([_Run(run.records, run.records.count(b"\n"), self._first, 0)]):
            block = self._table.parse(rest)
            if block.num_rows:
                return block
        return None

    def refuse_open_quote(self) -> None:
        """Raise DataError if a record goes on where the stream ends, or has gone on for too long."""
        if self._pending:
            raise DataError(
                f"{self._name}:{self._first}: a quoted value is never closed, or not within {_RECORD_LIMIT >> 20} MiB; "
                "close or double the quote, or set data.format.quote: null"
            )


# --------------------------------------------------------------------------------------------- records checked, parsed


@dataclass(frozen=True)
class _Records:
    data: bytes
    num_rows: int
    first_line: int
    lines: NDArray[np.int64] | None
    quoted: bool
    blank_edges: bool
    """Whether any value may begin or end with a blank."""


def _records(data: bytes, line: int, dialect: Dialect, width: int, name: str) -> _Records:
    """Check that every record has `width` values; drop comments and blank lines. `data` is whole records."""
    array = np.frombuffer(data, dtype=np.uint8)
    quoted = dialect.quote is not None and dialect.quote in data
    is_delimiter = (array == _NEWLINE) | (array == dialect.separator[0])
    if dialect.quote is not None and quoted:
        is_delimiter &= ~np.logical_xor.accumulate(array == dialect.quote[0])
    delimiters = np.flatnonzero(is_delimiter)
    record_ends = np.flatnonzero(array[delimiters] == _NEWLINE)
    num_values = np.diff(record_ends, prepend=-1)
    ends = delimiters[record_ends]
    starts = np.concatenate([np.zeros(1, dtype=ends.dtype), ends[:-1] + 1]) if len(ends) else ends

    dropped = _dropped(data, array, starts, ends, num_values, dialect, width)
    wrong = np.flatnonzero((num_values != width) & ~dropped)
    if len(wrong):
        at = line + data.count(b"\n", 0, int(starts[wrong[0]]))
        count = int(num_values[wrong[0]])
        raise DataError(
            f"{name}:{at}: {count} value{'s' * (count != 1)} where the table has {width} columns; "
            "mend the line (or check data.format.separator and data.format.quote)"
        )
    lines = None
    if dropped.any() or data.count(b"\n") != len(ends):
        lines = line + np.searchsorted(np.flatnonzero(array == _NEWLINE), starts[~dropped])
    blank_edges = _has_blank_edges(data, array, dialect)
    if dropped.any():
        pieces = (data[start : end + 1] for start, end in _kept_ranges(starts, ends, dropped))
        data = b"".join(pieces)
    first_line = int(lines[0]) if lines is not None and len(lines) else line
    return _Records(data, int((~dropped).sum()), first_line, lines, quoted, blank_edges)


def _dropped(
    data: bytes,
    array: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    num_values: NDArray[np.int64],
    dialect: Dialect,
    width: int,
) -> NDArray[np.bool_]:
    """Which records are comments or, in a table of several columns, blank lines."""
    dropped = np.zeros(len(starts), dtype=bool)
    if width > 1:
        for record in np.flatnonzero(num_values == 1):
            dropped[record] = not data[starts[record] : ends[record]].strip(b" \t\r")
    if dialect.comment is not None:
        is_comment = np.ones(len(starts), dtype=bool)
        for offset, byte in enumerate(dialect.comment):
            # In a record shorter than the mark this compares its line break, which no comment mark contains.
            is_comment &= array[np.minimum(starts + offset, ends)] == byte
        dropped |= is_comment
    return dropped


def _has_blank_edges(data: bytes, array: NDArray[np.uint8], dialect: Dialect) -> bool:
    """Whether any value may begin or end with a blank: if none does, trimming, as slow as parsing, is left out."""
    if NO_BREAK_SPACE.encode() in data:
        return True
    blanks = np.flatnonzero((array == ord(" ")) | (array == ord("\t")))
    if not len(blanks):
        return False
    edges = list(b"\r\n" + dialect.separator + (dialect.quote or b""))
    # Records end in a line break, so there is a byte after every blank. Where the blank itself is the separator, this
    # says yes too often, never too seldom.
    return bool(blanks[0] == 0 or np.isin([array[blanks - 1], array[blanks + 1]], edges).any())


def _kept_ranges(
    starts: NDArray[np.int64], ends: NDArray[np.int64], dropped: NDArray[np.bool_]
) -> Iterator[tuple[int, int]]:
    """First and last byte of each run of records that are not dropped."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], dropped, [True]]).astype(np.int8)))
    for first, after in edges.reshape(-1, 2):
        yield int(starts[first]), int(ends[after - 1])


def _places(wanted: list[str], names: list[str]) -> list[int]:
    """Where each wanted column stands among the names, from 0."""
    place_of = {name: place for place, name in enumerate(names)}
    return [place_of[column] for column in wanted]


def _parse(records: _Records, names: list[str], wanted: list[str], settings: FormatSettings, name: str) -> pl.DataFrame:
    try:
        frame = pl.read_csv(
            # Polars drops one byte order mark from the front; here it would be the first value's.
            _BYTE_ORDER_MARK + records.data if records.data.startswith(_BYTE_ORDER_MARK) else records.data,
            columns=_places(wanted, names),
            has_header=False,
            schema=dict.fromkeys(names, pl.String),
            separator=settings.separator,
            quote_char=settings.quote if records.quoted else None,
            empty_string_is_null=False,
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:  # a panic of Rust is no PolarsError
        raise DataError(f"{name}: cannot be parsed at or after line {records.first_line}: {error}") from error
    assert frame.height == records.num_rows, (frame.height, records.num_rows)
    return clean_texts(frame[wanted], settings, may_have_blanks=records.blank_edges)
