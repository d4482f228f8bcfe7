"""Command lines that run in forks of one process, which has imported what they need: starting one takes no imports.

Each runs as its process would: with its own directory, environment, stdin, stdout and stderr, and may be killed.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CLIENT = """#!{python} -IS
import json, os, socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect({address!r})
asked = {{"words": sys.argv[1:], "cwd": os.getcwd(), "environment": dict(os.environ)}}
socket.send_fds(link, [json.dumps(asked).encode() + b"\\n"], [0, 1, 2])
sys.exit(int(link.makefile().readline()))
"""
"""A `widedeep` for shells. A command that dies by a signal ends it with exit code 255 or the like."""


@functools.cache
def _server() -> Path:
    """The folder of the process that forks, which lives as long as this one; `widedeep` in it runs a command line."""
    folder = Path(tempfile.mkdtemp(prefix="forks-"))
    server = subprocess.Popen(
        [sys.executable, __file__, folder / "socket"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"

    @atexit.register
    def end() -> None:
        server.communicate()
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()

    client = folder / "widedeep"
    client.write_text(_CLIENT.format(python=sys.executable, address=str(folder / "socket")))
    client.chmod(0o755)
    return folder


def environment_of_shells() -> dict[str, str]:
    """An environment in which `widedeep` runs in a fork."""
    return {**os.environ, "PATH": f"{_server()}{os.pathsep}{os.environ['PATH']}"}


def run_forked(*arguments: str | Path, cwd: Path, counted: tuple[str, int, Path] | None = None) -> tuple[int, str]:
    """Exit code of a command line, or minus the number of the signal that killed it, and its stderr.

    counted: what `counted_calls` takes, held while the command runs.
    """
    asked = {"words": list(map(str, arguments)), "cwd": str(cwd), "environment": dict(os.environ)}
    if counted is not None:
        asked["counted"] = [*counted[:2], str(counted[2])]
    with socket.socket(socket.AF_UNIX) as link, tempfile.TemporaryFile() as err, open(os.devnull, "r+b") as nothing:
        link.connect(str(_server() / "socket"))
        files = [nothing.fileno(), nothing.fileno(), err.fileno()]
        socket.send_fds(link, [json.dumps(asked).encode() + b"\n"], files)
        code = int(link.makefile().readline())
        err.seek(0)
        return code, err.read().decode()


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


def prepare() -> None:
    """Import all that commands import, once, and start no thread that a forked child would miss."""
    os.environ.setdefault("POLARS_MAX_THREADS", "2")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    tempfile.gettempdir()
    import numba

    import widedeep
    import widedeep_cli

    for package in (widedeep, widedeep_cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", ".cuda", ".tiles", "recipes.DATA")):
                try:
                    importlib.import_module(module.name)
                except ModuleNotFoundError as error:  # of an extra, which need not be installed
                    if (error.name or "").startswith("widedeep"):
                        raise

    numba.njit(_identity)(1)  # loads the compiler's registries
    gc.collect()
    gc.freeze()  # else each child's collector would copy the pages of all that was imported


def _identity(value: Any) -> Any:
    return value


def call_main(words: list[str]) -> int:
    """The exit code of a command line that runs in this process, which is a fork and ends by `leave`."""
    from widedeep_cli.main import main

    sys.argv = ["widedeep", *words]
    try:
        main()
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    return 0


def leave(work: Callable[[], int]) -> None:
    """End this fork with the exit code of `work`, or with 1 and a traceback; nothing of the first process is run."""
    try:
        code = work()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _serve(address: str) -> None:
    """Fork for whoever asks, until stdin is closed."""
    prepare()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            link, _ = listener.accept()
            if os.fork() == 0:
                leave(functools.partial(_answer, link))
            link.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _answer(link: socket.socket) -> int:
    """Fork for one command line and send its exit code."""
    line, files, _, _ = socket.recv_fds(link, 1 << 16, 3)
    while not line.endswith(b"\n"):
        line += link.recv(1 << 16)
    asked: Mapping[str, Any] = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        link.close()
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        leave(functools.partial(_run, asked))
    for file in files:
        os.close(file)
    link.sendall(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return 0


def _run(asked: Mapping[str, Any]) -> int:
    if "counted" not in asked:
        return call_main(asked["words"])
    kind, number, log = asked["counted"]
    with counted_calls(kind, number, Path(log)):
        return call_main(asked["words"])


if __name__ == "__main__":
    _serve(sys.argv[1])
