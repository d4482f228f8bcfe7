"""The journal of a sweep: what was tried and what came of it, which Optuna reads to say what to try next.

The journal is a file to which each step is appended. One process at a time writes it, under a lock of the sweep's.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from widedeep.errors import ArtefactError
from widedeep.files import writing
from widedeep.recipe.sweep_space import Choices, Entry, written

State = Literal["trained", "pruned", "failed"]

_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "trained",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
_STUDY = "sweep"
_DAMAGED = "the journal is damaged: delete its folder, and the search begins anew"
_STARTUP_TRIALS = 5
"""Trials that are trained before any is pruned."""
_FIRST_PRUNED_EPOCH = 2
"""No trial is pruned after an earlier one."""
_DIGITS = 6
"""Significant digits of a setting that is drawn from a range."""


@dataclass(frozen=True)
class EndedTrial:
    """A trial that is trained, pruned or failed."""

    number: int
    state: State
    settings: dict[str, Any]
    """Setting → the value that was tried."""
    value: float | None
    """The metric on the valid rows: of the finished run; of a pruned trial the best until then; None if it failed."""
    epochs: int
    seconds: float
    run: str | None
    """The directory of its run, as far as it came to one."""
    why: str | None
    """Why it failed."""


class _OneWriter:
    """The sweep holds a lock that ends with its process; Optuna's own is left behind by a kill, for 30 seconds."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return


class Journal:
    """A search that is written down step by step, and goes on from what is written."""

    def __init__(
        self, path: Path, space: Mapping[str, Entry], *, minimize: bool, pruner: Literal["median", "none"], seed: int
    ) -> None:
        """Open the journal at `path`, or begin it. Raises ArtefactError for a damaged one, WriteError."""
        self.path, self._space, self._minimize = path, space, minimize
        self.torn_bytes = _drop_torn_end(path)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        prunes = optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=_FIRST_PRUNED_EPOCH)
        try:
            with writing(path):
                self._study = optuna.create_study(
                    storage=JournalStorage(JournalFileBackend(str(path), lock_obj=_OneWriter())),
                    study_name=_STUDY,
                    direction="minimize" if minimize else "maximize",
                    pruner=prunes if pruner == "median" else optuna.pruners.NopPruner(),
                    load_if_exists=True,
                )
            begun = len(self._study.trials)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, AssertionError) as error:
            raise ArtefactError(f"{path}: {_DAMAGED}") from error
        # With the seed alone, each start would suggest once more what the one before it did.
        mixed = hashlib.blake2b(f"{seed} {begun}".encode(), digest_size=4).digest()
        self._study.sampler = optuna.samplers.TPESampler(seed=int.from_bytes(mixed, "little"))

    @property
    def is_new(self) -> bool:
        """Whether nothing was tried or planned yet."""
        return not self._study.get_trials(deepcopy=False)

    def plan(self, settings: Mapping[str, Any]) -> None:
        """Let `settings`, which lie in the space, be tried before anything is suggested."""
        with writing(self.path):
            self._study.enqueue_trial({name: self._parameter(name, value) for name, value in settings.items()})

    def fail_unended(self) -> int:
        """Count the trials that a process left when it was killed as failed, and plan each once more; their number."""
        left = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in left:
            self.fail(Trial(self._study, trial._trial_id), "the sweep was ended", again=True)
        return len(left)

    def ask(self) -> tuple[Trial, dict[str, Any]]:
        """The next trial and its settings."""
        with writing(self.path):
            trial = self._study.ask({name: _distribution(entry) for name, entry in self._space.items()})
        return trial, self._settings(trial.params)

    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        """Note the metric on the valid rows after an epoch; whether the trial should be pruned."""
        with writing(self.path):
            trial.report(value, epoch)
        return bool(trial.should_prune())

    def end(
        self, trial: Trial, state: Literal["trained", "pruned"], value: float | None, facts: Mapping[str, Any]
    ) -> None:
        """Note how a trial ended, and `facts` of it (`run`, `epochs`, `seconds`)."""
        with writing(self.path):
            for name, fact in facts.items():
                trial.set_user_attr(name, fact)
            ended = TrialState.COMPLETE if state == "trained" else TrialState.PRUNED
            self._study.tell(trial, value if state == "trained" else None, state=ended)

    def fail(self, trial: Trial, why: str, *, again: bool) -> None:
        """Note that a trial failed, and plan its settings once more if `again`."""
        frozen = self._study.get_trials(deepcopy=False)[trial.number]
        parameters: dict[str, Any] = frozen.params
        if parameters.keys() != self._space.keys():  # killed while they were chosen
            parameters = frozen.system_attrs.get("fixed_params", {})
        with writing(self.path):
            # First the plan: killed between the two, the trial is planned twice; the number of trials stays.
            if again and parameters.keys() == self._space.keys():
                self._study.enqueue_trial(parameters)
            trial.set_user_attr("why", why)
            self._study.tell(trial, state=TrialState.FAIL)

    def num_finished(self) -> int:
        """Trials that are trained or pruned."""
        return len(self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))

    def ended(self) -> list[EndedTrial]:
        """All trials that have ended, in the order in which they began."""
        ended = self._study.get_trials(deepcopy=False, states=tuple(_STATES))
        return [self._ended(trial) for trial in ended]

    def importance(self) -> dict[str, float] | None:
        """Setting → its share in what makes trained trials differ, the largest first; None of too few trials.

        By PED-ANOVA (Watanabe et al., 2023), of trials that were trained to their end.
        """
        trained = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len({trial.value for trial in trained}) < 2 or len(trained) < _STARTUP_TRIALS:
            return None
        try:
            return {name: float(share) for name, share in optuna.importance.get_param_importances(self._study).items()}
        except (RuntimeError, ValueError):  # no parameter varied among them
            return None

    def _ended(self, trial: FrozenTrial) -> EndedTrial:
        state, facts = _STATES[trial.state], trial.user_attrs
        value = trial.value if state == "trained" else None
        if state == "pruned" and trial.intermediate_values:
            value = (min if self._minimize else max)(trial.intermediate_values.values())
        return EndedTrial(
            trial.number,
            state,
            self._settings(trial.params) if trial.params.keys() == self._space.keys() else {},
            value,
            int(facts.get("epochs", 0)),
            float(facts.get("seconds", 0.0)),
            facts.get("run"),
            facts.get("why"),
        )

    def _settings(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {name: _value(entry, parameters[name]) for name, entry in self._space.items()}

    def _parameter(self, name: str, value: Any) -> Any:
        entry = self._space[name]
        if isinstance(entry, Choices):
            return written(value)
        return int(value) if entry.whole else float(value)


def _distribution(entry: Entry) -> BaseDistribution:
    if isinstance(entry, Choices):
        return CategoricalDistribution([written(value) for value in entry.values])  # which it compares and stores
    if entry.whole:
        return IntDistribution(int(entry.low), int(entry.high), log=entry.kind == "log_int")
    return FloatDistribution(entry.low, entry.high, log=entry.kind == "log")


def _value(entry: Entry, parameter: Any) -> Any:
    if isinstance(entry, Choices):
        return json.loads(parameter)
    if entry.whole:
        return int(parameter)
    return min(max(float(f"{parameter:.{_DIGITS}g}"), entry.low), entry.high)


def _drop_torn_end(path: Path) -> int:
    """Cut off what a killed process, or a machine without power, has half written: Optuna reads no journal with it, and
    would append to its last line. The number of bytes that are gone. Raises ArtefactError if steps lie behind it."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise ArtefactError(
            f"{path}: cannot be read: {error.strerror or error}: delete its folder, and the search begins anew"
        ) from error
    lines = content.split(b"\n")
    readable = [_is_step(line) for line in lines[:-1]]
    if not all(readable):
        # What a crash leaves is the end alone, as nulls or in part: a step behind it says that more than this is gone.
        torn = readable.index(False)
        if any(readable[torn:]):
            raise ArtefactError(f"{path}:{torn + 1}: {_DAMAGED}")
        lines = lines[:torn]
    else:
        lines = lines[:-1]
    whole = sum(len(line) + 1 for line in lines)
    if whole < len(content):
        with writing(path), path.open("r+b") as file:
            file.truncate(whole)
    return len(content) - whole


def _is_step(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
