"""Runs a function on several threads and gives the results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import polars as pl

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order; as many threads as Polars has compute ahead.

    The results held are at most one more than there are threads. Items are taken on the caller's thread. An error of
    `function`, or of the items' iterator, is raised after the results that come before it. If Polars has a single
    thread, the caller's computes, and none ahead.
    """
    threads = pl.thread_pool_size()
    if threads == 1:  # a second one would be busy too, on another core than the caller has
        yield from map(function, items)
        return
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


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The items, in order; each is made by a thread while the caller works on the one before it.

    An error of the iterator is raised after the items that come before it.
    """
    source, none = iter(items), object()
    executor = ThreadPoolExecutor(1)
    try:
        under_way = executor.submit(next, source, none)
        while (item := under_way.result()) is not none:
            under_way = executor.submit(next, source, none)
            yield item  # type: ignore[misc]
    finally:
        executor.shutdown(cancel_futures=True)


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`function(item)` of all items, in order, for results that fit in memory together.

    If an item fails, or on Ctrl-C, items that have not been started are dropped.
    """
    pool = ThreadPoolExecutor(pl.thread_pool_size())
    try:
        return list(pool.map(function, items))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
