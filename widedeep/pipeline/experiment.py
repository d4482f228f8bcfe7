"""A whole experiment: runs the stages that are missing, trains, evaluates and writes the run directory."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
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
from widedeep.pipeline.stages import EncodingResult, MemoryResult, encoding_stage, memory_stage
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


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of a training, besides its recipe."""

    resume: bool = False
    """Go on with the recipe's unfinished run; if it is finished, that is the result."""
    again: bool = True
    """Train though a finished run is there that the same training would make once more; else that is the result."""
    refit: RefitRows | None = None
    """Train a new run on these rows too, for the number of epochs that the recipe's last finished run decides. If there
    is none, it is trained first."""
    goes_on_from: Path | None = None
    """Directory of a finished run, whose training goes on with the recipe's rows. If these have none to train on, the
    result is that run once more."""
    wait: bool = False
    """Wait for another process that has what this needs."""
    crew: Crew = field(default_factory=Crew)
    """The processes that train; by default this one alone."""


def train(loaded: LoadedRecipe, work_dir: Path, reporter: Reporter, asked: Asked = Asked()) -> TrainResult:
    """Run every stage that is missing, train and evaluate.

    Raises UsageError for a refit on rows that the recipe does not hold out, and for more processes than parts;
    RecipeError for settings that differ from those of the run to go on from.
    """
    with _prepared(loaded, work_dir, reporter, asked) as training:
        return training.result()


def train_seeds(
    loaded: LoadedRecipe, work_dir: Path, reporter: Reporter, seeds: int, asked: Asked = Asked()
) -> SeedsResult:
    """Train (or refit) with the recipe's seed and the `seeds - 1` that follow it, on the same split.

    If they go on from a run, it is the same for all. Raises what `train` does.
    """
    first = loaded.recipe.seed
    if first + seeds > 2**32:
        raise UsageError(f"--seeds {seeds}: counts up from seed {first} and must stay below 2**32")
    runs: list[TrainResult] = []
    with _prepared(loaded, work_dir, reporter, asked) as training:
        for seed in range(first, first + seeds):
            reporter.part(f"seed {seed}", len(runs) + 1, seeds)
            runs.append(training.of_seed(seed).result())
    return SeedsResult(runs, _summary([run.metrics for run in runs]))


@contextmanager
def _prepared(loaded: LoadedRecipe, work_dir: Path, reporter: Reporter, asked: Asked) -> Iterator["_Training"]:
    """Yield the training of the recipe, which shares the work directory meanwhile."""
    trackers = installed_trackers(loaded.recipe.training.track, reporter)
    loaded = _of_run(loaded)
    if asked.goes_on_from is not None and asked.refit is not None:
        raise UsageError(
            "--from with --refit: a run that goes on chooses its epochs by valid rows that it has not seen; leave one "
            "of them out"
        )
    workspace = Workspace(work_dir)
    with workspace.shared(reporter, wait=asked.wait):
        # Only now, as nobody removes the run from here on.
        parent = None if asked.goes_on_from is None else Parent.of(asked.goes_on_from, loaded)
        yield _Training(loaded, asked, parent, workspace, trackers, reporter)


def _of_run(loaded: LoadedRecipe) -> LoadedRecipe:
    """The recipe without what a search of it would try and where it is shown: no run is another for these."""
    training = loaded.recipe.training.model_copy(update={"track": ()})
    return replace(loaded, recipe=loaded.recipe.model_copy(update={"sweep": None, "training": training}))


@dataclass(frozen=True)
class _Training:
    """A recipe that is to be trained: finds or makes the run that it comes to."""

    loaded: LoadedRecipe
    asked: Asked
    parent: Parent | None
    workspace: Workspace
    trackers: Sequence[TrackSettings]
    reporter: Reporter

    @property
    def recipe(self) -> Recipe:
        return self.loaded.recipe

    @cached_property
    def _recipe_text(self) -> str:
        return dump_recipe(self.recipe)

    def of_seed(self, seed: int) -> "_Training":
        """The same with another seed."""
        return replace(self, loaded=replace(self.loaded, recipe=self.recipe.model_copy(update={"seed": seed})))

    def result(self) -> TrainResult:
        """The finished run that is asked for."""
        if self.asked.refit is None:
            try:
                return self._train()
            except NoRowsError as error:
                if self.parent is None or error.split != "train":
                    raise
                return self._carry(self.parent)
        splits = refit_splits(self.loaded, self.asked.refit)
        chosen = self._train(take_finished=True).run
        planned = Refit.of(RunDirectory(chosen), self.recipe, splits)
        self.reporter.note(
            f"refit of {chosen} on the {' + '.join(splits)} rows, for its best number of epochs: {planned.epochs}"
        )
        return self._train(planned)

    def _train(self, refit: Refit | None = None, *, take_finished: bool = False) -> TrainResult:
        """Train a new run or go on with one, unless one is taken that is finished: with `take_finished`, any."""
        started = time.monotonic()
        recipe, parent, workspace, reporter = self.recipe, self.parent, self.workspace, self.reporter
        device = _checked_device(recipe, self.asked.crew)
        threads = set_threads(_threads(recipe))
        grows_from = None if parent is None else parent.grows_from
        trained_on = TRAIN_ONLY if refit is None else refit.splits
        encoded = encoding_stage(self.loaded, workspace, reporter, trained_on, grows_from)
        memory = memory_stage(self.loaded, encoded, workspace, reporter, grows_from)
        memory_key = {} if memory is None else {"memory": memory.key}
        refit_key = {} if refit is None else {"refit": [refit.key, refit.epochs]}
        from_key = {} if parent is None else {"from": parent.key}
        key = key_of({"recipe": self._recipe_text, "encoded": encoded.key, **memory_key, **refit_key, **from_key})
        live = LiveTracking(self.trackers, workspace.path, reporter)
        with workspace.training(recipe.name, key), live:
            if take_finished and (done := last_run(workspace, recipe.name, key, finished=True)) is not None:
                return _finished_result(done)
            run = last_run(workspace, recipe.name, key) if self.asked.resume else None
            if run is not None and run.is_done:
                return self._taken(run, "finished already; nothing to resume")
            if not (self.asked.resume or self.asked.again) and (taken := self._taken_if_same(key, device, threads)):
                return taken
            if run is None:
                run, plan = self._begun(encoded, memory, refit, key, device, threads)
            else:
                if (threads_then := run.manifest().get("threads")) != threads:
                    reporter.warn(
                        f"the run began with {threads_then} threads and goes on with {threads}: only an equal number "
                        "gives the bytes of an uninterrupted run"
                    )
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
                crew=self.asked.crew,
                resume=self.asked.resume,
                live=live,
                reporter=reporter,
            )
            network, outcome = learning.learn()
            seconds = time.monotonic() - started
            finish_run(recipe, run, plan, layout, network, stores, encoded, outcome, device, seconds)
            return self._with_warnings_told(_finished_result(run, already_done=False))

    def _taken_if_same(self, key: str, device: torch.device, threads: int) -> TrainResult | None:
        """The last finished run with this key, if the same versions, device, threads and precision trained it."""
        try:
            done = last_run(self.workspace, self.recipe.name, key, finished=True)
            if done is None:
                return None
            if differs := _differs(done, manifest_head(self.loaded, device, threads)):
                self.reporter.note(f"{done.path}: the same training, but by another {differs}: training anew")
                return None
            why = "trained already, and taken as it is; --again trains it anew"
            return self._taken(done, why, though_older=True)
        except ArtefactError as error:
            self.reporter.warn(f"{error}; now training anew")
            return None

    def _taken(self, run: RunDirectory, why: str, *, though_older: bool = False) -> TrainResult:
        """The result of a run that is finished already. `latest` leads to it from now on, unless a later one is done;
        with `though_older`, even then."""
        run.check_scoring(run.require_done())
        now_latest = "; it is `latest` now" if run.make_latest(though_older=though_older) else ""
        self.reporter.note(f"{run.path}: {why}{now_latest}")
        return self._with_warnings_told(_finished_result(run))

    def _with_warnings_told(self, result: TrainResult) -> TrainResult:
        for warning in result.warnings:
            self.reporter.warn(warning["message"])
        return result

    def _begun(
        self,
        encoded: EncodingResult,
        memory: MemoryResult | None,
        refit: Refit | None,
        key: str,
        device: torch.device,
        threads: int,
    ) -> tuple[RunDirectory, FeaturePlan]:
        """A new run, and its plan."""
        if self.asked.resume:
            what = "run" if refit is None else "refit"
            self.reporter.note(f"no unfinished {what} of this recipe on this data: starting a new one")
        head = manifest_head(self.loaded, device, threads)
        forms = forms_of(encoded.ingested.path)
        if refit is not None:
            head["refit"] = refit.manifest_entry()
        if self.parent is not None:
            head["from"], forms = self.parent.manifest_entry(), self.parent.grows_from.forms
        plan = encoded.checked_plan()
        if memory is not None:
            memory.check(plan)
        path = new_run_path(self.workspace.runs_dir / self.recipe.name, key)
        return begin_run(path, self.loaded, self._recipe_text, encoded, memory, forms, head, key), plan

    def _carry(self, parent: Parent) -> TrainResult:
        """The run for a day without new rows: the run before it once more."""
        key = key_of({"recipe": self._recipe_text, "from": parent.key, "no_new_rows": True})
        name = self.recipe.name
        with self.workspace.training(name, key):
            may_be_taken = self.asked.resume or not self.asked.again
            run = last_run(self.workspace, name, key, finished=True) if may_be_taken else None
            if run is None:
                device = choose_device(self.recipe.training.device)
                head = manifest_head(self.loaded, device, set_threads(_threads(self.recipe)))
                run = carried_run(parent, name, self.workspace.runs_dir, key, head)
        self.reporter.note(
            f"no new rows to train on: {run.path} is {parent.run.path} once more, with its scores and figures"
        )
        return _finished_result(run)


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


def _summary(metrics: list[dict[str, dict[str, float | None]]]) -> dict[str, dict[str, dict[str, float]]]:
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for split in metrics[0]:
        for name in metrics[0][split]:
            values = [value for by_split in metrics if (value := by_split[split][name]) is not None]
            if len(values) == len(metrics):
                deviation = statistics.stdev(values) if len(values) > 1 else 0.0
                summary.setdefault(split, {})[name] = {"mean": statistics.fmean(values), "deviation": deviation}
    return summary


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
