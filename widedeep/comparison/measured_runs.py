"""Finished runs measured anew on a split of theirs, in all that a page about them shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from widedeep.comparison.run_table import RANKED_BY, FinishedRun, TableLine, differing_rows, run_table
from widedeep.comparison.slice_columns import columns_of_single_values, slice_columns
from widedeep.errors import UsageError
from widedeep.evaluation.by_value import ValueFigures, figures_by_value
from widedeep.evaluation.comparison import Change, Estimate, LabelledRows, estimates
from widedeep.evaluation.curves import (
    Bins,
    Curve,
    Histogram,
    calibration_bins,
    error_histogram,
    roc_and_precision,
    score_histogram,
)
from widedeep.evaluation.formulas import metric_direction
from widedeep.evaluation.ratios import ratio_estimates
from widedeep.features.plan import FeaturePlan
from widedeep.pipeline.past_runs import typed_table
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.labelled import ScoredRows, score_labelled
from widedeep.scoring.scorer import Scorer
from widedeep.table.parts import typed_blocks

MOST_RUNS = 8
"""More colours cannot be told apart."""


@dataclass(frozen=True)
class MeasuredRun:
    """One run on the rows of the split."""

    finished: FinishedRun
    manifest: dict[str, Any]
    epochs: list[dict[str, Any]]
    """The events of its epochs, as training logged them; none where the log is gone."""
    metrics: dict[str, float | None]
    """As `widedeep eval` gives them."""
    changes: dict[str, Change]
    """Those with an error."""
    behind: dict[str, Change]
    """Metric → this run minus the best one, paired by row; empty for the best, and where the rows are others."""
    roc: Curve | None
    precision: Curve | None
    """By recall. Both None for a regression, and where there is one class only."""
    calibration: Bins
    spread: Histogram
    """Of the scores by label, in log-odds; of a regression, of the errors."""
    slices: dict[str, list[ValueFigures]]
    """Column → its values, those of most rows first."""


@dataclass(frozen=True)
class RunReport:
    """Runs beside each other."""

    runs: list[MeasuredRun]
    """Best first."""
    lines: list[TableLine]
    """The same runs, seeds of one recipe folded."""
    split: str
    other_rows: list[str]
    """What makes the rows of the split differ between the runs; empty where they are the same."""
    grouped: bool
    """Whether errors are those of groups of rows."""


def measure_runs(
    paths: Sequence[Path],
    split: str | None,
    slices: Sequence[str],
    work_dir: Path,
    reporter: Reporter,
    *,
    wait: bool = False,
) -> RunReport:
    """Score the split (default: test where all runs have it, else valid) with every run, and measure.

    `slices` names columns, the categorical fields of few values of the first run's recipe by default; of the other runs
    those that they read are taken. Raises ArtefactError for a run that does not load, UsageError where runs cannot stand
    beside each other or a column is not read, DataError and ColumnError for files that have to be read again.
    """
    lines, chosen = run_table(paths, split, reporter)
    runs = [run for line in lines for run in line.runs]
    if len(runs) > MOST_RUNS:
        raise UsageError(
            f"{len(runs)} runs: a page tells at most {MOST_RUNS} apart; name fewer (`widedeep compare` takes any number)"
        )
    first = RunDirectory(paths[0])
    columns = list(slice_columns(FinishedRun.read(first.path).recipe, FeaturePlan.load(first.plan_dir), slices))
    other_rows = differing_rows(runs, chosen)
    measuring = _Measuring(chosen, columns, work_dir, reporter, wait, same_rows=not other_rows)
    measured = [measuring.measure(run) for run in sorted(runs, key=lambda run: _rank(run, chosen))]
    return RunReport(measured, lines, chosen, other_rows, measuring.grouped)


def _rank(run: FinishedRun, split: str) -> float:
    """The lower, the better."""
    metric = RANKED_BY[run.recipe.data.label.kind]
    value = run.facts["metrics"][split].get(metric)
    if value is None:
        return float("inf")
    return -float(value) if metric_direction(metric) == "max" else float(value)


class _Measuring:
    """Measures one run after the other and holds the best one's estimates, which the others are paired with."""

    def __init__(
        self, split: str, columns: Sequence[str], work_dir: Path, reporter: Reporter, wait: bool, *, same_rows: bool
    ) -> None:
        self._split, self._columns, self._work_dir, self._reporter, self._wait = (
            split,
            columns,
            work_dir,
            reporter,
            wait,
        )
        self._same_rows = same_rows
        self._best: tuple[LabelledRows, dict[str, Estimate]] | None = None
        self.grouped = False

    def measure(self, finished: FinishedRun) -> MeasuredRun:
        scorer, run = Scorer.load(finished.path), RunDirectory(finished.path)
        scored = self._scored(scorer, run)
        rows, score = scored.rows(scorer), scored.scores
        told = estimates(rows, score)
        behind = self._behind(rows, told)
        self.grouped |= rows.group is not None
        roc, precision = (roc_and_precision(rows, score) if rows.kind == "binary" else None) or (None, None)
        return MeasuredRun(
            finished,
            run.manifest(),
            run.epochs(),
            scored.metrics(scorer, score),
            {name: one.change() for name, one in (told | ratio_estimates(rows, score)).items()},
            behind,
            roc,
            precision,
            calibration_bins(rows, score),
            score_histogram(rows, score) if rows.kind == "binary" else error_histogram(rows, score),
            {column.name: figures_by_value(rows, column, score) for column in scored.slices},
        )

    def _scored(self, scorer: Scorer, run: RunDirectory) -> ScoredRows:
        typed_dir = typed_table(run, scorer.recipe, self._work_dir, self._reporter, wait=self._wait)
        # Without `--slice` they are named after fields, which may have names of their own.
        read = {field.name: field.column for field in scorer.plan.categoricals}
        read |= columns_of_single_values(scorer.recipe)
        slices = {name: read[name] for name in self._columns if name in read}
        with self._reporter.work(f"score {run.path.parent.name}", None, "rows"):
            return score_labelled(scorer, typed_blocks(typed_dir, self._split), slices)

    def _behind(self, rows: LabelledRows, told: dict[str, Estimate]) -> dict[str, Change]:
        if self._best is None:
            self._best = rows, told
            return {}
        best_rows, best = self._best
        if not self._same_rows or not _are_same(rows, best_rows):
            return {}
        return {name: told[name].minus(best[name]).change() for name in told if name in best}


def _are_same(rows: LabelledRows, others: LabelledRows) -> bool:
    if (rows.group is None) != (others.group is None):
        return False
    grouped = rows.group is None or others.group is None or np.array_equal(rows.group, others.group)
    return grouped and np.array_equal(rows.label, others.label) and np.array_equal(rows.weight, others.weight)
