"""A whole experiment: runs the stages that are missing, trains, evaluates and writes the run directory."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from widedeep.encoded.store import EncodedStore
from widedeep.errors import ArtefactError, NoRowsError, UsageError
from widedeep.features.plan import FeaturePlan
from widedeep.pipeline.crew import Crew
from widedeep.pipeline.finish import finish_run
from widedeep.pipeline.going_on import Parent, carried_run
from widedeep.pipeline.keys import key_of
from widedeep.pipeline.learning import Learning
from widedeep.pipeline.live_tracking import LiveTracking, installed_trackers
from widedeep.pipeline.new_run import begin_run, last_run, manifest_head, new_run_path
from widedeep.pipeline.refit import Refit, RefitRows, refit_splits
from widedeep.pipeline.stages import encoding_stage, memory_stage
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.load import LoadedRecipe
from widedeep.recipe.schema import Recipe, TrackSettings
from widedeep.reporting import Reporter
from widedeep.runs import TRAIN_ONLY, RunDirectory
from widedeep.scoring.scorer import input_layout
from widedeep.table.parts import forms_of
from widedeep.training.device import choose_device, set_threads


@dataclass(frozen=True)
class TrainResult:
    """A finished run."""

    run: Path
    metrics: dict[str, dict[str, float | None]]
    crosses: dict[str, Any] | None
    """Promised and realised gains on the test rows (else the valid rows), see `realised_gains`."""
    warnings: list[dict[str, Any]]
    """What is wrong with the model, as `ModelWarning.to_json` gives it."""
    best_epoch: int
    epochs: int
    stopped: str | None
    """The reason why training ended, in words; None in runs of older versions."""
    rows_per_second: float
    parameters: int
    seconds: float
    already_done: bool
    refit: dict[str, Any] | None
    """For a refit: the run that chose its epochs (`of`), the `splits` that it was trained on, its `epochs`."""
    goes_on_from: dict[str, Any] | None
    """For a run that goes on: the `run` before it, the `ancestors` before that, the latest first; `no_new_rows`."""
    dropped_values: dict[str, int] | None
    """Field or cross → how many values `training.evict` dropped; None for a run without it, or that does not go on."""


@dataclass(frozen=True)
class SeedsResult:
    """Finished runs that differ only in their seed."""

    runs: list[TrainResult]
    summary: dict[str, dict[str, dict[str, float]]]
    """Split → metric → `mean` and `deviation` (sample standard deviation) over the seeds."""


def train(
    loaded: LoadedRecipe,
    work_dir: Path,
    reporter: Reporter,
    *,
    resume: bool = False,
    again: bool = True,
    refit: RefitRows | None = None,
    goes_on_from: Path | None = None,
    wait: bool = False,
    crew: Crew | None = None,
) -> TrainResult:
    """Run every stage that is missing, train and evaluate. With `resume`, go on with this recipe's unfinished run.

    Unless `again`, a finished run that the same training would make once more is the result.

    With `refit`, the recipe's last finished run decides the number of epochs; if there is none, it is trained first.
    The result is then a new run, trained on the rows that `refit` names too. Raises UsageError if the recipe holds none
    of these rows out.

    With `goes_on_from`, training goes on from the finished run of that directory, on the recipe's rows. If these have
    none to train on, the result is that run once more. Raises RecipeError for the settings that differ from its own.

    `crew` are the processes that train; this one alone by default. Raises UsageError for more of them than parts.
    """
    trackers = installed_trackers(loaded.recipe.training.track, reporter)
    loaded = _of_run(loaded)
    parent = _parent(loaded, goes_on_from, refit)
    workspace, crew = Workspace(work_dir), crew or Crew()
    with workspace.shared(reporter, wait=wait):
        return _train_or_refit(
            loaded,
            workspace,
            reporter,
            resume=resume,
            again=again,
            refit=refit,
            parent=parent,
            crew=crew,
            trackers=trackers,
        )


def train_seeds(
    loaded: LoadedRecipe,
    work_dir: Path,
    reporter: Reporter,
    *,
    seeds: int,
    resume: bool = False,
    again: bool = True,
    refit: RefitRows | None = None,
    goes_on_from: Path | None = None,
    wait: bool = False,
    crew: Crew | None = None,
) -> SeedsResult:
    """Train (or refit) with the recipe's seed and the `seeds - 1` that follow it, on the same split.

    With `goes_on_from`, all of them go on from the same run. `again` as in `train`.
    """
    if loaded.recipe.seed + seeds > 2**32:
        raise UsageError(f"--seeds {seeds}: counts up from seed {loaded.recipe.seed} and must stay below 2**32")
    trackers = installed_trackers(loaded.recipe.training.track, reporter)
    loaded = _of_run(loaded)
    parent = _parent(loaded, goes_on_from, refit)
    workspace, crew = Workspace(work_dir), crew or Crew()
    runs: list[TrainResult] = []
    with workspace.shared(reporter, wait=wait):
        for seed in range(loaded.recipe.seed, loaded.recipe.seed + seeds):
            reporter.part(f"seed {seed}", len(runs) + 1, seeds)
            seeded = replace(loaded, recipe=loaded.recipe.model_copy(update={"seed": seed}))
            runs.append(
                _train_or_refit(
                    seeded,
                    workspace,
                    reporter,
                    resume=resume,
                    again=again,
                    refit=refit,
                    parent=parent,
                    crew=crew,
                    trackers=trackers,
                )
            )
    return SeedsResult(runs, _summary([run.metrics for run in runs]))


def _of_run(loaded: LoadedRecipe) -> LoadedRecipe:
    """The recipe without what a search of it would try and where it is shown: no run is another for these."""
    training = loaded.recipe.training.model_copy(update={"track": ()})
    return replace(loaded, recipe=loaded.recipe.model_copy(update={"sweep": None, "training": training}))


def _summary(metrics: list[dict[str, dict[str, float | None]]]) -> dict[str, dict[str, dict[str, float]]]:
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for split in metrics[0]:
        for name in metrics[0][split]:
            values = [value for by_split in metrics if (value := by_split[split][name]) is not None]
            if len(values) == len(metrics):
                deviation = statistics.stdev(values) if len(values) > 1 else 0.0
                summary.setdefault(split, {})[name] = {"mean": statistics.fmean(values), "deviation": deviation}
    return summary


def _parent(loaded: LoadedRecipe, goes_on_from: Path | None, refit: RefitRows | None) -> Parent | None:
    if goes_on_from is None:
        return None
    if refit is not None:
        raise UsageError(
            "--from with --refit: a run that goes on chooses its epochs by valid rows that it has not seen; leave one "
            "of them out"
        )
    return Parent.of(goes_on_from, loaded)


def _train_or_refit(
    loaded: LoadedRecipe,
    workspace: Workspace,
    reporter: Reporter,
    *,
    resume: bool,
    again: bool,
    refit: RefitRows | None,
    parent: Parent | None,
    crew: Crew,
    trackers: Sequence[TrackSettings],
) -> TrainResult:
    train_this = partial(_train, loaded, workspace, reporter, crew, trackers)
    if refit is None:
        try:
            return train_this(resume=resume, again=again, parent=parent)
        except NoRowsError as error:
            if parent is None or error.split != "train":
                raise
            return _carry(parent, loaded, workspace, reporter, resume=resume or not again)
    splits = refit_splits(loaded, refit)
    chosen = train_this(resume=resume, take_finished=True).run
    planned = Refit.of(RunDirectory(chosen), loaded.recipe, splits)
    reporter.note(
        f"refit of {chosen} on the {' + '.join(splits)} rows, for its best number of epochs: {planned.epochs}"
    )
    return train_this(resume=resume, again=again, refit=planned)


def _train(
    loaded: LoadedRecipe,
    workspace: Workspace,
    reporter: Reporter,
    crew: Crew,
    trackers: Sequence[TrackSettings],
    *,
    resume: bool,
    again: bool = True,
    take_finished: bool = False,
    refit: Refit | None = None,
    parent: Parent | None = None,
) -> TrainResult:
    """Train a new run or resume one. With `take_finished`, the result is the last finished run if there is one; unless
    `again`, a finished run that was trained by the same versions, threads and precision too.
    """
    started = time.monotonic()
    recipe = loaded.recipe
    device = _checked_device(recipe, crew)
    threads = set_threads(_threads(recipe))
    grows_from = None if parent is None else parent.grows_from
    encoded = encoding_stage(loaded, workspace, reporter, TRAIN_ONLY if refit is None else refit.splits, grows_from)
    memory = memory_stage(loaded, encoded, workspace, reporter, grows_from)
    recipe_text = dump_recipe(recipe)
    memory_key = {} if memory is None else {"memory": memory.key}
    refit_key = {} if refit is None else {"refit": [refit.key, refit.epochs]}
    from_key = {} if parent is None else {"from": parent.key}
    key = key_of({"recipe": recipe_text, "encoded": encoded.key, **memory_key, **refit_key, **from_key})
    live = LiveTracking(trackers, workspace.path, reporter)
    with workspace.training(recipe.name, key), live:
        if take_finished and (done := last_run(workspace, recipe.name, key, finished=True)) is not None:
            return _finished_result(done)
        run = last_run(workspace, recipe.name, key) if resume else None
        if not again and not resume:
            try:
                done = last_run(workspace, recipe.name, key, finished=True)
                if done is not None and (differs := _differs(done, manifest_head(loaded, device, threads))):
                    reporter.note(f"{done.path}: the same training, but by another {differs}: training anew")
                elif done is not None:
                    why = "trained already, and taken as it is; --again trains it anew"
                    return _taken(done, reporter, why, though_older=True)
            except ArtefactError as error:
                reporter.warn(f"{error}; now training anew")
        if run is not None and run.is_done:
            return _taken(run, reporter, "finished already; nothing to resume")
        if run is not None and (threads_then := run.manifest().get("threads")) != threads:
            reporter.warn(
                f"the run began with {threads_then} threads and goes on with {threads}: only an equal number gives the "
                "bytes of an uninterrupted run"
            )
        if run is None:
            if resume:
                what = "run" if refit is None else "refit"
                reporter.note(f"no unfinished {what} of this recipe on this data: starting a new one")
            head = manifest_head(loaded, device, threads)
            forms = forms_of(encoded.ingested.path)
            if refit is not None:
                head["refit"] = refit.manifest_entry()
            if parent is not None:
                head["from"], forms = parent.manifest_entry(), parent.grows_from.forms
            plan = encoded.checked_plan()
            if memory is not None:
                memory.check(plan)
            path = new_run_path(workspace.runs_dir / recipe.name, key)
            run = begin_run(path, loaded, recipe_text, encoded, memory, forms, head, key)
        else:
            plan = FeaturePlan.load(run.plan_dir)
        live.begin(run.path)
        layout = input_layout(plan, recipe)
        stores = {split: EncodedStore.open(encoded.path / split) for split in encoded.splits}
        for store in stores.values():
            store.verify()
        learning = Learning(
            recipe=recipe,
            run=run,
            plan=plan,
            layout=layout,
            encoded=encoded,
            stores=stores,
            memory=memory,
            refit=refit,
            parent=parent,
            device=device,
            crew=crew,
            resume=resume,
            live=live,
            reporter=reporter,
        )
        network, outcome = learning.learn()
        seconds = time.monotonic() - started
        finish_run(recipe, run, plan, layout, network, stores, encoded, outcome, device, seconds)
        return _with_warnings_told(_finished_result(run, already_done=False), reporter)


def _taken(run: RunDirectory, reporter: Reporter, why: str, *, though_older: bool = False) -> TrainResult:
    """The result of a run that is finished already. `latest` leads to it from now on, unless a later one is done; with
    `though_older`, even then."""
    run.check_scoring(run.require_done())
    now_latest = "; it is `latest` now" if run.make_latest(though_older=though_older) else ""
    reporter.note(f"{run.path}: {why}{now_latest}")
    return _with_warnings_told(_finished_result(run), reporter)


_DECIDES_BYTES = {
    "widedeep": "version",
    "libraries": "set of libraries",
    "device": "device",
    "threads": "number of threads",
    "precision": "precision",
}
"""Entry of a manifest, beside the run's key, on which the bytes of the weights depend → its name."""


def _differs(run: RunDirectory, head: Mapping[str, Any]) -> str | None:
    """What tells a finished run from one that would begin with `head`; None if nothing does."""
    manifest = run.require_done()
    return next((told for entry, told in _DECIDES_BYTES.items() if manifest.get(entry) != head[entry]), None)


def _checked_device(recipe: Recipe, crew: Crew) -> torch.device:
    """The device to train on. Raises UsageError for more processes than parts, and for parts on cuda."""
    parts = recipe.training.parts
    if crew.world > parts:
        raise UsageError(
            f"{crew.world:,} processes, and a step has training.parts: {parts:,}: each process computes at least one "
            f"part; start at most {parts:,}, or set training.parts to a multiple of {crew.world:,} (which makes it "
            "another model, equal for any number of processes)"
        )
    device = choose_device(recipe.training.device)
    if parts > 1 and device.type != "cpu":
        raise UsageError(
            f"training.parts: {parts:,} is computed on the CPU, parts and processes on {device.type} are not built: "
            "set training.device to cpu, or training.parts to 1"
        )
    return device


def _threads(recipe: Recipe) -> int | None:
    """Parts take one thread by default, whatever the machine: their bytes shall not depend on who computes them."""
    return recipe.training.threads or (1 if recipe.training.parts > 1 else None)


def _with_warnings_told(result: TrainResult, reporter: Reporter) -> TrainResult:
    for warning in result.warnings:
        reporter.warn(warning["message"])
    return result


def _carry(
    parent: Parent, loaded: LoadedRecipe, workspace: Workspace, reporter: Reporter, *, resume: bool
) -> TrainResult:
    """The run for a day without new rows: the run before it once more."""
    key = key_of({"recipe": dump_recipe(loaded.recipe), "from": parent.key, "no_new_rows": True})
    name = loaded.recipe.name
    with workspace.training(name, key):
        run = last_run(workspace, name, key, finished=True) if resume else None
        if run is None:
            device = choose_device(loaded.recipe.training.device)
            head = manifest_head(loaded, device, set_threads(_threads(loaded.recipe)))
            run = carried_run(parent, name, workspace.runs_dir, key, head)
    reporter.note(f"no new rows to train on: {run.path} is {parent.run.path} once more, with its scores and figures")
    return _finished_result(run)


def _finished_result(run: RunDirectory, *, already_done: bool = True) -> TrainResult:
    facts = run.facts()
    return TrainResult(
        run.path,
        facts["metrics"],
        facts.get("crosses"),
        facts.get("warnings", []),
        facts["best_epoch"],
        facts["epochs"],
        facts.get("stopped"),
        facts["rows_per_second"],
        facts["parameters"],
        facts["seconds"],
        already_done,
        run.manifest().get("refit"),
        run.manifest().get("from"),
        facts.get("dropped_values"),
    )
