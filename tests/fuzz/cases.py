"""One case of the fuzzer: a folder, a seeded draw, commands in forked children, and the rules that each must keep."""

import contextlib
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from forks import call_main, leave

DOCUMENTED = frozenset({0, 2, 3, 4, 5, 6, 7})
"""Exit codes of a command that nobody interrupts; 1 is a bug."""

HANG = 60.0
"""Seconds after which a command counts as hanging."""

MEMORY = 12 << 30
"""Bytes of address space of a command, so that a wish for huge tables does not take the machine's memory."""

_TEMPORARY = re.compile(r"\.tmp-")
_NO_MEMORY = ("memory allocation of", "bad_alloc", "allocate memory")


class Find(Exception):
    """A rule is broken: the text says which, and how."""


class Unfit(Exception):
    """What was drawn makes no case, such as a value that a format cannot hold."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """Exit code; minus the number of the signal that killed it."""
    out: str
    err: str


@dataclass
class Case:
    """One case: `draw` decides everything in it, so that its name repeats it."""

    name: str
    folder: Path
    base: Path
    """What all cases start from, made once: see base.py. Not to be written to."""
    draw: random.Random = field(init=False)
    log: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    wants_much: bool = False
    """Whether the case asks for much work or memory, so that running long is no hang and a failed allocation no find."""

    def __post_init__(self) -> None:
        self.draw = random.Random(self.name)
        self.folder.mkdir(parents=True)

    def take(self, *names: str) -> None:
        """Copy files or folders of the base into the case's folder."""
        for name in names:
            source, target = self.base / name, self.folder / Path(name).name
            shutil.copytree(source, target, symlinks=True) if source.is_dir() else shutil.copy(source, target)

    def say(self, text: str) -> None:
        """Add a line to the case's report."""
        self.log.append(text)

    def widedeep(
        self,
        *arguments: str | Path,
        inside: str = "",
        within: AbstractContextManager[Any] | None = None,
        killed: bool = False,
        allowed: frozenset[int] = DOCUMENTED,
    ) -> Ended:
        """Run a command line in the case's folder. Raises Find where it breaks a rule.

        inside: a folder of the case to run in. within: held in the child while the command runs. killed: the child
        kills itself, so that SIGKILL is no find.
        """
        words = [str(argument) for argument in arguments]

        def child() -> int:
            os.chdir(inside or ".")
            with within or contextlib.nullcontext():
                return call_main(words)

        ended = self._forked(child)
        self.say(f"$ widedeep {' '.join(words)}\n-> {ended.code}\n{ended.err[-3000:]}")
        self.codes.append(ended.code)
        if not (killed and ended.code == -signal.SIGKILL):
            self._judge(ended, allowed)
        return ended

    def apart(self, build: Callable[[], None]) -> None:
        """Run code that uses Polars in a child: its threads would not survive the forks to come. Raises Unfit if the
        code raises an exception.
        """

        def child() -> int:
            build()
            return 0

        ended = self._forked(child)
        if ended.code != 0:
            raise Unfit(ended.err)

    def _forked(self, work: Callable[[], int]) -> Ended:
        out, err = self.folder / ".out", self.folder / ".err"
        for path in (out, err):
            path.touch()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _become(self.folder, out, err)
            leave(work)
        code = _wait(child)
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
        out.unlink()
        err.unlink()
        if code is None:
            if self.wants_much:
                return Ended(0, *texts)
            raise Find(f"still running after {HANG:g} s\n{texts[1]}")
        return Ended(code, *texts)

    def _judge(self, ended: Ended, allowed: frozenset[int]) -> None:
        if "Traceback (most recent call last)" in ended.err:
            raise Find(f"a traceback, exit {ended.code}")
        if ended.code == -signal.SIGABRT and self.wants_much and any(words in ended.err for words in _NO_MEMORY):
            return
        if ended.code < 0:
            raise Find(f"died by {signal.Signals(-ended.code).name}: {ended.err[-300:]}")
        if ended.code not in allowed:
            raise Find(f"exit {ended.code}, expected one of {sorted(allowed)}")
        left = [str(path) for path in self.folder.rglob("*") if _TEMPORARY.search(path.name)]
        if left:
            raise Find(f"left a temporary file behind: {left[0]}")


def _become(folder: Path, out: Path, err: Path) -> None:
    for target, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), target)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _wait(child: int) -> int | None:
    """The exit code of a child, or minus the number of its signal; None if it was killed for running too long."""
    end = time.monotonic() + HANG
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def scores(text: str) -> list[float]:
    """The scores of a CSV that `predict` wrote."""
    header, *lines = text.splitlines()
    place = header.split(",").index("score")
    return [float(line.split(",")[place]) for line in lines]


def farthest(left: Sequence[float], right: Sequence[float]) -> float:
    """Greatest distance between two lists of scores; infinite if their lengths differ."""
    if len(left) != len(right):
        return float("inf")
    return max((abs(a - b) for a, b in zip(left, right, strict=True)), default=0.0)
