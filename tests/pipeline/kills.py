"""Processes that die by SIGKILL at a chosen call: the same moment on every machine, however busy it is."""

import os
import random
import shutil
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


def run_to_every_call(kind: str, *arguments: str | Path, start: Path, folder: Path) -> int:
    """Run the command line in copies of `start` in `folder`; gives the number of its calls of this kind.

    In `undisturbed` it lived. In `killed-N` it died at call N; `again-N` is a copy of that, in which it was then run
    again. All is done by forks of one process, which has imported what the command needs. kind: as in `counted_calls`.
    """
    command = [sys.executable, __file__, "every", kind, str(start), str(folder), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return int((folder / "calls.txt").read_text())


def _run_to_every_call(kind: str, start: Path, folder: Path, words: list[str]) -> None:
    import importlib

    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as `main` does
    for module in ("widedeep.comparison.promotion", "widedeep.pipeline.listed_runs", "widedeep_cli.console"):
        importlib.import_module(module)

    def run(number: int, inside: Path, source: Path) -> int:
        shutil.copytree(source, inside, symlinks=True)
        child = os.fork()
        if child == 0:
            os.chdir(inside)
            with counted_calls(kind, number, folder / ("calls.txt" if inside.name == "undisturbed" else "again.txt")):
                code = _forked_main(words)
            os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert run(0, folder / "undisturbed", start) == 0
    for number in range(1, int((folder / "calls.txt").read_text()) + 1):
        killed = folder / f"killed-{number}"
        assert run(number, killed, start) == -signal.SIGKILL
        assert run(0, folder / f"again-{number}", killed) == 0


def _forked_main(words: list[str]) -> int:
    from widedeep_cli.boundary import guarded
    from widedeep_cli.main import dispatch

    return guarded(lambda: dispatch(words))


def moments(total: int, kills: int, seed: int) -> Iterator[int]:
    """Calls to die at, drawn from 1 to `total`; the first and the last are among them."""
    draw = random.Random(seed)
    yield from draw.sample([1, total, *(draw.randint(2, total - 1) for _ in range(kills - 2))], kills)


if __name__ == "__main__":
    _, asked_kind, asked_number, asked_log, *words = sys.argv
    if asked_kind == "every":
        _run_to_every_call(asked_number, Path(asked_log), Path(words[0]), words[1:])
        sys.exit()
    with counted_calls(asked_kind, int(asked_number), Path(asked_log)):
        from widedeep_cli.main import main

        sys.argv = ["widedeep", *words]
        main()
