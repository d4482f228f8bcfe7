"""Shows a training in trackers while it goes on, each by a child process that cannot stop it."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from widedeep.recipe.schema import Tracker, TrackSettings
from widedeep.reporting import Reporter

_NEEDED = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic"), "wandb": ("wandb",)}
_TITLES = {"tensorboard": "TensorBoard", "mlflow": "MLflow", "wandb": "Weights & Biases"}
_LAST_SECONDS = 30.0
"""Most seconds that a finished training waits for its trackers."""
_STOP_SECONDS = 2.0
"""Seconds that a child has to remove its temporary files before it is killed."""
_POLL_SECONDS = 0.02
_LONGEST_MESSAGE = 500


def why_absent(tracker: Tracker) -> str | None:
    """Why there is no tracking, in the words after its name, if the library of the tracker is not installed."""
    if all(find_spec(module) is not None for module in _NEEDED[tracker]):
        return None
    return f"writes with {_TITLES[tracker]}, which is not installed: pip install 'widedeep[{tracker}]'"


def installed_trackers(trackers: Sequence[TrackSettings], reporter: Reporter) -> list[TrackSettings]:
    """Those of the trackers whose library is installed, each once; the others are told."""
    absent = {tracker.to: why for tracker in trackers if (why := why_absent(tracker.to)) is not None}
    for to, why in absent.items():
        reporter.warn(f"`training.track` to {to} {why}; now training without it")
    return [tracker for tracker in dict.fromkeys(trackers) if tracker.to not in absent]


class LiveTracking:
    """A context in which one run is trained: what is logged is shown at the end of each epoch, and at the end.

    Nothing here raises, but for Ctrl-C and SIGTERM. No child outlives the context.
    """

    def __init__(self, trackers: Sequence[TrackSettings], work_dir: Path, reporter: Reporter) -> None:
        """Relative folders start from `work_dir`."""
        self._trackers, self._work_dir, self._reporter = trackers, work_dir, reporter
        self._children: list[_Child] = []

    def begin(self, run: Path) -> None:
        """Show this run from now on."""
        for tracker in self._trackers:
            place = tracker.place if "://" in tracker.place else os.path.abspath(self._work_dir / tracker.place)
            self._children.append(_Child(tracker.to, place, run, self._reporter))

    def at_epoch_end(self) -> None:
        """Show the run as it is now, where the last time is not still under way."""
        for child in self._children:
            if not child.is_at_work():
                child.start()

    def __enter__(self) -> "LiveTracking":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._children:
                self._show_the_end()
        finally:
            for child in self._children:
                child.stop()

    def _show_the_end(self) -> None:
        before, last = list(self._children), list[_Child]()
        deadline = time.monotonic() + _LAST_SECONDS
        with self._reporter.work("track", len(before), "trackers") as meter:
            while before or last:
                for child in [child for child in before if not child.is_at_work()]:
                    before.remove(child)
                    if child.start():
                        last.append(child)
                last = [child for child in last if child.is_at_work()]
                meter.update(len(self._children) - len(before) - len(last))
                if time.monotonic() > deadline:
                    break
                time.sleep(_POLL_SECONDS)
        for child in (*before, *last):
            child.tell(f"is not done {_LAST_SECONDS:.0f} s after the end of training, and is left")


class _Child:
    """The process that writes the run to one tracker; none, most of the time."""

    def __init__(self, to: Tracker, place: str, run: Path, reporter: Reporter) -> None:
        self._to, self._place, self._run, self._reporter = to, place, run, reporter
        self._process: subprocess.Popen[bytes] | None = None
        self._told: set[str] = set()

    def start(self) -> bool:
        """Write the run as it is now. Whether a process could be started for it."""
        # -P: a file of the current folder is no module of ours.
        command = [sys.executable, "-P", "-m", "widedeep.tracking.live"]
        try:
            self._errors = tempfile.TemporaryFile()  # not a pipe, as nobody reads it meanwhile  # noqa: SIM115
            self._process = subprocess.Popen(
                [*command, self._to, self._place, str(self._run.absolute()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                start_new_session=True,  # Ctrl-C is for the training, which stops its children
            )
        except (OSError, ValueError) as error:
            self.tell(f"cannot start a process for it: {error}")
            return False
        return True

    def is_at_work(self) -> bool:
        """Whether the last process is; what made it fail is told once it has ended."""
        if self._process is None:
            return False
        code = self._process.poll()
        if code is None:
            return True
        self._process = None
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().split("\n")
        self._errors.close()
        if code < 0:
            with suppress(ValueError):
                self.tell(f"its process was ended by signal {-code} ({signal.Signals(-code).name})")
        elif code > 0:
            self.tell(lines[-1].strip()[:_LONGEST_MESSAGE] or f"its process ended with code {code}")
        return False

    def tell(self, why: str) -> None:
        """Warn once of each reason why the tracker lacks something."""
        if why not in self._told:
            self._told.add(why)
            self._reporter.warn(
                f"`training.track` to {self._to}: {why}; training does not need it, and once it is done "
                f"`widedeep track {self._run} --to {self._to} {self._place}` writes all of it"
            )

    def stop(self) -> None:
        """End the process, if it is at work, with those that it has started."""
        if self._process is None or self._process.poll() is not None:
            return
        for number, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, None)):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
                break
        self._process = None
        self._errors.close()
