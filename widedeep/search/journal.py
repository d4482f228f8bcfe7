"""The journal of a sweep: what was tried and what came of it, which Optuna reads to say what to try next.

The journal is a file to which each step is appended, by all commands that take part in the sweep. What belongs together
is written under one lock, which ends with its process. (Optuna's own is left behind by a kill, for 30 seconds.)
"""

import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from widedeep.errors import ArtefactError, WidedeepError, WriteError
from widedeep.files import writing
from widedeep.locks import without_locks
from widedeep.recipe.sweep_space import Choices, Entry, written

State = Literal["trained", "pruned", "failed"]

_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "trained",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
_STUDY = "sweep"
_DAMAGED = "the journal is damaged: delete its folder, and the search begins anew"
_CHANGED = "was deleted or cut while commands were at work: the same command goes on with what is left, or begins anew"
_COMMAND = "command"
"""The attribute of a trial that names the command that began it."""
_LOCK_SECONDS = 0.02
_TOLD_SECONDS = 10.0
"""So long the lock, which is held for moments, is waited for before a word is said."""
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


class _Lock:
    """Keeps out other processes; who holds it may take it again. What a killed holder has half written is dropped."""

    def __init__(self, journal: Path, note: Callable[[str], None]) -> None:
        self._journal, self._path, self._note = journal, journal.with_suffix(".lock"), note
        self._file: IO[bytes] | None = None
        self._holds = 0
        self._read = _Read()
        self.torn_bytes = 0
        """Bytes that were dropped until now."""

    def acquire(self) -> bool:
        if self._file is None:
            file = self._locked()
            try:
                self._read_on()
            except BaseException:
                file.close()
                raise
            self._file = file
        self._holds += 1
        return True

    def release(self) -> None:
        self._holds -= 1
        if self._holds == 0 and self._file is not None:
            try:
                with suppress(OSError, WidedeepError):  # what is wrong is told by who takes it next
                    self._read_on()
            finally:
                self._file.close()
                self._file = None

    def _read_on(self) -> None:
        self._read, torn = _drop_torn_end(self._journal, self._read)
        self.torn_bytes += torn

    def _locked(self) -> IO[bytes]:
        import fcntl  # not at the top, as in `locks.locked`

        try:
            with writing(self._path):
                file = self._path.open("ab")
        except WriteError as error:
            if self._path.parent.is_dir():
                raise
            raise ArtefactError(f"{self._journal}: {_CHANGED}") from error
        try:
            asked, told = time.monotonic(), False
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return file
                except BlockingIOError:
                    if not told and time.monotonic() - asked > _TOLD_SECONDS:
                        self._note(f"waiting for {self._path}, which another process has locked")
                        told = True
                    time.sleep(_LOCK_SECONDS)
                except OSError as error:
                    raise without_locks(self._path, "choose another --work directory", error) from error
        except BaseException:
            file.close()
            raise


class Journal:
    """A search that is written down step by step, and goes on from what is written."""

    def __init__(
        self,
        path: Path,
        space: Mapping[str, Entry],
        *,
        minimize: bool,
        pruner: Literal["median", "none"],
        seed: int,
        command: str,
        takes_part: Callable[[str], bool],
        note: Callable[[str], None],
    ) -> None:
        """Open the journal at `path`, or begin it, for the `command` of this name; `takes_part` tells of the names of
        others whether they are still at work. Raises ArtefactError for a damaged journal, WriteError.
        """
        self.path, self._space, self._minimize, self._seed = path, space, minimize, seed
        self._command, self._takes_part = command, takes_part
        self._lock = _Lock(path, note)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        prunes = optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=_FIRST_PRUNED_EPOCH)
        with self._locked(), self._readable():
            self._study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(path), lock_obj=self._lock)),
                study_name=_STUDY,
                direction="minimize" if minimize else "maximize",
                pruner=prunes if pruner == "median" else optuna.pruners.NopPruner(),
                load_if_exists=True,
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep the other commands from the journal: what is read of it holds until the end, what is written is one.

        All reading is done so as well: of a disk over a network, who has no lock may see less than is there.
        """
        with self._locked():
            with self._readable():
                self._study.get_trials(deepcopy=False)
            yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with writing(self.path):
            self._lock.acquire()
            try:
                yield
            finally:
                self._lock.release()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, AssertionError) as error:
            raise ArtefactError(f"{self.path}: {_DAMAGED}") from error

    @property
    def torn_bytes(self) -> int:
        """Bytes that killed processes had half written, and which are dropped."""
        return self._lock.torn_bytes

    @property
    def is_new(self) -> bool:
        """Whether nothing was tried or planned yet."""
        with self.alone():
            return not self._study.get_trials(deepcopy=False)

    def plan(self, settings: Mapping[str, Any]) -> None:
        """Let `settings`, which lie in the space, be tried before anything is suggested."""
        with self.alone():
            self._study.enqueue_trial({name: self._parameter(name, value) for name, value in settings.items()})

    def fail_left(self) -> int:
        """Count the trials as failed that a command left when it ended, and plan each once more; their number."""
        with self.alone():
            left = [trial for trial in self._under_way() if not self._is_at_work(trial)]
            for trial in left:
                self._fail(Trial(self._study, trial._trial_id), "the sweep was ended", again=True)
        return len(left)

    def begin(self, wanted: int) -> tuple[Trial, dict[str, Any]] | None:
        """The next trial and its settings; None if `wanted` trials are finished or under way, here or elsewhere."""
        with self.alone():
            self.fail_left()
            if self.num_finished() + len(self._under_way()) >= wanted:
                return None
            # Drawn by the number of trials: commands that take part, or start anew, would else suggest the same.
            begun = len(self._study.get_trials(deepcopy=False))
            mixed = hashlib.blake2b(f"{self._seed} {begun}".encode(), digest_size=4).digest()
            self._study.sampler = optuna.samplers.TPESampler(seed=int.from_bytes(mixed, "little"))
            trial = self._study.ask({name: _distribution(entry) for name, entry in self._space.items()})
            trial.set_user_attr(_COMMAND, self._command)
        return trial, self._settings(trial.params)

    def num_elsewhere(self) -> int:
        """Trials that other commands have under way."""
        with self.alone():
            return sum(trial.user_attrs.get(_COMMAND) != self._command for trial in self._under_way())

    def _require_own(self, trial: Trial) -> None:
        if self._study.get_trials(deepcopy=False)[trial.number].state != TrialState.RUNNING:
            raise ArtefactError(
                f"{self.path}: trial {trial.number} was taken up by another command, as if this one had ended: the "
                "disk has lost its locks, or does not keep them over machines (flock); the same command goes on"
            )

    def _under_way(self) -> list[FrozenTrial]:
        under_way: list[FrozenTrial] = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return under_way

    def _is_at_work(self, trial: FrozenTrial) -> bool:
        """Whether the command that began it still takes part. For a caller that holds the lock: whoever begins a trial
        says so before he lets go of it."""
        command = trial.user_attrs.get(_COMMAND)
        return command == self._command or (command is not None and self._takes_part(command))

    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        """Note the metric on the valid rows after an epoch; whether the trial should be pruned.

        Like `end` and `fail`, raises ArtefactError for a trial that another command has taken up.
        """
        with self.alone():
            self._require_own(trial)
            trial.report(value, epoch)
            return bool(trial.should_prune())

    def end(
        self, trial: Trial, state: Literal["trained", "pruned"], value: float | None, facts: Mapping[str, Any]
    ) -> None:
        """Note how a trial ended, and `facts` of it (`run`, `epochs`, `seconds`)."""
        with self.alone():
            self._require_own(trial)
            for name, fact in facts.items():
                trial.set_user_attr(name, fact)
            ended = TrialState.COMPLETE if state == "trained" else TrialState.PRUNED
            self._study.tell(trial, value if state == "trained" else None, state=ended)

    def fail(self, trial: Trial, why: str, *, again: bool) -> None:
        """Note that a trial failed, and plan its settings once more if `again`."""
        with self.alone():
            self._require_own(trial)
            self._fail(trial, why, again=again)

    def _fail(self, trial: Trial, why: str, *, again: bool) -> None:
        frozen = self._study.get_trials(deepcopy=False)[trial.number]
        parameters: dict[str, Any] = frozen.params
        if parameters.keys() != self._space.keys():  # killed while they were chosen
            parameters = frozen.system_attrs.get("fixed_params", {})
        # First the plan: killed between the two, the trial is planned twice; the number of trials stays.
        if again and parameters.keys() == self._space.keys():
            self._study.enqueue_trial(parameters)
        trial.set_user_attr("why", why)
        self._study.tell(trial, state=TrialState.FAIL)

    def num_finished(self) -> int:
        """Trials that are trained or pruned."""
        with self.alone():
            return len(self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))

    def ended(self) -> list[EndedTrial]:
        """All trials that have ended, in the order in which they began."""
        with self.alone():
            ended = self._study.get_trials(deepcopy=False, states=tuple(_STATES))
        return [self._ended(trial) for trial in ended]

    def importance(self, trials: Collection[EndedTrial]) -> dict[str, float] | None:
        """Setting → its share in what makes trained ones of these trials differ, the largest first; None of too few.

        By PED-ANOVA (Watanabe et al., 2023), of trials that were trained to their end.
        """
        numbers = {trial.number for trial in trials if trial.state == "trained"}
        with self.alone():
            trained = [trial for trial in self._study.get_trials(deepcopy=False) if trial.number in numbers]
        if len({trial.value for trial in trained}) < 2 or len(trained) < _STARTUP_TRIALS:
            return None
        # Not of the journal's study: others would wait for the second that this takes.
        study = optuna.create_study(direction=self._study.direction)
        study.add_trials(trained)
        try:
            return {name: float(share) for name, share in optuna.importance.get_param_importances(study).items()}
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


@dataclass(frozen=True)
class _Read:
    """How far the journal was read: so many bytes of whole steps, the last of which is `last`."""

    size: int = 0
    last: bytes = b""


def _drop_torn_end(path: Path, read: _Read) -> tuple[_Read, int]:
    """Cut off what a killed process, or a machine without power, has half written behind what was `read`: Optuna reads
    no journal with it, and would append to its last line. How far it is read now, and the number of bytes that are
    gone. Raises ArtefactError if steps lie behind these, or if what was read is not there any more."""
    content = b""
    try:
        with suppress(FileNotFoundError), path.open("rb") as file:
            file.seek(read.size - len(read.last))
            content = file.read()
    except OSError as error:
        raise ArtefactError(
            f"{path}: cannot be read: {error.strerror or error}: delete its folder, and the search begins anew"
        ) from error
    if not content.startswith(read.last):
        raise ArtefactError(f"{path}: {_CHANGED}")
    behind = content.removeprefix(read.last)
    lines = behind.split(b"\n")[:-1]
    readable = [_is_step(line) for line in lines]
    if not all(readable):
        # What a crash leaves is the end alone, as nulls or in part: a step behind it says that more than this is gone.
        torn = readable.index(False)
        if any(readable[torn:]):
            raise ArtefactError(f"{path}:{_line_number(path, read.size) + torn}: {_DAMAGED}")
        lines = lines[:torn]
    whole = sum(len(line) + 1 for line in lines)
    if whole < len(behind):
        with writing(path), path.open("r+b") as file:
            file.truncate(read.size + whole)
    return _Read(read.size + whole, lines[-1] + b"\n" if lines else read.last), len(behind) - whole


def _line_number(path: Path, offset: int) -> int:
    return path.read_bytes()[:offset].count(b"\n") + 1


def _is_step(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
