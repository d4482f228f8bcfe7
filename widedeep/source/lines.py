"""Lines of a stream as they come: each is handed on before the next one is waited for."""

import select
from collections.abc import Iterator
from typing import BinaryIO

from widedeep.errors import DataError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_READ_BYTES = 1 << 16
_LINE_LIMIT = 64 << 20
"""Most bytes in one line. Without a limit, a stream without line breaks would be read into memory whole."""
_WAKE_SECONDS = 0.1
"""How often a wait looks for signals: Polars' handler of SIGINT lets a read go on, which then never hears of Ctrl-C."""


def lines_as_they_come(stream: BinaryIO, *, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line with its line break) of text in UTF-8 without its byte order mark.

    The last line gets a line break if it has none. Raises DataError for a line that is too long, and for a stream that
    cannot be read.
    """
    number, pending, searched = 1, b"", 0
    while chunk := _next_bytes(stream, name):
        pending += chunk
        start = 0
        while (end := pending.find(b"\n", max(start, searched)) + 1) > 0:
            line = pending[start:end]
            yield number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
            number, start = number + 1, end
        pending = pending[start:]
        searched = len(pending)
        if searched > _LINE_LIMIT:
            raise DataError(f"{name}:{number}: a line longer than {_LINE_LIMIT >> 20} MiB; are these rows of text?")
    if pending:
        yield number, (pending.removeprefix(_BYTE_ORDER_MARK) if number == 1 else pending) + b"\n"


def _next_bytes(stream: BinaryIO, name: str) -> bytes:
    """What there is, at least a byte; nothing only at the end."""
    try:
        while _can_wait(stream) and not select.select([stream], [], [], _WAKE_SECONDS)[0]:
            pass
        read = getattr(stream, "read1", stream.read)  # unbuffered streams have but one read, which does not wait
        chunk: bytes = read(_READ_BYTES)
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}") from error
    return chunk


def _can_wait(stream: BinaryIO) -> bool:
    try:
        return stream.fileno() >= 0
    except OSError:  # a stream in memory
        return False
