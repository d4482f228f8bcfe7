"""Work on all cores that an interrupt can end: the kernels release the GIL."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Results in the order of the items; where one fails, or Ctrl-C comes, those that have not begun are not begun."""
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        return list(pool.map(function, items))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
