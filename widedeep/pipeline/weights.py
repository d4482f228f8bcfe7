"""A run's strongest wide weights: finds its train rows, encoded or typed, and counts them by index. No torch."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import polars as pl

from widedeep.encoded.store import EncodedStore
from widedeep.encoded.support import EncodedBlock, Support, encoded_blocks, stored_blocks
from widedeep.features.plan import FeaturePlan
from widedeep.pipeline.past_runs import finished_stage, typed_table
from widedeep.recipe.load import load_run_recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory, trained_splits
from widedeep.scoring.weights import WeightsResult, strongest_weights, wide_weights
from widedeep.table.trained_rows import trained_blocks
from widedeep.table.typed_columns import LABEL


def strongest_weights_of(
    run: RunDirectory, work_dir: Path, reporter: Reporter, *, top: int, min_support: int | None, wait: bool = False
) -> WeightsResult:
    """The strongest wide weights of a finished run, with the train rows that hold each value.

    Encoded or typed train rows are searched in `work_dir` and in the run's own work directory. If both are gone, the
    recipe's files are read again. Raises ArtefactError for the run, UsageError if it has no wide part, DataError and
    ColumnError for the files.
    """
    with run.telling_removal():
        manifest = run.require_done()
        run.check_scoring(manifest)
        recipe = load_run_recipe(run, manifest).recipe
        plan = FeaturePlan.load(run.plan_dir)
        weights = wide_weights(run, plan)
    trained_on = trained_splits(manifest)

    @cache
    def typed_dir() -> Path:
        return typed_table(run, recipe, work_dir, reporter, wait=wait)

    def typed(columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        blocks = trained_blocks(typed_dir(), trained_on, recipe.data.keep_negatives, columns=columns)
        return (block.decoded() for block in blocks)

    def encoded() -> Iterator[EncodedBlock]:
        stage = finished_stage(run, "encoded", work_dir)
        if stage is not None:
            return stored_blocks(EncodedStore.open(stage / "train"), plan.index_columns)
        return encoded_blocks(plan, plan.index_columns, typed([*plan.required_columns(), LABEL]))

    support = Support(plan.index_columns, encoded())
    return strongest_weights(recipe, plan, weights, support, typed, top=top, min_support=min_support)
