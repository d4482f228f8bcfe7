"""The encoded stage by workers, which count parts of the typed table and then write whole shards of the store.

A shard holds the rows of a range of positions, as it does where one process writes all: the bytes are the same.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.encoded.store import SHARD_ROWS, Shard, frames_of_shards, shard_name, write_manifest, write_shard
from widedeep.features import fit_parts
from widedeep.features.exposure import ExposureCounts
from widedeep.features.plan import FeaturePlan
from widedeep.features.rare import RareCounts
from widedeep.files import syncing, whole_file, writing
from widedeep.pipeline.stages import ENCODED_ROWS, KnownRows, encoded_rows, late_instant, write_encoding_report
from widedeep.recipe.schema import FeatureSettings, Recipe
from widedeep.reporting import Reporter
from widedeep.runs import TRAIN_ONLY
from widedeep.source.coded import CodedRows
from widedeep.table.parts import coded_part, part_heights
from widedeep.workers import Workers

_MOST_TOGETHER, _LEFT_PER_ITEM = 8, 8
"""Shards that a worker writes one after the other: so many at most, and fewer towards the end, when an item is this
part of what is left, so that all workers end together."""


@dataclass(frozen=True)
class _ShardTask:
    typed: Path
    split: str
    pieces: tuple[tuple[int, int, int], ...]
    """Part of the split, first row in it, number of rows."""
    path: Path
    plan_dir: Path
    plan_digest: str
    features: FeatureSettings
    late: float | None


@dataclass(frozen=True)
class _Counts:
    """What is counted of encoded train rows."""

    known: dict[str, int]
    values: dict[str, int]
    exposure: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]


@dataclass(frozen=True)
class _Written:
    shard: Shard
    dtypes: dict[str, str]
    counts: _Counts


def encode_by_parts(
    recipe: Recipe, typed: Path, rows: Mapping[str, int], out_dir: Path, reporter: Reporter, workers: Workers
) -> None:
    """Fit the plan on the train rows of the typed table and write all splits, with a report, into `out_dir`."""
    typed, out_dir = typed.resolve(), out_dir.resolve()  # workers may have another current directory
    counts_dir, rare = out_dir / "counts", RareCounts()
    with writing(counts_dir):
        counts_dir.mkdir()
    heights = {split: part_heights(typed, split) for split in rows}
    workers.prepare(fit_parts.__name__, len(heights["train"]))
    with ThreadPoolExecutor(1) as thread:
        # This process has nothing to do while workers count.
        found_late = thread.submit(late_instant, typed, TRAIN_ONLY, recipe.data.keep_negatives)
        plan = fit_parts.fit_plan_by_parts(
            recipe.features,
            recipe.crosses,
            typed,
            heights["train"],
            workers=workers,
            folder=counts_dir,
            reporter=reporter,
            rare=rare,
        )
        late = found_late.result()
    shutil.rmtree(counts_dir)
    plan.save(out_dir / "plan")
    rare.save(out_dir / "plan" / "rare")
    exposure = ExposureCounts(plan.vocabulary_fields, recipe.features, by_time=late is not None)
    known = KnownRows(plan.crosses)
    tasks = [
        _ShardTask(
            typed,
            split,
            pieces,
            out_dir / split / shard_name(number),
            out_dir / "plan",
            plan.digest,
            recipe.features,
            late if split == "train" else None,
        )
        for split in rows
        for number, pieces in enumerate(_ranges(heights[split], SHARD_ROWS))
    ]
    items = list(_items(tasks))
    shards: dict[Path, Shard] = {}
    dtypes: dict[str, str] = {}
    done = 0
    with syncing() as sync, reporter.work("encode", sum(rows.values()), "rows") as meter:
        for split in rows:
            with writing(out_dir):
                (out_dir / split).mkdir()
        for number, of_item in workers.map(_write_all, items):
            for task, written in zip(items[number], of_item, strict=True):
                shards[task.path], dtypes = written.shard, written.dtypes
                sync(task.path)
                if task.split == "train":
                    known.merge(written.counts.known, written.counts.values)
                    exposure.merge(written.counts.exposure)
                done += written.shard.rows
            meter.update(done)
    for split in rows:
        in_order = [shards[task.path] for task in tasks if task.split == split]
        _sweep(out_dir / split, in_order)
        write_manifest(out_dir / split, dtypes, in_order)
    write_encoding_report(out_dir, known, {"plan_digest": plan.digest}, exposure)


def _items(tasks: Sequence[_ShardTask]) -> Iterator[tuple[_ShardTask, ...]]:
    """What a worker is given at a time: neighbours, as it reads once what lies across their border."""
    start = 0
    while start < len(tasks):
        together = max(1, min(_MOST_TOGETHER, (len(tasks) - start) // _LEFT_PER_ITEM))
        yield tuple(tasks[start : start + together])
        start += together


def _ranges(heights: Sequence[int], rows: int) -> Iterator[tuple[tuple[int, int, int], ...]]:
    """Cut the rows of parts into ranges of `rows` rows, the last shorter: (part, first row, rows) of each piece."""
    pieces: list[tuple[int, int, int]] = []
    room = rows
    for part, height in enumerate(heights):
        start = 0
        while start < height:
            taken = min(room, height - start)
            pieces.append((part, start, taken))
            start, room = start + taken, room - taken
            if room == 0:
                yield tuple(pieces)
                pieces, room = [], rows
    if pieces:
        yield tuple(pieces)


def _sweep(folder: Path, shards: Sequence[Shard]) -> None:
    """Remove what workers that died have left beside whole shards, perhaps on another machine."""
    names = {shard.name for shard in shards}
    for entry in folder.iterdir():
        if entry.name not in names:
            shutil.rmtree(entry, ignore_errors=True)


# ------------------------------------------------------------------------------------------------- what a worker does


@lru_cache(maxsize=1)
def _plan(directory: Path, digest: str) -> FeaturePlan:
    """The plan with this digest, read once by each worker."""
    return FeaturePlan.load(directory)


@lru_cache(maxsize=1)
def _part(typed: Path, split: str, number: int) -> CodedRows:
    return coded_part(typed, split, number)


def _write_all(tasks: tuple[_ShardTask, ...]) -> list[_Written]:
    written = [_write(task) for task in tasks]
    _part.cache_clear()
    return written


def _write(task: _ShardTask) -> _Written:
    plan = _plan(task.plan_dir, task.plan_digest)
    known = KnownRows(plan.crosses)
    exposure = ExposureCounts(plan.vocabulary_fields, task.features, by_time=task.late is not None)
    frames: list[pl.DataFrame] = []
    for part, start, rows in task.pieces:
        of_part = _part(task.typed, task.split, part)
        for block in of_part.on_rows(of_part.frame.slice(start, rows)).slices(ENCODED_ROWS):
            frame, is_late = encoded_rows(plan, block, task.late)
            frames.append(frame)
            if task.split == "train":
                known.count(frame)
                exposure.add(frame, is_late)
    (frame,) = frames_of_shards(frames, SHARD_ROWS)
    frame = frame.select(sorted(frame.columns))
    with whole_file(task.path) as temporary:
        shard = write_shard(temporary, frame.rechunk())
    dtypes = {name: str(dtype) for name, dtype in frame.schema.items()}
    return _Written(replace(shard, name=task.path.name), dtypes, _Counts(known.known, known.values, exposure.sparse()))
