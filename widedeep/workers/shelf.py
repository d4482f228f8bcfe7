"""Objects that workers read from files: arrays are mapped into memory, so that all workers of a machine share them."""

import itertools
import mmap
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from widedeep.errors import WorkersError
from widedeep.files import temporary_directory, writing
from widedeep.workers import Workers

_ALIGNMENT = 64
"""Bytes: each array starts at a multiple, as numpy's own mostly do."""
_NUMBER_BYTES = 8


class Shelf:
    """Workers, and a folder in which they find what they work with: too much to be sent with each part of the work."""

    def __init__(self, workers: Workers, folder: Path) -> None:
        """`folder` is empty, and all workers see it; who made it removes it."""
        self.workers, self._folder = workers, folder.resolve()  # workers may have another current directory
        self._numbers = itertools.count()

    def put(self, value: object) -> Path:
        """Write an object to a file, which `taken` reads. Raises WriteError; WorkersError if the folder is gone."""
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        path, places = self._folder / str(next(self._numbers)), []
        if not self._folder.is_dir():
            raise _gone(self._folder)
        with writing(path), path.open("wb") as file:
            for buffer in buffers:
                with buffer.raw() as raw:
                    file.write(bytes(-file.tell() % _ALIGNMENT))
                    places.append((file.tell(), raw.nbytes))
                    file.write(raw)
            start = file.tell()
            file.write(pickle.dumps((pickled, places)))
            file.write(start.to_bytes(_NUMBER_BYTES, "little"))
        return path

    @contextmanager
    def holding(self, value: object) -> Iterator[Path]:
        """`put`, for an object that is needed for a while only."""
        path = self.put(value)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def on_shelf(workers: Workers | None, place: Path) -> Iterator[Shelf | None]:
    """A shelf of these workers, in a folder of its own in `place` that is gone afterwards; None without workers."""
    if workers is None:
        yield None
        return
    with writing(place), temporary_directory(place) as folder:
        yield Shelf(workers, folder)


def taken(path: Path) -> Any:
    """What was put there. Its arrays may be changed without a change to the file.

    Raises WorkersError if the file is gone.
    """
    try:
        with path.open("rb") as file:
            # A private copy of the pages that are written to: loops are compiled anew for arrays that are read-only.
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    except FileNotFoundError as error:
        raise _gone(path) from error
    start = int.from_bytes(mapped[-_NUMBER_BYTES:], "little")
    pickled, places = pickle.loads(mapped[start:-_NUMBER_BYTES])
    return pickle.loads(pickled, buffers=[mapped[first : first + length] for first, length in places])


def _gone(path: Path) -> WorkersError:
    return WorkersError(f"{path}: is gone: leave stages/ alone while a command runs, and let all workers see --work")
