"""A map over parts on other processes: of this machine (`pool`), of a Dask scheduler (`on_dask`), of Ray (`on_ray`).

What a part is follows from the recipe and its files alone, never from who works on it, so that the results do not
depend on the workers, their number or their deaths. This module imports no library: a worker starts with it.
"""

import os
import pickle
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from widedeep.errors import UsageError, WidedeepError, WorkersError

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_TRIES = 3
"""So many workers may die of the same part."""
ONE_THREAD = dict.fromkeys(("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Variables by which libraries, when they are imported, are told to use a single thread."""


class Workers(ABC):
    """Processes that work on parts, each with one thread."""

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], sizes: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Result]]:
        """Yield the number of each item with `function(item)`, in the order in which they are finished.

        Items are begun in their order, the first while later ones are still made; with `sizes`, for which all are made
        before, the largest first, so that no worker is left alone with it at last. An error that an iterator of items
        raises is that of the item it should have given.

        `function` is one of a module, and may be called again for an item whose worker died: what it writes must be
        the same then, and whole or absent. If items fail, the error of the first of them in their order is raised, as
        if one had come after the other. Raises WorkersError if there is nobody to work.
        """
        function_name = function.__module__, function.__qualname__
        failed: tuple[int, BaseException] | None = None
        waiting: set[int] = set()
        order: list[int] = []
        numbered: Iterator[tuple[int, Item]] = enumerate(items)
        if sizes is not None:
            numbered = iter(sorted(numbered, key=lambda item: -sizes[item[0]]))
            waiting.update(range(len(sizes)))

        def pickled() -> Iterator[bytes]:
            nonlocal failed
            while failed is None or sizes is not None:  # what comes later in the order is not needed any more
                try:
                    number, item = next(numbered)
                except StopIteration:
                    return
                except Exception as error:
                    failed = len(order), error
                    return
                order.append(number)
                waiting.add(number)
                yield pickle.dumps(item)

        outcomes = self._outcomes(function_name, pickled())
        try:
            for place, result, error in outcomes:
                number = order[place]
                waiting.discard(number)
                if error is not None and (failed is None or number < failed[0]):
                    failed = number, error
                elif error is None and failed is None:
                    yield number, result
                if failed is not None and min(waiting, default=len(order)) > failed[0]:
                    break
        finally:
            outcomes.close()  # type: ignore[attr-defined]
        if failed is not None:
            raise failed[1]

    def in_order(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """The results of `map` in the order of the items."""
        results = dict(self.map(function, items))
        return [results[number] for number in range(len(results))]

    def prepare(self, module: str, most: int) -> None:  # noqa: B027 - those of a cluster run already
        """Have processes of this machine, `most` at most, start and import the module of the first `map` meanwhile."""

    @abstractmethod
    def _outcomes(
        self, function_name: tuple[str, str], pickled: Iterator[bytes]
    ) -> Iterator[tuple[int, Any, BaseException | None]]:
        """Yield (number, result, error) of each item as `outcome` gives it. Items are begun in their order.

        To make an item may take long: workers have those that are made meanwhile.
        """


def outcome(function_name: tuple[str, str], pickled: bytes) -> tuple[Any, BaseException | None]:
    """What a worker does with an item: the result of the function, or the error that it raised."""
    one_thread()  # before the function's module imports Polars, which reads it then
    module, name = function_name
    try:
        return getattr(import_module(module), name)(pickle.loads(pickled)), None
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ == "builtins":
            raise  # the worker itself is to end
        return None, _as_it_travels(error)


def _as_it_travels(error: BaseException) -> BaseException:
    if not isinstance(error, WidedeepError):
        error.add_note("in a worker:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("in a worker:\n" + "".join(traceback.format_exception(error)))
    return error


def one_thread() -> None:
    """Let the libraries that this process imports from now on use a single thread: there is a worker for each core."""
    os.environ.update(ONE_THREAD)


@contextmanager
def open_workers(where: str, folder: Path) -> Iterator[Workers]:
    """Workers that see `folder`: a number of processes, `ray`, `ray://HOST:PORT`, or a Dask scheduler `tcp://HOST:PORT`.

    Raises UsageError for anything else and for a library that is not installed; WorkersError for a scheduler that does
    not answer, and for workers that lack widedeep, have another version of it, or do not see the folder.
    """
    if where.isdecimal() and int(where) > 0:
        from widedeep.workers.pool import open_pool

        with open_pool(int(where)) as workers:
            yield workers
    elif where.startswith(("tcp://", "tls://")):
        from widedeep.workers.on_dask import open_dask

        with open_dask(where, folder) as workers:
            yield workers
    elif where == "ray" or where.startswith("ray://"):
        from widedeep.workers.on_ray import open_ray

        with open_ray(where, folder) as workers:
            yield workers
    else:
        raise UsageError(
            f"--workers {where}: must be a number of processes, ray, ray://HOST:PORT, or tcp://HOST:PORT of a Dask "
            "scheduler"
        )


def died_too_often(reason: str) -> WorkersError:
    """The error for a part of which MOST_TRIES workers died."""
    return WorkersError(
        f"--workers: {MOST_TRIES} workers died of the same part of the work ({reason}), most often because their "
        "memory is at an end: take fewer workers, or give them more memory"
    )
