"""A sweep: trials of a recipe with other settings, side by side, until so many are trained or pruned."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import Trial

from widedeep.errors import (
    ArtefactError,
    DataError,
    Fault,
    Interrupted,
    RecipeError,
    TrainingError,
    UsageError,
    WriteError,
)
from widedeep.evaluation.formulas import metric_direction, metric_title
from widedeep.figures import duration, figure, visible
from widedeep.files import write_text, writing
from widedeep.pipeline.ingest_stage import ingest_key, ingest_stage
from widedeep.pipeline.keys import key_of
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.base import MOST_NAME
from widedeep.recipe.checks import choosable_metrics
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.load import LoadedRecipe, resolve_paths
from widedeep.recipe.schema import Recipe, SweepSettings
from widedeep.recipe.sweep_space import SOURCE, own_settings, read_entry, space_findings, written
from widedeep.reporting import Meter, Reporter
from widedeep.runs import RunDirectory
from widedeep.search.journal import EndedTrial, Journal
from widedeep.search.starter import Starter
from widedeep.search.trial_process import TrialProcess

SWEEP_FORMAT = 2
"""Raised when what a journal says changes for equal searches, so that none of an older version is gone on with."""
_POLL_SECONDS = 0.1
_LOOK_SECONDS = 1.0
"""So often it is asked whether other commands have ended, or failed, what is not to be begun here meanwhile."""
_MOST_FAILED = 5
"""So many trials that fail by themselves end the sweep, if none is finished meanwhile: the next would fail too."""
_MOST_KILLED = 3
"""So many times in a row may trials be ended by a signal: else what kills them, such as a lack of memory, goes on."""
_KILLED = 128
_ENDS_ALL = {3: DataError, 4: ArtefactError, 6: WriteError}
"""Exit codes of a trial that all others would have too → what the sweep raises."""


@dataclass(frozen=True)
class SweepResult:
    """What a sweep has tried so far."""

    folder: Path
    """Where its journal lies."""
    metric: str
    minimize: bool
    space: dict[str, Any]
    trials: tuple[EndedTrial, ...]
    """All that have ended, failed ones too, in the order in which they began."""
    wanted: int
    importance: dict[str, float] | None
    """Setting → its share in what makes trained trials differ; None of too few trials."""

    @property
    def finished(self) -> tuple[EndedTrial, ...]:
        """The trials that are trained or pruned."""
        return tuple(trial for trial in self.trials if trial.state != "failed")

    @property
    def ranked(self) -> tuple[EndedTrial, ...]:
        """The finished trials: the trained ones, best first, then the pruned ones."""
        sign = 1.0 if self.minimize else -1.0

        def rank(trial: EndedTrial) -> tuple[bool, float]:
            return trial.state == "pruned", sign * (trial.value if trial.value is not None else -sign * float("inf"))

        return tuple(sorted(self.finished, key=rank))

    @property
    def best(self) -> EndedTrial | None:
        """The best trained trial."""
        trained = [trial for trial in self.ranked if trial.state == "trained"]
        return trained[0] if trained else None


def plan_of(loaded: LoadedRecipe, space: Mapping[str, Any], changes: Mapping[str, Any]) -> SweepSettings:
    """What a sweep does: the recipe's section with settings of `space` and other `changes` on top.

    Raises RecipeError for a space that does not fit the recipe, UsageError for an empty one.
    """
    plan = loaded.recipe.sweep or SweepSettings()
    plan = plan.model_copy(update={**changes, "space": {**plan.space, **space}})
    if not plan.space:
        raise UsageError(
            f"{loaded.title}: no setting to search: give it a section `sweep`, or name settings, such as --space "
            "'training.deep.learning_rate=log(1e-4,1e-2)'"
        )
    known = ("auto", *choosable_metrics(loaded.recipe))
    if plan.metric not in known:
        raise UsageError(f"--metric {plan.metric}: must be one of {', '.join(known)} for this recipe")
    if findings := space_findings(loaded.recipe, plan.space):
        raise RecipeError([Fault(str(found.path[-1]), found.message, source=SOURCE) for found in findings])
    return plan


def sweep(
    loaded: LoadedRecipe,
    plan: SweepSettings,
    work_dir: Path,
    reporter: Reporter,
    *,
    workers: int = 1,
    wait: bool = False,
) -> SweepResult:
    """Try settings from `plan.space` until `plan.trials` trials are finished, those of earlier calls included.

    Valid rows choose. Trials are child processes, `workers` at a time, each on its share of the cores unless the recipe
    says `training.threads`. Raises UsageError for a recipe without valid rows, TrainingError if one trial after another
    fails, Interrupted on Ctrl-C; killed in whatever way, the same call goes on.
    """
    recipe = loaded.recipe
    workspace = Workspace(work_dir.absolute())
    # Others may search the same: nobody fails for what another makes at the moment.
    with workspace.shared(reporter, wait=wait), workspace.waiting():
        ingested = ingest_stage(loaded, workspace, reporter)
        if not ingested.rows.get("valid"):
            raise UsageError(f"{loaded.title}: a sweep chooses by valid rows, and there are none: see `data.split`")
        metric = recipe.training.early_stopping.metric if plan.metric == "auto" else plan.metric
        whole = _with_whole_paths(recipe, loaded.base_dir.absolute())
        text, untracked = dump_recipe(whole), dump_recipe(_untracked(whole))
        space = {setting: asdict(read_entry(entry)) for setting, entry in plan.space.items()}
        key = key_of(
            {"format": SWEEP_FORMAT, "recipe": untracked, "ingest": ingested.key, "space": space, "metric": metric}
        )
        folder = Workspace(work_dir).sweeps_dir / recipe.name / key[:12]
        with workspace.searching(folder) as command:
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "recipe.yaml", text)
            return _Sweep(loaded, ingested.key, plan, metric, folder, command, workspace, reporter, workers).run()


def _untracked(recipe: Recipe) -> Recipe:
    """The recipe without the trackers that show its trials: no sweep is another for these."""
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"track": ()})})


def best_recipe(loaded: LoadedRecipe, best: EndedTrial) -> LoadedRecipe:
    """The recipe with the settings of the best trial, under a name of its own."""
    return _with_settings(loaded, {**best.settings, "name": _named(loaded.recipe, "best")})


def _with_settings(loaded: LoadedRecipe, settings: Mapping[str, Any]) -> LoadedRecipe:
    plain = LoadedRecipe(loaded.recipe.model_copy(update={"sweep": None}), loaded.path, loaded.base_dir, ())
    return plain.changed([f"{setting}={written(value)}" for setting, value in settings.items()])


def best_recipe_text(loaded: LoadedRecipe, result: SweepResult, best: EndedTrial, folder: Path, made_by: str) -> str:
    """The text of `best_recipe` for a file in `folder`, with a comment that says where it comes from."""
    found = best_recipe(loaded, best)
    pruned = sum(trial.state == "pruned" for trial in result.finished)
    lines = [
        f"# The best trial of a sweep ({len(result.finished)} finished, {pruned} of them pruned):",
        f"#   {visible(made_by)}",
        f"# Trial {best.number}: valid {metric_title(result.metric)} {figure(best.value)}, {_epochs(best.epochs)}. The",
        "# valid rows chose it, and flatter it a little for that; the test rows chose nothing. What was searched:",
        *(f"#   {setting}: {written(value)}" for setting, value in best.settings.items()),
        f"# Its run is {visible(str(best.run))}.",
    ]
    moved = _with_paths_from(found.recipe, found.base_dir, folder)
    return "".join(f"{line}\n" for line in lines) + dump_recipe(moved)


def _named(recipe: Recipe, what: str) -> str:
    return f"{recipe.name[: MOST_NAME - len(what) - 1]}-{what}"


def _with_whole_paths(recipe: Recipe, base_dir: Path) -> Recipe:
    return _with_files(recipe.model_copy(update={"sweep": None}), lambda files: resolve_paths(files, base_dir))


def _with_paths_from(recipe: Recipe, base_dir: Path, folder: Path) -> Recipe:
    """The recipe for a file in `folder`: relative paths lead to the same files from there."""

    def moved(file: str) -> str:
        if "://" in file or os.path.isabs(file):
            return file
        return os.path.relpath((base_dir / file).absolute(), folder.absolute())

    return _with_files(recipe, lambda files: tuple(map(moved, files)))


def _with_files(recipe: Recipe, change: Any) -> Recipe:
    data = recipe.data
    parts = {part: change(files) for part in ("train", "valid", "test") if (files := getattr(data, part)) is not None}
    tables = {name: table.model_copy(update={"files": change(table.files)}) for name, table in data.tables.items()}
    return recipe.model_copy(update={"data": data.model_copy(update={**parts, "tables": tables})})


@dataclass
class _Running:
    """A trial under way, in one of the places that workers have."""

    trial: Trial
    settings: dict[str, Any]
    process: TrialProcess
    place: int


class _Sweep:
    """Starts, watches and ends the trials."""

    def __init__(
        self,
        loaded: LoadedRecipe,
        ingested: str,
        plan: SweepSettings,
        metric: str,
        folder: Path,
        command: str,
        workspace: Workspace,
        reporter: Reporter,
        workers: int,
    ) -> None:
        self._loaded, self._ingested, self._recipe = loaded, ingested, loaded.recipe
        self._plan, self._metric, self._folder = plan, metric, folder
        self._workspace, self._reporter, self._workers = workspace, reporter, workers
        self._minimize = metric_direction(metric) == "min"
        self._space = {setting: read_entry(entry) for setting, entry in plan.space.items()}
        self._journal = Journal(
            folder / "journal.jsonl",
            self._space,
            minimize=self._minimize,
            pruner=plan.pruner,
            seed=self._recipe.seed,
            command=command,
            takes_part=lambda name: workspace.searches(folder, name),
            note=reporter.note,
        )
        self._running: list[_Running] = []
        self._began = time.monotonic()
        self._looked: float | None = None
        self._finished, self._shown = 0, False
        """Finished trials when they were last counted, and whether this number is shown."""
        self._starter = Starter()
        self._failed_in_a_row = self._killed_in_a_row = self._finished_at_failure = 0

    def run(self) -> SweepResult:
        self._take_up()
        try:
            with self._reporter.work("sweep", self._plan.trials, "trials") as meter, self._starter, self._ended_with():
                while self._goes_on(meter):
                    self._watch()
                    time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt as interrupt:
            # Not counted anew: it may be the journal's lock that was waited for in vain.
            progress = self._progress(self._finished)
            kept = ", and those under way have a checkpoint" if self._running else ""
            raise Interrupted(signal.SIGINT, f"interrupted: {progress}{kept}: the same command goes on") from interrupt
        trials = self._journal.ended()
        result = SweepResult(
            self._folder,
            self._metric,
            self._minimize,
            dict(self._plan.space),
            tuple(map(self._from_here, trials)),
            self._plan.trials,
            self._journal.importance(trials),
        )
        if len(result.finished) < self._plan.trials:
            progress = self._progress(len(result.finished))
            self._reporter.note(f"the {self._plan.seconds:g} seconds are over: {progress}; the same command goes on")
        return result

    def _from_here(self, trial: EndedTrial) -> EndedTrial:
        """The trial with the place of its run as the caller names the work directory, which may have moved since."""
        return trial if trial.run is None else replace(trial, run=str(self._folder.parents[2] / trial.run))

    def _progress(self, finished: int) -> str:
        return f"{finished} of {self._plan.trials} trials are finished"

    def _take_up(self) -> None:
        """Plan what a killed process left, or, of a new search, the recipe as it is."""
        if self._journal.torn_bytes:
            self._reporter.note(
                f"{self._journal.path}: the last {self._journal.torn_bytes} bytes were half written, and are dropped"
            )
        own = own_settings(self._recipe, self._space)
        is_trial = own.keys() == self._space.keys()
        with self._journal.alone():
            is_new = self._journal.is_new
            if is_new and is_trial:
                self._journal.plan(own)
            left, self._finished = self._journal.fail_left(), self._journal.num_finished()
            elsewhere = self._journal.num_elsewhere()
        if is_new and not is_trial:
            outside = next(setting for setting in self._space if setting not in own)
            self._reporter.note(f"the recipe's own {outside} lies outside of what is searched: it is no trial itself")
        if not is_new and (left or self._finished < self._plan.trials):
            again = f"; tried again, as their command has ended: {left}" if left else ""
            others = f"; under way in other commands: {elsewhere}" if elsewhere else ""
            self._reporter.note(f"going on: finished trials: {self._finished}{again}{others}")

    def _goes_on(self, meter: Meter) -> bool:
        """Start what can be started; whether anything is left to do, or to wait for.

        What other commands have under way may fail, or be left: it is looked at once in a while, and as soon as a trial
        has ended here.
        """
        if self._looked is not None and time.monotonic() - self._looked < _LOOK_SECONDS:
            return True
        self._start_more()
        self._show(meter, self._journal.num_finished())
        if not self._running and (self._finished >= self._plan.trials or not self._in_time()):
            return False
        if self._looked is None and not self._running and (elsewhere := self._journal.num_elsewhere()):
            self._reporter.note(f"waiting for {elsewhere} trial{'s' * (elsewhere > 1)} of other commands")
        self._looked = time.monotonic()
        return True

    def _in_time(self) -> bool:
        return self._plan.seconds is None or time.monotonic() - self._began < self._plan.seconds

    def _start_more(self) -> None:
        """Start trials until all places are taken, or so many are finished and under way as are wanted."""
        while len(self._running) < self._workers and self._in_time():
            begun = self._journal.begin(self._plan.trials)
            if begun is None:
                return
            self._looked = None
            self._start(*begun)

    def _start(self, trial: Trial, settings: dict[str, Any]) -> None:
        if (done := self._trained_already(settings)) is not None:
            facts = {"run": done.run, "epochs": done.epochs, "seconds": 0.0}
            self._journal.end(trial, "trained", done.value, facts)
            self._reporter.note(f"trial {trial.number}: has the settings of trial {done.number}, and its run and value")
            return
        place = min(set(range(self._workers)) - {running.place for running in self._running})
        process = TrialProcess(
            (self._folder / "recipe.yaml").absolute(),
            _named(self._recipe, "sweep"),
            {**settings, "name": _named(self._recipe, "sweep")},
            self._workspace.path,
            self._cores(place),
            self._starter,
        )
        self._running.append(_Running(trial, settings, process, place))

    def _trained_already(self, settings: Mapping[str, Any]) -> EndedTrial | None:
        """The trial that was trained with these settings, if its run is still there: a process would only read it."""
        for trial in self._journal.ended():
            if trial.state == "trained" and trial.run is not None and trial.settings == settings:
                return trial if RunDirectory(self._workspace.path / trial.run).is_done else None
        return None

    def _cores(self, place: int) -> list[int] | None:
        """The cores of the worker in this place; None if the number of threads is set, or there is one worker."""
        sets_threads = self._recipe.training.threads is not None or any(
            "training.threads".startswith(setting) for setting in self._space
        )
        if self._workers == 1 or sets_threads or not hasattr(os, "sched_getaffinity"):
            return None
        cores = sorted(os.sched_getaffinity(0))
        each = max(1, len(cores) // self._workers)
        first = place * each % (len(cores) - each + 1)
        return cores[first : first + each]

    def _watch(self) -> None:
        for running in tuple(self._running):
            code = running.process.code()
            self._read_epochs(running)
            if code is not None:
                self._running.remove(running)
                self._looked = None
                self._end(running, code)

    def _show(self, meter: Meter, finished: int) -> None:
        if not self._shown or finished != self._finished:
            best, self._finished, self._shown = self._best(), finished, True
            meter.update(finished, **({} if best is None else {metric_title(self._metric): best}))

    def _read_epochs(self, running: _Running) -> None:
        process = running.process
        for epoch, valid in process.new_epochs():
            value = valid.get(self._metric)
            if value is None:
                continue
            poor = self._journal.report(running.trial, epoch, value)
            run = process.run()
            if not poor or process.pruned or process.code() is not None or run is None or run.is_done:
                continue
            # After its last epoch a trial is all but done: how fast we look must not decide whether it is pruned.
            if epoch < _with_settings(self._loaded, running.settings).recipe.training.epochs:
                process.prune()

    def _end(self, running: _Running, code: int) -> None:
        process = running.process
        run = process.run()
        facts = {
            "epochs": process.epochs,
            "seconds": round(time.monotonic() - process.began, 3),
            **({} if run is None else {"run": os.path.relpath(run.path, self._workspace.path)}),
        }
        title = metric_title(self._metric)
        if ingest_key(self._loaded) != self._ingested:
            raise DataError(
                f"{self._loaded.title}: its data has changed since the sweep began, and trials are compared on equal "
                "rows only: the same command begins another search"
            )
        if code == 0:
            result = process.result()
            value = result["metrics"]["valid"].get(self._metric)
            if value is not None:
                facts |= {"epochs": result["epochs"], "run": os.path.relpath(result["run"], self._workspace.path)}
                self._journal.end(running.trial, "trained", value, facts)
                self._killed_in_a_row = 0
                self._tell(running, f"{title} {figure(value)} after {_epochs(result['epochs'])}, {_seconds(facts)}")
                return
            self._fail(running, f"its {title} is not defined on the valid rows", again=False)
        elif process.pruned:
            self._journal.end(running.trial, "pruned", None, facts)
            self._killed_in_a_row = 0
            self._tell(running, f"pruned after {_epochs(process.epochs)}, {_seconds(facts)}")
        elif code in _ENDS_ALL:
            self._journal.fail(running.trial, process.told(), again=True)
            raise _ENDS_ALL[code](f"trial {running.trial.number}: {process.told()}")
        else:
            self._fail(running, process.told(), again=code > _KILLED)

    def _fail(self, running: _Running, why: str, *, again: bool) -> None:
        if again:
            self._killed_in_a_row += 1
        else:
            # Settings fail here as they do elsewhere; a lack of memory is this machine's own.
            finished, before = self._journal.num_finished(), self._finished_at_failure
            self._failed_in_a_row = self._failed_in_a_row + 1 if finished == before else 1
            self._finished_at_failure, self._killed_in_a_row = finished, 0
        again = again and self._killed_in_a_row <= _MOST_KILLED
        self._journal.fail(running.trial, why, again=again)
        self._reporter.warn(f"trial {running.trial.number} failed: {why}{'; it is tried again' if again else ''}")
        if self._failed_in_a_row >= _MOST_FAILED or self._killed_in_a_row > _MOST_KILLED:
            number = self._failed_in_a_row if self._failed_in_a_row >= _MOST_FAILED else self._killed_in_a_row
            raise TrainingError(
                f"{number} trials in a row failed, the last one with {_listed(running.settings)}: {why}; what is "
                "finished is kept, and the same command goes on"
            )

    def _tell(self, running: _Running, what: str) -> None:
        self._reporter.note(f"trial {running.trial.number}: {what}; {_listed(running.settings)}")

    def _best(self) -> float | None:
        values = [
            trial.value for trial in self._journal.ended() if trial.state == "trained" and trial.value is not None
        ]
        return None if not values else (min if self._minimize else max)(values)

    @contextmanager
    def _ended_with(self) -> Iterator[None]:
        """A context with which all trials end, whatever ends it: they keep a checkpoint, and are taken up later."""
        try:
            yield
        finally:
            try:
                for running in self._running:
                    running.process.stop()
                for running in self._running:
                    running.process.wait()
            finally:
                for running in self._running:
                    running.process.kill()


def _seconds(facts: Mapping[str, Any]) -> str:
    return duration(float(facts["seconds"]))


def _epochs(number: int) -> str:
    return f"{number} epoch{'s' * (number != 1)}"


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{setting}={written(value)}" for setting, value in settings.items())
