"""`widedeep eval`: the metrics of a finished run, on new labelled rows or on one of its splits."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from widedeep.evaluation.judgement import judge_split
from widedeep.pipeline.past_runs import chosen_split, rows_to_score, typed_table
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.evaluate import EvalResult, evaluate_rows, evaluate_typed, measured
from widedeep.scoring.scorer import Scorer
from widedeep.scoring.tally import OddValues
from widedeep.source.paths import Frame, Source

if TYPE_CHECKING:
    from widedeep.scoring.by_workers import ScoringWorkers


def evaluate_run(
    run: RunDirectory,
    scorer: Scorer,
    rows: Sequence[Source | Frame],
    *,
    split: str | None,
    work_dir: Path,
    reporter: Reporter,
    tables: Mapping[str, str] = MappingProxyType({}),
    wait: bool = False,
    workers: str | None = None,
) -> EvalResult:
    """Metrics of a finished run, loaded as `scorer`, on labelled files or frames, or on one of its splits.

    The split is `split`, or by default test, else valid. `tables` replaces side tables of the recipe (name → path) for
    new rows. A warning is given if metrics on new rows show that the model is no good for them.

    A split is read from the typed table that the run was trained on, which is searched in `work_dir` and in the run's
    own work directory. If it is gone, the recipe's files are read again. `workers` says which processes score the rows,
    see `open_workers`; they do it on the CPU.
    """
    if rows:
        with measuring_workers(workers, work_dir, run, reporter, rows, tables=tables) as shared:
            result = evaluate_rows(scorer, rows, reporter, tables, shared)
        train_mean = run.facts().get("train_label_mean")
        kind = scorer.recipe.data.label.kind
        for warning in judge_split(kind, None, result.metrics, result.positives, train_mean):
            reporter.warn(warning.message)
        return result
    typed_dir = typed_table(run, scorer.recipe, work_dir, reporter, wait=wait)
    chosen = chosen_split(typed_dir, split, run)
    with measuring_workers(workers, work_dir, run, reporter) as shared:
        if shared is not None:
            odd_values = OddValues()
            return measured(scorer, shared.split_blocks(typed_dir, chosen, odd_values), odd_values, split=chosen)
    return evaluate_typed(scorer, rows_to_score(scorer, typed_dir, chosen), split=chosen)


@contextmanager
def measuring_workers(
    where: str | None,
    work_dir: Path,
    run: RunDirectory,
    reporter: Reporter,
    rows: Sequence[Source | Frame] = (),
    *,
    tables: Mapping[str, str] = MappingProxyType({}),
    sliced: Sequence[str] = (),
) -> "Iterator[ScoringWorkers | None]":
    """The workers that `where` names, to score labelled rows, `sliced` typed columns with them; None for None.

    Raises UsageError for rows that are no files, and what `scoring_workers` does.
    """
    if where is None:
        yield None
        return
    from widedeep.scoring.by_workers import refuse_streams, scoring_workers  # not at the top: most rows are scored here

    refuse_streams(rows)
    with scoring_workers(
        where, work_dir, run.path, reporter, tables=tables, labelled=True, sliced=tuple(sliced)
    ) as shared:
        yield shared
