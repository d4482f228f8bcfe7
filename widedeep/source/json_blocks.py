"""Reads NDJSON, one JSON object a line, in blocks: by Polars if its types fit exactly, else by Python line by line.

Polars would read a number as a text and round big integers among fractions. So it gets types that refuse both. A block
that does not fit them exactly is read again, line by line, and widens the types for the next block.
"""

import io
import json
import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import DataError, NoRowsError
from widedeep.recipe.schema import FormatSettings
from widedeep.source.blocks import RawBlock, clean_texts, require_columns
from widedeep.source.json_values import column_of, is_exact, strict_types, wider
from widedeep.source.streams import ByteStream

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_LIMIT = 64 << 20
"""Most bytes in one line. Without a limit, a file without line breaks would be read into memory whole."""
_TYPED_LINES = 1000
"""The types to start with are taken from this many lines."""
_SOUGHT_BY_TEXT = 16
"""Keys up to which looking for the text of each is quicker than parsing every line."""
_SHOWN = 60
_SHORT_ESCAPES = {
    '"': b'"',
    "\\": b"\\",
    "/": b"/",
    "\b": b"b",
    "\f": b"f",
    "\n": b"n",
    "\r": b"r",
    "\t": b"t",
}
"""Characters that JSON may spell as a backslash and a letter."""


def read_json_blocks(
    stream: ByteStream,
    settings: FormatSettings,
    columns: Sequence[str] | None,
    *,
    name: str,
    block_bytes: int,
) -> Iterator[RawBlock]:
    """Yield blocks of about `block_bytes` decompressed bytes; blank lines are dropped, a key that a line lacks is null.

    Numbers, booleans and texts keep their type where a column of a block holds one kind of them (integers of any size
    stay exact), else all are canonical texts; lists of these become Lists. `columns` None means the keys of the first
    block. NaN and infinities, which Python writes, are read. Raises ColumnError for a key that no line has; DataError
    with file and line for a line that is no JSON object, and for an object or a list of lists in a wanted column.
    """
    first_row = 0
    runs = _line_runs(stream.as_text(), block_bytes)
    run = next(runs, None)
    if run is None:
        raise NoRowsError(f"{name}: the file {'has no rows' if stream.bytes_read else 'is empty'}")
    reader = _Reader(run, columns, name)
    while run is not None:
        frame = clean_texts(reader.frame(run), settings)
        following = next(runs, None)
        if following is None:
            require_columns(reader.unseen, reader.first_keys, name)
        elif reader.unseen and stream.path is not None:
            # A key may well be rare; but of a file, a misspelt one is told before the first row goes out.
            require_columns(_absent(stream.path, reader.unseen, name), reader.first_keys, name)
            reader.unseen = []
        yield RawBlock(frame, name, first_row, stream.bytes_done, int(run.lines[0]), run.irregular_lines)
        first_row += len(run.texts)
        run = following


def json_columns(stream: ByteStream, *, name: str, block_bytes: int) -> list[str]:
    """The keys of the first lines, in order. Raises DataError."""
    run = next(_line_runs(stream.as_text(), block_bytes), None)
    return _Reader(run, (), name).first_keys if run is not None else []


def block_of_line(
    line: bytes, number: int, settings: FormatSettings, columns: Sequence[str], *, name: str
) -> RawBlock | None:
    """The row of a single line, which is line `number`; None for a blank one. Keys that it lacks are null.

    Raises DataError as `read_json_blocks` does.
    """
    run = _Lines(line, number)
    if not run.texts:
        return None
    frame = clean_texts(_Reader(run, columns, name).frame(run), settings)
    return RawBlock(frame, name, 0, 0, number)


def keys_of_line(line: bytes, *, name: str) -> list[str]:
    """The keys of the object in a line, in order. Raises DataError."""
    return _Reader(_Lines(line, 1), (), name).first_keys


class _Lines:
    """Whole lines, blank ones left out, and where they stand."""

    def __init__(self, data: bytes, first_line: int) -> None:
        self.data = data
        filled = [(number, text) for number, text in enumerate(data.split(b"\n"), first_line) if text.strip()]
        self.texts = [text for _, text in filled]
        self.lines = np.array([number for number, _ in filled], dtype=np.int64)

    @property
    def irregular_lines(self) -> NDArray[np.int64] | None:
        """Each row's line, where blank lines lie between them."""
        return self.lines if self.lines[-1] - self.lines[0] >= len(self.lines) else None


def _line_runs(stream: ByteStream, block_bytes: int) -> Iterator[_Lines]:
    """Runs of whole lines of which at least one is not blank."""
    carry, line = b"", 1
    chunk = stream.read(max(block_bytes, len(_BYTE_ORDER_MARK)))
    if chunk.startswith(_BYTE_ORDER_MARK):
        chunk = chunk.removeprefix(_BYTE_ORDER_MARK) or stream.read(block_bytes)
    while chunk or carry:
        data = carry + chunk
        end = data.rfind(b"\n") + 1 if chunk else len(data)
        if len(data) - end > max(_LINE_LIMIT, block_bytes):
            at = line + data.count(b"\n", 0, end)
            raise DataError(f"{stream.name}:{at}: a line longer than {_LINE_LIMIT >> 20} MiB; is this NDJSON?")
        run = _Lines(data[:end], line)
        if run.texts:
            yield run
        line += data.count(b"\n", 0, end)
        carry = data[end:]
        # Reading at least as much as is left over keeps the cost of a very long line linear.
        chunk = stream.read(max(block_bytes, len(carry)))


# ------------------------------------------------------------------------------------------------ keys that no line has


def has_key(lines: bytes, key: str) -> bool:
    """Whether the object of one of the lines has the key, with a value or null; its nested objects do not count."""
    # Looking for texts takes a fraction of the time that the pattern takes.
    is_plain = any(text in lines for text in _plain_spellings(key))
    escapes = {text for letter in key for text in _escapes(letter)} if not is_plain and b"\\" in lines else ()
    if not is_plain and not any(text in lines for text in escapes):
        return False
    # A line is parsed only where the key stands before a colon, which keys of nested objects do too.
    as_key, position = _as_key(key), 0
    while (match := as_key.search(lines, position)) is not None:
        start, end = lines.rfind(b"\n", 0, match.start()) + 1, lines.find(b"\n", match.end())
        position = end if end >= 0 else len(lines)
        try:
            value = json.loads(lines[start:position])
        except (ValueError, RecursionError):
            continue  # whoever reads the line says what is wrong with it
        if isinstance(value, dict) and key in value:
            return True
    return False


def held_keys(lines: bytes, keys: Sequence[str]) -> set[str]:
    """Those of the keys that one of the lines has (see `has_key`): many are sought line by line, few by their texts."""
    sought = set(keys)
    for line in io.BytesIO(lines):
        if len(sought) <= _SOUGHT_BY_TEXT:
            break
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue  # whoever reads the line says what is wrong with it
        if isinstance(value, dict):
            sought -= value.keys()
    return set(keys) - {key for key in sought if not has_key(lines, key)}


def _plain_spellings(key: str) -> set[bytes]:
    """The ways in which most writers of JSON spell the key, in quotes."""
    return {json.dumps(key).encode(), json.dumps(key, ensure_ascii=False).encode(errors="replace")}


def _escapes(letter: str) -> set[bytes]:
    r"""The spellings of a letter with a backslash, such as `\u0061`; the digits of the number are of either case."""
    units = letter.encode("utf-16-be", errors="surrogatepass").hex(" ", 2).split()
    cases = [set(map("".join, product(*zip(unit, unit.upper(), strict=True)))) for unit in units]
    escapes = {"".join(f"\\u{unit}" for unit in chosen).encode() for chosen in product(*cases)}
    return escapes | ({b"\\" + _SHORT_ESCAPES[letter]} if letter in _SHORT_ESCAPES else set())


def _as_key(key: str) -> re.Pattern[bytes]:
    """The key in every spelling that JSON allows, with the colon behind it."""
    letters = ({letter.encode(errors="replace"), *_escapes(letter)} for letter in key)
    spelled = (b"(?:" + b"|".join(map(re.escape, sorted(spellings))) + b")" for spellings in letters)
    return re.compile(b'"' + b"".join(spelled) + rb'"[ \t\r]*:')


def _absent(source: Path, keys: list[str], name: str) -> list[str]:
    """The keys that no object of the file has; the whole file is searched."""
    absent, carry = list(keys), b""
    with ByteStream(source, name) as stream:
        stream.as_text()
        while absent and (chunk := stream.read(max(1 << 20, len(carry)))):
            lines, line_break, carry = (carry + chunk).rpartition(b"\n")
            held = held_keys(lines, absent) if line_break else set()
            absent = [key for key in absent if key not in held]
    held = held_keys(carry, absent)
    return [key for key in absent if key not in held]


# ----------------------------------------------------------------------------------------------- lines to typed columns


class _Reader:
    """Turns runs of lines into frames; remembers the types that its columns had."""

    def __init__(self, first: _Lines, columns: Sequence[str] | None, name: str) -> None:
        self._name = name
        objects = self._objects(first, None if columns is None else _TYPED_LINES)
        self.first_keys = list(dict.fromkeys(key for row in objects for key in row))
        self._columns = self.first_keys if columns is None else list(dict.fromkeys(columns))
        first_keys = set(self.first_keys)
        self.unseen = [column for column in self._columns if column not in first_keys]
        """Wanted keys that no line had so far."""
        self._types: dict[str, pl.DataType] = dict.fromkeys(self._columns, pl.Null())
        self._by_python(first, objects)

    def frame(self, run: _Lines) -> pl.DataFrame:
        """The wanted columns of one run."""
        frame = self._by_polars(run)
        if frame is None:
            frame = self._by_python(run, self._objects(run))
        without_value = [key for key in self.unseen if frame[key].null_count() == frame.height]
        held = held_keys(run.data, without_value)
        self.unseen = [key for key in without_value if key not in held]
        return frame

    def _by_polars(self, run: _Lines) -> pl.DataFrame | None:
        """The frame, or None if the run does not fit the types exactly."""
        try:
            frame = pl.read_ndjson(io.BytesIO(run.data), schema=strict_types(self._types)).cast(self._types)  # type: ignore[arg-type]
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):  # a panic of Rust is no PolarsError
            return None
        return frame if frame.height == len(run.texts) and is_exact(frame) else None

    def _by_python(self, run: _Lines, objects: list[dict[str, Any]]) -> pl.DataFrame:
        series = []
        for column in self._columns:
            values = [row.get(column) for row in objects]
            self._check_values(run, column, values)
            try:
                series.append(column_of(column, values))
            except UnicodeEncodeError:
                self._refuse_surrogate(run, column, values)
            self._types[column] = wider(self._types[column], series[-1].dtype)
        return pl.DataFrame(series)

    def _objects(self, run: _Lines, limit: int | None = None) -> list[dict[str, Any]]:
        return [self._object(text, int(line)) for text, line in zip(run.texts[:limit], run.lines[:limit], strict=True)]

    def _object(self, text: bytes, line: int) -> dict[str, Any]:
        place = f"{self._name}:{line}"
        try:
            value = json.loads(text.decode("utf-8"), object_pairs_hook=_first_of_each)
        except UnicodeDecodeError as error:
            bad = text[error.start]
            raise DataError(f"{place}: byte 0x{bad:02x} is not valid UTF-8; JSON must be: convert the file") from None
        except json.JSONDecodeError as error:
            problem = f"{error.msg} at character {error.colno}"
            raise DataError(
                f"{place}: not valid JSON ({problem}): {_beginning(text)}; every line must hold one whole object"
            ) from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: cannot be read as JSON ({error}): {_beginning(text)}") from None
        if not isinstance(value, dict):
            raise DataError(
                f'{place}: {_beginning(text)} is no JSON object; every line must hold one, as in {{"a": 1}}'
            )
        return value

    def _check_values(self, run: _Lines, column: str, values: list[Any]) -> None:
        """Refuse objects, lists of lists, and a column that holds lists here and single values there."""
        known = self._types[column]
        is_list = None if known == pl.Null else isinstance(known, pl.List)
        for row, value in enumerate(values):
            if value is None:
                continue
            if is_list is None:
                is_list = type(value) is list
            problem = _problem(value, among_lists=is_list)
            if problem is not None:
                shown = _beginning(json.dumps(value).encode())
                raise DataError(f"{self._name}:{run.lines[row]}: column {column!r}: {shown} {problem}")

    def _refuse_surrogate(self, run: _Lines, column: str, values: list[Any]) -> NoReturn:
        for row, value in enumerate(values):
            try:
                json.dumps(value, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                raise DataError(
                    f"{self._name}:{run.lines[row]}: column {column!r}: {value!r} holds half a character; mend the line"
                ) from None
        raise AssertionError(column)


def _problem(value: Any, *, among_lists: bool) -> str | None:
    if type(value) is dict:
        return "is an object; flatten it into columns of its own"
    if type(value) is not list:
        return "is a single value where earlier lines hold lists; write all as lists" if among_lists else None
    if any(isinstance(item, (dict, list)) for item in value):
        return "is a list of objects or lists; flatten it into columns of its own"
    return None if among_lists else "is a list where earlier lines hold single values; write all as lists"


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # If a line has a key twice, Polars takes the first value and Python the last: take the first here too.
    values = dict(pairs)
    if len(values) < len(pairs):
        values.update(reversed(pairs))
    return values


def _beginning(text: bytes) -> str:
    return repr(text[:_SHOWN].decode("utf-8", errors="replace")) + ("…" if len(text) > _SHOWN else "")
