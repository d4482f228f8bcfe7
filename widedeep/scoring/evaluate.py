"""Metrics of a run: on new labelled files, or on typed rows of its own splits."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from widedeep.errors import DataError
from widedeep.evaluation.judgement import LabelTally
from widedeep.evaluation.metrics import MetricAccumulator
from widedeep.features.targets import GROUP_COLUMN, LABEL_COLUMN, WEIGHT_COLUMN, stored_targets
from widedeep.reporting import Reporter
from widedeep.scoring.rows import FRAME_NAME, InputRows
from widedeep.scoring.scored_blocks import ScoredBlock, scored_blocks
from widedeep.scoring.scorer import Scorer
from widedeep.scoring.tally import OddValues
from widedeep.source.paths import Frame, Source

if TYPE_CHECKING:
    from widedeep.scoring.by_workers import ScoringWorkers


@dataclass(frozen=True)
class EvalResult:
    """Metrics and what they were measured on."""

    metrics: dict[str, float | None]
    rows: int
    split: str | None
    """None for new rows."""
    missing: dict[str, int]
    unseen: dict[str, int]
    positives: float
    """See `LabelTally.positives`."""


def evaluate_rows(
    scorer: Scorer,
    inputs: Sequence[Source | Frame],
    reporter: Reporter,
    tables: Mapping[str, str],
    shared: "ScoringWorkers | None" = None,
) -> EvalResult:
    """Metrics over all rows of labelled files or frames; `tables` as in `InputRows`. With `shared`, workers score them.

    Raises DataError and ColumnError for the rows, also where there are none.
    """
    rows = InputRows(scorer, inputs, input_format=None, keep=(), labelled=True, tables=tables, reporter=reporter)
    if shared is not None:
        odd_values = OddValues()
        return measured(scorer, shared.blocks(rows, odd_values), odd_values, split=None)
    return evaluate_typed(scorer, (_some(typed) for _, typed in rows), split=None)


def _some(rows: pl.DataFrame) -> pl.DataFrame:
    if rows.is_empty():
        raise DataError(f"{FRAME_NAME}: has no rows to measure on")  # files without any are refused by their readers
    return rows


def evaluate_typed(scorer: Scorer, frames: Iterator[pl.DataFrame], *, split: str | None) -> EvalResult:
    """Metrics over typed frames that hold the label, and the weight where the recipe names one."""
    odd_values = OddValues()
    blocks = scored_blocks(scorer, ((frame, frame) for frame in frames), odd_values)
    return measured(scorer, blocks, odd_values, split=split)


def measured(scorer: Scorer, blocks: Generator[ScoredBlock], odd_values: OddValues, *, split: str | None) -> EvalResult:
    """Metrics over blocks whose typed columns are such, and whose odd values are counted as they come."""
    tally, num_rows, recipe = LabelTally(), 0, scorer.recipe
    grouped = recipe.data.group is not None
    with (
        MetricAccumulator(recipe.data.label.kind, cutoffs=recipe.evaluation.cutoffs, grouped=grouped) as metrics,
        closing(blocks),
    ):
        for block in blocks:
            targets = {column.name: column.to_numpy() for column in stored_targets(block.typed)}
            metrics.add(targets[LABEL_COLUMN], block.scores, targets.get(WEIGHT_COLUMN), targets.get(GROUP_COLUMN))
            tally.add(targets[LABEL_COLUMN], targets.get(WEIGHT_COLUMN))
            num_rows += len(block.scores)
        return EvalResult(metrics.result(), num_rows, split, odd_values.missing, odd_values.unseen, tally.positives)
