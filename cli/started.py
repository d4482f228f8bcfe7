"""`python -m widedeep_cli.started PARENT CORES COMMAND…`: a command that another command has started, and ends with it.

CORES are the numbers of the cores that it may use, with commas between them, or `all`. Without COMMAND it forks for
those that come on stdin.
"""

import os
import sys
from importlib import import_module
from typing import Any

from widedeep.processes import end_with_parent


def start(parent: str, cores: str, *command: str) -> None:
    """Run the command line `command`, as the process that `parent` has started."""
    end_with_parent(int(parent))
    if cores != "all" and hasattr(os, "sched_setaffinity"):
        # Before anything counts the cores: torch, Polars and Numba take as many threads as they see.
        os.sched_setaffinity(0, map(int, cores.split(",")))
    from .main import main  # only now, as above

    if command:
        sys.argv = ["widedeep", *command]
        main()
        return
    from widedeep.search.starter import end_fork, forked_command  # only here: a command has no need of them

    sys.argv = ["widedeep", *forked_command(cores, _import_libraries)]
    try:
        main()
    except SystemExit as end:
        end_fork(end.code if isinstance(end.code, int) else 1)


_LIBRARIES = (
    "torch",
    "safetensors.torch",
    "numba",
    "rich.live",
    "rich.progress",
    "rich.table",
    "widedeep.kernels.cpu",
    "widedeep.recipe.load",
)
"""What takes long of what `train` imports. Not Polars: it starts threads when it is imported, and forks lack them."""


def _import_libraries() -> None:
    from .main import spin_briefly  # only now, as above

    spin_briefly()
    for name in _LIBRARIES:
        import_module(name)
    from numba import njit

    # Numba imports half of itself with the first function.
    first: Any = njit(_identity)
    first(0)


def _identity(value: Any) -> Any:
    return value


if __name__ == "__main__":
    start(*sys.argv[1:])
