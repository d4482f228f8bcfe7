"""Whether a run may take the place of the one that is served, and its taking that place."""

import math
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from widedeep.comparison.against import Comparison, compare_scorers
from widedeep.errors import ArtefactError, DataError, UnfitRunError, UsageError, WidedeepError
from widedeep.evaluation.comparison import Change
from widedeep.evaluation.shift import ScoreShift, score_shift
from widedeep.evaluation.verdict import better, verdict
from widedeep.files import paths_below
from widedeep.pipeline.evaluate import evaluate_run
from widedeep.pipeline.past_runs import finished_stage
from widedeep.pipeline.serving import Pointer
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.schema import Recipe
from widedeep.reporting import Reporter
from widedeep.runs import SERVING, RunDirectory
from widedeep.scoring.scorer import Scorer
from widedeep.source.paths import Source
from widedeep.table.typed_columns import TARGETS, typed_columns

JUDGED_BY = {"binary": "log_loss", "regression": "rmse"}
"""Kind of label → the metric in which a run may not be worse than the one that is served."""


@dataclass(frozen=True)
class Promotion:
    """What became of a promotion that was not refused."""

    run: Path
    """What is served now."""
    pointer: Path
    incumbent: Path | None
    """What was served before; None if nothing was."""
    moved: bool
    """False if the run was served already."""
    facts: dict[str, Any]
    """What is noted of it in both runs, see `RunDirectory.promotions`; empty if it was served already."""
    told: list[str]
    """Sentences on what was measured."""


def promote(
    run: RunDirectory,
    rows: Sequence[Source] = (),
    *,
    name: str = SERVING,
    force: bool = False,
    work_dir: Path,
    reporter: Reporter,
    tables: Mapping[str, str] = MappingProxyType({}),
    wait: bool = False,
) -> Promotion:
    """Let the link `name` beside a finished run lead to it, if it is fit to take the place of what is served.

    It is held against that on labelled files, `rows`, or on its own held-out rows. Where nothing is served yet, it has
    to load and to score its golden rows, and the files if there are any. `tables` is as in `InputRows`.

    Raises UnfitRunError for a run that is not fit, unless `force` and it can score at all. Raises ArtefactError for a
    run that is missing or unfinished, and where there are no rows to measure on; UsageError for runs that cannot be
    measured on the same rows; DataError and ColumnError for the files.
    """
    run.require_done()
    pointer = Pointer.beside(run, name)
    incumbent = pointer.run()
    if incumbent is not None and incumbent.path == run.path:
        return Promotion(run.path, pointer.path, run.path, False, {}, [])
    try:
        scorer = Scorer.load(run.path, trust=run.trust)
    except ArtefactError as error:
        if not run.path.is_dir():
            raise  # it is gone, whatever it was fit for
        raise UnfitRunError(f"{run.path}: is not fit to be served: {error}") from error
    judged = _Judged.first()
    if incumbent is not None:
        judged = _against(run, scorer, incumbent, rows, work_dir, reporter, tables, force=force)
    elif pointer.path.is_symlink():
        reporter.warn(
            f"{os.readlink(pointer.path)}, which was served, is gone: there is nothing to hold the run against"
        )
    if incumbent is None and rows:
        result = evaluate_run(run, scorer, rows, split=None, work_dir=work_dir, reporter=reporter, tables=tables)
        metric = JUDGED_BY[scorer.recipe.data.label.kind]
        judged = _Judged([], {"rows": result.rows, "metric": metric, "run": {metric: result.metrics[metric]}}, [])
    if judged.faults and not force:
        served = "" if incumbent is None else f" in place of {incumbent.path.name}"
        raise UnfitRunError(
            f"{run.path}: is not fit to be served{served}: {'; '.join(judged.faults)}: {pointer.path} stays as it is; "
            "--force moves it all the same"
        )
    for fault in judged.faults:
        reporter.warn(f"promoted all the same: {fault}")
    measured = {**judged.measured, "on": [str(file) for file in rows]} if judged.measured else {}
    facts = {"measured": measured, "forced_past": judged.faults, "argv": sys.argv}
    workspace = Workspace(pointer.work_dir)
    with workspace.shared(reporter, wait=wait), workspace.pointing(pointer.folder):
        _require_as_it_was(pointer, incumbent)
        run.require_done()
        note = pointer.move(run, facts)
    return Promotion(run.path, pointer.path, None if incumbent is None else incumbent.path, True, note, judged.told)


def _require_as_it_was(pointer: Pointer, incumbent: RunDirectory | None) -> None:
    if pointer.run() != incumbent:
        raise ArtefactError(
            f"{pointer.path}: another command has moved it meanwhile: run again, against what it is now"
        )


def promote_back(folder: Path, *, name: str = SERVING, reporter: Reporter, wait: bool = False) -> Promotion:
    """Let the link `name` among the runs in `folder` lead to what was served before.

    Raises ArtefactError if nothing was, or that run is gone or does not load.
    """
    pointer = Pointer.among(folder, name)
    workspace = Workspace(pointer.work_dir)
    with workspace.shared(reporter, wait=wait), workspace.pointing(pointer.folder):
        before = pointer.run()
        note = pointer.back({"back": True, "argv": sys.argv}, lambda run: Scorer.load(run.path))
        served = pointer.run()
    assert served is not None
    return Promotion(
        served.path, pointer.path, None if before is None else before.path, note is not None, note or {}, []
    )


@dataclass(frozen=True)
class _Judged:
    """A run held against what is served."""

    faults: list[str]
    """Why it is not fit; empty if it is."""
    measured: dict[str, Any]
    told: list[str]

    @classmethod
    def first(cls) -> "_Judged":
        return cls([], {}, [])


def _against(
    run: RunDirectory,
    scorer: Scorer,
    incumbent: RunDirectory,
    rows: Sequence[Source],
    work_dir: Path,
    reporter: Reporter,
    tables: Mapping[str, str],
    *,
    force: bool,
) -> _Judged:
    try:
        served = Scorer.load(incumbent.path, trust=run.trust)
        faults = [*_lacking_columns(scorer.recipe, served.recipe), *_other_access(run, incumbent)]
        kind, other_kind = scorer.recipe.data.label.kind, served.recipe.data.label.kind
        if kind != other_kind:
            return _Judged([*faults, f"it predicts a {kind} label, and what is served a {other_kind} one"], {}, [])
        if not rows:
            _require_own_rows(run, incumbent, scorer.recipe, work_dir, reporter)
        result = compare_scorers(
            (run, RunDirectory(incumbent.path, run.trust)),
            (scorer, served),
            rows,
            split=None,
            work_dir=work_dir,
            reporter=reporter,
            tables=tables,
        )
    except DataError:
        raise
    except WidedeepError as error:
        if not force:
            raise
        return _Judged([f"it was not measured: {error}"], {}, [])
    return _judged(result, JUDGED_BY[kind], faults)


def _judged(result: Comparison, metric: str, faults: list[str]) -> _Judged:
    change = result.differences.get(metric)
    shift = score_shift(result.labelled, *result.scores)
    told = [] if change is None else [verdict(metric, change, "RUN", "what was served")]
    is_better = change is not None and better(metric, change) == "first"
    if change is not None and better(metric, change) == "second":
        faults = [*faults, f"{verdict(metric, change, 'it', 'what is served')}, on {result.rows:,} rows"]
    if shift is not None:
        if is_better:  # the labels say that the new scores are right
            told += [f"{fault}, and the labels bear it out" for fault in shift.faults()]
        else:
            faults = [*faults, *shift.faults()]
    measured = {
        "rows": result.rows,
        "split": result.split,
        "metric": metric,
        "run": {metric: result.first.get(metric)},
        "incumbent": {metric: result.second.get(metric)},
        "difference": _change_object(change),
        "shift": _shift_object(shift),
    }
    return _Judged(faults, measured, told)


def _change_object(change: Change | None) -> dict[str, float | None] | None:
    if change is None:
        return None
    ends = {"value": change.value, "low": change.low, "high": change.high}
    return {name: value if math.isfinite(value) else None for name, value in ends.items()}


def _shift_object(shift: ScoreShift | None) -> dict[str, Any] | None:
    return None if shift is None else {"level": _change_object(shift.level), "divergence": shift.divergence}


def _require_own_rows(
    run: RunDirectory, incumbent: RunDirectory, recipe: Recipe, work_dir: Path, reporter: Reporter
) -> None:
    """Raise ArtefactError if the table that the run was trained on is gone, UsageError if it holds no rows out."""
    if finished_stage(run, "ingest", work_dir) is None:
        raise ArtefactError(
            f"{run.path}: the rows that it was trained and measured on are gone from stages/: name labelled rows to "
            "hold it against what is served, `widedeep promote RUN NEW.csv`"
        )
    if not run.facts()["metrics"]:
        raise UsageError(
            f"{run.path}: its recipe holds no rows out: name labelled rows to hold it against what is served, "
            "`widedeep promote RUN NEW.csv`"
        )
    split = recipe.data.split
    keys = [of.manifest()["keys"]["ingest"] for of in (run, incumbent)]
    if keys[0] != keys[1] and split is not None and split.kind != "time":
        reporter.note(
            "the two runs were trained on other data, so what is served may have learnt from some of these rows: "
            "labelled rows that neither has seen are a fairer judge, `widedeep promote RUN NEW.csv`"
        )


def _lacking_columns(recipe: Recipe, served: Recipe) -> list[str]:
    """A fault if columns that the served model reads are none of the run's inputs."""
    ours, theirs = (
        dict.fromkeys(source for column in typed_columns(of) if column.role not in TARGETS for source in column.sources)
        for of in (recipe, served)
    )
    lacking = [column for column in theirs if column not in ours]
    return [f"it does not read {', '.join(map(repr, lacking))}, which what is served does"] if lacking else []


def _other_access(run: RunDirectory, incumbent: RunDirectory) -> list[str]:
    """Faults if somebody who could read what is served cannot read the run, or anybody may write the run's files."""
    ours, theirs = _Access.of(run), _Access.of(incumbent)
    faults = []
    if lost := sorted(reader for reader in theirs.readers if not ours.admits(reader)):
        faults.append(
            f"its files cannot be read by {' and '.join(lost)}, who can read what is served: give them the same modes "
            f"(chmod -R, chown -R {run.path})"
        )
    if ours.open_to_all is not None and theirs.open_to_all is None:
        faults.append(f"anybody may write {ours.open_to_all}: chmod -R o-w {run.path}")
    return faults


@dataclass(frozen=True)
class _Access:
    """Who may read and write the files of a run, by what their modes say."""

    readers: set[str]
    """Who may read all of them: `user 1000`, `group 100`, `others`."""
    owners: set[str]
    open_to_all: Path | None
    """A file or folder that anybody may write; None if there is none."""

    @classmethod
    def of(cls, run: RunDirectory) -> "_Access":
        readers: list[set[str]] = []
        owners: set[str] = set()
        open_to_all = None
        # What was served is noted by whoever promotes, and no score depends on it.
        for path in (run.path, *sorted(set(paths_below(run.path)) - {run.promotions_path})):
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue  # what a killed process had left in it, and another removes
            if stat.S_ISLNK(status.st_mode):
                continue
            bits = 0o5 if stat.S_ISDIR(status.st_mode) else 0o4  # a folder is of use to whom may enter it
            whose = {f"user {status.st_uid}": 6, f"group {status.st_gid}": 3, "others": 0}
            readers.append({name for name, shift in whose.items() if (status.st_mode >> shift) & bits == bits})
            owners |= set(whose) - {"others"}
            if status.st_mode & stat.S_IWOTH and open_to_all is None:
                open_to_all = path
        return cls(set.intersection(*readers), owners, open_to_all)

    def admits(self, reader: str) -> bool:
        """Whether this user or group, or all others, may read all files."""
        return reader in self.readers or ("others" in self.readers and reader not in self.owners)
