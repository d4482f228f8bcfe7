"""Processes that die by SIGKILL at a chosen call: the same moment on every machine, however busy it is."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_PROGRAM = """
import os, signal, sys, threading, time

kind, number, log = sys.argv[1], int(sys.argv[2]), sys.argv[3]
del sys.argv[1:4]
calls, lock = 0, threading.Lock()

def counted(function):
    def call(*arguments, **settings):
        global calls
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

from widedeep_cli.main import main

try:
    main()
finally:
    with open(log, "w") as file:
        file.write(str(calls))
"""


def run_to_call(kind: str, number: int, *arguments: str | Path, cwd: Path) -> int | None:
    """Run the command line until its call of this number: None if it died there, else how many calls there were.

    kind: `write` counts what makes files whole (fsync, rename), `step` looks at the clock, of which training takes some
    at every step.
    """
    log = cwd / "calls.txt"
    command = [sys.executable, "-c", _PROGRAM, kind, str(number), str(log), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr.decode()
    return int(log.read_text())


def moments(total: int, kills: int, seed: int) -> Iterator[int]:
    """Calls to die at, drawn from 1 to `total`; the first and the last are among them."""
    draw = random.Random(seed)
    yield from draw.sample([1, total, *(draw.randint(2, total - 1) for _ in range(kills - 2))], kills)
