"""What is served: the link beside the runs of a recipe, how it is moved, and what runs note of it. No torch."""

import errno
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from widedeep.errors import ArtefactError, UsageError
from widedeep.files import sync_directory, write_text, writing
from widedeep.runs import LATEST, RUNS, SERVING, RunDirectory

STEPS_BACK = 3
"""So many runs that were served before can be gone back to, and are kept by `clean`."""
_NAME = re.compile(r"[A-Za-z][\w-]{0,63}")
"""Names of links; those of runs begin with a digit."""


@dataclass(frozen=True)
class Pointer:
    """The link in a recipe's folder of runs that leads to what is served."""

    folder: Path
    """`runs/<recipe>`."""
    name: str = SERVING

    @classmethod
    def beside(cls, run: RunDirectory, name: str) -> "Pointer":
        """The link of this name beside a run. Raises UsageError for a run outside of a work directory, or such a name
        as a link cannot have."""
        folder = run.path.parent
        if folder.parent.name != RUNS:
            raise UsageError(
                f"{run.path}: does not lie in runs/RECIPE/ of a work directory, where the link would be: copy it there"
            )
        return cls.among(folder, name)

    @classmethod
    def among(cls, folder: Path, name: str) -> "Pointer":
        """The link of this name in a folder of runs. Raises UsageError for such a name as a link cannot have."""
        if name == LATEST:
            raise UsageError(f"--as {LATEST}: that link leads to the run finished last, whatever it is worth")
        if name == "best":
            raise UsageError("--as best: `widedeep runs` calls so the run with the best figure: choose another name")
        if not _NAME.fullmatch(name):
            raise UsageError(f"--as {name}: must begin with a letter and hold letters, digits, - and _ only, up to 64")
        return cls(folder, name)

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def work_dir(self) -> Path:
        """The work directory that it lies in, whose lock guards it."""
        return self.folder.parent.parent

    def run(self) -> RunDirectory | None:
        """The run that is served; None if none is. Raises ArtefactError for what is no link."""
        try:
            os.readlink(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise ArtefactError(
                f"{self.path}: is no link to a run: take it away, or choose another name with --as"
            ) from error
        run = RunDirectory(Path(os.path.realpath(self.path)))
        return run if run.path.is_dir() else None

    def before(self) -> list[RunDirectory]:
        """The runs that were served before the one that is, oldest first, as far as that one notes them."""
        served = self.run()
        if served is None:
            return []
        notes = [note for note in served.promotions() if note["as"] == self.name and note["run"] == served.path.name]
        return [RunDirectory(self.folder / name) for name in (notes[-1]["before"] if notes else ())]

    def move(self, run: RunDirectory, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Let the link lead to `run`, and note it in that run and in the one that was served; gives the note.

        The caller is within `Workspace.pointing`. Killed before its end, it leaves the link as it was, and done again
        it leaves what it would have left undisturbed.
        """
        served = self.run()
        earlier = [] if served is None else [*(was.path.name for was in self.before()), served.path.name]
        return self._move(run, served, earlier, facts)

    def back(self, facts: Mapping[str, Any], check: Callable[[RunDirectory], object]) -> dict[str, Any] | None:
        """Let the link lead to the run that was served before, as `move` does; None if a killed process had done so.

        `check` raises what it likes for a run that cannot be served. Raises ArtefactError if no run was, or it is gone.
        """
        announced = self._announced
        served = self.run()
        if served is not None and announced.is_symlink() and os.readlink(announced) == served.path.name:
            announced.unlink()
            return None
        target = self._target_of_back()
        check(target)
        with writing(announced):
            announced.unlink(missing_ok=True)
            announced.symlink_to(target.path.name)
        note = self._move(target, served, [run.path.name for run in self.before()[:-1]], facts, announced=True)
        announced.unlink()
        return note

    def _target_of_back(self) -> RunDirectory:
        """The run that was served before. Raises ArtefactError if none was, or it is gone."""
        served, earlier = self.run(), self.before()
        if served is None:
            raise ArtefactError(f"{self.path}: no run is served here: choose one, `widedeep promote RUN`")
        if not earlier:
            raise ArtefactError(
                f"{self.path}: it is not known what was served before {served.path.name}: choose a run, "
                "`widedeep promote RUN`"
            )
        if not earlier[-1].path.is_dir():
            raise ArtefactError(
                f"{earlier[-1].path}: was served before {served.path.name}, and is gone: choose a run, "
                "`widedeep promote RUN`"
            )
        return earlier[-1]

    @property
    def _announced(self) -> Path:
        """A link to where `back` leads while it is under way: a `back` that died at its end is not done twice."""
        return self.folder / f".{self.name}.back"

    def _move(
        self,
        run: RunDirectory,
        served: RunDirectory | None,
        before: list[str],
        facts: Mapping[str, Any],
        *,
        announced: bool = False,
    ) -> dict[str, Any]:
        if not announced:
            with suppress(FileNotFoundError):
                self._announced.unlink()
        note = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "as": self.name,
            "run": run.path.name,
            "incumbent": None if served is None else served.path.name,
            "before": before[-STEPS_BACK:],
            **facts,
        }
        self._note_in(run, note, is_served=False)
        if served is not None:
            self._note_in(served, note, is_served=True)
        following = self.folder / f".{self.name}.next"
        with writing(self.path):
            following.unlink(missing_ok=True)
            following.symlink_to(run.path.name)
            sync_directory(self.folder)
            os.replace(following, self.path)
            sync_directory(self.folder)
        return note

    def _note_in(self, run: RunDirectory, note: Mapping[str, Any], *, is_served: bool) -> None:
        notes = run.promotions()
        # The last note of the run that is served names it, and that of any other run does not: what says otherwise was
        # written by a process that was killed before it moved the link.
        own = [place for place, known in enumerate(notes) if known["as"] == self.name]
        if own and (notes[own[-1]]["run"] == run.path.name) != is_served:
            del notes[own[-1]]
        lines = [json.dumps(entry, allow_nan=False) for entry in (*notes, note)]
        write_text(run.promotions_path, "".join(f"{line}\n" for line in lines))


def pointers_in(folder: Path) -> list[Pointer]:
    """The links among the runs of a recipe that lead to what is served, ordered by name."""
    names = [path.name for path in folder.iterdir() if path.is_symlink() and _NAME.fullmatch(path.name)]
    return [Pointer(folder, name) for name in sorted(names) if name != LATEST]
