"""The stage of `widedeep crosses` that reports collisions of hashed fields and crosses. Training does not need it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from widedeep.errors import RecipeError
from widedeep.features.collisions import CollidedBucket, Collisions, HashTraffic
from widedeep.features.hashed_columns import HASH, HashedColumn, hashed_columns
from widedeep.features.inverse import Values, values_of_hashes
from widedeep.features.plan import FeaturePlan
from widedeep.features.vocabulary import SPILL_ENTRIES, ValueCounts
from widedeep.files import write_json
from widedeep.pipeline.keys import key_of
from widedeep.pipeline.stages import EncodingResult, encoding_stage, memory_stage
from widedeep.pipeline.workspace import Workspace, read_report
from widedeep.recipe.load import LoadedRecipe
from widedeep.recipe.schema import Recipe
from widedeep.reporting import Reporter
from widedeep.table.parts import typed_blocks
from widedeep.workers import Workers

COLLISIONS_FORMAT = 2
"""Raised when the report changes for equal inputs, so that no older cache is read."""

Report = list[dict[str, Any]]
"""One object per hashed field (or shared vocabulary) and hashed cross, as `widedeep crosses --json` shows it."""


def build_crosses_and_report(
    loaded: LoadedRecipe, work_dir: Path, reporter: Reporter, *, wait: bool = False, workers: str | None = None
) -> tuple[EncodingResult, Report]:
    """Fit the plan, encode all splits and report on collisions, as far as that is not done already.

    `workers` says which processes share the work, see `open_workers`; the bytes are the same. They also fit the values
    that crosses remember, which `train` fits otherwise.

    In the result, each cross has its observed `collisions` (None if it has a vocabulary) and, hashed or not, the number
    of its `distinct` combinations.
    """
    workspace = Workspace(work_dir)
    with workspace.shared(reporter, wait=wait), workspace.workers(workers) as opened:
        encoded = encoding_stage(loaded, workspace, reporter, workers=opened)
        report = collisions_stage(loaded.recipe, encoded, workspace, reporter)
        if opened is not None:
            _fit_memory(loaded, encoded, workspace, reporter, opened)
    entries = {tuple(entry["columns"]): entry for entry in report if entry["kind"] == "cross"}
    for cross in encoded.crosses:
        entry = entries.get(tuple(cross["columns"]))
        cross["collisions"] = None if entry is None else entry["observed_collisions"]
        if entry is not None:
            cross["distinct"] = entry["distinct"]
    return encoded, report


def _fit_memory(
    loaded: LoadedRecipe, encoded: EncodingResult, workspace: Workspace, reporter: Reporter, workers: Workers
) -> None:
    try:
        memory_stage(loaded, encoded, workspace, reporter, workers=workers)
    except RecipeError as error:  # the report may be wanted just for this
        reporter.warn(f"the values of the crosses are not fitted, and `train` would refuse them: {error}")


def collisions_stage(recipe: Recipe, encoded: EncodingResult, workspace: Workspace, reporter: Reporter) -> Report:
    """The report on a finished plan, for a caller within `Workspace.shared`; empty if nothing is hashed."""
    features = recipe.features
    buckets = [field.buckets for field in features.with_vocabulary()]
    buckets += [cross.buckets for cross in recipe.crosses]
    if all(number is None for number in buckets):
        return []
    key = key_of({"format": COLLISIONS_FORMAT, "encoded": encoded.key})
    path = workspace.stage_path("collisions", key)
    with workspace.missing("collisions", key) as temporary:
        if temporary is not None:
            spill_dir = temporary / "spill"
            spill_dir.mkdir()
            report = _report(FeaturePlan.load(encoded.path / "plan"), encoded, spill_dir, reporter)
            shutil.rmtree(spill_dir)
            write_json(temporary / "report.json", {"collisions": report})
    facts: dict[str, Any] = read_report(path)
    entries: Report = facts["collisions"]
    return entries


def _report(plan: FeaturePlan, encoded: EncodingResult, spill_dir: Path, reporter: Reporter) -> Report:
    def blocks(title: str) -> Iterator[pl.DataFrame]:
        done = 0
        with reporter.work(title, encoded.ingested.rows["train"], "rows") as meter:
            for block in typed_blocks(encoded.ingested.path, "train"):
                yield block
                done += len(block)
                meter.update(done)

    columns = hashed_columns(plan)
    share = SPILL_ENTRIES // len(columns)
    counts = {column: ValueCounts(pl.UInt64(), spill_dir, spill_entries=share) for column in columns}
    for block in blocks("count hashes"):
        for column in columns:
            counts[column].add(column.values(plan, block).select(HASH).collect()[HASH])
    results: dict[HashedColumn, tuple[Collisions, int | None]] = {}
    with reporter.work("collisions", len(columns), "columns") as meter:
        for column in columns:
            traffic = HashTraffic(counts[column])
            results[column] = traffic.collisions(column.buckets), traffic.enough_buckets()
            counts[column].clear()
            meter.update(len(results))
    wanted = {
        column: {value for bucket in collisions.worst for value, _ in bucket.top}
        for column, (collisions, _) in results.items()
    }
    values = values_of_hashes(plan, wanted, blocks("look up values"))
    return [_entry(column, *results[column], values[column]) for column in columns]


def _entry(
    column: HashedColumn, collisions: Collisions, enough_buckets: int | None, values: dict[int, Values]
) -> dict[str, Any]:
    def as_object(bucket: CollidedBucket) -> dict[str, Any]:
        top = [_value_object(column, values[value]) | {"count": rows} for value, rows in bucket.top]
        share = bucket.rows / collisions.rows
        return {"bucket": bucket.bucket, "share": share, "distinct": bucket.num_values, "values": top}

    return {
        "name": column.name,
        "columns": list(column.fields),
        "kind": column.kind,
        "buckets": column.buckets,
        "distinct": collisions.distinct,
        "load": collisions.load,
        "expected_collisions": collisions.expected,
        "observed_collisions": collisions.observed,
        "collided_traffic": collisions.traffic,
        "buckets_for_limit": enough_buckets,
        "worst": [as_object(bucket) for bucket in collisions.worst],
    }


def _value_object(column: HashedColumn, members: Values) -> dict[str, Any]:
    return {"members": members} if column.kind == "cross" else {"value": members[column.fields[0]]}
