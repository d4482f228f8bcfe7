"""Trials as forks: each is what a process of its own would be, and ends with what it comes from."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from widedeep.search import starter as module
from widedeep.search.starter import Process, Starter, execute

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no forks are made elsewhere")

STARTED = """
import os, signal, sys, threading, time
from widedeep.processes import end_with_parent
from widedeep.search.starter import forked_command

def imports():
    {imports}

def wait():
    while True:
        time.sleep(0.01)

parent, cores, *words = sys.argv[1:]
end_with_parent(int(parent))
forked = not words
words = words or forked_command(cores, imports)
exec(words[0])
"""
"""A `widedeep_cli.started` whose commands are Python, and whose libraries are none."""

STATE = """
import json, resource
def status():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return {name: lines[name].split() for name in ("SigBlk", "SigIgn", "SigCgt", "ShdPnd", "Threads", "Cpus_allowed")}
files = {number: os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")[:-1]}
print(json.dumps({
    "status": status(), "cwd": os.getcwd(), "environment": dict(os.environ), "nice": os.nice(0),
    "leads_session": os.getsid(0) == os.getpid(), "files": sorted(files), "stdin": files["0"],
    "stdout": files["1"].split("#")[0].rsplit("/", 1)[0], "terminal": sys.stdout.isatty(), "line": sys.stdout.line_buffering,
    "handlers": [str(signal.getsignal(number)) for number in signal.valid_signals()], "limits": resource.getrlimit(7),
}))
"""
"""What a process finds around it."""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets what is started be Python; takes the body of `imports`."""

    def become(imports: str) -> None:
        text = STARTED.format(imports=imports)
        monkeypatch.setattr(
            module, "_command", lambda cores, words=(): [sys.executable, "-c", text, str(os.getpid()), cores, *words]
        )

    become("pass")
    return become


class Output:
    """Files for what a process writes."""

    def __init__(self) -> None:
        self.out, self.err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115

    def read(self) -> tuple[str, str]:
        for file in (self.out, self.err):
            file.seek(0)
        return self.out.read().decode(), self.err.read().decode()


def run(start: Callable[..., Process], *words: str) -> tuple[int, str, str]:
    output = Output()
    code = start(words, "all", output.out, output.err).wait()
    return code, *output.read()


def lives(process: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    return False


def until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.01)


@pytest.mark.usefixtures("command")
def test_a_fork_finds_around_it_what_a_process_of_its_own_finds() -> None:
    with Starter() as starter:
        told = [json.loads(run(start, STATE)[1]) for start in (execute, starter.start, starter.start)]
    assert told[1] == told[0]
    assert told[2] == told[0]


@pytest.mark.usefixtures("command")
def test_a_fork_tells_its_exit_code_and_writes_into_its_own_files() -> None:
    with Starter() as starter:
        assert run(starter.start, "print('a', forked); print('b', file=sys.stderr); sys.exit(5)") == (
            5,
            "a True\n",
            "b\n",
        )
        assert run(starter.start, "print('c')") == (0, "c\n", "")
        code, out, err = run(starter.start, "1 / 0")
        assert (code, out) == (1, "")
        assert err.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.usefixtures("command")
def test_signals_end_a_fork_or_are_answered_by_it() -> None:
    answers = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print(os.getpid(), flush=True); wait()"
    sleeps = "print(os.getpid(), flush=True); wait()"
    with Starter() as starter:
        for words, end, code in (
            (answers, signal.SIGTERM, 7),
            (answers, signal.SIGKILL, -9),
            (sleeps, signal.SIGTERM, -15),
        ):
            output = Output()
            process = starter.start([words], "all", output.out, output.err)
            until(lambda process=process, output=output: process.poll() is not None or output.read()[0].endswith("\n"))
            assert process.poll() is None
            process.send_signal(end)
            assert (process.wait(), process.poll()) == (code, code)
            process.send_signal(end)  # of what has ended, nothing comes


@pytest.mark.usefixtures("command")
def test_a_signal_ends_a_fork_though_its_starter_was_stopped() -> None:
    with Starter() as starter:
        output = Output()
        process = starter.start(["print('begun', flush=True); wait()"], "all", output.out, output.err)
        until(lambda: output.read()[0] == "begun\n")
        assert process.poll() is None
        forking = starter._forking["all"][0].pid
        os.kill(forking, signal.SIGSTOP)
        until(lambda: Path(f"/proc/{forking}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == -15


@pytest.mark.parametrize(("end", "code"), [(signal.SIGTERM, -15), (signal.SIGKILL, -9)])
def test_what_is_ended_while_libraries_are_imported_does_not_begin(
    end: signal.Signals, code: int, tmp_path: Path, command: Callable[[str], None]
) -> None:
    gate, output = tmp_path / "gate", Output()
    os.mkfifo(gate)
    command(f"open({str(gate)!r}).close()")
    with Starter() as starter:
        process = starter.start(["print('first')"], "all", output.out, output.err)
        process.send_signal(end)
        assert (process.wait(), process.poll()) == (code, code)
        second = starter.start(["print('second')"], "all", output.out, output.err)
        gate.open("w").close()
        assert second.wait() == 0
    assert output.read() == ("second\n", "")


@pytest.mark.usefixtures("command")
def test_signals_reach_a_fork_though_the_process_that_forks_was_stopped() -> None:
    with Starter() as starter:
        output = Output()
        process = starter.start(["print(os.getppid(), flush=True); wait()"], "all", output.out, output.err)
        until(lambda: process.poll() is not None or output.read()[0].endswith("\n"))
        os.kill(int(output.read()[0]), signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == -15


@pytest.mark.usefixtures("command")
def test_each_set_of_cores_has_forks_of_its_own() -> None:
    parents = "print(os.getppid(), cores)"
    with Starter() as starter:
        told = []
        for cores in ("0", "all", "0", "all"):
            output = Output()
            assert starter.start([parents], cores, output.out, output.err).wait() == 0
            told.append(output.read()[0].split())
    assert [cores for _, cores in told] == ["0", "all", "0", "all"]
    assert told[:2] == told[2:]
    assert told[0][0] != told[1][0]


@contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """A context that kills the process at its end, so that a failure does not wait for it."""
    try:
        yield
    finally:
        process.kill()


DRIVER = r"""
import sys, tempfile, time
from widedeep.search import starter as module
import os
module._command = lambda cores, words=(): [sys.executable, "-c", sys.argv[1], str(os.getpid()), cores, *words]
with module.Starter() as starter, open(sys.argv[2], "wb") as out:
    words = ["os.write(1, b'%d %d\\n' % (os.getpid(), os.getppid())); wait()"]
    started = [starter.start(words, "all", out, out) for _ in "ab"]
    time.sleep(1000)
"""


@pytest.mark.parametrize("first", ["sweep", "starter", "stopped starter"])
def test_nothing_outlives_the_sweep_nor_the_process_that_forks(first: str, tmp_path: Path) -> None:
    words = [sys.executable, "-c", DRIVER, STARTED.format(imports="pass"), str(tmp_path / "out")]
    with subprocess.Popen(words) as sweep, ended(sweep):
        out = tmp_path / "out"
        until(lambda: sweep.poll() is not None or (out.exists() and out.read_text().count("\n") == 2))
        (a, starter), (b, _) = (map(int, line.split()) for line in out.read_text().splitlines())
        assert all(map(lives, (sweep.pid, starter, a, b)))
        if first == "stopped starter":
            os.kill(starter, signal.SIGSTOP)
        if first == "starter":
            os.kill(starter, signal.SIGKILL)
            until(lambda: not any(map(lives, (starter, a, b))))
        sweep.kill()
        until(lambda: not any(map(lives, (starter, a, b))))


@pytest.mark.usefixtures("command")
def test_forks_whose_starter_is_killed_count_as_killed_and_the_next_has_a_new_one() -> None:
    with Starter() as starter:
        output = Output()
        process = starter.start(["print(os.getppid(), flush=True); wait()"], "all", output.out, output.err)
        until(lambda: process.poll() is not None or output.read()[0].endswith("\n"))
        os.kill(int(output.read()[0]), signal.SIGKILL)
        assert process.wait() == -9
        process.send_signal(signal.SIGTERM)
        assert run(starter.start, "print(forked)") == (0, "True\n", "")


@pytest.mark.parametrize(
    "imports", ["threading.Thread(target=signal.pause, daemon=True).start()", "raise ImportError('torch')"]
)
def test_where_a_fork_would_lack_something_it_is_a_process_of_its_own(
    imports: str, command: Callable[[str], None]
) -> None:
    command(imports)
    with Starter() as starter:
        code, out, err = run(starter.start, "--version")  # which the real command line answers
        assert (code, out.split()[0], err) == (0, "widedeep", "")


def test_what_cannot_be_forked_says_why_and_counts_as_killed(command: Callable[[str], None]) -> None:
    # The first fork only ends threads.
    command(
        "fork, calls = os.fork, iter('f'); os.fork = lambda: fork() if next(calls, '') else open('/proc/self/mem/x')"
    )
    with Starter() as starter:
        code, out, err = run(starter.start, "print(1)")
    assert (code, out) == (-9, "")
    assert err == "widedeep: error: cannot start a trial: Not a directory; start fewer workers\n"


def test_the_libraries_that_are_imported_before_a_fork_start_no_thread() -> None:
    program = (
        "from widedeep_cli.started import _import_libraries; from widedeep.search import starter; import sys; "
        "_import_libraries(); starter._end_idle_threads(); "
        "sys.exit(not starter._has_one_thread() or 'polars' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
