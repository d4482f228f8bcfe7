"""A project whose typed table has many parts, and its stages by workers."""

import os
import pickle
import random
import signal
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from sample_projects import write_log

from widedeep.workers import Workers
from widedeep.workers.pool import Pool

RECIPE = """\
name: parts
data:
  train: log-*.csv
  label: click
  split: {kind: random, valid: 0.15, test: 0.15}
features:
  numeric:
    - {column: price, buckets: 5}
    - {column: age, transform: standard}
    - {column: id, transform: cdf}
  categorical: [color, {column: user, min_count: 3}, {column: hashed, buckets: auto}]
  multi_valued: [{column: shape, separator: " "}]
crosses:
  - [color, shape]
  - {fields: [price, user], min_count: 2}
  - {fields: [age, color], granularity: {age: 4}, buckets: auto}
"""


def write_project(folder: Path, monkeypatch: pytest.MonkeyPatch, recipe: str = RECIPE) -> Path:
    """`parts.yaml` in `folder`, with five files of 300 rows that become as many parts."""
    monkeypatch.setattr("widedeep.table.parts.PART_ROWS", 200)
    for number in range(5):
        write_log(folder / f"log-{number}.csv", 300, seed=number)
        path = folder / f"log-{number}.csv"
        lines = path.read_text().splitlines()
        texts = [f"{line},h{hash_of(line) % 50}" for line in lines[1:]]
        path.write_text("\n".join([f"{lines[0]},hashed", *texts]) + "\n")
    (folder / "parts.yaml").write_text(recipe)
    monkeypatch.chdir(folder)
    return folder / "parts.yaml"


def hash_of(line: str) -> int:
    return sum(line.encode())


def files_of(folder: Path) -> dict[str, bytes]:
    """Path → bytes of all files."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class DyingPool(Pool):
    """Workers of which one dies by SIGKILL at every third part of the work, when that is first handed out.

    Of each function, `most` such parts are enough.
    """

    def __init__(self, size: int, most: int = 1_000) -> None:
        super().__init__(size)
        self._left: defaultdict[tuple[str, str], int] = defaultdict(lambda: most)
        self.deaths = 0
        self._killed: set[bytes] = set()

    def _hand_out(self, function_name: tuple[str, str], items: Mapping[int, bytes], waiting: deque[int]) -> None:
        super()._hand_out(function_name, items, waiting)
        for worker in self._workers:
            if worker.number is None or worker.number % 3 > 0 or items[worker.number] in self._killed:
                continue
            if self._left[function_name] > 0:
                self._left[function_name] -= 1
                self._killed.add(items[worker.number])
                self.deaths += 1
                assert worker.process.pid is not None
                os.kill(worker.process.pid, signal.SIGKILL)


class Shuffled(Workers):
    """This process, as workers that finish in another order than they begin, and do every part twice."""

    def __init__(self, seed: int = 0) -> None:
        self._draw = random.Random(seed)

    def _outcomes(
        self, function_name: tuple[str, str], pickled: Iterator[bytes]
    ) -> Iterator[tuple[int, Any, BaseException | None]]:
        module, name = function_name
        function = getattr(import_module(module), name)
        all_items = list(pickled)
        order = list(range(len(all_items)))
        self._draw.shuffle(order)
        for number in order:
            try:
                function(pickle.loads(all_items[number]))
                yield number, pickle.loads(pickle.dumps(function(pickle.loads(all_items[number])))), None
            except Exception as error:
                yield number, None, error


class Meddling(Shuffled):
    """`Shuffled` workers, to whose files something is done just before a function is mapped for the first time."""

    def __init__(self, function: str, meddle: Callable[[], object]) -> None:
        super().__init__()
        self._function, self._meddle = function, meddle

    def _outcomes(
        self, function_name: tuple[str, str], pickled: Iterator[bytes]
    ) -> Iterator[tuple[int, Any, BaseException | None]]:
        if function_name[1] == self._function:
            self._meddle()
        yield from super()._outcomes(function_name, pickled)
