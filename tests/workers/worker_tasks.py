"""What workers are asked to do in tests: they import it by its name."""

import os
import signal
from pathlib import Path

from widedeep.errors import ColumnValuesError, Fault, RecipeError


def square(number: int) -> int:
    return number * number


def process_id(_: int) -> int:
    return os.getpid()


def threads_of_polars(_: int) -> int:
    import polars as pl

    return pl.thread_pool_size()


def die_at_first(mark: Path) -> int:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse_from_two_on(number: int) -> int:
    if number == 2:
        raise ColumnValuesError("log.csv:7", "price", "is odd")
    if number > 2:
        raise RecipeError([Fault("features", "is wrong"), Fault("crosses", "is too")])
    return number


def fail(_: int) -> None:
    raise ZeroDivisionError("a bug")
