"""Command lines that die by SIGKILL at a chosen call: the same moment on every machine, however busy it is."""

import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from forks import run_forked


def run_to_call(kind: str, number: int, *arguments: str | Path, cwd: Path, log: Path | None = None) -> int | None:
    """Run the command line until its call of this number: None if it died there, else how many calls there were.

    kind, number: as in `counted_calls`. log: where it leaves their number, by default in `cwd`.
    """
    log = log or cwd / "calls.txt"
    code, err = run_forked(*arguments, cwd=cwd, counted=(kind, number, log))
    if code == -signal.SIGKILL:
        return None
    assert code == 0, err
    return int(log.read_text())


def run_to_every_call(kind: str, *arguments: str | Path, start: Path, folder: Path) -> int:
    """Run the command line in copies of `start` in `folder`; gives the number of its calls of this kind.

    In `undisturbed` it lived. In `killed-N` it died at call N; `again-N` is a copy of that, in which it was then run
    again. kind: as in `counted_calls`.
    """

    def run(number: int, inside: Path, source: Path) -> int | None:
        shutil.copytree(source, inside, symlinks=True)
        return run_to_call(kind, number, *arguments, cwd=inside, log=folder / "calls.txt")

    calls = run(0, folder / "undisturbed", start)
    assert calls is not None
    for number in range(1, calls + 1):
        killed = folder / f"killed-{number}"
        assert run(number, killed, start) is None
        assert run(0, folder / f"again-{number}", killed) is not None
    return calls


def moments(total: int, kills: int, seed: int) -> Iterator[int]:
    """Calls to die at, drawn from 1 to `total`; the first and the last are among them."""
    draw = random.Random(seed)
    yield from draw.sample([1, total, *(draw.randint(2, total - 1) for _ in range(kills - 2))], kills)
