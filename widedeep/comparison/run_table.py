"""Finished runs beside each other: seeds of one recipe folded, what differs, the figures that were stored. No torch."""

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
from widedeep.runs import RunDirectory, read_json_artefact

RANKED_BY = {"binary": "auc", "regression": "rmse"}
"""By the label's kind: the metric that says which run is best."""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, as it describes itself."""

    path: Path
    recipe: Recipe
    base_dir: Path
    data_key: str
    """Equal for equal encoded rows."""
    facts: dict[str, Any]
    """Its `metrics.json`."""
    refit: dict[str, Any] | None
    """Of a refit: the run that chose its epochs (`of`), the `splits` whose rows it saw, its `epochs`."""

    @property
    def trained_on(self) -> str | None:
        """Of a refit, the splits that it saw, in words."""
        return None if self.refit is None else " + ".join(self.refit["splits"])

    @classmethod
    def read(cls, path: Path) -> "FinishedRun":
        """Raises ArtefactError for a run that is missing, unfinished or damaged."""
        run = RunDirectory(path)
        manifest = run.require_done()
        loaded = load_run_recipe(run, manifest)
        facts = read_json_artefact(run.metrics_path, "the run is damaged; train it again")
        return cls(path, loaded.recipe, loaded.base_dir, manifest["keys"]["encoded"], facts, manifest.get("refit"))

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """What was found to be wrong with the model (`ModelWarning.to_json`); nothing where an older run does not say."""
        warnings: list[dict[str, Any]] = self.facts.get("warnings", [])
        return warnings


@dataclass(frozen=True)
class Figure:
    """A metric of one recipe, over its seeds."""

    mean: float
    deviation: float | None
    """Between seeds (sample deviation); None for one seed."""
    error: float | None
    """Standard error of one run for rows drawn anew; None where a run does not say it."""

    @property
    def rows(self) -> Change | None:
        """The mean with the error for rows drawn anew."""
        return None if self.error is None else Change(self.mean, self.error)


@dataclass(frozen=True)
class TableLine:
    """A recipe, by its runs that differ by seed alone."""

    name: str
    runs: tuple[FinishedRun, ...]
    """By seed."""
    differs: dict[str, Any]
    """Setting → value, of those that are not the same in all lines."""
    metrics: dict[str, Figure]

    def mean_of(self, fact: str) -> float:
        """The mean over seeds of a number in `metrics.json`, such as `seconds`."""
        return statistics.fmean(run.facts[fact] for run in self.runs)

    @property
    def warnings(self) -> dict[str, list[dict[str, Any]]]:
        """What is wrong with the models: kind (and split) of a warning → what each run that has it says, by seed."""
        found: dict[str, list[dict[str, Any]]] = {}
        for run in self.runs:
            for warning in run.warnings:
                kind = f"{warning['kind']} {warning.get('split', '')}"
                found.setdefault(kind, []).append({"seed": run.recipe.seed, **warning})
        return found


def runs_in(argument: str, work_dir: Path) -> list[Path]:
    """The finished runs in the folder `argument`, such as `runs/<recipe>`, oldest first; none where it is no such folder.

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
    if not folder.is_dir() or RunDirectory(folder).manifest_path.exists():
        return []
    return [path for path in sorted(folder.iterdir()) if not path.is_symlink() and RunDirectory(path).is_done]


def run_table(paths: Sequence[Path], split: str | None, reporter: Reporter) -> tuple[list[TableLine], str]:
    """The runs' lines, best first, and the split that their metrics are of (default: test where all have it, else valid).

    Raises ArtefactError for a run that does not load, UsageError where runs cannot stand in one table.
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
    """The runs that have figures of one split, and that split; refits that were trained on its rows are left out."""
    for name in ("test", "valid") if split is None else (split,):
        fit = [run for run in runs if run.refit is None or name not in run.refit["splits"]]
        lacking = [run for run in fit if name not in run.facts["metrics"]]
        if fit and not lacking:
            if len(fit) < len(runs):
                reporter.warn(
                    f"left out: {len(runs) - len(fit)} of the runs, refits that were trained on the {name} rows"
                )
            return fit, name
    culprit = (lacking or runs)[0]
    why = "" if culprit.refit is None else f": it is a refit, trained on the {culprit.trained_on} rows"
    raise ArtefactError(f"{culprit.path}: has no metrics of {split or 'test or valid'} rows{why}")


def _warn_of_other_rows(runs: Sequence[FinishedRun], split: str, reporter: Reporter) -> None:
    if differing := differing_rows(runs, split):
        reporter.warn(
            f"the runs differ in {', '.join(differing)}: their {split} rows, or what these count for, are not the same, "
            "so that differences of their metrics say little; `widedeep eval RUN --against RUN2` compares two on the same "
            "rows"
        )


def differing_rows(runs: Sequence[FinishedRun], split: str) -> list[str]:
    """What makes the rows of a split, or what they count for, differ between the runs; empty where they are the same."""
    settings = [
        row_settings(run.recipe.data, run.base_dir, split)
        | {"data.weight": run.recipe.data.weight, "data.group": run.recipe.data.group}
        for run in runs
    ]
    names = dict.fromkeys(name for one in settings for name in one)
    differing = [name for name in names if any(one.get(name) != settings[0].get(name) for one in settings)]
    if not differing and len({run.facts["metrics"][split].get("rows") for run in runs}) > 1:
        differing = ["the state of the data files"]
    return differing


def _folded(runs: Sequence[FinishedRun], reporter: Reporter) -> list[tuple[FinishedRun, ...]]:
    """Runs of one recipe and one state of the data, by seed; of one seed the last."""
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
    """For each line what tells it from lines of the same settings: its files, or their state."""
    keys = [fold[0].data_key for fold in folds]
    told = [(one, fold[0].trained_on) for one, fold in zip(differs, folds, strict=True)]
    alike = [{key for key, other in zip(keys, told, strict=True) if other == own} for own in told]
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
    return statistics.fmean(one[name] for one in errors) if all(name in one for one in errors) else None
