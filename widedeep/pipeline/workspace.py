"""The work directory: its lock, its cache of finished stages and its runs."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from widedeep.artefacts import read_json_artefact, require_shape, telling_stage, unreadable
from widedeep.errors import ArtefactError
from widedeep.files import locked, replacing_directory, sweep, writing
from widedeep.reporting import Reporter
from widedeep.runs import RUNS, settle_latest
from widedeep.workers import Workers, open_workers

_BEGUN, _DONE = "BEGUN", "DONE"
"""The file that a stage begins with becomes DONE, so that whoever deletes the stage meanwhile deletes that too."""

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
                names = [file.relative_to(temporary).as_posix() for file in temporary.rglob("*") if file != begun]
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
    def locked(self, reporter: Reporter, *, wait: bool) -> Iterator[None]:
        """Lock the work directory against other writers. The lock ends with the process, however that ends.

        If it is locked already, raises ArtefactError that names the other process, or waits with `wait`.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with locked(
            self.path,
            self.path / ".widedeep.lock",
            "choose another --work directory",
            wait=wait,
            note=reporter.note,
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
        # We hold the lock, so no process of an earlier version writes to these; only that says so of its files.
        for top in (self.stages_dir, self.runs_dir):
            for folder in {leftover.parent for leftover in top.rglob(".*.tmp-*")}:
                sweep(folder, older=True)


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
