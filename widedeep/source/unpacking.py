"""Bytes out of what they are packed in: gzip, Zstandard, bzip2, xz, a zip archive of one file."""

import bz2
import gzip
import io
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import zstandard

from widedeep.errors import DataError
from widedeep.files import writing
from widedeep.source.streams import Readable

_FAULTS = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError, zipfile.BadZipFile)
_ZSTD_INPUT_BYTES = 1 << 16
_COPIED_BYTES = 1 << 22
_WORKBOOK = "[Content_Types].xml"
_ENCRYPTED = 0x1


def unpacked(packed: Readable, content: str, name: str, *, file: BinaryIO | None) -> Readable:
    """The bytes within, where `content` says how they are packed. `file` is the same if it can seek.

    Raises DataError, also when the bytes are read, for what is damaged, and for a zip archive of several files or of
    one that is encrypted.
    """
    with _faults_named(name):
        if content == "gzip":
            inner: Readable = io.BufferedReader(gzip.GzipFile(fileobj=packed, mode="rb"))  # type: ignore[call-overload]
        elif content == "zstd":
            inner = _ZstdFrames(packed)
        elif content == "bzip2":
            inner = bz2.BZ2File(packed)  # type: ignore[call-overload]
        elif content == "xz":
            inner = lzma.LZMAFile(packed)  # type: ignore[arg-type]  # noqa: SIM115 (closing it would close nothing)
        else:
            inner = _only_member(file or _copied(packed), name)
    return _Unpacked(inner, name)


class _Unpacked:
    def __init__(self, inner: Readable, name: str) -> None:
        self._inner, self._name = inner, name

    def read(self, size: int = -1, /) -> bytes:
        with _faults_named(self._name):
            return self._inner.read(size)


@contextmanager
def _faults_named(name: str) -> Iterator[None]:
    try:
        yield
    except (*_FAULTS, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the operating system; bz2 says of damaged bytes that they are an OSError too
        raise DataError(
            f"{name}: cannot be decompressed: {error}; the file is cut short, damaged, or not what its ending says"
        ) from error


def _only_member(file: BinaryIO, name: str) -> Readable:
    archive = zipfile.ZipFile(file)
    if _WORKBOOK in archive.namelist():
        raise DataError(f"{name}: an Excel workbook or another office document: save its table as CSV or Parquet")
    # macOS adds a file of its own to each.
    members = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        listed = ", ".join(member.filename for member in members[:5]) + (", …" if len(members) > 5 else "")
        what = f"holds {len(members)} files ({listed})" if members else "holds no file"
        raise DataError(f"{name}: a zip archive that {what}; one is read: unpack it, and name the files")
    if members[0].flag_bits & _ENCRYPTED:
        raise DataError(f"{name}: a zip archive whose file is encrypted: unpack it")
    try:
        return archive.open(members[0])
    except NotImplementedError as error:
        raise DataError(f"{name}: a zip archive that cannot be unpacked here ({error}): unpack it") from None


def _copied(packed: Readable) -> BinaryIO:
    """An archive tells at its end what is in it: of a stream, all of it is put into a temporary file."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115 (it is closed, and so gone, with the archive's reader)
    while piece := packed.read(_COPIED_BYTES):
        with writing(Path(tempfile.gettempdir())):
            copy.write(piece)
    copy.seek(0)
    return copy


class _ZstdFrames:
    """Reads Zstandard frames, one after the other; unlike the library's reader it notices a frame that is cut short."""

    def __init__(self, stored: Readable) -> None:
        self._stored = stored
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._frame_begun = False
        self._ready = bytearray()

    def read(self, size: int = -1, /) -> bytes:
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
