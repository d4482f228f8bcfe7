"""Workers that are processes of this machine, started anew (not forked) and joined by a socket each."""

import os
import signal
import socket
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection, wait
from typing import Any

from widedeep.errors import WorkersError
from widedeep.processes import holding_back, leave_to_parent
from widedeep.workers import MOST_TRIES, ONE_THREAD, Workers, died_too_often, outcome

_PROGRAM = "import sys; from widedeep.workers.pool import serve; serve(int(sys.argv[1]), sys.argv[2])"


@dataclass(eq=False)
class _Worker:
    process: "subprocess.Popen[bytes]"
    link: Connection
    number: int | None = None
    """The item that it works on."""


class Pool(Workers):
    """`size` processes. One that dies is replaced, and what it worked on is done again."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._workers: list[_Worker] = []

    def prepare(self, module: str, most: int) -> None:
        while len(self._workers) < min(self._size, most):
            self._started(module)

    def _outcomes(
        self, function_name: tuple[str, str], pickled: Iterator[bytes]
    ) -> Iterator[tuple[int, Any, BaseException | None]]:
        items: dict[int, bytes] = {}
        """What is not finished, of which what is `waiting` is not begun."""
        waiting, deaths, num_made, are_more = deque[int](), Counter[int](), 0, True
        try:
            while items or are_more:
                self._hand_out(function_name, items, waiting)
                # An item for each worker is made ahead, though whoever is done meanwhile is heard in between.
                is_short = are_more and len(waiting) < self._size
                if is_short:
                    if (item := next(pickled, None)) is None:
                        are_more = False
                    else:
                        items[num_made] = item
                        waiting.append(num_made)
                        num_made += 1
                busy = {worker.link: worker for worker in self._workers if worker.number is not None}
                for link in wait(list(busy), 0 if is_short else None):
                    worker = busy[link]  # type: ignore[index]
                    number = worker.number
                    assert number is not None
                    try:
                        result, error = worker.link.recv()
                    except (EOFError, OSError):
                        reason = self._bury(worker)
                        deaths[number] += 1
                        if deaths[number] >= MOST_TRIES:
                            del items[number]
                            yield number, None, died_too_often(reason)
                        else:
                            waiting.appendleft(number)
                    else:
                        worker.number = None
                        del items[number]
                        yield number, result, error
        finally:
            # Who is still at work, after an error or Ctrl-C, works for nothing.
            for worker in [worker for worker in self._workers if worker.number is not None]:
                self._bury(worker)

    def _hand_out(self, function_name: tuple[str, str], items: Mapping[int, bytes], waiting: deque[int]) -> None:
        idle = [worker for worker in self._workers if worker.number is None]
        while waiting and (idle or len(self._workers) < self._size):
            worker = idle.pop() if idle else self._started(function_name[0])
            worker.number = waiting.popleft()
            try:
                worker.link.send((function_name, items[worker.number]))
            except OSError:  # it died while it was idle
                waiting.appendleft(worker.number)
                self._bury(worker)

    def _started(self, module: str) -> _Worker:
        try:
            return self._start(module)
        except OSError as error:
            number = len(self._workers) + 1
            raise WorkersError(
                f"--workers {self._size}: cannot start process {number}: {error.strerror or error}; take fewer workers"
            ) from error

    def _start(self, module: str) -> _Worker:
        ours, theirs = socket.socketpair()
        # Not by `multiprocessing`, whose processes run the caller's script once more. What this process finds on its
        # path, the other finds too; `-P` keeps the current directory out of it.
        environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with ours, theirs:
            with holding_back(signal.SIGINT):
                process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno()), module],
                    env=environment,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
            worker = _Worker(process, Connection(ours.detach()))
        self._workers.append(worker)
        return worker

    def _bury(self, worker: _Worker) -> str:
        """End a worker; how it ended."""
        self._workers.remove(worker)
        worker.link.close()
        worker.process.kill()
        code = worker.process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.process.kill()  # all give their memory back at the same time, before any is waited for
        for worker in list(self._workers):
            self._bury(worker)


@contextmanager
def open_pool(size: int) -> Iterator[Pool]:
    """A pool of `size` processes, which end with the context."""
    pool = Pool(size)
    try:
        yield pool
    finally:
        pool.close()


def serve(handle: int, module: str) -> None:
    """What a worker does: import `module`, and answer what comes through the socket of this number, until that ends."""
    leave_to_parent(signal.SIGINT)
    link = Connection(handle)
    with suppress(Exception):  # an error is told by the first work that needs the module
        import_module(module)
    while True:
        try:
            function_name, pickled = link.recv()
            link.send(outcome(function_name, pickled))
        except (EOFError, OSError):
            return  # nobody waits for it any more
