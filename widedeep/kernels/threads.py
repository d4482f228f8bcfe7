"""Parts of a step's work side by side: the kernels release the GIL."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache


def in_parts(function: Callable[[int, int], object], parts: int) -> None:
    """Call `function(part, parts)` for every part, the first on this thread and the others beside it; short work only."""
    others = [_pool().submit(function, part, parts) for part in range(1, parts)]
    function(0, parts)
    for other in others:
        other.result()


@cache
def _pool() -> ThreadPoolExecutor:
    # Kept, because starting a thread takes longer than the work that it is given here.
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="widedeep-kernels")


def _forget_pool() -> None:
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)  # its threads do not live in the child
