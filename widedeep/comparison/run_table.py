"""A table of finished runs from their stored figures: one line for all seeds of a recipe. No torch."""

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from widedeep.errors import ArtefactError, UsageError
from widedeep.evaluation.comparison import Change
from widedeep.evaluation.formulas import metric_direction
from widedeep.pipeline.past_runs import row_settings
from widedeep.recipe.differences import differing_settings
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.load import load_run_recipe
from widedeep.recipe.schema import Recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory, settle_latest

RANKED_BY = {"binary": "auc", "regression": "rmse"}
"""Kind of label → the metric that runs are ranked by."""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, as its directory describes it."""

    path: Path
    recipe: Recipe
    base_dir: Path
    data_key: str
    """Equal for equal encoded rows, and the same run before this one if it goes on from one."""
    facts: dict[str, Any]
    """Its `metrics.json`."""
    refit: dict[str, Any] | None
    """For a refit: the run that chose its epochs (`of`), the `splits` that it was trained on, its `epochs`."""
    goes_on_from: dict[str, Any] | None
    """For a run that goes on from another: that `run`, and its `ancestors`, the latest first."""
    precision: str | None
    """The type in which its layers multiplied in training; None in runs of older versions."""

    @property
    def trained_on(self) -> str | None:
        """For a refit, the splits that it was trained on, in words."""
        return None if self.refit is None else " + ".join(self.refit["splits"])

    @classmethod
    def read(cls, path: Path) -> "FinishedRun":
        """Read the run. Raises ArtefactError for a run that is missing, unfinished or damaged."""
        run = RunDirectory(path)
        manifest = run.require_done()
        loaded = load_run_recipe(run, manifest)
        facts = run.facts()
        before = manifest.get("from")
        data_key = manifest["keys"]["encoded"] + ("" if before is None else before["key"])
        precision = manifest.get("precision")
        return cls(path, loaded.recipe, loaded.base_dir, data_key, facts, manifest.get("refit"), before, precision)

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """The warnings of the model, as `ModelWarning.to_json` gives them; empty in runs of older versions."""
        warnings: list[dict[str, Any]] = self.facts.get("warnings", [])
        return warnings


@dataclass(frozen=True)
class Figure:
    """A metric of a recipe, over its seeds."""

    mean: float
    deviation: float | None
    """Sample standard deviation between seeds; None for one seed."""
    error: float | None
    """Standard error of a run for rows drawn anew; None if a run has not stored it."""

    @property
    def rows(self) -> Change | None:
        """The mean with the error for rows drawn anew."""
        return None if self.error is None else Change(self.mean, self.error)


@dataclass(frozen=True)
class TableLine:
    """A line of the table: a recipe, with its runs that differ only in their seed."""

    name: str
    runs: tuple[FinishedRun, ...]
    """Ordered by seed."""
    differs: dict[str, Any]
    """Setting → value, for settings that are not the same in all lines."""
    metrics: dict[str, Figure]

    @property
    def precisions(self) -> list[str]:
        """The precisions in which the runs were trained, as far as known."""
        return sorted({run.precision for run in self.runs if run.precision is not None})

    def mean_of(self, fact: str) -> float:
        """The mean over seeds of a number in `metrics.json`, such as `seconds`."""
        return statistics.fmean(run.facts[fact] for run in self.runs)

    @property
    def warnings(self) -> dict[str, list[dict[str, Any]]]:
        """Kind (and split) of a warning → the warnings of that kind, one for each run that has it, ordered by seed."""
        by_kind: dict[str, list[dict[str, Any]]] = {}
        for run in self.runs:
            for warning in run.warnings:
                kind = f"{warning['kind']} {warning.get('split', '')}"
                by_kind.setdefault(kind, []).append({"seed": run.recipe.seed, **warning})
        return by_kind


def runs_in(argument: str, work_dir: Path) -> list[Path]:
    """The finished runs in the folder `argument`, such as `runs/<recipe>`, oldest first; none if it is no such folder.

    Relative paths are tried as they are and from the work directory. Raises ArtefactError for what may not be read.
    """
    for folder in (Path(argument), work_dir / argument):
        try:
            found = _finished_in(folder)
        except PermissionError as error:
            raise ArtefactError(
                f"{error.filename or folder}: you have no permission to read it: ask its owner for that (chmod a+rx)"
            ) from error
        if found:
            return [Path(os.path.realpath(path)) for path in found]
    return []


def _finished_in(folder: Path) -> list[Path]:
    if not os.path.isdir(folder) or os.path.exists(RunDirectory(folder).manifest_path):
        return []
    settle_latest(folder)
    return [path for path in sorted(folder.iterdir()) if not path.is_symlink() and RunDirectory(path).is_done]


def run_table(paths: Sequence[Path], split: str | None, reporter: Reporter) -> tuple[list[TableLine], str]:
    """The table's lines, best first, and the split of their metrics (default: test if all runs have it, else valid).

    Raises ArtefactError for a run that does not load, UsageError if runs cannot be in one table.
    """
    runs = [FinishedRun.read(path) for path in dict.fromkeys(paths)]
    kinds = {run.recipe.data.label.kind for run in runs}
    if len(kinds) > 1:
        raise UsageError("some of the runs predict a binary label and some a number: no metric compares them")
    (kind,) = kinds
    runs, chosen = _measured(runs, split, reporter)
    _warn_of_other_rows(runs, chosen, reporter)
    folds = _folded(runs, reporter)
    differs = differing_settings([fold[0].recipe for fold in folds])
    lines = [
        TableLine(fold[0].recipe.name, fold, different | data, _figures(fold, chosen))
        for fold, different, data in zip(folds, differs, _other_data(folds, differs), strict=True)
    ]
    metric, sign = RANKED_BY[kind], -1.0 if metric_direction(RANKED_BY[kind]) == "max" else 1.0
    worst = float("inf")
    lines.sort(key=lambda line: sign * line.metrics[metric].mean if metric in line.metrics else worst)
    return lines, chosen


def _measured(runs: Sequence[FinishedRun], split: str | None, reporter: Reporter) -> tuple[list[FinishedRun], str]:
    """The runs that have metrics of a split, and that split. Refits that were trained on its rows are left out."""
    for name in ("test", "valid") if split is None else (split,):
        unseen = [run for run in runs if run.refit is None or name not in run.refit["splits"]]
        lacking = [run for run in unseen if name not in run.facts["metrics"]]
        if unseen and not lacking:
            if len(unseen) < len(runs):
                reporter.warn(
                    f"left out: {len(runs) - len(unseen)} of the runs, refits that were trained on the {name} rows"
                )
            return unseen, name
    faulty = (lacking or runs)[0]
    why = "" if faulty.refit is None else f": it is a refit, trained on the {faulty.trained_on} rows"
    raise ArtefactError(f"{faulty.path}: has no metrics of {split or 'test or valid'} rows{why}")


def _warn_of_other_rows(runs: Sequence[FinishedRun], split: str, reporter: Reporter) -> None:
    if differing := differing_rows(runs, split):
        reporter.warn(
            f"the runs differ in {', '.join(differing)}: their {split} rows, or what these count for, are not the "
            "same, so differences of their metrics say little; `widedeep eval RUN --against RUN2` compares two runs on "
            "the same rows"
        )


def differing_rows(runs: Sequence[FinishedRun], split: str) -> list[str]:
    """The settings by which the rows of a split, or what they count for, differ between runs; empty if none do."""
    settings = [
        row_settings(run.recipe.data, run.base_dir, split)
        | {"data.weight": run.recipe.data.weight, "data.group": run.recipe.data.group}
        for run in runs
    ]
    names = dict.fromkeys(name for values in settings for name in values)
    differing = [name for name in names if any(values.get(name) != settings[0].get(name) for values in settings)]
    if not differing and len({run.facts["metrics"][split].get("rows") for run in runs}) > 1:
        differing = ["the state of the data files"]
    return differing


def _folded(runs: Sequence[FinishedRun], reporter: Reporter) -> list[tuple[FinishedRun, ...]]:
    """The runs of each recipe and state of the data, ordered by seed; of several runs with one seed the last."""
    folds: dict[tuple[str, str], dict[int, FinishedRun]] = {}
    repeated = 0
    for run in sorted(runs, key=lambda run: run.path.name):
        key = dump_recipe(run.recipe.model_copy(update={"seed": 0})), run.data_key
        seeds = folds.setdefault(key, {})
        repeated += run.recipe.seed in seeds
        seeds[run.recipe.seed] = run
    if repeated:
        reporter.note(f"{repeated} of the runs repeat a recipe and a seed: the last of each counts")
    return [tuple(run for _, run in sorted(seeds.items())) for seeds in folds.values()]


def _other_data(folds: Sequence[tuple[FinishedRun, ...]], differs: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """For each line, the key of its data files if a line with equal settings has other files; else an empty entry."""
    keys = [fold[0].data_key for fold in folds]
    settings = [(different, fold[0].trained_on) for different, fold in zip(differs, folds, strict=True)]
    alike = [{key for key, other in zip(keys, settings, strict=True) if other == line} for line in settings]
    return [{"data files": key[:8]} if len(twins) > 1 else {} for key, twins in zip(keys, alike, strict=True)]


def _figures(runs: Sequence[FinishedRun], split: str) -> dict[str, Figure]:
    figures = {}
    for name in runs[0].facts["metrics"][split]:
        values = [run.facts["metrics"][split].get(name) for run in runs]
        if all(value is not None for value in values):
            deviation = statistics.stdev(values) if len(values) > 1 else None
            figures[name] = Figure(statistics.fmean(values), deviation, _error(runs, split, name))
    return figures


def _error(runs: Sequence[FinishedRun], split: str, name: str) -> float | None:
    errors: list[Mapping[str, float]] = [run.facts.get("errors", {}).get(split, {}) for run in runs]
    if not all(name in run_errors for run_errors in errors):
        return None
    return statistics.fmean(run_errors[name] for run_errors in errors)
