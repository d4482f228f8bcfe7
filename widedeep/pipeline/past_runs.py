"""Runs that were made before: the typed table that a run was trained on, and the rows to measure it on. No torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from widedeep.errors import ArtefactError, UsageError
from widedeep.pipeline.ingest_stage import ingest
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.load import LoadedRecipe, resolve_paths
from widedeep.recipe.schema import DataSettings, Recipe
from widedeep.reporting import Reporter
from widedeep.runs import TRAIN_ONLY, RunDirectory, trained_splits
from widedeep.source.forms import Forms
from widedeep.table.parts import typed_blocks

if TYPE_CHECKING:
    from widedeep.scoring.scorer import Scorer

STAGES_READ_FROM = 3
"""The stages of runs of an older format cannot be read: their own columns had other names."""


def finished_stage(run: RunDirectory, stage: str, work_dir: Path) -> Path | None:
    """The finished stage ("ingest" or "encoded") that the run was trained on; None if it is gone, or too old.

    It is searched in `work_dir` and in the run's own work directory.
    """
    manifest = run.manifest()
    if manifest["format"] < STAGES_READ_FROM:
        return None
    key = manifest["keys"][stage]
    for directory in (work_dir, *run.path.parents[2:3]):
        if (path := Workspace(directory).finished_path(stage, key)) is not None:
            return path
    return None


def typed_table(run: RunDirectory, recipe: Recipe, work_dir: Path, reporter: Reporter, *, wait: bool) -> Path:
    """The typed table that the run was trained on, from `work_dir` or the run's own work directory.

    If it is gone, it is made again from the recipe's files; a warning tells if these have changed. Raises ArtefactError
    for the run, also if it is another's, whose files are not read; DataError and ColumnError for the files.
    """
    path = finished_stage(run, "ingest", work_dir)
    if path is not None:
        return path
    manifest = run.manifest()
    run.require_own(manifest, "its data", "name labelled files where the command takes them")
    older = manifest["format"] < STAGES_READ_FROM
    why = "is of an older widedeep" if older else "is gone"
    reporter.note(f"the run's typed table {why}: reading the recipe's files again, into {work_dir / 'stages'}")
    loaded = LoadedRecipe(recipe, run.recipe_path, Path(manifest["base_dir"]), ())
    ingested = ingest(loaded, work_dir, reporter, wait=wait)
    if older:
        reporter.warn("whether the recipe's data files have changed since an older widedeep trained the run is unknown")
    elif ingested.key != manifest["keys"]["ingest"]:
        reporter.warn("the recipe's data files have changed since the run was trained: these are other rows")
    return ingested.path


def rows_to_score(scorer: "Scorer", typed_dir: Path, split: str) -> Iterator[pl.DataFrame]:
    """The rows of a split of a typed table, with the texts in the forms that the scorer's run was trained with."""
    return typed_blocks(typed_dir, split, forms=scorer.forms or Forms())


def chosen_split(typed_dir: Path, split: str | None, *runs: RunDirectory) -> str:
    """The split of a typed table to measure `runs` on: `split` if given, else test, else valid, else train.

    Raises UsageError if there is no such split, or if one of the runs is a refit that was trained on its rows, and
    ArtefactError if the table is gone.
    """
    splits = [name for name in ("test", "valid", "train") if (typed_dir / name).is_dir()]
    if not splits:
        raise ArtefactError(f"{typed_dir}: another command has removed the typed table meanwhile: run again")
    if split is not None and split not in splits:
        raise UsageError(f"--split {split}: the run has no such split; it has {', '.join(splits)}")
    held_out = [name for name in splits if name != "train"]
    for run in runs:
        seen = trained_splits(run.manifest())
        held_out = [name for name in held_out if name not in seen]
        if seen != TRAIN_ONLY and (split in seen[1:] or (split is None and not held_out)):
            raise UsageError(_trained_on(run, split, held_out))
    return split or (held_out or splits)[0]


def _trained_on(run: RunDirectory, split: str | None, held_out: Sequence[str]) -> str:
    refit = run.manifest()["refit"]
    asked = "no rows are left to measure on" if split is None else f"--split {split}"
    ways = [f"--split {held_out[0]}"] if held_out else []
    ways += ["labelled files that it has not seen", f"the run that it is a refit of, {run.path.parent / refit['of']}"]
    return (
        f"{asked}: {run.path} is a refit, trained on the {' + '.join(refit['splits'])} rows, on which its figures "
        f"would say nothing of new rows: take {' or '.join(ways)}"
    )


def row_settings(data: DataSettings, base_dir: Path, split: str) -> dict[str, Any]:
    """Name → value of the settings that decide which rows a split holds and what their labels are."""
    source = split if getattr(data, split) is not None else "train"
    names = ["format", "label"]
    if source == "train":
        names += ["split", "time"] if data.split is not None and data.split.kind == "time" else ["split"]
    if split == "train":
        names.append("keep_negatives")
    settings = data.model_dump(mode="json", include=set(names))
    settings[source] = resolve_paths(getattr(data, source), base_dir)
    return {f"data.{name}": value for name, value in settings.items()}
