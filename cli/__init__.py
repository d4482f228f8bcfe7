"""The command line of widedeep, installed as the package `widedeep_cli`."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collecting() -> Iterator[None]:
    """A context for imports, such as torch: Python does not search their objects for garbage, then or later.

    The searches take an eighth of the import.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
