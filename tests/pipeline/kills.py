"""Processes that die by SIGKILL at a chosen call: the same moment on every machine, however busy it is."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def counted_calls(kind: str, number: int, log: Path) -> Iterator[None]:
    """Count calls of this kind in this process and die at the one of this number; afterwards `log` holds the count.

    kind: `write` counts what makes files whole (fsync, rename), `step` looks at the clock, of which training takes some
    at every step. number: from 1; 0 for a process that lives.
    """
    calls, lock = 0, threading.Lock()

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            nonlocal calls
            with lock:
                calls += 1
                if calls == number:
                    os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **settings)

        return call

    if kind == "write":
        # Between the two a file is whole under a temporary name; before the first it is being written.
        os.fsync, os.replace = counted(os.fsync), counted(os.replace)
    else:
        time.monotonic = counted(time.monotonic)
    try:
        yield
    finally:
        log.write_text(str(calls))


def run_to_call(kind: str, number: int, *arguments: str | Path, cwd: Path) -> int | None:
    """Run the command line until its call of this number: None if it died there, else how many calls there were.

    kind: as in `counted_calls`.
    """
    log = cwd / "calls.txt"
    command = [sys.executable, __file__, kind, str(number), str(log), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr.decode()
    return int(log.read_text())


def moments(total: int, kills: int, seed: int) -> Iterator[int]:
    """Calls to die at, drawn from 1 to `total`; the first and the last are among them."""
    draw = random.Random(seed)
    yield from draw.sample([1, total, *(draw.randint(2, total - 1) for _ in range(kills - 2))], kills)


if __name__ == "__main__":
    _, asked_kind, asked_number, asked_log, *words = sys.argv
    with counted_calls(asked_kind, int(asked_number), Path(asked_log)):
        from widedeep_cli.main import main

        sys.argv = ["widedeep", *words]
        main()
