"""Reads the bytes of a source, decompressed and as UTF-8; every fault of reading becomes a DataError."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Protocol, Self

import zstandard

from widedeep.errors import DataError

_COMPRESSED = (".gz", ".zst")
_ZSTD_INPUT_BYTES = 1 << 16


def uncompressed_name(path: Path) -> Path:
    """The path without an ending that says how it is compressed."""
    return path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class ByteStream:
    """A file (`.gz` and `.zst` decompressed) or an open binary stream, read from front to back in bounded memory."""

    def __init__(self, source: Path | BinaryIO, name: str, *, encoding: Literal["utf-8", "latin-1"] = "utf-8") -> None:
        """Bytes in another `encoding` than UTF-8 are converted to it; UTF-8 itself is not checked."""
        self.name = name
        self.bytes_read = 0
        """Decompressed bytes handed out so far."""
        self._owned = isinstance(source, Path)
        with self._faults_named():
            self._stored: BinaryIO = source.open("rb") if isinstance(source, Path) else source
        self._plain: _Readable = self._stored
        ending = source.suffix.lower() if isinstance(source, Path) else ""
        if ending == ".gz":
            self._plain = io.BufferedReader(gzip.GzipFile(fileobj=self._stored))
        elif ending == ".zst":
            self._plain = _ZstdFrames(self._stored)
        if encoding == "latin-1":
            self._plain = _Latin1AsUtf8(self._plain)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owned:
            self._stored.close()

    @property
    def bytes_done(self) -> int:
        """Stored bytes read so far (of a compressed file: compressed ones)."""
        return self._stored.tell() if self._owned else self.bytes_read

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes (of Latin-1 up to twice as many); empty only at the end. Raises DataError."""
        with self._faults_named():
            data = self._plain.read(size)
        self.bytes_read += len(data)
        return data

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
            raise DataError(
                f"{self.name}: cannot be decompressed: {error}; the file is cut short, damaged, or not what its ending "
                "says"
            ) from error
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read: {error.strerror or error}") from error


class _Latin1AsUtf8:
    """Converts Latin-1 to UTF-8. Every byte of Latin-1 is a character, so that text may be cut anywhere."""

    def __init__(self, plain: _Readable) -> None:
        self._plain = plain

    def read(self, size: int = -1) -> bytes:
        return self._plain.read(size).decode("latin-1").encode()


class _ZstdFrames:
    """Reads Zstandard frames, one after the other; unlike the library's reader it notices a frame that is cut short."""

    def __init__(self, stored: BinaryIO) -> None:
        self._stored = stored
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._frame_begun = False
        self._ready = bytearray()

    def read(self, size: int = -1) -> bytes:
        while (size < 0 or len(self._ready) < size) and self._decompress_more():
            pass
        count = len(self._ready) if size < 0 else size
        data = bytes(self._ready[:count])
        del self._ready[:count]
        return data

    def _decompress_more(self) -> bool:
        compressed = self._frame.unused_data if self._frame.eof else b""
        compressed = compressed or self._stored.read(_ZSTD_INPUT_BYTES)
        if not compressed:
            if self._frame_begun and not self._frame.eof:
                raise EOFError("a Zstandard frame ends too early")
            return False
        if self._frame.eof:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._frame_begun = True
        self._ready += self._frame.decompress(compressed)
        return True
