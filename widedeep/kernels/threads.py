"""Runs parts of a step's work in parallel; the kernels release the GIL."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache


def in_parts(function: Callable[[int, int], object], parts: int) -> None:
    """Call `function(part, parts)` for every part, the first on this thread, the others on threads of a pool.

    For short work only.
    """
    futures = [_pool().submit(function, part, parts) for part in range(1, parts)]
    function(0, parts)
    for future in futures:
        future.result()


@cache
def _pool() -> ThreadPoolExecutor:
    # The pool is kept, because starting a thread takes longer than its work.
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="widedeep-kernels")


def _forget_pool() -> None:
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)  # the child of a fork has none of the pool's threads
