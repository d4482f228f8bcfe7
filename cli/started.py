"""`python -m widedeep_cli.started PARENT CORES COMMAND…`: a command that another command has started, and ends with it.

CORES are the numbers of the cores that it may use, with commas between them, or `all`.
"""

import os
import sys

from widedeep.processes import end_with_parent


def start(parent: str, cores: str, *command: str) -> None:
    """Run the command line `command`, as the process that `parent` has started."""
    end_with_parent(int(parent))
    if cores != "all" and hasattr(os, "sched_setaffinity"):
        # Before anything counts the cores: torch, Polars and Numba take as many threads as they see.
        os.sched_setaffinity(0, map(int, cores.split(",")))
    sys.argv = ["widedeep", *command]
    from .main import main  # only now, as above

    main()


if __name__ == "__main__":
    start(*sys.argv[1:])
