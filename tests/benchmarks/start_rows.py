"""Rows of `make bench`: the start of `--help`, scoring from cold, and a second `train` to its first step."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from click_log import ClickLog, write_recipe

COLD_ROWS = 1_000
FIRST_STEP = str(Path(__file__).with_name("first_step.py"))
IMPORT_TORCH = ["-c", "import torch"]


def help_start_seconds(runs: int = 5) -> list[float]:
    """Seconds that `widedeep --help` takes over the start and end of a Python that does nothing."""
    return [_seconds(["-m", "widedeep_cli", "--help"]) - _seconds(["-c", ""]) for _ in _warmed(runs, _help)]


def _help() -> None:
    _seconds(["-m", "widedeep_cli", "--help"])


def cold_scoring_ratio(run: Path, table: Path, runs: int = 3) -> list[float]:
    """Time of a whole process that scores the first 1,000 rows of `table`, a Parquet file, by that of `import torch`."""
    with tempfile.TemporaryDirectory() as name:
        rows, scores = Path(name) / "rows.parquet", Path(name) / "scores.parquet"
        pl.scan_parquet(table).head(COLD_ROWS).collect().write_parquet(rows)
        predict = ["-m", "widedeep_cli", "predict", str(run), str(rows), "-o", str(scores), "--force"]
        return [_seconds(predict) / _seconds(IMPORT_TORCH) for _ in _warmed(runs, lambda: _seconds(predict))]


@dataclass(frozen=True)
class Start:
    """Seconds of processes that take turns: two that `train` to their first step, and one that imports torch."""

    first: float
    """No stage is kept."""
    second: float
    """The first's stages are kept; another learning rate."""
    torch: float


def second_train(log: ClickLog, work: Path, runs: int = 3) -> list[Start]:
    """`runs` turns on the log's train rows, with 8 crosses; one more before them compiles the loops."""
    recipe = write_recipe(work / "second.yaml", log, crosses=list(log.crosses))
    return [_start(recipe, work / "second") for _ in range(runs + 1)][1:]


def _start(recipe: Path, work: Path) -> Start:
    shutil.rmtree(work, ignore_errors=True)
    train = [FIRST_STEP, "train", str(recipe), "--work", str(work), "--set", "training.deep.learning_rate="]
    return Start(*(_seconds([*train[:-1], train[-1] + rate]) for rate in ("0.001", "0.002")), _seconds(IMPORT_TORCH))


def _warmed(runs: int, first: Callable[[], object]) -> range:
    # The files are read from disk and compiled once: what is asked is the start of a program in use.
    first()
    return range(runs)


def _seconds(arguments: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    )
    return time.perf_counter() - started
