"""Compares two finished runs on the same rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from widedeep.comparison.slice_columns import slice_columns
from widedeep.errors import DataError, UsageError
from widedeep.evaluation.comparison import Change, LabelledRows, estimates, score_losses
from widedeep.evaluation.slices import SliceReport, compare_slices
from widedeep.pipeline.past_runs import chosen_split, row_settings, rows_to_score, typed_table
from widedeep.recipe.load import resolve_paths
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.labelled import ScoredRows, Scores, score_labelled, score_only
from widedeep.scoring.rows import InputRows
from widedeep.scoring.scorer import Scorer
from widedeep.source.paths import Source
from widedeep.table.parts import typed_blocks
from widedeep.table.typed_columns import LABEL, typed_columns


@dataclass(frozen=True)
class Comparison:
    """Two runs, measured on the same rows."""

    first: dict[str, float | None]
    """The first run's metrics, as `widedeep eval` gives them."""
    second: dict[str, float | None]
    """The second run's metrics."""
    differences: dict[str, Change]
    """Metric → first minus second, paired by row."""
    slices: SliceReport
    rows: int
    grouped: bool
    """Whether errors are those of groups of rows."""
    split: str | None
    """None for files."""
    missing: dict[str, int]
    """Field of the first run → rows without a value."""
    unseen: dict[str, int]
    """Field of the first run → rows with a value that training has not seen."""
    labelled: LabelledRows
    """What both were held against."""
    scores: tuple[Scores, Scores]
    """Those of the first and of the second run, [N] each."""


def compare_runs(
    first: Path,
    second: Path,
    files: Sequence[Source],
    *,
    split: str | None,
    slices: Sequence[str] = (),
    work_dir: Path,
    reporter: Reporter,
    tables: Mapping[str, str] = MappingProxyType({}),
    trust: bool = False,
    wait: bool = False,
) -> Comparison:
    """Measure two finished runs on the same labelled files, or on a split of the first run (default: test, else valid).

    Labels, weights and groups are those of the first run. `slices` names columns; the default is the categorical fields
    of the first run that have few values. `trust` is as in `Scorer.load`. Raises UsageError if the runs predict
    different things, or the second run cannot score the rows.
    """
    directories = RunDirectory(first, trust), RunDirectory(second, trust)
    scorers = Scorer.load(first, trust=trust), Scorer.load(second, trust=trust)
    return compare_scorers(
        directories,
        scorers,
        files,
        split=split,
        slices=slices,
        work_dir=work_dir,
        reporter=reporter,
        tables=tables,
        wait=wait,
    )


def compare_scorers(
    directories: tuple[RunDirectory, RunDirectory],
    runs: tuple[Scorer, Scorer],
    files: Sequence[Source],
    *,
    split: str | None,
    slices: Sequence[str] = (),
    work_dir: Path,
    reporter: Reporter,
    tables: Mapping[str, str] = MappingProxyType({}),
    wait: bool = False,
) -> Comparison:
    """`compare_runs` for two runs that are loaded: where they lie, and what scores for them."""
    first, second = (directory.path for directory in directories)
    kinds = [run.recipe.data.label.kind for run in runs]
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"--against {second}: predicts a {kinds[1]} label and {first} a {kinds[0]} label: they cannot be compared"
        )
    _note_other_targets(*runs, reporter)
    names = slice_columns(runs[0].recipe, runs[0].plan, slices)
    if files:
        scored, others, chosen = *_of_files(*runs, files, names, tables, reporter), None
    else:
        scored, others, chosen = _of_split(*directories, *runs, split, names, work_dir, reporter, wait)
    rows = scored.rows(runs[0])
    figures, other_figures = estimates(rows, scored.scores), estimates(rows, others)
    losses = [score_losses(rows.kind, rows.label, scores) for scores in (scored.scores, others)]
    return Comparison(
        scored.metrics(runs[0], scored.scores),
        scored.metrics(runs[0], others),
        {name: figures[name].minus(other_figures[name]).change() for name in figures},
        compare_slices(rows, scored.slices, *losses),
        len(rows.label),
        rows.group is not None,
        chosen,
        scored.missing,
        scored.unseen,
        rows,
        (scored.scores, others),
    )


def _of_files(
    first: Scorer,
    second: Scorer,
    files: Sequence[Source],
    slices: Mapping[str, str],
    tables: Mapping[str, str],
    reporter: Reporter,
) -> tuple[ScoredRows, Scores]:
    theirs = {name: file for name, file in tables.items() if name in second.recipe.data.tables}
    ours = {name: file for name, file in tables.items() if name in first.recipe.data.tables or name not in theirs}

    def typed(scorer: Scorer, replaced: Mapping[str, str], labelled: bool) -> Iterator[pl.DataFrame]:
        rows = InputRows(
            scorer, files, input_format=None, keep=(), labelled=labelled, tables=replaced, reporter=reporter
        )
        return (frame for _, frame in rows)

    scored = score_labelled(first, typed(first, ours, True), slices)
    others = score_only(second, typed(second, theirs, False))
    if len(others) != len(scored.scores):
        raise DataError(
            f"the first run's recipe reads {len(scored.scores):,} rows from these files and the second's "
            f"{len(others):,}: their `data.format` must agree"
        )
    return scored, others


def _of_split(
    first: RunDirectory,
    second: RunDirectory,
    ours: Scorer,
    theirs: Scorer,
    split: str | None,
    slices: Mapping[str, str],
    work_dir: Path,
    reporter: Reporter,
    wait: bool,
) -> tuple[ScoredRows, Scores, str]:
    typed_dir = typed_table(first, ours.recipe, work_dir, reporter, wait=wait)
    chosen = chosen_split(typed_dir, split, first, second)
    differing, lacking = _differing_data(ours, theirs, chosen), _lacking_columns(ours, theirs)
    their_dir = typed_dir
    if lacking and not differing:
        # Both typed tables hold the same rows in the same order, each with the columns that its run reads.
        their_dir = typed_table(second, theirs.recipe, work_dir, reporter, wait=wait)
        if not _labels(typed_dir, chosen).equals(_labels(their_dir, chosen)):
            differing = ["the state of the data files"]
    if lacking and differing:
        raise UsageError(
            f"--against {second.path}: its recipe differs in {', '.join(differing)}, so its {chosen} rows are others, "
            f"and it needs {', '.join(lacking)}, which the first run does not read like that: "
            "measure both on labelled files, `widedeep eval RUN FILE --against RUN2`"
        )
    if differing:
        reporter.warn(
            f"the runs' recipes differ in {', '.join(differing)}: these are the {chosen} rows of the first run, "
            "and the second may have been trained on some of them"
        )
    scored = score_labelled(ours, rows_to_score(ours, typed_dir, chosen), slices)
    return scored, score_only(theirs, rows_to_score(theirs, their_dir, chosen)), chosen


def _labels(typed_dir: Path, split: str) -> pl.DataFrame:
    return pl.concat(typed_blocks(typed_dir, split, columns=[LABEL]))


def _differing_data(first: Scorer, second: Scorer, split: str) -> list[str]:
    ours, theirs = (row_settings(run.recipe.data, run.base_dir, split) for run in (first, second))
    return [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]


def _lacking_columns(ours: Scorer, theirs: Scorer) -> list[str]:
    """The typed columns that the second run needs and the first run's typed table lacks or reads in another way."""
    readings = [_readings(run) for run in (ours, theirs)]
    return [name for name in theirs.plan.required_columns() if readings[0].get(name) != readings[1][name]]


def _readings(run: Scorer) -> dict[str, list[Any]]:
    """Typed column → the settings that its content depends on, those of its side table included."""
    tables = {
        name: {**table.model_dump(mode="json"), "files": resolve_paths(table.files, run.base_dir)}
        for name, table in run.recipe.data.tables.items()
    }
    return {
        column.name: [*column.reading(), *(tables.get(source.partition(".")[0]) for source in column.sources)]
        for column in typed_columns(run.recipe)
    }


def _note_other_targets(first: Scorer, second: Scorer, reporter: Reporter) -> None:
    for name in ("label", "weight", "group"):
        ours, theirs = getattr(first.recipe.data, name), getattr(second.recipe.data, name)
        if ours != theirs:
            reporter.note(f"the runs' recipes differ in data.{name}: that of the first run counts")
