"""Reads the bytes of a source, unpacked, and its text as UTF-8 lines; every fault of reading becomes a DataError."""

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Protocol, Self

from widedeep.errors import DataError
from widedeep.source.contents import (
    ENDINGS,
    HEAD_BYTES,
    PACKED,
    ends_lines_by_return,
    is_utf16,
    signature_of,
)

_MOST_LAYERS = 4
"""A zip archive may hold a file that is compressed itself. Nobody packs oftener."""
_SOUGHT_BYTES = 1 << 14
"""Bytes among which `ByteStream.read_lines` seeks the last line break."""


def uncompressed_name(path: Path) -> Path:
    """The path without an ending that says how it is packed."""
    return path.with_suffix("") if path.suffix.lower() in ENDINGS else path


class Readable(Protocol):
    """Anything that gives bytes from front to back."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, all if negative; empty only at the end."""


class ByteStream:
    """The bytes of a file or an open binary stream, unpacked where they are packed, whatever the file is called.

    It is read from front to back, once, in bounded memory.
    """

    def __init__(self, source: Path | BinaryIO, name: str) -> None:
        """Raises DataError for a source that cannot be opened or unpacked."""
        self.name = name
        self.bytes_read = 0
        """Unpacked bytes handed out so far."""
        self.named = source if isinstance(source, Path) else None
        """The file's path; None for a stream."""
        self.path = source if isinstance(source, Path) and source.is_file() else None
        """Where it can be read again; None for a stream or a named pipe, which give their bytes once."""
        self.as_stored = True
        """Whether the bytes handed out are those of the file, place by place."""
        self._opened = isinstance(source, Path)
        with self._faults_named():
            self._stored: BinaryIO = source.open("rb") if isinstance(source, Path) else source
        try:
            with self._faults_named():
                self._plain: _Ahead = self._unpacked()
                self.head = self._plain.peek(HEAD_BYTES)
                """The first unpacked bytes; all of them if they are few."""
                if self.path is not None and self.as_stored:
                    # Joining the head to the first block would hold that twice.
                    self._stored.seek(0)
                    self._plain = _Ahead(self._stored)
        except BaseException:
            self._close()
            raise

    def _unpacked(self) -> "_Ahead":
        plain = _Ahead(self._stored)
        for _ in range(_MOST_LAYERS):
            signature = signature_of(plain.peek(HEAD_BYTES))
            if signature is None or signature.content not in PACKED:
                break
            from widedeep.source.unpacking import unpacked  # only here: most files are not packed

            file = self._stored if self.path is not None and self.as_stored else None
            inner = unpacked(plain, signature.content, self.name, file=file)
            plain, self.as_stored = _Ahead(inner), False
        return plain

    def as_text(self, encoding: Literal["utf-8", "latin-1"] = "utf-8") -> Self:
        """From now on the bytes are lines of UTF-8, which itself is not checked; to be called before any is read.

        UTF-16 with a byte order mark is told by it. Raises DataError for what is certainly no text.
        """
        signature = signature_of(self.head)
        if signature is not None:
            advice = f": {signature.advice}" if signature.advice else ""
            raise DataError(f"{self.name}: {signature.title}, not delimited text or NDJSON{advice}")
        if (
            self.path is not None
            and self.as_stored
            and uncompressed_name(self.path) != self.path
            and b"\0" in self.head
        ):
            raise DataError(f"{self.name}: cannot be decompressed: the file is damaged, or not what its ending says")
        encoded = "utf-16" if is_utf16(self.head) else encoding
        with self._faults_named():
            if encoded != "utf-8":
                self._recode(_AsUtf8(self._plain, encoded))
            if ends_lines_by_return(self.head):
                self._recode(_WithNewlines(self._plain))
        return self

    def _recode(self, recoded: Readable) -> None:
        self._plain, self.as_stored = _Ahead(recoded), False
        self.head = self._plain.peek(HEAD_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._opened:
            self._stored.close()

    @property
    def bytes_done(self) -> int:
        """Stored bytes read so far (of a packed file: packed ones); of what is no file, unpacked bytes."""
        return self._stored.tell() if self.path is not None and self.bytes_read else self.bytes_read

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes (of text in another encoding up to twice as many); empty only at the end.

        Raises DataError.
        """
        with self._faults_named():
            data = self._plain.read(size)
        self.bytes_read += len(data)
        return data

    def read_lines(self, size: int) -> tuple[bytes, int]:
        """Like `read`; where the last line break is quickly found, what comes after it is left for the next call.

        Also returns how many bytes were left. Raises DataError.
        """
        if self.path is None or not self.as_stored or self._plain.holds_bytes:
            return self.read(size), 0
        with self._faults_named():
            start = self._stored.tell()
            self._stored.seek(max(start, start + size - _SOUGHT_BYTES))
            behind = self._stored.tell() - start
            last = self._stored.read(size - behind)
            self._stored.seek(start)
        end = last.rfind(b"\n") + 1
        # Bytes that end there need not be cut, which would copy all of them into memory of their own.
        left = len(last) - end if end and behind + len(last) == size else 0
        return self.read(size - left), left

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:
            raise DataError(f"{self.name}: not valid {error.encoding}: {error.reason}: save it as UTF-8") from error
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read: {error.strerror or error}") from error


class _Ahead:
    """Bytes of which the first can be looked at before they are read."""

    def __init__(self, plain: Readable) -> None:
        self._plain, self._head = plain, b""

    @property
    def holds_bytes(self) -> bool:
        """Whether bytes were looked at that are not read yet."""
        return bool(self._head)

    def peek(self, size: int) -> bytes:
        while len(self._head) < size and (more := self._plain.read(size - len(self._head))):
            self._head += more
        return self._head

    def read(self, size: int = -1, /) -> bytes:
        if not self._head:
            return self._plain.read(size)
        if 0 <= size <= len(self._head):
            data, self._head = self._head[:size], self._head[size:]
            return data
        head, self._head = self._head, b""
        return head + self._plain.read(size - len(head) if size >= 0 else -1)


class _AsUtf8:
    """Converts another encoding to UTF-8."""

    def __init__(self, plain: Readable, encoding: str) -> None:
        self._plain = plain
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def read(self, size: int = -1, /) -> bytes:
        while True:
            data = self._plain.read(size)
            text = self._decoder.decode(data, final=not data)
            if text or not data:
                return text.encode()


class _WithNewlines:
    """Lines that end by a carriage return end by a line break instead."""

    def __init__(self, plain: Readable) -> None:
        self._plain = plain

    def read(self, size: int = -1, /) -> bytes:
        return self._plain.read(size).replace(b"\r", b"\n")
