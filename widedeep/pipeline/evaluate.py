"""`widedeep eval`: the metrics of a finished run, on new labelled rows or on one of its splits."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from widedeep.evaluation.judgement import judge_split
from widedeep.pipeline.past_runs import chosen_split, rows_to_score, typed_table
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.evaluate import EvalResult, evaluate_rows, evaluate_typed
from widedeep.scoring.scorer import Scorer
from widedeep.source.paths import Frame, Source


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
) -> EvalResult:
    """Metrics of a finished run, loaded as `scorer`, on labelled files or frames, or on one of its splits.

    The split is `split`, or by default test, else valid. `tables` replaces side tables of the recipe (name → path) for
    new rows. A warning is given if metrics on new rows show that the model is no good for them.

    A split is read from the typed table that the run was trained on, which is searched in `work_dir` and in the run's
    own work directory. If it is gone, the recipe's files are read again.
    """
    if rows:
        result = evaluate_rows(scorer, rows, reporter, tables)
        train_mean = run.facts().get("train_label_mean")
        kind = scorer.recipe.data.label.kind
        for warning in judge_split(kind, None, result.metrics, result.positives, train_mean):
            reporter.warn(warning.message)
        return result
    typed_dir = typed_table(run, scorer.recipe, work_dir, reporter, wait=wait)
    chosen = chosen_split(typed_dir, split, run)
    return evaluate_typed(scorer, rows_to_score(scorer, typed_dir, chosen), split=chosen)
