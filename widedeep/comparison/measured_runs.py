"""Measures finished runs again on a split of theirs: all figures that a page about them shows."""

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
from widedeep.pipeline.past_runs import rows_to_score, typed_table
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.labelled import ScoredRows, score_labelled
from widedeep.scoring.scorer import Scorer

MOST_RUNS = 8
"""More runs would need more colours than can be told apart."""


@dataclass(frozen=True)
class MeasuredRun:
    """A run, measured on the rows of a split."""

    finished: FinishedRun
    manifest: dict[str, Any]
    epochs: list[dict[str, Any]]
    """The events of its epochs, as training logged them; empty if the log is gone."""
    metrics: dict[str, float | None]
    """As `widedeep eval` gives them."""
    changes: dict[str, Change]
    """The metrics that have an error, with it."""
    behind: dict[str, Change]
    """Metric → this run minus the best run, paired by row; empty for the best run, and if the rows are not the same."""
    roc: Curve | None
    """None for a regression, and for rows of one class."""
    precision: Curve | None
    """Precision by recall; None likewise."""
    calibration: Bins
    spread: Histogram
    """Histogram of the log-odds by label, or of the errors of a regression."""
    slices: dict[str, list[ValueFigures]]
    """Column → its values, those with most rows first."""


@dataclass(frozen=True)
class RunReport:
    """Several runs, measured for a page."""

    runs: list[MeasuredRun]
    """Best first."""
    lines: list[TableLine]
    """The same runs as lines of a table, one line for all seeds of a recipe."""
    split: str
    other_rows: list[str]
    """The settings by which the rows of the split differ between runs; empty if all runs have the same rows."""
    grouped: bool
    """Whether errors are those of groups of rows."""


def measure_runs(
    paths: Sequence[Path],
    split: str | None,
    slices: Sequence[str],
    work_dir: Path,
    reporter: Reporter,
    *,
    trust: bool = False,
    wait: bool = False,
) -> RunReport:
    """Score the split (default: test if all runs have it, else valid) with every run, and measure the runs.

    `slices` names columns; the default is the categorical fields of the first run's recipe that have few values.
    Columns that another run does not read are left out for it. `trust` is as in `Scorer.load`. Raises ArtefactError for
    a run that does not load, UsageError if runs cannot be compared or a column is not read, DataError and ColumnError
    for files that have to be read again.
    """
    lines, chosen = run_table(paths, split, reporter)
    runs = [run for line in lines for run in line.runs]
    if len(runs) > MOST_RUNS:
        raise UsageError(
            f"{len(runs)} runs: a page shows at most {MOST_RUNS}; name fewer (`widedeep compare` takes any number)"
        )
    first = RunDirectory(paths[0])
    with first.telling_removal():
        first.check_scoring(first.manifest())
        columns = list(slice_columns(FinishedRun.read(first.path).recipe, FeaturePlan.load(first.plan_dir), slices))
    other_rows = differing_rows(runs, chosen)
    measuring = _Measuring(chosen, columns, work_dir, reporter, wait, trust, same_rows=not other_rows)
    measured = [measuring.measure(run) for run in sorted(runs, key=lambda run: _rank(run, chosen))]
    return RunReport(measured, lines, chosen, other_rows, measuring.grouped)


def _rank(run: FinishedRun, split: str) -> float:
    """A number that is lower for a better run."""
    metric = RANKED_BY[run.recipe.data.label.kind]
    value = run.facts["metrics"][split].get(metric)
    if value is None:
        return float("inf")
    return -float(value) if metric_direction(metric) == "max" else float(value)


class _Measuring:
    """Measures runs, the best first. It keeps the best run's estimates, with which those of other runs are paired."""

    def __init__(
        self,
        split: str,
        columns: Sequence[str],
        work_dir: Path,
        reporter: Reporter,
        wait: bool,
        trust: bool,
        *,
        same_rows: bool,
    ) -> None:
        self._split, self._columns, self._work_dir, self._reporter, self._wait = (
            split,
            columns,
            work_dir,
            reporter,
            wait,
        )
        self._trust, self._same_rows = trust, same_rows
        self._best: tuple[LabelledRows, dict[str, Estimate]] | None = None
        self.grouped = False

    def measure(self, finished: FinishedRun) -> MeasuredRun:
        scorer, run = Scorer.load(finished.path), RunDirectory(finished.path, self._trust)
        scored = self._scored(scorer, run)
        rows, score = scored.rows(scorer), scored.scores
        figures = estimates(rows, score)
        behind = self._behind(rows, figures)
        self.grouped |= rows.group is not None
        roc, precision = (roc_and_precision(rows, score) if rows.kind == "binary" else None) or (None, None)
        return MeasuredRun(
            finished,
            run.manifest(),
            run.epochs(),
            scored.metrics(scorer, score),
            {name: estimate.change() for name, estimate in (figures | ratio_estimates(rows, score)).items()},
            behind,
            roc,
            precision,
            calibration_bins(rows, score),
            score_histogram(rows, score) if rows.kind == "binary" else error_histogram(rows, score),
            {column.name: figures_by_value(rows, column, score) for column in scored.slices},
        )

    def _scored(self, scorer: Scorer, run: RunDirectory) -> ScoredRows:
        typed_dir = typed_table(run, scorer.recipe, self._work_dir, self._reporter, wait=self._wait)
        # The default slices are named after fields, whose names may differ from those of their columns.
        typed_names = {field.name: field.column for field in scorer.plan.categoricals}
        typed_names |= columns_of_single_values(scorer.recipe)
        slices = {name: typed_names[name] for name in self._columns if name in typed_names}
        with self._reporter.work(f"score {run.path.parent.name}", None, "rows"):
            return score_labelled(scorer, rows_to_score(scorer, typed_dir, self._split), slices)

    def _behind(self, rows: LabelledRows, figures: dict[str, Estimate]) -> dict[str, Change]:
        if self._best is None:
            self._best = rows, figures
            return {}
        best_rows, best = self._best
        if not self._same_rows or not _are_same(rows, best_rows):
            return {}
        return {name: figures[name].minus(best[name]).change() for name in figures if name in best}


def _are_same(rows: LabelledRows, others: LabelledRows) -> bool:
    if (rows.group is None) != (others.group is None):
        return False
    grouped = rows.group is None or others.group is None or np.array_equal(rows.group, others.group)
    return grouped and np.array_equal(rows.label, others.label) and np.array_equal(rows.weight, others.weight)
