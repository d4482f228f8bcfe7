"""The runs of a work directory as they lie there, finished or not, and the removal of those that nothing needs."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from widedeep.errors import WidedeepError
from widedeep.files import temporary_directory, writing
from widedeep.pipeline.serving import pointers_in
from widedeep.pipeline.workspace import BY_PARTS, Workspace
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory, settle_latest

YOUNG = timedelta(days=7)
"""An unfinished run is kept for so long, as somebody may want to resume it."""
_BEST_BY = ("log_loss", "rmse")
"""The metric of the valid rows that tells the best run: the first that a run has."""
_BEGAN = "%Y%m%dT%H%M%SZ"
_NAMED = ("ingest", "encoded")
"""The stages whose keys a run names."""

State = Literal["finished", "unfinished", "damaged"]


@dataclass(frozen=True)
class ListedRun:
    """A run, by what its directory says without loading its model."""

    path: Path
    began: datetime
    """By its name, so that a copy has the same."""
    bytes: int
    """Of all of its files."""
    links: tuple[str, ...]
    """The links beside it that lead to it, such as `latest` and `serving`."""
    was_served: bool
    """Whether `promote --back` may return to it."""
    state: State = "unfinished"
    keys: Mapping[str, str] = field(default_factory=dict)
    """Stage → key of what it was trained on; empty if it is damaged."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Split → rows that it was trained or measured on; empty unless it is finished."""
    metric: str | None = None
    """What tells the best run; None for a run that was not measured on valid rows."""
    valid: float | None = None
    """Its figure on the valid rows."""
    goes_on_from: frozenset[str] = frozenset()
    """The names of the runs that it needs to be finished; empty for a finished one."""
    is_best: bool = False
    """Whether no other run of the recipe has a lower figure on its valid rows."""


def folders_of_runs(work_dir: Path) -> list[Path]:
    """The folders `runs/<recipe>` of a work directory, ordered by name."""
    return sorted(path for path in Workspace(work_dir).runs_dir.glob("*") if path.is_dir())


def list_runs(folder: Path) -> list[ListedRun]:
    """The runs in `runs/<recipe>`, the newest first; what is no run is left out.

    Raises ArtefactError if what was served before cannot be read.
    """
    settle_latest(folder)
    links: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.name.startswith("."):
            links.setdefault(os.path.realpath(path), []).append(path.name)
    served_before = {run.path.name for pointer in pointers_in(folder) for run in pointer.before()}
    runs = []
    for path in sorted(folder.iterdir(), reverse=True):
        if path.is_symlink() or (began := _began(path)) is None or not (path / "manifest.json").exists():
            continue
        of_path = tuple(links.get(os.path.realpath(path), ()))
        listed = _read(ListedRun(path, began, bytes_of(path), of_path, path.name in served_before))
        if listed.state == "damaged" and not path.exists():
            continue  # not damaged: `clean` has removed it meanwhile
        runs.append(listed)
    figures = [run.valid for run in runs if run.valid is not None]
    return [replace(run, is_best=run.valid is not None and run.valid == min(figures)) for run in runs]


def links_to(run: Path) -> list[str]:
    """The names of the links beside a run that lead to it, such as `latest` and `serving`."""
    links = (path for path in sorted(run.parent.iterdir()) if path.is_symlink() and not path.name.startswith("."))
    return [link.name for link in links if os.path.realpath(link) == os.path.realpath(run)]


def _began(path: Path) -> datetime | None:
    """When the run of this name began; None if it is no name of a run."""
    try:
        return datetime.strptime(path.name.partition("-")[0], _BEGAN).replace(tzinfo=UTC)
    except ValueError:
        return None


def _read(listed: ListedRun) -> ListedRun:
    run = RunDirectory(listed.path)
    try:
        manifest = run.manifest()
        keys = manifest["keys"]
        if not run.is_done:
            origins = (manifest.get("from") or {}).get("run"), manifest.get("refit", {}).get("of")
            return replace(listed, keys=keys, goes_on_from=frozenset(filter(None, origins)))
        run.require_done()
        facts = run.facts()
    except WidedeepError:
        return replace(listed, state="damaged")
    valid = facts["metrics"].get("valid", {})
    metric = next((name for name in _BEST_BY if valid.get(name) is not None), None)
    rows = facts.get("rows", {})
    return replace(
        listed, state="finished", keys=keys, rows=rows, metric=metric, valid=None if metric is None else valid[metric]
    )


def bytes_of(path: Path) -> int:
    """The bytes of all files below `path`; those that vanish meanwhile count for nothing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total


# ------------------------------------------------------------------------------------------------------------ clearing


@dataclass(frozen=True)
class Cleared:
    """What `clean` removed, or would."""

    runs: list[Path]
    stages: list[Path]
    bytes: int
    kept: int
    """Runs that are left."""


def clean(work_dir: Path, *, keep: int, dry_run: bool = False, reporter: Reporter, wait: bool = False) -> Cleared:
    """Remove all but the last `keep` finished runs of each recipe, and the stages that no other run was trained on.

    A run stays that a link leads to or that `promote --back` may return to; so does one that is damaged, or newer than
    the last finished one; an unfinished one for a week, with the runs that it goes on from. A stage stays that was made
    after the last finished run began. Each is renamed before it is removed, so that none is ever seen in part; what a
    killed process leaves is swept by the next command. Raises ArtefactError if the work directory is in use.
    """
    workspace = Workspace(work_dir)
    with workspace.locked(reporter, wait=wait):
        kept: list[ListedRun] = []
        dropped: list[ListedRun] = []
        for folder in folders_of_runs(work_dir):
            for run, stays in _judged(list_runs(folder), keep):
                (kept if stays else dropped).append(run)
        needed = frozenset[str]().union(*(run.goes_on_from for run in kept))
        kept += [run for run in dropped if run.path.name in needed]
        dropped = [run for run in dropped if run.path.name not in needed]
        stages = list(_idle_stages(workspace, kept))
        freed = sum(run.bytes for run in dropped) + sum(map(bytes_of, stages))
        if not dry_run:
            # The stages first: a run that is left by a kill without its stage is one that `clean` drops again.
            for path in (*stages, *(run.path for run in dropped)):
                _remove(path)
    return Cleared([run.path for run in dropped], stages, freed, len(kept))


def _judged(runs: Sequence[ListedRun], keep: int) -> Iterator[tuple[ListedRun, bool]]:
    """Each run, the newest first, and whether it stays."""
    finished = 0
    for run in runs:
        needed = bool(run.links) or run.was_served or run.state == "damaged" or not finished
        if run.state == "finished":
            finished += 1
            yield run, needed or finished <= keep
        else:
            yield run, needed or datetime.now(UTC) - run.began < YOUNG


def _idle_stages(workspace: Workspace, kept: Sequence[ListedRun]) -> Iterator[Path]:
    """The stages that none of the runs was trained on and that are older than the last of them."""
    finished = [run.began.timestamp() for run in kept if run.state == "finished"]
    if not finished:
        return
    keys = [(stage, key) for run in kept for stage, key in run.keys.items()]
    needed = {workspace.stage_path(stage, f"{key}{made}") for stage, key in keys for made in ("", BY_PARTS)}
    # Runs do not name the other stages, which are made after the encoded rows that they are made of.
    encoded = [path.stat().st_mtime for path in needed if path.parent.name == "encoded" and path.is_dir()]
    for path in sorted(workspace.stages_dir.glob("*/*")):
        if path.name.startswith(".") or path in needed or not path.is_dir():
            continue
        oldest = max(finished) if path.parent.name in _NAMED else min([*encoded, max(finished)])
        if path.stat().st_mtime < oldest:
            yield path


def _remove(path: Path) -> None:
    with writing(path), temporary_directory(path.parent) as aside:
        os.replace(path, aside / "old")
