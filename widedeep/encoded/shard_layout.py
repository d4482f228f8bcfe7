"""Where each column's numbers lie in a shard, an Arrow file: they can then be read to where they are wanted.

Polars makes a query of every read, opens the file as a map and copies out of it: for a hundred columns of some thousand
rows that takes ten times as long as to read the bytes. Source: the Arrow columnar format, "IPC File Format"
(https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format), and FlatBuffers' internals
(https://flatbuffers.dev/internals/).
"""

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAGIC = b"ARROW1"
_END = struct.Struct("<i6s")
"""The length of the footer and the magic text, which end a file."""
_CONTINUATION = 0xFFFFFFFF
_RECORD_BATCH = 3
"""The type of a message that is a record batch."""
# The positions of fields in FlatBuffers' tables, by Arrow's File.fbs, Message.fbs and Schema.fbs.
_FOOTER_BATCHES, _HEADER_TYPE, _HEADER = 3, 1, 2
_LENGTH, _NODES, _BUFFERS, _COMPRESSION = 0, 1, 2, 3
SIMPLE: dict[str, np.dtype[Any]] = {
    "Int32": np.dtype(np.int32),
    "Float32": np.dtype(np.float32),
    "UInt64": np.dtype(np.uint64),
}
"""Types of a store's columns that have one number a row."""


@dataclass(frozen=True)
class ShardLayout:
    """Where the columns with one number a row lie."""

    starts: NDArray[np.int64]
    """[batches + 1]: the row at which each record batch starts, and the number of all rows."""
    offsets: dict[str, NDArray[np.int64]]
    """Column → [batches]: the position in the file of the batch's first number."""

    def read(self, file: RawIOBase, first: int, rows: int, targets: Mapping[str, NDArray[Any]]) -> None:
        """Fill targets [rows], C-contiguous and of their column's type, from the row `first` on.

        Raises OSError and, for a file that has become shorter, EOFError.
        """
        batch, done = int(np.searchsorted(self.starts, first, side="right")) - 1, 0
        while done < rows:
            skipped = first + done - int(self.starts[batch])
            stop = min(rows, int(self.starts[batch + 1]) - first)
            for name, target in targets.items():
                part = target[done:stop]
                file.seek(int(self.offsets[name][batch]) + skipped * target.itemsize)
                if file.readinto(part.data) != part.nbytes:
                    raise EOFError("it has become shorter")
            batch, done = batch + 1, stop


class _Table:
    """A table of FlatBuffers: fields that may be absent."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position
        (back,) = struct.unpack_from("<i", data, position)
        self._fields = position - back
        (self._size,) = struct.unpack_from("<H", data, self._fields)

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        return cls(data, *struct.unpack_from("<I", data, 0))

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        if entry + 2 > self._size:
            return None
        (shift,) = struct.unpack_from("<H", self._data, self._fields + entry)
        return self._position + shift if shift else None

    def number(self, field: int, code: str) -> int:
        place = self._place(field)
        return 0 if place is None else int(struct.unpack_from("<" + code, self._data, place)[0])

    def table(self, field: int) -> "_Table | None":
        place = self._place(field)
        return None if place is None else _Table(self._data, place + struct.unpack_from("<I", self._data, place)[0])

    def structs(self, field: int, kind: np.dtype[Any]) -> NDArray[Any]:
        """A vector of structs; none if the field is absent."""
        place = self._place(field)
        if place is None:
            return np.empty(0, dtype=kind)
        start = place + struct.unpack_from("<I", self._data, place)[0]
        return np.frombuffer(self._data, kind, struct.unpack_from("<I", self._data, start)[0], start + 4)


_BLOCK = np.dtype([("offset", "<i8"), ("metadata", "<i4"), ("padding", "<i4"), ("body", "<i8")])
_NODE = np.dtype([("length", "<i8"), ("nulls", "<i8")])
_BUFFER = np.dtype([("offset", "<i8"), ("length", "<i8")])


def shard_layout(path: Path, dtypes: dict[str, str]) -> ShardLayout | None:
    """The layout of a shard whose columns have these types, in their order. None for a file that is laid out in another
    way than Polars lays out uncompressed columns without nulls: Polars reads it. Raises OSError.
    """
    with path.open("rb") as file:
        try:
            return _layout(file.fileno(), path.stat().st_size, dtypes)
        except (struct.error, ValueError, IndexError):
            return None


def _layout(file: int, size: int, dtypes: dict[str, str]) -> ShardLayout | None:
    if size < _END.size:
        return None
    length, magic = _END.unpack(os.pread(file, _END.size, size - _END.size))
    if magic != _MAGIC or not 0 < length <= size - _END.size:
        return None
    footer = _Table.root(os.pread(file, length, size - _END.size - length))
    first_nodes = _first_nodes(list(dtypes.values()))
    rows, offsets = [0], []
    for start, metadata, _, body in footer.structs(_FOOTER_BATCHES, _BLOCK).tolist():
        if not 0 <= start <= start + metadata <= size - body <= size:
            return None
        marked, length = struct.unpack("<II", os.pread(file, 8, start))
        if length > metadata:
            return None
        message = _Table.root(os.pread(file, length, start + 8))
        batch = message.table(_HEADER)
        if marked != _CONTINUATION or message.number(_HEADER_TYPE, "B") != _RECORD_BATCH or batch is None:
            return None
        nodes, buffers = batch.structs(_NODES, _NODE), batch.structs(_BUFFERS, _BUFFER)
        if batch.table(_COMPRESSION) is not None or (len(nodes), 2 * len(nodes)) != (first_nodes[-1], len(buffers)):
            return None
        if (num_rows := batch.number(_LENGTH, "q")) < 0:
            return None
        places = []
        for node, dtype in zip(first_nodes, dtypes.values(), strict=False):
            if dtype in SIMPLE:
                numbers = buffers[2 * node + 1]
                wanted = num_rows * SIMPLE[dtype].itemsize
                end = int(numbers["offset"]) + wanted
                if nodes[node]["nulls"] or numbers["length"] < wanted or not wanted <= end <= body:
                    return None
                places.append(start + metadata + int(numbers["offset"]))
        rows.append(rows[-1] + num_rows)
        offsets.append(places)
    by_column = np.array(offsets, dtype=np.int64).reshape(len(offsets), -1).T
    simple = [name for name, dtype in dtypes.items() if dtype in SIMPLE]
    return ShardLayout(np.array(rows), dict(zip(simple, by_column, strict=True)))


def _first_nodes(dtypes: Sequence[str]) -> list[int]:
    """The number of each column's first node, and of all nodes: a list has one more than a column of numbers.

    Raises ValueError for types that no store has.
    """
    first = [0]
    for dtype in dtypes:
        element = dtype.removeprefix("List(").removesuffix(")")
        if element not in SIMPLE:
            raise ValueError(f"no layout is known for {dtype}")
        first.append(first[-1] + (1 if element == dtype else 2))
    return first
