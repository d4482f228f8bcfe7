"""The stages between ingest and training: typed table → plan and encoded store (encoded) → values of crosses
(memory)."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.artefacts import telling_stage
from widedeep.encoded.folds import row_folds
from widedeep.encoded.store import STORE_FORMAT, EncodedStore, write_stores
from widedeep.errors import Fault, RecipeError
from widedeep.features.crosses import cross_members
from widedeep.features.exposure import Exposure, ExposureCounts, late_from
from widedeep.features.fields import FIRST, FittedCross
from widedeep.features.fit import fit_plan
from widedeep.features.grow import GrowthExposure, dropped_values, grow_plan, kept_indices
from widedeep.features.plan import FeaturePlan
from widedeep.features.rare import RareCounts
from widedeep.features.targets import stored_targets
from widedeep.files import write_json
from widedeep.ordered import map_in_order
from widedeep.pipeline.growth import GrowsFrom
from widedeep.pipeline.ingest_stage import IngestResult, ingest_stage
from widedeep.pipeline.keys import key_of
from widedeep.pipeline.workspace import Workspace, read_report
from widedeep.recipe.load import LoadedRecipe
from widedeep.recipe.schema import Recipe
from widedeep.reporting import Reporter
from widedeep.runs import TRAIN_ONLY
from widedeep.source.coded import CodedRows
from widedeep.source.forms import Forms
from widedeep.table.parts import coded_blocks, forms_of, typed_names
from widedeep.table.trained_rows import trained_blocks
from widedeep.table.typed_columns import TIME
from widedeep.workers import Workers
from widedeep.workers.shelf import on_shelf

ENCODING_FORMAT = 5
"""Raised when the fitted plan, the encoding or the report on them changes for equal inputs, as `INGEST_FORMAT` is."""
MEMORY_FORMAT = 5
"""Raised likewise when the values that crosses remember change."""
ENCODED_ROWS = 1 << 16
"""Rows that a thread encodes at a time."""
MOST_MEMORY, BYTES_PER_VALUE = 8 * 2**30, 5
"""Bytes that the values of all crosses may take, and bytes of one value with its support."""


@dataclass(frozen=True)
class EncodingResult:
    """A finished encoded store with its plan."""

    path: Path
    key: str
    cached: bool
    crosses: list[dict[str, Any]]
    exposures: dict[str, Exposure]
    """Field with a vocabulary → how often serving is expected to meet unknown values of it."""
    ingested: IngestResult
    splits: tuple[str, ...]
    """The splits that have a store."""
    dropped: dict[str, int] | None
    """Field or cross → values that were dropped; None unless the plan grew by a recipe with `training.evict`."""

    def checked_plan(self) -> FeaturePlan:
        """The plan. Raises ArtefactError for a damaged one: a run would take it over, and so would the next one."""
        with telling_stage():
            RareCounts.load(self.path / "plan" / "rare")
            return FeaturePlan.load(self.path / "plan")


@dataclass(frozen=True)
class MemoryResult:
    """The values that crosses remember, in two files."""

    key: str
    memory: Path
    """A CrossMemory: the values that new rows are scored with."""
    folds: Path
    """A FoldMemory: the values that train rows are trained with."""
    sums: Path
    """A MemorySums: what a run that goes on from this one counts on."""

    def check(self, plan: FeaturePlan) -> None:
        """Raise ArtefactError for damaged values or sums, as `EncodingResult.checked_plan` does."""
        # Not at the top: Numba takes as long to import as Polars.
        from widedeep.memory.cross_memory import CrossMemory
        from widedeep.memory.sums import MemorySums

        with telling_stage():
            CrossMemory.load(self.memory)
            MemorySums.load(self.sums, plan)


def build_crosses(loaded: LoadedRecipe, work_dir: Path, reporter: Reporter, *, wait: bool = False) -> EncodingResult:
    """Fit the plan on train rows and write all splits as indices and numbers, unless that is done already."""
    workspace = Workspace(work_dir)
    with workspace.shared(reporter, wait=wait):
        return encoding_stage(loaded, workspace, reporter)


def encoding_stage(
    loaded: LoadedRecipe,
    workspace: Workspace,
    reporter: Reporter,
    trained_on: Sequence[str] = TRAIN_ONLY,
    grows_from: GrowsFrom | None = None,
    workers: Workers | None = None,
) -> EncodingResult:
    """`build_crosses`, for a caller within `Workspace.shared`; ingests first if that is not done.

    The rows of all splits in `trained_on` are train rows: the plan is fitted on them, and the store `train` holds them.
    With `grows_from`, they make its plan grow. Workers, if there are any, fit and encode the train split's own rows;
    the bytes are the same.
    """
    ingested = ingest_stage(loaded, workspace, reporter, workers)
    recipe = loaded.recipe
    evict = recipe.training.evict
    key = key_of(
        {
            "format": [ENCODING_FORMAT, STORE_FORMAT],
            "ingest": ingested.key,
            "features": recipe.features.model_dump(mode="json"),
            "crosses": [cross.model_dump(mode="json", exclude={"promised"}) for cross in recipe.crosses],
            **({} if tuple(trained_on) == TRAIN_ONLY else {"trained_on": list(trained_on)}),
            **({} if grows_from is None else {"grows_from": grows_from.key}),
            **({} if grows_from is None or evict is None else {"evict": evict.unseen_runs}),
        }
    )
    path = workspace.stage_path("encoded", key)
    with workspace.missing("encoded", key) as temporary:
        cached = temporary is None
        if temporary is None:
            pass
        elif workers is None:
            _encode(loaded, ingested, temporary, reporter, trained_on, grows_from)
        else:
            assert tuple(trained_on) == TRAIN_ONLY
            assert grows_from is None
            from widedeep.pipeline.encoding_parts import encode_by_parts  # only here: few encode so

            encode_by_parts(loaded.recipe, ingested.path, ingested.rows, temporary, reporter, workers)
    facts: dict[str, Any] = read_report(path)
    exposures = {name: Exposure(**shares) for name, shares in facts["unknown_values"].items()}
    splits = _stored_splits(ingested, trained_on)
    return EncodingResult(path, key, cached, facts["crosses"], exposures, ingested, splits, facts.get("dropped"))


def _stored_splits(ingested: IngestResult, trained_on: Sequence[str]) -> tuple[str, ...]:
    return ("train", *(split for split in ingested.rows if split not in trained_on))


def memory_stage(
    loaded: LoadedRecipe,
    encoded: EncodingResult,
    workspace: Workspace,
    reporter: Reporter,
    grows_from: GrowsFrom | None = None,
    workers: Workers | None = None,
) -> MemoryResult | None:
    """Fit the values that crosses remember, unless that is done already; None if no cross is fitted out of fold.

    With `grows_from`, from which `encoded` was made, they are counted on from its sums. Workers, if there are any, fit
    the models without a fold; the bytes are the same.
    """
    recipe = loaded.recipe
    if not recipe.crosses or recipe.model.wide.crosses != "out_of_fold":
        return None
    settings = recipe.model.wide
    half_life = {} if grows_from is None else {"half_life": settings.memory_half_life}
    key = key_of({"format": MEMORY_FORMAT, "encoded": encoded.key, "folds": settings.folds, **half_life})
    path = workspace.stage_path("memory", key)
    with workspace.missing("memory", key) as temporary:
        if temporary is not None:
            _remember(recipe, encoded, temporary, reporter, grows_from, workers)
    return MemoryResult(key, *(path / f"{name}.safetensors" for name in ("memory", "folds", "sums")))


def _remember(
    recipe: Recipe,
    encoded: EncodingResult,
    out_dir: Path,
    reporter: Reporter,
    grows_from: GrowsFrom | None,
    workers: Workers | None,
) -> None:
    # Not at the top: Numba takes as long to import as Polars.
    from widedeep.memory import from_store, remember
    from widedeep.memory.sums import MemorySums

    plan = FeaturePlan.load(encoded.path / "plan")
    _refuse_endless_memory(plan, recipe.model.wide.folds)
    store = EncodedStore.open(encoded.path / "train")
    least = {cross_members(cross.fields): 1 if cross.buckets else cross.min_count for cross in recipe.crosses}
    stored = None if grows_from is None else MemorySums.load(grows_from.sums, grows_from.plan)
    with reporter.work("columns of crosses", None, "rows"):
        cuts = from_store.numeric_cuts(store, plan.numeric_columns) if stored is None else stored.cuts
        main = from_store.main_columns(store, plan.index_columns, plan.numeric_columns, cuts)
        crosses = [from_store.cross_column(store, column) for column in plan.cross_columns]
    if grows_from is not None and stored is not None:
        half_life = recipe.model.wide.memory_half_life
        stored = stored.without_dropped(kept_indices(grows_from.plan, plan), grows_from.plan)
        stored = stored.faded(1.0 if half_life is None else 0.5 ** (1.0 / half_life))
        stored = stored.grown([c.size for c in (*main, *crosses)], [cross.size for cross in crosses])
    with on_shelf(workers, out_dir) as shelf:
        memory, folds, sums = remember.remember(
            main,
            crosses,
            [least[column.fields] for column in plan.cross_columns],
            from_store.target(store, recipe.data.label.kind),
            row_folds(0, store.rows, recipe.model.wide.folds),
            reporter,
            stored,
            cuts,
            shelf,
        )
    memory.save(out_dir / "memory.safetensors")
    folds.save(out_dir / "folds.safetensors")
    sums.save(out_dir / "sums.safetensors")


def _refuse_endless_memory(plan: FeaturePlan, folds: int) -> None:
    sizes = {column.name: column.size for column in plan.cross_columns}
    needed = sum(sizes.values()) * folds * BYTES_PER_VALUE
    if needed > MOST_MEMORY:
        largest = max(sizes, key=lambda name: sizes[name])
        message = (
            f"with {folds} folds their values take {needed / 2**30:.0f} GiB, and {MOST_MEMORY / 2**30:.0f} GiB is the "
            f"most; the largest is {largest} with {sizes[largest]:,} values: give it fewer `buckets` or a larger "
            "`min_count`, or set `model.wide.crosses: gradient`"
        )
        raise RecipeError([Fault("crosses", message)])


def _encode(
    loaded: LoadedRecipe,
    ingested: IngestResult,
    out_dir: Path,
    reporter: Reporter,
    trained_on: Sequence[str],
    grows_from: GrowsFrom | None,
) -> None:
    recipe = loaded.recipe
    spill_dir = out_dir / "spill"
    spill_dir.mkdir()
    keep_negatives = recipe.data.keep_negatives
    forms = forms_of(ingested.path) if grows_from is None else grows_from.forms
    rare = RareCounts() if grows_from is None else grows_from.rare()
    fit = fit_plan
    if grows_from is not None:
        evict = None if recipe.training.evict is None else recipe.training.evict.unseen_runs
        fit = partial(grow_plan, grows_from.plan, widths=grows_from.widths, evict=evict)
    plan = fit(
        recipe.features,
        recipe.crosses,
        lambda: trained_blocks(ingested.path, trained_on, keep_negatives, forms=forms),
        spill_dir=spill_dir,
        reporter=reporter,
        total_rows=sum(ingested.rows[split] for split in trained_on),
        rare=rare,
        blocks_of=lambda columns: trained_blocks(
            ingested.path, trained_on, keep_negatives, columns=columns, forms=forms
        ),
    )
    for leftover in spill_dir.iterdir():
        os.remove(leftover)
    spill_dir.rmdir()
    with ThreadPoolExecutor(1) as saving_thread:
        saved = saving_thread.submit(_save, plan, rare, out_dir / "plan")
        known, exposure, dropped = _encode_splits(
            recipe, plan, forms, ingested, out_dir, reporter, trained_on, grows_from
        )
        saved.result()
    write_encoding_report(out_dir, known, {"plan_digest": plan.digest, **dropped}, exposure)


def _save(plan: FeaturePlan, rare: RareCounts, directory: Path) -> None:
    plan.save(directory)
    rare.save(directory / "rare")


def _encode_splits(
    recipe: Recipe,
    plan: FeaturePlan,
    forms: Forms,
    ingested: IngestResult,
    out_dir: Path,
    reporter: Reporter,
    trained_on: Sequence[str],
    grows_from: GrowsFrom | None,
) -> "tuple[KnownRows, ExposureCounts | GrowthExposure, dict[str, Any]]":
    """Write the stores; what was counted of train rows, and what is to be reported of values that were dropped."""
    keep_negatives = recipe.data.keep_negatives
    known, late = KnownRows(plan.crosses), None
    exposure: ExposureCounts | GrowthExposure
    dropped: dict[str, Any] = {}
    if grows_from is None:
        late = late_instant(ingested.path, trained_on, keep_negatives)
        exposure = ExposureCounts(plan.vocabulary_fields, recipe.features, by_time=late is not None)
    else:
        kept = kept_indices(grows_from.plan, plan)
        exposure = GrowthExposure(plan, grows_from.plan, kept)
        if recipe.training.evict is not None:
            dropped["dropped"] = dropped_values(grows_from.plan, kept)
    total = sum(ingested.rows.values())
    done = 0

    def encoded(block: CodedRows) -> tuple[pl.DataFrame, NDArray[np.bool_] | None]:
        return encoded_rows(plan, block, late)

    with reporter.work("encode", total, "rows") as meter:

        def frames(split: str) -> Iterator[pl.DataFrame]:
            nonlocal done
            if split == "train":
                blocks = trained_blocks(ingested.path, trained_on, keep_negatives, ENCODED_ROWS, forms=forms)
            else:
                blocks = coded_blocks(ingested.path, split, ENCODED_ROWS, forms=forms)
            for block, is_late in map_in_order(encoded, blocks):
                if split == "train":
                    known.count(block)
                    exposure.add(block, is_late)
                done += len(block)
                meter.update(done)
                yield block

        write_stores((out_dir / split, frames(split)) for split in _stored_splits(ingested, trained_on))
    return known, exposure, dropped


def write_encoding_report(
    out_dir: Path, known: "KnownRows", facts: dict[str, Any], exposure: ExposureCounts | GrowthExposure
) -> None:
    """Write the report of a plan and its store: `facts` and what was counted of the encoded train rows."""
    unknown_values = {name: shares.to_json() for name, shares in exposure.result().items()}
    write_json(out_dir / "report.json", {"crosses": known.report(), **facts, "unknown_values": unknown_values})


def late_instant(typed: Path, trained_on: Sequence[str], keep_negatives: float) -> float | None:
    """The instant from which on train rows are late (see `late_from`); None if they have no time, or a single one."""
    if not all(TIME in typed_names(typed, split) for split in trained_on):
        return None

    def times() -> Iterator[NDArray[np.float64]]:
        blocks = trained_blocks(typed, trained_on, keep_negatives, columns=[TIME])
        return (block.column(TIME).to_numpy() for block in blocks)

    return late_from(times)


def encoded_rows(
    plan: FeaturePlan, block: CodedRows, late: float | None
) -> tuple[pl.DataFrame, NDArray[np.bool_] | None]:
    """Typed rows as a store holds them, and which of them are late; None if no instant is known."""
    is_late = None if late is None else block.column(TIME).to_numpy() >= late
    return plan.encode(block).hstack(stored_targets(block)), is_late


class KnownRows:
    """Counts for each cross the train rows (with lists: the combinations in rows) that have a weight of their own."""

    def __init__(self, crosses: Sequence[FittedCross]) -> None:
        self.crosses = crosses
        self.known = dict.fromkeys((cross.name for cross in self.crosses), 0)
        self.values = dict(self.known)

    def count(self, encoded: pl.DataFrame) -> None:
        for name in self.known:
            indices = encoded[name]
            known = indices.explode() >= FIRST if indices.dtype == pl.List else indices >= FIRST
            self.known[name] += int(known.sum())
            self.values[name] += len(known)

    def merge(self, known: Mapping[str, int], values: Mapping[str, int]) -> None:
        """Add what others have counted of other rows."""
        for name in self.known:
            self.known[name] += known[name]
            self.values[name] += values[name]

    def report(self) -> list[dict[str, Any]]:
        """What the stage's report says of each cross."""
        return [
            {
                "columns": list(cross.fields),
                "distinct": cross.distinct,
                "buckets": cross.size - FIRST,
                "known_rows": self.known[cross.name] / self.values[cross.name] if self.values[cross.name] else None,
            }
            for cross in self.crosses
        ]
