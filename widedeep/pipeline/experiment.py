"""A whole experiment: runs the stages that are missing, trains, evaluates and writes the run directory."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from widedeep.artefacts import telling_stage
from widedeep.encoded.store import EncodedStore
from widedeep.encoded.unknown_draws import UnknownDraws
from widedeep.errors import ArtefactError, NoRowsError, UsageError
from widedeep.features.exposure import Exposure, shown_shares
from widedeep.features.plan import FeaturePlan
from widedeep.features.targets import LABEL_COLUMN
from widedeep.memory.cross_memory import CrossMemory, FoldMemory
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network, Undrawn
from widedeep.pipeline.crew import Crew
from widedeep.pipeline.finish import finish_run
from widedeep.pipeline.going_on import Parent, carried_run, remembering
from widedeep.pipeline.keys import key_of
from widedeep.pipeline.live_tracking import LiveTracking, installed_trackers
from widedeep.pipeline.new_run import begin_run, last_run, manifest_head, new_run_path, precision_of
from widedeep.pipeline.parted import Assignment, parted_trainer
from widedeep.pipeline.refit import Refit, RefitRows, refit_splits
from widedeep.pipeline.stages import MemoryResult, encoding_stage, memory_stage
from widedeep.pipeline.workspace import Workspace, read_report
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.load import LoadedRecipe
from widedeep.recipe.schema import Recipe, TrackSettings
from widedeep.reporting import Reporter
from widedeep.runs import TRAIN_ONLY, RunDirectory
from widedeep.scoring.scorer import input_layout, logit_correction, recall_crosses
from widedeep.table.parts import forms_of
from widedeep.training.device import choose_device, set_threads, telling_out_of_memory
from widedeep.training.loop import Outcome, Trainer
from widedeep.training.ranks import Ranks

_TOLD_SHARE, _TOLD_FIELDS = 0.05, 3
"""`train` tells how many values will be unknown for fields with at least this share, and for so many fields at most."""


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
    _refuse_refit_of(goes_on_from, refit)
    workspace, crew = Workspace(work_dir), crew or Crew()
    with workspace.shared(reporter, wait=wait):
        parent = None if goes_on_from is None else Parent.of(goes_on_from, loaded)  # which nobody removes from now on
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
    _refuse_refit_of(goes_on_from, refit)
    workspace, crew = Workspace(work_dir), crew or Crew()
    runs: list[TrainResult] = []
    with workspace.shared(reporter, wait=wait):
        parent = None if goes_on_from is None else Parent.of(goes_on_from, loaded)
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


def _refuse_refit_of(goes_on_from: Path | None, refit: RefitRows | None) -> None:
    if goes_on_from is not None and refit is not None:
        raise UsageError(
            "--from with --refit: a run that goes on chooses its epochs by valid rows that it has not seen; leave one "
            "of them out"
        )


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
        facts: Any = read_report(encoded.ingested.path)
        torch.manual_seed(recipe.seed)
        epochs = recipe.training.epochs
        if refit is not None:
            epochs = refit.epochs
        elif parent is not None:
            epochs = min(epochs, recipe.training.going_on_epochs)
        with telling_out_of_memory():
            label_mean = facts["label"]["train"]["mean"] if refit is None else _label_mean(stores["train"])
            bias = _starting_bias(recipe, label_mean)
            shares = shown_shares(encoded.exposures, recipe.training.unknown_share)
            if recipe.training.unknown_share == "auto":
                _tell_unknown(encoded.exposures, reporter)
            if recipe.training.parts > 1:
                assignment = Assignment(
                    run=str(run.path.absolute()),
                    encoded=str(encoded.path.absolute()),
                    splits=tuple(encoded.splits),
                    folds=None if memory is None else str(memory.folds.absolute()),
                    learnt=parent is not None,
                    bias=bias,
                    unknown=shares,
                    epochs=epochs,
                    followed=None if refit is None else refit.values,
                    precision=precision_of(run, device),
                    resume=resume,
                )
                network, outcome = _learn_by_parts(assignment, crew, recipe, plan, layout, parent, reporter, live)
                seconds = time.monotonic() - started
                finish_run(recipe, run, plan, layout, network, stores, encoded, outcome, device, seconds)
                return _with_warnings_told(_finished_result(run, already_done=False), reporter)
            network = Network(layout, recipe.model, bias=bias, correction=logit_correction(recipe))
            if memory is not None:
                _begin_with_memory(network, layout, run, memory, reporter, learnt=parent is not None)
            unknown = None
            if shares:
                unknown = UnknownDraws.of_plan(plan, shares, recipe.seed, layout.index_columns, layout.list_columns)
            kept = {} if parent is None else parent.kept(plan)
            known = None if parent is None else parent.memory(network, layout, kept)
            training = recipe.training.model_copy(update={"epochs": epochs})
            trainer = Trainer(
                recipe.model_copy(update={"training": training}),
                network,
                layout,
                stores["train"],
                stores.get("valid"),
                run,
                device,
                reporter,
                precision=precision_of(run, device),
                unknown=unknown,
                followed=None if refit is None else refit.values,
                as_it_was=None if parent is None else partial(remembering, network, known),
                at_epoch_end=live.at_epoch_end,
            )
            if parent is not None and not (resume and run.last_path.exists()):
                parent.start(network, trainer.optimizers, kept)
            outcome = trainer.run(resume=resume)
            if known is not None and outcome.best_epoch == 0:
                known.save(run.memory_path)
                recall_crosses(network, run)
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


def _learn_by_parts(
    assignment: Assignment,
    crew: Crew,
    recipe: Recipe,
    plan: FeaturePlan,
    layout: InputLayout,
    parent: Parent | None,
    reporter: Reporter,
    live: LiveTracking,
) -> tuple[Network, Outcome]:
    """Train in the crew's processes. Gives a network for the whole model, whose weights are in the best checkpoint."""
    run = RunDirectory(Path(assignment.run))
    known = None
    if parent is not None:
        assignment, known = _begun(assignment, plan, layout, parent, reporter)
    with crew.at_work(assignment, recipe.training.timeout) as ranks:
        trainer = parted_trainer(assignment, ranks, reporter, at_epoch_end=live.at_epoch_end)
        _tell_silent(trainer.network, layout, reporter)
        outcome = trainer.run(resume=assignment.resume)
        del trainer
    gc.collect()  # its tables are part of cycles, and must make room for what is read from the best checkpoint next
    with Undrawn():
        network = Network(layout, recipe.model, correction=logit_correction(recipe))
    if known is not None and outcome.best_epoch == 0:
        known.save(run.memory_path)
    recall_crosses(network, run)
    return network, outcome


def _begun(
    assignment: Assignment, plan: FeaturePlan, layout: InputLayout, parent: Parent, reporter: Reporter
) -> tuple[Assignment, CrossMemory | None]:
    """Write the checkpoint that going on begins with, measured as epoch 0; gives the memory of that epoch."""
    kept = parent.kept(plan)
    known = None

    def as_it_was(network: Network) -> Callable[[], AbstractContextManager[object]]:
        nonlocal known
        known = parent.memory(network, layout, kept)
        return partial(remembering, network, known)

    trainer = parted_trainer(assignment, Ranks(), reporter, as_it_was=as_it_was)
    if not (assignment.resume and trainer.run_dir.last_path.exists()):
        parent.start(trainer.network, trainer.optimizers, kept)
        trainer.begin()
    del trainer
    gc.collect()  # as its tables are whole
    return replace(assignment, resume=True), known


def _with_warnings_told(result: TrainResult, reporter: Reporter) -> TrainResult:
    for warning in result.warnings:
        reporter.warn(warning["message"])
    return result


def _tell_unknown(exposures: Mapping[str, Exposure], reporter: Reporter) -> None:
    large = [(name, exposure) for name, exposure in exposures.items() if exposure.expected >= _TOLD_SHARE]
    large.sort(key=lambda pair: -pair[1].expected)
    for name, exposure in large[:_TOLD_FIELDS]:
        source = "later train rows against earlier ones" if exposure.by == "time" else "by counts of the train rows"
        shown = exposure.shown()
        taught = f"; training shows {shown:.1%} of the known ones as unknown to learn from" if shown else ""
        reporter.note(
            f"{name}: about {exposure.expected:.0%} of the values to score will be unknown ({source}){taught}"
        )
    if len(large) > _TOLD_FIELDS:
        names = ", ".join(name for name, _ in large[_TOLD_FIELDS:])
        reporter.note(f"fewer, but at least {_TOLD_SHARE:.0%}, of {names}")


def _begin_with_memory(
    network: Network, layout: InputLayout, run: RunDirectory, memory: MemoryResult, reporter: Reporter, *, learnt: bool
) -> None:
    """Let the crosses remember; unless they are `learnt` already, scales and offsets begin as the memory says."""
    crosses, known = network.cross_memory, recall_crosses(network, run)
    assert crosses is not None
    assert known is not None
    if not learnt:
        crosses.start_from(torch.from_numpy(known.scale), torch.from_numpy(known.offset))
    with telling_stage():
        folds = FoldMemory.load(memory.folds)
    crosses.train_on_folds(torch.from_numpy(folds.value), torch.from_numpy(folds.support))
    _tell_silent(network, layout, reporter)


def _tell_silent(network: Network, layout: InputLayout, reporter: Reporter) -> None:
    crosses = network.cross_memory
    if crosses is not None and crosses.silent:
        names = ", ".join(" x ".join(layout.crosses[position].fields) for position in crosses.silent)
        reporter.note(f"left out of the model, as the train rows do not tell them from chance: {names}")


def _label_mean(store: EncodedStore) -> float:
    labels = store.read(0, store.rows, [LABEL_COLUMN])[LABEL_COLUMN]
    return float(labels.mean(dtype=np.float64))


def _starting_bias(recipe: Recipe, label_mean: float) -> float:
    # The log-odds of the train rate: with a rare label, the model would else spend its first epochs on finding it.
    if recipe.data.label.kind == "regression":
        return label_mean
    return float(torch.logit(torch.tensor(label_mean, dtype=torch.float64)))


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
