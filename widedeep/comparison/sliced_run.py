"""The figures of one run at each value of chosen columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from widedeep.comparison.slice_columns import slice_columns
from widedeep.evaluation.by_value import ValueFigures, figures_by_value
from widedeep.evaluation.judgement import LabelTally, judge_split
from widedeep.features.targets import LABEL_COLUMN, WEIGHT_COLUMN
from widedeep.pipeline.evaluate import measuring_workers
from widedeep.pipeline.past_runs import chosen_split, rows_to_score, typed_table
from widedeep.reporting import Reporter
from widedeep.scoring.evaluate import EvalResult
from widedeep.scoring.labelled import labelled_scores, score_labelled
from widedeep.scoring.rows import InputRows
from widedeep.scoring.scorer import Scorer
from widedeep.scoring.tally import OddValues
from widedeep.source.paths import Source

if TYPE_CHECKING:
    from pathlib import Path

    from widedeep.runs import RunDirectory


@dataclass(frozen=True)
class SlicedResult:
    """A run measured on all rows together, and at each value of columns."""

    whole: EvalResult
    slices: dict[str, list[ValueFigures]]
    """Column → its values, those with most rows first."""
    grouped: bool
    """Whether errors are those of groups of rows."""


def evaluate_slices(
    run: "RunDirectory",
    scorer: Scorer,
    files: Sequence[Source],
    columns: Sequence[str],
    *,
    split: str | None,
    work_dir: "Path",
    reporter: Reporter,
    tables: Mapping[str, str] = MappingProxyType({}),
    wait: bool = False,
    workers: str | None = None,
) -> SlicedResult:
    """Measure a finished run, loaded as `scorer`, on labelled files or a split, as `evaluate_run`; all rows are held in
    memory. Raises UsageError for a column that the recipe does not read as single values, else what that raises.
    """
    recipe = scorer.recipe
    names = slice_columns(recipe, scorer.plan, columns)
    odd_values, chosen = OddValues(), None
    with measuring_workers(
        workers, work_dir, run, reporter, files, tables=tables, sliced=list(names.values())
    ) as shared:
        if files:
            rows = InputRows(scorer, files, input_format=None, keep=(), labelled=True, tables=tables, reporter=reporter)
            if shared is not None:
                scored = labelled_scores(shared.blocks(rows, odd_values), odd_values, names)
            else:
                scored = score_labelled(scorer, (typed for _, typed in rows), names)
        else:
            typed_dir = typed_table(run, recipe, work_dir, reporter, wait=wait)
            chosen = chosen_split(typed_dir, split, run)
            if shared is not None:
                scored = labelled_scores(shared.split_blocks(typed_dir, chosen, odd_values), odd_values, names)
            else:
                scored = score_labelled(scorer, rows_to_score(scorer, typed_dir, chosen), names)
    metrics, labelled, tally = scored.metrics(scorer, scored.scores), scored.rows(scorer), LabelTally()
    tally.add(scored.targets[LABEL_COLUMN], scored.targets.get(WEIGHT_COLUMN))
    if files:
        train_mean = run.facts().get("train_label_mean")
        for warning in judge_split(recipe.data.label.kind, None, metrics, tally.positives, train_mean):
            reporter.warn(warning.message)
    whole = EvalResult(metrics, len(scored.scores), chosen, scored.missing, scored.unseen, tally.positives)
    slices = {column.name: figures_by_value(labelled, column, scored.scores) for column in scored.slices}
    return SlicedResult(whole, slices, labelled.group is not None)
