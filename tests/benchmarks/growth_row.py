"""The row of growth: from CSV to scored test rows with ten times the rows, vocabularies capped."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from click_log import CATEGORICAL, NUMERIC, ClickLog, make_log
from whole_row import Whole, ours

FACTOR = 10
BYTES_PER_ROW = 2_000
"""Disk that a row takes at most, all at once: the drawn Parquet file, CSV, typed table, encoded store."""
_MAX_VOCABULARY = 20_000


@dataclass(frozen=True)
class Growth:
    """Both sizes in turn."""

    small: list[Whole]
    large: list[Whole]


def growth(work: Path, runs: int = 1, rows: int = 1_000_000) -> Growth:
    """`rows` train rows and a tenth of them to score, against ten times both. Raises OSError where the disk is too full."""
    needed, free = FACTOR * rows * BYTES_PER_ROW, shutil.disk_usage(work).free
    if free < needed:
        raise OSError(f"{work}: {needed / 1e9:.0f} GB of disk are needed and {free / 1e9:.0f} GB are free")
    large = make_log(work, FACTOR * rows, rows)
    small = _shortened(large, work / "small", rows)
    sizes: tuple[list[Whole], list[Whole]] = ([], [])
    for _ in range(runs):
        for log, measured in zip((small, large), sizes, strict=True):
            measured.append(_measured(log, work / "run"))
    return Growth(*sizes)


def _shortened(log: ClickLog, folder: Path, rows: int) -> ClickLog:
    folder.mkdir()
    short = ClickLog(folder / "train.csv", folder / "test.csv", log.crosses)
    pl.scan_csv(log.train, infer_schema=False).head(rows).sink_csv(short.train)
    pl.scan_csv(log.test, infer_schema=False).head(rows // FACTOR).sink_csv(short.test)
    return short


def _measured(log: ClickLog, work: Path) -> Whole:
    categorical: Sequence[dict[str, object]] = [{"column": name, "max_size": _MAX_VOCABULARY} for name in CATEGORICAL]
    return ours(log, work, features={"numeric": NUMERIC, "categorical": categorical})
