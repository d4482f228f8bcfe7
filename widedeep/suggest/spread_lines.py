"""Whole records from any place of big text files: delimited text, or one JSON object a line."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from widedeep.errors import DataError, NoRowsError
from widedeep.recipe.schema import FormatSettings
from widedeep.source.blocks import require_columns
from widedeep.source.csv_blocks import dialect_of
from widedeep.source.csv_quotes import complete_records
from widedeep.source.json_blocks import held_keys
from widedeep.source.partitions import with_path_columns
from widedeep.source.sources import RowlessFiles, own_columns, read_blocks
from widedeep.source.streams import ByteStream
from widedeep.suggest.sniff import HEAD_BYTES

_PIECES = 16
"""Logs drift: as many places of the table are looked at."""
_CHUNK_BYTES = 1 << 20
_STREAMED_BYTES = 1 << 30
"""A compressed file can only be read from its front: no further than this, over all files."""
_LINES_TRIED = 50


@dataclass(frozen=True)
class Lines:
    """How bytes become records."""

    settings: FormatSettings
    columns: Sequence[str]
    """The columns wanted; of text without a header, all of them in order."""

    @property
    def is_csv(self) -> bool:
        """Whether it is delimited text."""
        return self.settings.kind != "ndjson"

    def names_in(self, path: Path) -> Sequence[str]:
        """The columns of one file, in its order. Raises ColumnError where one that is wanted is not among them."""
        if not self.is_csv or not self.settings.header:
            return self.columns
        names = own_columns(path, self.settings, name=str(path))
        require_columns(self.columns, names, str(path))
        return names

    def whole(self, data: bytes) -> bytes:
        """The records at the front of the bytes that end within them."""
        if not self.is_csv:
            return data[: data.rfind(b"\n") + 1]
        return data[: complete_records(data, dialect_of(self.settings)).consumed]

    def start_in(self, data: bytes, width: int) -> int:
        """Where a record of `width` values starts in bytes that were cut anywhere; their end if nobody can tell."""
        start = data.find(b"\n") + 1
        dialect = dialect_of(self.settings)
        for _ in range(_LINES_TRIED if self.is_csv else 0):
            # A line break within a quoted value starts no record: the next ones would be of another width.
            end = start
            widths: list[int] = []
            while len(widths) < 3 and end < len(data):
                values, end = dialect.values_at(data, end)
                widths.append(len(values))
            if start and all(found == width for found in widths if found):
                return start
            start = data.find(b"\n", start) + 1
            if not start:
                return len(data)
        return start or len(data)

    def frame(self, data: bytes, names: Sequence[str] | None, place: str) -> pl.DataFrame | None:
        """The wanted columns of whole records; `names` None says that the header is among them. Raises DataError."""
        if not data.strip():
            return None
        settings, columns = self.settings.model_copy(update={"kind": "csv"}), self.columns
        if not self.is_csv:
            settings = self.settings
            # A key may be rare, and the reader refuses one that it never sees.
            held = held_keys(data, columns)
            columns = [column for column in columns if column in held]
        elif names is not None:
            settings = settings.model_copy(update={"header": False, "columns": tuple(names), "skip_lines": 0})
        blocks = read_blocks(io.BytesIO(data), settings, columns, name=place, block_bytes=2 * len(data) + 2)
        try:
            return pl.concat([block.frame for block in blocks], how="diagonal_relaxed")
        except NoRowsError:
            return None


def head_of(path: Path) -> bytes:
    """The first bytes of a text file, unpacked. Raises DataError."""
    with ByteStream(path, str(path)) as stream:
        stream.as_text()
        return _read(stream, HEAD_BYTES)


def flat_keys(head: bytes, name: str) -> dict[str, bool]:
    """The keys of the first JSON lines, and whether each holds plain values or lists of them. Raises DataError."""
    keys: dict[str, bool] = {}
    for line in head[: head.rfind(b"\n") + 1 or len(head)].splitlines():
        try:
            record = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError):
            break  # the reader tells where and why
        for key, value in record.items() if isinstance(record, dict) else ():
            items = value if isinstance(value, list) else [value]
            nested = isinstance(value, dict) or any(isinstance(item, list | dict) for item in items)
            keys[key] = keys.get(key, True) and not nested
    if not keys:
        fault = "does not start with a JSON object" if head.strip() else "is empty"
        raise DataError(f"{name}: the file {fault}")
    return keys


def line_frames(
    paths: Sequence[Path], lines: Lines, budget: int, *, head_only: bool = False
) -> tuple[list[pl.DataFrame], float]:
    """Frames of about `budget` bytes of records, spread over the files, and how much of the files they are.

    With `head_only` they are the first records of each file, and the share is of the bytes as stored.
    Raises DataError, ColumnError.
    """
    sizes = [path.stat().st_size for path in paths]
    if head_only:
        frames, share = _head_frames(paths, sizes, lines)
    elif not all(map(_has_places, paths)):
        frames, share = _thinned_frames(paths, sizes, lines, budget)
    elif sum(sizes) <= budget * 5 // 4:
        frames, share, rowless = [], 1.0, RowlessFiles()
        for path in paths:
            with rowless.passed_over():
                frames += [
                    with_path_columns(block.frame, path)
                    for block in read_blocks(path, lines.settings, lines.columns, name=str(path))
                ]
        rowless.settle()
    else:
        frames, share = _spread_frames(paths, sizes, lines, budget)
    if not frames:
        raise DataError(f"{paths[0]}: the file has no rows that can be told apart; check its quotes and line breaks")
    return frames, share


def _has_places(path: Path) -> bool:
    """Whether a text can be read from any of its bytes on."""
    with ByteStream(path, str(path)) as stream:
        return stream.as_text().as_stored


_Found = tuple[list[pl.DataFrame], float]


def _head_frames(paths: Sequence[Path], sizes: Sequence[int], lines: Lines) -> _Found:
    heads = [head_of(path) for path in paths]
    ends = [b"" if len(head) >= HEAD_BYTES else b"\n" for head in heads]  # a short file may lack its last line break
    pieces = [
        _piece(head + end, 0, path, lines.names_in(path), lines)
        for path, head, end in zip(paths, heads, ends, strict=True)
        if head
    ]
    read = sum(map(len, heads))
    return [frame for frame, _ in pieces if frame is not None], min(read / max(sum(sizes), 1), 1.0) or 1.0


def _spread_frames(paths: Sequence[Path], sizes: Sequence[int], lines: Lines, budget: int) -> _Found:
    frames, num_bytes = [], 0
    names = {path: lines.names_in(path) for path, size in zip(paths, sizes, strict=True) if size}
    starts = np.cumsum([0, *sizes])
    step = budget // _PIECES
    for place in np.linspace(0, sum(sizes) - step, _PIECES).astype(np.int64).tolist():
        number = int(np.searchsorted(starts, place, side="right")) - 1
        path, offset = paths[number], place - int(starts[number])
        data = _bytes_at(path, offset, step)
        if offset + step >= sizes[number] and not data.endswith(b"\n"):
            data += b"\n"
        frame, taken = _piece(data, offset, path, names[path], lines)
        if frame is not None:
            frames.append(frame)
            num_bytes += taken
    return frames, num_bytes / sum(sizes)


def _bytes_at(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _piece(data: bytes, offset: int, path: Path, names: Sequence[str], lines: Lines) -> tuple[pl.DataFrame | None, int]:
    """The whole records among bytes that start at `offset` of a file, and how many bytes they are."""
    if offset:
        data = data[lines.start_in(data, len(names)) :]
    data = lines.whole(data)
    place = f"{path} (from byte {offset:,} on)" if offset else str(path)
    frame = lines.frame(data, names if offset else None, place)
    return None if frame is None else with_path_columns(frame, path), len(data)


def _thinned_frames(paths: Sequence[Path], sizes: Sequence[int], lines: Lines, budget: int) -> _Found:
    frames: list[pl.DataFrame] = []
    share = 0.0
    for path, size in zip(paths, sizes, strict=True):
        chunks, read, of_file = _thinned(path, size, budget * size // sum(sizes), _STREAMED_BYTES // len(paths))
        if of_file == 1.0 and sum(len(data) for _, data in chunks) == read:
            # Nothing was left out: as one piece, so that no record is cut.
            chunks = [(0, b"".join(data for _, data in chunks) + b"\n")]
        if read == 0:
            continue
        names = lines.names_in(path)
        pieces = [_piece(data, offset, path, names, lines) for offset, data in chunks]
        frames += [frame for frame, _ in pieces if frame is not None]
        share += size * min(of_file * sum(taken for _, taken in pieces) / max(read, 1), 1.0)
    return frames, share / sum(sizes)


def _thinned(path: Path, size: int, budget: int, limit: int) -> tuple[list[tuple[int, bytes]], int, float]:
    """Evenly spread chunks of a stream with their offsets, the bytes read, and how much of the file those bytes are."""
    step = max(min(_CHUNK_BYTES, budget // _PIECES), 1 << 14)
    kept: list[tuple[int, bytes]] = []
    stride = 1
    with ByteStream(path, str(path)) as stream:
        stream.as_text()
        while stream.bytes_read < limit and (data := _read(stream, step)):
            number = (stream.bytes_read - 1) // step
            if number % stride == 0:
                kept.append((number * step, data))
            if sum(len(chunk) for _, chunk in kept) > budget * 5 // 4:
                kept, stride = kept[::2], 2 * stride
        ended = stream.bytes_read < limit or not stream.read(1)
        return kept, stream.bytes_read, 1.0 if ended else min(stream.bytes_done / size, 1.0)


def _read(stream: ByteStream, size: int) -> bytes:
    """Exactly so many bytes, fewer only at the end."""
    data = b""
    while len(data) < size and (more := stream.read(size - len(data))):
        data += more
    return data
