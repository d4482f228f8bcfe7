"""Labelled rows with a run's scores, held in memory: what a comparison of runs needs."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import DataError
from widedeep.evaluation.comparison import LabelledRows
from widedeep.evaluation.metrics import MetricAccumulator
from widedeep.evaluation.slices import SliceColumn
from widedeep.features.targets import GROUP_COLUMN, LABEL_COLUMN, WEIGHT_COLUMN, stored_targets
from widedeep.scoring.scored_blocks import ScoredBlock, scored_blocks
from widedeep.scoring.scorer import Scorer
from widedeep.scoring.tally import OddValues

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class ScoredRows:
    """All rows of a split or of files, with their targets and one run's scores."""

    targets: dict[str, NDArray[Any]]
    """Stored column (label, weight, group) → values [N]."""
    scores: Scores
    slices: tuple[SliceColumn, ...]
    missing: dict[str, int]
    unseen: dict[str, int]

    def rows(self, scorer: Scorer) -> LabelledRows:
        """What models are held against."""
        stored = self.targets
        return LabelledRows.of(
            scorer.recipe.data.label.kind, stored[LABEL_COLUMN], stored.get(WEIGHT_COLUMN), stored.get(GROUP_COLUMN)
        )

    def metrics(self, scorer: Scorer, scores: Scores) -> dict[str, float | None]:
        """All metrics of `scores` [N], this or another run's."""
        recipe, stored = scorer.recipe, self.targets
        grouped = GROUP_COLUMN in stored
        with MetricAccumulator(recipe.data.label.kind, cutoffs=recipe.evaluation.cutoffs, grouped=grouped) as metrics:
            metrics.add(stored[LABEL_COLUMN], scores, stored.get(WEIGHT_COLUMN), stored.get(GROUP_COLUMN))
            return metrics.result()


def score_labelled(scorer: Scorer, frames: Iterator[pl.DataFrame], slices: Mapping[str, str]) -> ScoredRows:
    """Score typed frames that hold the label; keep the values of `slices`, name → typed column. Raises DataError."""
    odd_values = OddValues()
    blocks = scored_blocks(scorer, ((frame, frame) for frame in frames), odd_values)
    return labelled_scores(blocks, odd_values, slices)


def labelled_scores(blocks: Generator[ScoredBlock], odd_values: OddValues, slices: Mapping[str, str]) -> ScoredRows:
    """The same of blocks that are scored, whose odd values are counted as they come."""
    targets: list[pl.DataFrame] = []
    sliced: list[pl.DataFrame] = []
    scores: list[Scores] = []
    with closing(blocks):
        for block in blocks:
            scores.append(block.scores)
            targets.append(stored_targets(block.typed))
            sliced.append(block.typed.select(pl.col(column).alias(name) for name, column in slices.items()))
    if not scores:
        raise DataError("there are no rows to compare on")
    stored, columns = pl.concat(targets), pl.concat(sliced)
    return ScoredRows(
        {column.name: column.to_numpy() for column in stored},
        np.concatenate(scores),
        tuple(_coded(columns[name]) for name in slices),
        odd_values.missing,
        odd_values.unseen,
    )


def score_only(scorer: Scorer, frames: Iterator[pl.DataFrame]) -> Scores:
    """Scores [N] of typed frames, which need hold no label."""
    with closing(scored_blocks(scorer, ((frame, frame) for frame in frames), OddValues())) as blocks:
        scores = [block.scores for block in blocks]
    return np.concatenate(scores) if scores else np.empty(0, dtype=np.float32)


def _coded(column: pl.Series) -> SliceColumn:
    values = column.unique().sort()
    text = [_number_text(value) if isinstance(value, float) else value for value in values.to_list()]
    codes = column.to_frame("value").join(
        values.to_frame("value").with_row_index("code"), on="value", how="left", nulls_equal=True, maintain_order="left"
    )
    return SliceColumn(column.name, codes["code"].to_numpy().astype(np.int64), text)


def _number_text(value: float) -> str:
    """Another text for every number: `3`, `0.5`, `1234567`."""
    return f"{value:.0f}" if value.is_integer() and abs(value) < 2**53 else repr(value)
