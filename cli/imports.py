"""Imports of heavy libraries, without the searches for garbage that make them slower."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collecting() -> Iterator[None]:
    """A context for imports, such as torch's million objects: Python does not search them for garbage, then or later.

    The searches take an eighth of the import.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
