"""Grows a fitted plan by new rows: old values keep their order, new ones come after them, all else stays as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.features.exposure import Exposure
from widedeep.features.fields import FIRST, MISSING, UNKNOWN, FittedCategorical, FittedCross
from widedeep.features.fit import Blocks, BlocksOf, count_all_crosses, run_task, with_progress
from widedeep.features.fit_vocabularies import CrossFit, VocabularyFits
from widedeep.features.plan import FeaturePlan
from widedeep.features.rare import RareCounts
from widedeep.features.vocabulary import SPILL_ENTRIES
from widedeep.ordered import in_threads
from widedeep.recipe.schema import CrossSettings, FeatureSettings
from widedeep.reporting import Reporter

_Field = TypeVar("_Field", bound=FittedCategorical)


def grow_plan(
    old: FeaturePlan,
    features: FeatureSettings,
    crosses: Sequence[CrossSettings],
    blocks: Blocks,
    *,
    widths: Mapping[str, int],
    spill_dir: Path,
    reporter: Reporter,
    total_rows: int | None,
    rare: RareCounts,
    evict: int | None = None,
    blocks_of: BlocksOf | None = None,
) -> FeaturePlan:
    """The plan `old`, of the same features and crosses, with the vocabularies of its fields and crosses grown.

    Counts of the new rows are added to those of `old` and to `rare`, which holds the counts of values without an index
    and is brought up to date. Values that are then counted often enough follow the old ones, by (-count, value).
    Scalings, cut points, hash seeds and numbers of buckets stay. `widths` are the widths of embeddings (field → width),
    which else would follow the cardinality. A value that `evict` runs in a row have not seen is dropped with its count.
    """
    categoricals = VocabularyFits(features, spill_dir, rare, old, evict)
    if categoricals.counts:
        for block in with_progress(blocks(), "fit fields", reporter, total_rows):
            in_threads(run_task, categoricals.additions(block))
    fields, lists = categoricals.result()
    plan = replace(old, categoricals=_of_widths(fields, widths), multi_valued=_of_widths(lists, widths))
    fits = [
        CrossFit(known.name, cross, {}, spill_dir, SPILL_ENTRIES // len(crosses), rare, known, evict)
        for cross, known in zip(crosses, old.crosses, strict=True)
    ]
    count_all_crosses(plan, fits, blocks, blocks_of, reporter, total_rows)
    return replace(plan, crosses=tuple(fit.result() for fit in fits))


def _of_widths(fields: tuple[_Field, ...], widths: Mapping[str, int]) -> tuple[_Field, ...]:
    return tuple(replace(field, embedding_dim=widths.get(field.name, field.embedding_dim)) for field in fields)


def kept_indices(old: FeaturePlan, new: FeaturePlan) -> dict[str, NDArray[np.int64]]:
    """Column of indices → the indices in `old` that `new`, grown from it, kept: ascending, and 0, 1, 2, … in `new`.

    Only the columns of which some value was dropped; all others begin as they were.
    """
    pairs: list[tuple[FittedCategorical | FittedCross, FittedCategorical | FittedCross]] = [
        *zip(old.vocabulary_fields, new.vocabulary_fields, strict=True),
        *zip(old.crosses, new.crosses, strict=True),
    ]
    kept = {}
    for before, after in pairs:
        values, now = before.vocabulary["value"], after.vocabulary["value"]
        if now.head(len(values)).equals(values):
            continue
        ranks = values.to_frame().with_row_index().join(now.to_frame(), on="value", how="semi", maintain_order="left")
        kept[before.name] = np.concatenate([np.arange(FIRST), ranks["index"].to_numpy().astype(np.int64) + FIRST])
    return kept


def dropped_values(old: FeaturePlan, kept: Mapping[str, NDArray[np.int64]]) -> dict[str, int]:
    """Field or cross → how many of its values were dropped, by `kept_indices`, where any were.

    Fields that share a vocabulary drop the same values: they stand under the name of the first one.
    """
    sizes: dict[str, int] = {cross.name: cross.size for cross in old.crosses}
    shared = set()
    for field in old.vocabulary_fields:
        if field.shared is None or field.shared not in shared:
            sizes[field.name] = field.size
        shared.add(field.shared)
    return {name: size - len(kept[name]) for name, size in sizes.items() if name in kept}


class GrowthExposure:
    """Counts how many values of new train rows the plan that was grown did not know: as many may be new the next time.

    It stands in for `ExposureCounts`, which would take old values for new ones, as it has not seen the old rows.
    """

    def __init__(self, plan: FeaturePlan, old: FeaturePlan, kept: Mapping[str, NDArray[np.int64]]) -> None:
        """`kept` is that of `kept_indices`."""
        self._known = {
            field.name: len(kept[field.name]) if field.name in kept else field.size
            for field in old.vocabulary_fields
            if field.buckets is None
        }
        self._counts = {field.name: np.zeros(4, dtype=np.int64) for field in plan.vocabulary_fields}

    def add(self, encoded: pl.DataFrame, late: NDArray[np.bool_] | None) -> None:
        """Count encoded train rows; whether they are `late` does not matter here."""
        for name, known in self._known.items():
            indices = encoded[name].explode() if encoded[name].dtype == pl.List else encoded[name]
            values = indices.to_numpy()
            unknown = values == UNKNOWN
            parts = [values == MISSING, unknown, unknown | (values >= known), np.ones_like(unknown)]
            self._counts[name] += np.array([int(part.sum()) for part in parts])

    def result(self) -> dict[str, Exposure]:
        """Field → its exposure."""
        exposures = {}
        for name in self._known:
            missing, unknown, new, total = (int(count) for count in self._counts[name])
            of = max(total, 1)
            exposures[name] = Exposure(missing / of, unknown / of, new / of, by="time")
        return exposures
