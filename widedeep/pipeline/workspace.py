"""The work directory: its locks, its cache of finished stages and its runs."""

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from widedeep.artefacts import read_json_artefact, require_shape, telling_stage, unreadable
from widedeep.errors import ArtefactError
from widedeep.files import is_temporary, own_claim, paths_below, replacing_directory, sweep, writing
from widedeep.locks import is_locked, locked, remove_idle_locks
from widedeep.reporting import Reporter
from widedeep.runs import RUNS, settle_latest
from widedeep.workers import Workers, open_workers

_BEGUN, _DONE = "BEGUN", "DONE"
"""The file that a stage begins with becomes DONE, so that whoever deletes the stage meanwhile deletes that too."""

_CHOOSE = "choose another --work directory"

BY_PARTS = "-parts1"
"""Behind the key of a typed table that workers have made: its rows lie in other parts. The number is raised when these
parts change for equal inputs."""

_SHARES = {"missing": float, "unknown": float, "expected": float, "by": str}
_REPORTS: dict[str, Any] = {
    "ingest": {
        "rows": {str: int},
        "columns": [{"name": str, "missing": {str: int}}],
        "source_kinds": {str: str},
        "label": {"train": {"mean": float}},
    },
    "encoded": {"crosses": [{}], "unknown_values": {str: _SHARES}, "dropped?": {str: int}},
    "steps": {"steps": [{"number": int, "rows": int, "files": [str]}]},
    "collisions": {"collisions": [{}]},
}
"""Stage → what is read of its report."""


class Workspace:
    """A work directory, which holds `stages/` (a cache, safe to delete) and `runs/`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stages_dir = path / "stages"
        self.runs_dir = path / RUNS
        self.sweeps_dir = path / "sweeps"
        self._wait = False
        self._note: Callable[[str], None] = Reporter().note

    def stage_path(self, stage: str, key: str) -> Path:
        """The directory of the stage with this key, whether it exists or not."""
        return self.stages_dir / stage / key

    def finished_path(self, stage: str, key: str) -> Path | None:
        """The directory of the finished stage with this key, whoever made it; None if there is none."""
        names = (name for name in (key, f"{key}{BY_PARTS}") if self.is_done(stage, name))
        return next((self.stage_path(stage, name) for name in names), None)

    def is_done(self, stage: str, key: str) -> bool:
        """Whether the stage with this key is finished and holds the files that it was finished with."""
        path = self.stage_path(stage, key)
        try:
            names = (path / _DONE).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise unreadable(path / _DONE, error) from error
        # Who deletes stages/ may be stopped half-way. (Stages of earlier versions name no files.)
        return all((path / name).exists() for name in names)

    @contextmanager
    def building(self, stage: str, key: str) -> Iterator[Path]:
        """Yield a directory for the stage's files; only on success it is marked DONE and moved into place.

        Raises ArtefactError if it is deleted meanwhile, whatever fault that led to.
        """
        path = self.stage_path(stage, key)
        with replacing_directory(path) as temporary:
            begun = temporary / _BEGUN
            begun.touch()
            try:
                yield temporary
                names = [file.relative_to(temporary).as_posix() for file in paths_below(temporary) if file != begun]
                with begun.open("r+", encoding="utf-8") as file:
                    file.writelines(f"{name}\n" for name in sorted(names))
                os.replace(begun, temporary / _DONE)
            except Exception as error:
                if begun.exists() or (temporary / _DONE).exists():
                    raise
                raise ArtefactError(
                    f"{path}: was deleted while it was made: leave stages/ alone while a command runs, and run again"
                ) from error
        _give_back_freed_memory()

    @contextmanager
    def missing(self, stage: str, key: str) -> Iterator[Path | None]:
        """Yield what `building` does if the stage is not done, else None; whoever else makes it is kept out, or waited
        for. For a caller within `shared`, which says whether to wait."""
        if self.is_done(stage, key):
            yield None
            return
        path = self.stage_path(stage, key)
        with self._alone_in(path, f"{stage}-{key}"):
            if self.is_done(stage, key):  # whom we have waited for has made it
                yield None
                return
            with self.building(stage, key) as temporary:
                yield temporary

    @contextmanager
    def training(self, recipe_name: str, key: str) -> Iterator[None]:
        """Lock the runs with this key against other writers, within `shared`, as `missing` does a stage."""
        folder = self.runs_dir / recipe_name
        with self._alone_in(folder / f"*-{key[:8]}", f"run-{recipe_name}-{key[:8]}"):
            yield

    @contextmanager
    def searching(self, folder: Path) -> Iterator[str]:
        """Take part in the sweep in `folder`, within `shared`; yield the name by which `searches` knows this one."""
        name = f"{own_claim()}-{time.monotonic_ns()}"  # not one that this process has used before
        try:
            with self._alone_in(folder, self._searching(folder, name)):
                yield name
        finally:
            remove_idle_locks(self.path, ".widedeep.sweep-*.lock")  # of killed ones

    def searches(self, folder: Path, name: str) -> bool:
        """Whether the command of this name, on whatever machine, still takes part in the sweep in `folder`."""
        return is_locked(self._lock_path(self._searching(folder, name)), _CHOOSE)

    def _searching(self, folder: Path, name: str) -> str:
        return f"sweep-{folder.name}-{name}"  # not the recipe's name, which may be as long as a file's

    @contextmanager
    def pointing(self, folder: Path) -> Iterator[None]:
        """Lock the links among the runs in `folder` against other writers of links, within `shared`."""
        with self._alone_in(folder, f"promote-{folder.name}"):
            yield

    @contextmanager
    def _alone_in(self, path: Path, name: str) -> Iterator[None]:
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with locked(path, self._lock_path(name), _CHOOSE, wait=self._wait, note=self._note, keep=False):
            yield

    def _lock_path(self, name: str) -> Path:
        # Not in stages/, which may be deleted, nor in runs/: there a lock is not taken for what it guards.
        return self.path / f".widedeep.{name}.lock"

    @contextmanager
    def shared(self, reporter: Reporter, *, wait: bool) -> Iterator[None]:
        """Use the work directory, as others may at the same time: each stage and run has one writer, see `missing` and
        `training`. The lock ends with the process, however that ends.

        If another process has locked the whole directory, raises ArtefactError that names it, or waits with `wait`.
        """
        with self._held(reporter, wait=wait, shared=True):
            self._note, self._wait = reporter.note, wait
            yield

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait for stages and runs that others make, within `shared`, whatever that says."""
        waits, self._wait = self._wait, True
        try:
            yield
        finally:
            self._wait = waits

    @contextmanager
    def locked(self, reporter: Reporter, *, wait: bool) -> Iterator[None]:
        """Lock the whole work directory against all who use it, as `shared` locks it against those who do this."""
        with self._held(reporter, wait=wait, shared=False):
            yield

    @contextmanager
    def _held(self, reporter: Reporter, *, wait: bool, shared: bool) -> Iterator[None]:
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with locked(
            self.path,
            self.path / ".widedeep.lock",
            _CHOOSE,
            wait=wait,
            note=reporter.note,
            shared=shared,
        ):
            self._complete()
            yield

    @contextmanager
    def workers(self, where: str | None) -> Iterator[Workers | None]:
        """The workers that `where` names, see `open_workers`, which see the stages; None for None."""
        if where is None:
            yield None
            return
        with writing(self.stages_dir):
            self.stages_dir.mkdir(parents=True, exist_ok=True)
        with open_workers(where, self.stages_dir) as workers:
            yield workers

    def _complete(self) -> None:
        """Complete what a killed process has all but finished, and remove what it has not."""
        for folder in self.runs_dir.glob("*/"):
            settle_latest(folder)
        # Earlier versions lock the directory for themselves, so none of their processes writes to these while we hold
        # the lock, shared or not; only that says so of their files.
        for top in (self.stages_dir, self.runs_dir):
            # Not by `rglob`, which raises for folders that others remove meanwhile.
            for place, names, files in os.walk(top):
                if any(map(is_temporary, (*names, *files))):
                    sweep(Path(place), older=True)
                names[:] = (name for name in names if not is_temporary(name))
        sweep(self.path)  # where scores of workers wait
        remove_idle_locks(self.path, ".widedeep.*.lock")
        for folder in {lock.parent for lock in self.runs_dir.glob("*/.latest.lock")}:
            remove_idle_locks(folder, ".latest.lock")


def _give_back_freed_memory() -> None:
    """Return what a stage has freed to the operating system: the C library keeps it for pieces of the same sizes, of
    which the next stage has others."""
    with suppress(OSError, AttributeError):  # only the GNU C library can be asked for it
        ctypes.CDLL(None).malloc_trim(0)


def read_report(path: Path) -> dict[str, object]:
    """The `report.json` of a finished stage. Raises ArtefactError for a damaged one."""
    with telling_stage():
        report: dict[str, object] = read_json_artefact(path / "report.json", "the stage is damaged")
        require_shape(report, _REPORTS[path.parent.name], path / "report.json")
    return report
