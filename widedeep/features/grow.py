"""Grows a fitted plan by new rows: old values keep their indices, new ones come after them, all else stays as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.features.exposure import Exposure
from widedeep.features.fields import MISSING, UNKNOWN, FittedCategorical
from widedeep.features.fit import Blocks, CrossFit, VocabularyFits, count_crosses, run_task, with_progress
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
) -> FeaturePlan:
    """The plan `old`, of the same features and crosses, with the vocabularies of its fields and crosses grown.

    Counts of the new rows are added to those of `old` and to `rare`, which holds the counts of values without an index
    and is brought up to date. Values that are then counted often enough follow the old ones, by (-count, value).
    Scalings, cut points, hash seeds and numbers of buckets stay. `widths` are the widths of embeddings (field → width),
    which else would follow the cardinality.
    """
    categoricals = VocabularyFits(features, spill_dir, rare, old)
    if categoricals.counts:
        for block in with_progress(blocks(), "fit fields", reporter, total_rows):
            in_threads(run_task, categoricals.additions(block))
    fields, lists = categoricals.result()
    plan = replace(old, categoricals=_of_widths(fields, widths), multi_valued=_of_widths(lists, widths))
    fits = [
        CrossFit(known.name, cross, {}, spill_dir, SPILL_ENTRIES // len(crosses), rare, known)
        for cross, known in zip(crosses, old.crosses, strict=True)
    ]
    if any(fit.counts is not None for fit in fits):
        for block in with_progress(blocks(), "fit crosses", reporter, total_rows):
            count_crosses(plan, fits, block)
    return replace(plan, crosses=tuple(fit.result() for fit in fits))


def _of_widths(fields: tuple[_Field, ...], widths: Mapping[str, int]) -> tuple[_Field, ...]:
    return tuple(replace(field, embedding_dim=widths.get(field.name, field.embedding_dim)) for field in fields)


class GrowthExposure:
    """Counts how many values of new train rows the plan that was grown did not know: as many may be new the next time.

    It stands in for `ExposureCounts`, which would take old values for new ones, as it has not seen the old rows.
    """

    def __init__(self, plan: FeaturePlan, old: FeaturePlan) -> None:
        self._known = {field.name: field.size for field in old.vocabulary_fields if field.buckets is None}
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
