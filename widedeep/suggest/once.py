"""What gives its bytes once, such as a named pipe, as a file that can be looked at in many places."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from widedeep.errors import DataError
from widedeep.files import temporary_directory, writing
from widedeep.source.contents import signature_of
from widedeep.source.paths import Source, can_be_read_again
from widedeep.source.streams import ByteStream, uncompressed_name

_TEXT_BYTES = 1 << 30
"""Text is read from its front, no further than this."""
_COPIED_BYTES = 1 << 22


@contextmanager
def readable_again(files: Sequence[Source]) -> Iterator[list[Source]]:
    """The files, with copies in place of those that can be read once; the copies are gone afterwards.

    Faults name the files themselves. Raises DataError for one that cannot be read.
    """
    with ExitStack() as stack:
        folder: Path | None = None
        copies: dict[str, str] = {}
        paths: list[Source] = []
        for number, file in enumerate(files):
            if not isinstance(file, Path) or can_be_read_again(file):
                paths.append(file)
                continue
            folder = folder or stack.enter_context(temporary_directory())
            copy = folder / f"{number}{uncompressed_name(file).suffix}"
            _copy(file, copy)
            copies[str(copy)] = str(file)
            paths.append(copy)
        try:
            yield paths
        except DataError as error:
            message = str(error)
            for copy_name, name in copies.items():
                message = message.replace(copy_name, name)
            raise type(error)(message) from error


def _copy(file: Path, copy: Path) -> None:
    with writing(copy.parent), ByteStream(file, str(file)) as stream, copy.open("wb") as out:
        limit = _TEXT_BYTES if signature_of(stream.head) is None else None
        while (limit is None or stream.bytes_read < limit) and (data := stream.read(_COPIED_BYTES)):
            out.write(data)
