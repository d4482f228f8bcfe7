"""Fits the plan to train rows, block by block, with statistics that do not depend on the order of the rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from widedeep.features.crosses import cross_name
from widedeep.features.fields import FittedCategorical, FittedCross
from widedeep.features.fit_numbers import NumericFit
from widedeep.features.fit_vocabularies import CrossFit, VocabularyFits
from widedeep.features.plan import FeaturePlan
from widedeep.features.rare import RareCounts
from widedeep.features.vocabulary import SPILL_ENTRIES
from widedeep.ordered import in_threads, one_ahead
from widedeep.recipe.base import OURS
from widedeep.recipe.schema import CrossSettings, FeatureSettings
from widedeep.reporting import Reporter
from widedeep.source.coded import CodedRows

Blocks = Callable[[], Iterator[pl.DataFrame | CodedRows]]
"""Gives the typed rows, block by block; every call is another pass over them."""
BlocksOf = Callable[[Sequence[str]], Iterator[pl.DataFrame | CodedRows]]
"""The same with some columns alone, which is quicker."""


def fit_plan(
    features: FeatureSettings,
    crosses: Sequence[CrossSettings],
    blocks: Blocks,
    *,
    spill_dir: Path,
    reporter: Reporter,
    total_rows: int | None,
    rare: RareCounts | None = None,
    blocks_of: BlocksOf | None = None,
) -> FeaturePlan:
    """Fit fields in a first pass and crosses in a second, because crosses need the cut points of numeric fields.

    The second pass is left out if no cross has to count its values, and goes over `blocks_of` where that is given.
    `rare` is filled with the counts of values that get no index. Raises RecipeError if `buckets: auto` finds no number
    that is large enough.
    """

    def count_fields(numerics: Sequence[NumericFit], categoricals: VocabularyFits) -> None:
        for block in with_progress(blocks(), "fit fields", reporter, total_rows):
            tasks: list[Callable[[], None]] = [partial(numeric.add, block) for numeric in numerics]
            in_threads(run_task, [*tasks, *categoricals.additions(block)])

    def count_combinations(plan: FeaturePlan, fits: Sequence[CrossFit]) -> None:
        count_all_crosses(plan, fits, blocks, blocks_of, reporter, total_rows)

    rare = RareCounts() if rare is None else rare
    return fit_by_passes(features, crosses, count_fields, count_combinations, spill_dir, reporter, rare)


def fit_by_passes(
    features: FeatureSettings,
    crosses: Sequence[CrossSettings],
    count_fields: Callable[[Sequence[NumericFit], VocabularyFits], None],
    count_combinations: Callable[[FeaturePlan, Sequence[CrossFit]], None],
    spill_dir: Path,
    reporter: Reporter,
    rare: RareCounts,
) -> FeaturePlan:
    """`fit_plan` by two functions that show all rows to what is fitted: to fields, and then to crosses that count."""
    cut_by_crosses = {name for cross in crosses for name in cross.granularity}
    numerics = [NumericFit(field, cut_by_crosses) for field in features.all_numeric()]
    categoricals = VocabularyFits(features, spill_dir, rare)
    count_fields(numerics, categoricals)
    plan = FeaturePlan(tuple(fit.result() for fit in numerics), *categoricals.result(), ())
    fits_by_name = {numeric.name: numeric for numeric in numerics}
    taken = plan.members()
    cross_fits = []
    for cross in crosses:
        cuts = {name: fits_by_name[name].bucket_cuts(buckets) for name, buckets in sorted(cross.granularity.items())}
        name = cross_name(cross.fields)
        # A field may be called as the cross is: `color x shape`.
        name = f"{name}{OURS}" if name in taken else name
        cross_fits.append(CrossFit(name, cross, cuts, spill_dir, SPILL_ENTRIES // len(crosses), rare))
    if any(fit.counts is not None for fit in cross_fits):
        count_combinations(plan, cross_fits)
    plan = replace(plan, crosses=tuple(fit.result() for fit in cross_fits))
    _tell_empty_vocabularies(plan, features, crosses, reporter)
    return plan


def _tell_empty_vocabularies(
    plan: FeaturePlan, features: FeatureSettings, crosses: Sequence[CrossSettings], reporter: Reporter
) -> None:
    fitted: tuple[FittedCategorical | FittedCross, ...] = (*plan.vocabulary_fields, *plan.crosses)
    for entry, settings in zip(fitted, (*features.with_vocabulary(), *crosses), strict=True):
        if entry.buckets is None and entry.vocabulary.is_empty():
            name = " x ".join(entry.fields) if isinstance(entry, FittedCross) else entry.name
            reporter.warn(
                f"{name}: no value stands in {settings.min_count:,} train rows, its `min_count`, so that all count as "
                "unknown; take a smaller `min_count`, or take it out"
            )


def run_task(task: Callable[[], None]) -> None:
    """Call a task, for `in_threads`."""
    task()


def count_all_crosses(
    plan: FeaturePlan,
    fits: Sequence[CrossFit],
    blocks: Blocks,
    blocks_of: BlocksOf | None,
    reporter: Reporter,
    total_rows: int | None,
) -> None:
    """Count the combinations of all rows for every cross that has to count them; see `fit_plan`."""
    if counted := [fit.unfitted for fit in fits if fit.counts is not None]:
        rows = blocks() if blocks_of is None else blocks_of(plan.columns_of(counted))
        for block in with_progress(rows, "fit crosses", reporter, total_rows):
            count_crosses(plan, fits, block)


def count_crosses(plan: FeaturePlan, fits: Sequence[CrossFit], block: CodedRows) -> None:
    """Count the combinations of a block for every cross that has to count them."""
    counted = [fit for fit in fits if fit.counts is not None]
    without_lists = [fit for fit in counted if not plan.list_members(fit.unfitted)]
    cells = {fit: block.cells(plan.member_columns(fit.unfitted)) for fit in without_lists}
    by_rows = [fit.unfitted for fit in without_lists if cells[fit] is None]
    hashes = block.select(plan.member_hashes(by_rows)) if by_rows else pl.DataFrame()

    def count(fit: CrossFit) -> None:
        if (of_fit := cells.get(fit)) is not None:
            counts = np.bincount(of_fit.of_rows(), minlength=of_fit.count)
            held = np.flatnonzero(counts).astype(np.uint32)
            fit.add_counted(plan.hashes_of_cells(block, fit.unfitted, of_fit, held), counts[held])
        else:
            fit.add(hashes if fit in cells else plan.cross_rows(block.decoded().lazy(), fit.unfitted).collect())

    in_threads(count, counted)


def with_progress(
    blocks: Iterator[pl.DataFrame | CodedRows], title: str, reporter: Reporter, total_rows: int | None
) -> Iterator[CodedRows]:
    """The blocks as coded rows, with a line of progress that counts them."""
    done = 0
    with reporter.work(title, total_rows, "rows") as meter:
        for block in one_ahead(blocks):
            rows = CodedRows.of(block)
            yield rows
            done += rows.height
            meter.update(done)
