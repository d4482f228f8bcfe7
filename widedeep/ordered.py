"""Work on several threads with its results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import polars as pl

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`function` of each item, in order, computed ahead on as many threads as Polars has; memory is bounded by as many
    results and one more.

    The items are drawn on the caller's thread. What `function` or the drawing raises is raised in its turn, after the
    results before it.
    """
    threads = pl.thread_pool_size()
    waiting: deque[Future[Result]] = deque()
    executor = ThreadPoolExecutor(threads)
    try:
        source = iter(items)
        while True:
            try:
                item = next(source)
            except StopIteration:
                break
            except Exception:
                for future in waiting:
                    yield future.result()
                raise
            waiting.append(executor.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The same all at once, for items whose results fit in memory together: none waits for one before it.

    Where one fails, or Ctrl-C comes, those that have not begun are not begun.
    """
    pool = ThreadPoolExecutor(pl.thread_pool_size())
    try:
        return list(pool.map(function, items))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
