"""Trials as forks of a process that has imported their libraries once, as that takes longer than many a training.

The sweep has a `Starter`; the process that it starts waits in `forked_command`, which returns in its forks. A message
to that process is a command line, with the files that become stdout and stderr and a socket. The exit code goes to the
sweep there, and signals come from it: only the process that forks knows whether a number is still that of the trial.
"""

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, NoReturn, Protocol

from widedeep.processes import end_with_parent

_MOST_BYTES = 1 << 20
"""More than a message can have."""


class Process(Protocol):
    """What was started, as `subprocess.Popen` tells of it."""

    def poll(self) -> int | None:
        """Its exit code, or minus the number of the signal that ended it; None while it is at work."""

    def wait(self) -> int:
        """Wait for its end; what `poll` gives then."""

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""


class Starter:
    """Starts trials, which end with its context."""

    def __init__(self) -> None:
        # Each set of cores has its own: libraries look at their number as they are imported.
        self._forking: dict[str, tuple[subprocess.Popen[bytes], socket.socket]] = {}

    def __enter__(self) -> "Starter":
        return self

    def __exit__(self, *error: object) -> None:
        for process, messages in self._forking.values():
            process.kill()  # and its forks with it
            process.wait()
            messages.close()
        self._forking.clear()

    def start(self, words: Sequence[str], cores: str, out: IO[bytes], err: IO[bytes]) -> Process:
        """Start a command line on these cores. The first ones begin once the libraries are imported.

        Elsewhere than on Linux, where no fork ends with its parent, it is a process by itself. Raises OSError if
        nothing can be started.
        """
        if sys.platform != "linux":
            return execute(words, cores, out, err)
        forking = self._forking.get(cores)
        if forking is None or forking[0].poll() is not None:
            if forking is not None:
                forking[1].close()
            forking = self._forking[cores] = _start_forking(cores)
        link, far = socket.socketpair()
        with far:
            text = json.dumps(list(words)).encode()
            socket.send_fds(forking[1], [text], [far.fileno(), out.fileno(), err.fileno()])
        return _Fork(link, forking[0])


def execute(words: Sequence[str], cores: str, out: IO[bytes], err: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start a command line on these cores, as a process that imports its libraries itself. Raises OSError."""
    return subprocess.Popen(
        _command(cores, words),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        start_new_session=True,  # Ctrl-C is for the sweep, which ends its trials
    )


def _start_forking(cores: str) -> "tuple[subprocess.Popen[bytes], socket.socket]":
    # Each message is received as it was sent, with its files.
    messages, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    nothing = subprocess.DEVNULL
    with far:
        process = subprocess.Popen(
            _command(cores), stdin=far.fileno(), stdout=nothing, stderr=nothing, start_new_session=True
        )
    return process, messages


def _command(cores: str, words: Sequence[str] = ()) -> list[str]:
    # -P: a file of the current folder is no module of ours.
    return [sys.executable, "-P", "-m", "widedeep_cli.started", str(os.getpid()), cores, *words]


_BEGUN = b"+"
"""What is told of a fork at its start; later comes its exit code."""


class _Fork:
    """A process that another one starts for this one."""

    def __init__(self, link: socket.socket, forking: "subprocess.Popen[bytes]") -> None:
        self._link, self._forking = link, forking
        self._begun = False
        self._code: int | None = None

    def poll(self) -> int | None:
        with suppress(BlockingIOError):
            while self._code is None:
                self._hear(socket.MSG_DONTWAIT)
        return self._code

    def wait(self) -> int:
        while self._code is None:
            self._hear(0)
        return self._code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is not None:
            return
        if not self._begun:
            self._end(-number)  # libraries are still being imported for it: it will not begin
            return
        self._forking.send_signal(signal.SIGCONT)  # it hands signals on, unless somebody has stopped it
        with suppress(ConnectionError):
            self._link.sendall(bytes([number]))
        self._forking.send_signal(signal.SIGCONT)  # a starter that was stopped hands nothing on

    def _hear(self, flags: int) -> None:
        told = b""
        with suppress(ConnectionError):
            told = self._link.recv(_MOST_BYTES, flags)
        code = told.removeprefix(_BEGUN)
        if told and not code:
            self._begun = True
            return
        if not told:
            self._forking.wait()  # it is ending, and its forks with it
        self._end(int(code) if told else -signal.SIGKILL)

    def _end(self, code: int) -> None:
        self._code = code
        self._link.close()


def forked_command(cores: str, imports: Callable[[], None]) -> list[str]:
    """Call `imports`, then fork for each message of stdin: returns in forks only, with their command lines.

    A fork has one thread. If this process has more by then, or `imports` fails, command lines get processes that import
    their libraries themselves.
    """
    can_fork = False
    with suppress(Exception):  # it is told by the process that imports them itself
        imports()
        _end_idle_threads()
        gc.collect()
        gc.freeze()  # else garbage collection in a fork would copy the memory of all that was imported
        can_fork = True
    return _Forks(cores, can_fork=can_fork).own_command()


def end_fork(code: int) -> NoReturn:
    """End this fork. Python would take all objects apart first, and so copy the memory that forks have in common."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _end_idle_threads() -> None:
    """End the threads of OpenBLAS: its hook does so before a fork, and they come back when there is work for them."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _has_one_thread() -> bool:
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


class _Forks:
    """The trials that this process has started: it hands signals on to them, and tells how they end."""

    def __init__(self, cores: str, *, can_fork: bool) -> None:
        self._cores, self._can_fork = cores, can_fork
        self._links: dict[int, socket.socket] = {}
        self._messages = socket.socket(fileno=os.dup(0))
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)  # stdin of the trials
        # The end of a trial is a signal, which select does not wait for.
        self._woken, self._wakes = socket.socketpair()
        self._woken.setblocking(False)
        self._wakes.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakes.fileno())

    def own_command(self) -> list[str]:
        """The command line of this process once it is a fork; until then, what a starter does."""
        while True:
            ready, _, _ = select.select([self._messages, self._woken, *self._links.values()], [], [])
            if self._woken in ready:
                self._woken.recv(_MOST_BYTES)
                self._tell_ends()
            for process, link in self._links.items():
                if link in ready:
                    self._hand_on(process, link)
            if self._messages in ready and (words := self._start()) is not None:
                return words

    def _tell_ends(self) -> None:
        while self._links:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            with self._links.pop(process) as link, suppress(ConnectionError):
                link.sendall(b"%d" % os.waitstatus_to_exitcode(status))

    def _hand_on(self, process: int, link: socket.socket) -> None:
        number = b""
        with suppress(ConnectionError):
            number = link.recv(1)
        os.kill(process, number[0] if number else signal.SIGKILL)  # nobody waits for it any more

    def _start(self) -> list[str] | None:
        """Start the trial of a message; its command line in a fork, else None."""
        text, files, _, _ = socket.recv_fds(self._messages, _MOST_BYTES, 3, socket.MSG_CMSG_CLOEXEC)
        if not text:
            sys.exit()  # the sweep has ended
        words: list[str] = json.loads(text)
        link, starter = socket.socket(fileno=files[0]), os.getpid()
        with open(files[1], "wb", 0) as out, open(files[2], "wb", 0) as err:
            process = self._fork(words, link, out, err)
            if process == 0:
                self._become_trial(starter, link, out, err)
                return words
        if process is None:
            link.close()
        else:
            self._links[process] = link
        return None

    def _fork(self, words: Sequence[str], link: socket.socket, out: IO[bytes], err: IO[bytes]) -> int | None:
        """The number of the process that has begun, 0 in that process if it is a fork; None if none has begun."""
        if select.select([link], [], [], 0)[0]:
            return None  # nobody waits for it any more
        try:
            process = os.fork() if self._can_fork and _has_one_thread() else self._execute(words, out, err)
        except OSError as error:
            err.write(f"widedeep: error: cannot start a trial: {error.strerror}; start fewer workers\n".encode())
            with suppress(ConnectionError):
                link.sendall(b"%d" % -signal.SIGKILL)  # no fault of its settings: it is tried again
            return None
        if process:
            with suppress(ConnectionError):
                link.sendall(_BEGUN)
        return process

    def _execute(self, words: Sequence[str], out: IO[bytes], err: IO[bytes]) -> int:
        files = [(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, err.fileno(), 2)]
        command = _command(self._cores, words)
        return os.posix_spawn(sys.executable, command, os.environ, file_actions=files, setsid=True)

    def _become_trial(self, starter: int, link: socket.socket, out: IO[bytes], err: IO[bytes]) -> None:
        """Let this fork be as a process that was started by itself."""
        end_with_parent(starter)
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        for end in (link, self._messages, self._woken, self._wakes, *self._links.values()):
            end.close()
