"""The stage of `widedeep backtest`: the recipe's rows, cut by time into steps of equal length, as raw Parquet files."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from widedeep.errors import DataError, UsageError
from widedeep.files import write_json
from widedeep.pipeline.ingest_stage import ingest_key
from widedeep.pipeline.keys import key_of
from widedeep.pipeline.workspace import Workspace, read_report
from widedeep.profile.ingest import columns_read
from widedeep.recipe.base import OURS
from widedeep.recipe.load import LoadedRecipe
from widedeep.recipe.schema import TimeSettings
from widedeep.reporting import Reporter
from widedeep.source.blocks import RawBlock
from widedeep.source.paths import expand_paths, total_size
from widedeep.source.sources import RowlessFiles, read_blocks
from widedeep.table.side_tables import SideTables
from widedeep.table.split import SPLITS
from widedeep.table.times import time_values

STEPS_FORMAT = 1
"""Raised when the files change for equal inputs, so that no older cache is read."""
MOST_STEPS = 2_000
"""More steps are refused: the step is then nearly always in another unit than meant."""
_HELD_ROWS = 1 << 18
_NUMBER = f"{OURS}step"


@dataclass(frozen=True)
class Step:
    """The rows of one step. Steps without rows are left out."""

    start: float
    """Where it starts, in the unit of `data.time` (seconds since 1970 UTC for dates and times)."""
    rows: int
    files: tuple[Path, ...]


def steps_stage(loaded: LoadedRecipe, step: float, workspace: Workspace, reporter: Reporter) -> list[Step]:
    """All rows that the recipe names (train, valid and test), by steps of length `step`, in the order of time.

    For a caller within `Workspace.shared`; done only once for equal rows. Within a step rows are in the order of the
    files.
    Raises UsageError for a recipe without `data.time`, and where there are fewer than two steps, or too many;
    DataError and ColumnError for the files.
    """
    if loaded.recipe.data.time is None:
        raise UsageError(f"{loaded.title}: a backtest goes by `data.time`, the column that says when a row happened")
    key = key_of({"format": STEPS_FORMAT, "ingest": ingest_key(loaded), "step": step})
    path = workspace.stage_path("steps", key)
    with workspace.missing("steps", key) as temporary:
        if temporary is not None:
            writer = _StepFiles(temporary, step)
            for block in _blocks(loaded, reporter):
                writer.add(block.frame, _numbers(block, loaded.recipe.data.time, step))
            writer.finish()
            if len(writer.rows) < 2:
                raise _unfit(f"{len(writer.rows)} step{'s' * (len(writer.rows) != 1)}", step)
            entries = [
                {"number": number, "rows": writer.rows[number], "files": writer.files[number]}
                for number in sorted(writer.files)
            ]
            write_json(temporary / "report.json", {"steps": entries})
    facts: dict[str, Any] = read_report(path)
    return [
        Step(entry["number"] * step, entry["rows"], tuple(path / name for name in entry["files"]))
        for entry in facts["steps"]
    ]


def _numbers(block: RawBlock, time: TimeSettings, step: float) -> pl.Series:
    """The number of each row's step, Int64. Raises DataError for a time that is in none, such as an infinite one."""
    numbers = (time_values(block, time) / step).floor().cast(pl.Int64, strict=False)
    if numbers.null_count():
        row = numbers.is_null().arg_true()[0]
        raise DataError(
            f"{block.place_of(row)}: column {time.column!r}: {block.frame[time.column][row]!r} lies in no step of "
            "time: correct it or drop the row"
        )
    return numbers


def _unfit(steps: str, step: float) -> UsageError:
    return UsageError(
        f"--step: the rows' times fill {steps} of {step:,.12g} seconds (or units of a time that is a bare number); at "
        f"least 2 and at most {MOST_STEPS:,} are needed: choose another length, or say by data.time.format how the "
        "time is written"
    )


def _blocks(loaded: LoadedRecipe, reporter: Reporter) -> Iterator[RawBlock]:
    data = loaded.recipe.data
    assert data.time is not None
    sources = [
        source
        for split in SPLITS
        if (paths := getattr(data, split)) is not None
        for source in expand_paths(paths, loaded.base_dir)
    ]
    needed = columns_read(loaded.recipe, "train")
    of_log = SideTables.load(data, loaded.base_dir, needed, reporter).log_columns(needed)
    columns = list(dict.fromkeys([*of_log, data.time.column]))
    finished, rowless = 0, RowlessFiles()
    with reporter.work("cut by time", total_size(chain(sources)), "bytes") as meter:
        for source in sources:
            done = 0
            with rowless.passed_over():
                for block in read_blocks(source, data.format, columns, name=str(source)):
                    yield block
                    done = block.bytes_done
                    meter.update(finished + done)
            finished += done
        rowless.settle(reporter)


class _StepFiles:
    """Writes rows to the files of their steps, some hundred thousand rows at a time."""

    def __init__(self, directory: Path, step: float) -> None:
        self.files: dict[int, list[str]] = {}
        self.rows: dict[int, int] = {}
        self._directory, self._step = directory, step
        self._waiting: dict[int, list[pl.DataFrame]] = {}
        self._held = 0

    def add(self, frame: pl.DataFrame, numbers: pl.Series) -> None:
        """Add the rows of a frame; `numbers` [rows], Int64, say their steps. Raises UsageError for too many."""
        numbered = frame.with_columns(numbers.alias(_NUMBER))
        for (number,), part in numbered.partition_by(_NUMBER, as_dict=True, include_key=False).items():
            self._waiting.setdefault(number, []).append(part)
            self.rows[number] = self.rows.get(number, 0) + len(part)
        if len(self.rows) > MOST_STEPS:
            raise _unfit(f"more than {MOST_STEPS:,} steps", self._step)
        self._held += len(frame)
        if self._held >= _HELD_ROWS:
            self.finish()

    def finish(self) -> None:
        for number, frames in self._waiting.items():
            alike = all(frame.schema == frames[0].schema for frame in frames)
            for frame in [pl.concat(frames)] if alike else frames:
                names = self.files.setdefault(number, [])
                names.append(f"step-{number}-{len(names):05d}.parquet")
                frame.write_parquet(self._directory / names[-1])
        self._waiting, self._held = {}, 0
