"""The run-directory contract: where a run is and what lies in it, when it counts as finished, what refuses to load."""

import hashlib
import hmac
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from widedeep.artefacts import (
    DAMAGED,
    digest_of_bytes,
    digest_of_file,
    read_json_artefact,
    read_json_lines,
    require_shape,
)
from widedeep.errors import ArtefactError, WidedeepError
from widedeep.files import check_readable, sync_directory, write_json, write_text, writing
from widedeep.locks import locked

RUN_FORMAT = 3
"""Format version of a run directory; a run of a newer one is refused. From 3 on the manifest pins the other files."""

RUNS = "runs"
"""The folder of a work directory that holds its runs."""

LATEST = "latest"
"""The link beside the runs of a recipe to the last one that was finished."""
SERVING = "serving"
"""The link there to the run that was chosen to be served."""
_NEXT_LATEST = ".latest.next"
"""This link, to a run that is being finished, becomes `latest` once the run is DONE."""

TRAIN_ONLY = ("train",)
"""The splits that a run is trained on, unless it is a refit."""

_MACHINE = Path("/etc/machine-id")
_MANIFEST = {
    "format": int,
    "base_dir": str,
    "keys": {"ingest": str, "encoded": str, "run": str},
    "refit?": {"of": str, "splits": [str], "epochs": int},
    "from?": ({"run": str, "key": str, "ancestors": [str], "no_new_rows?": bool}, None),
    "argv?": [str],
    "libraries?": {str: str},
    "precision?": str,
    "pins?": {"files": {str: str}, "manifest": str, "seal": str},
}
_GAIN = [float, float, float]
_FACTS = {
    "metrics": {str: {str: (float, None)}},
    "errors?": {str: {str: float}},
    "warnings?": [{"kind": str, "message": str, "split?": (str, None)}],
    "crosses?": (
        None,
        {
            "crosses": [{"columns": [str], "promised": _GAIN, "realised": _GAIN}],
            "all": {"promised": float, "realised": _GAIN},
        },
    ),
    "rows?": {str: int},
    "parameters": int,
    "best_epoch": int,
    "epochs": int,
    "stopped?": (str, None),
    "rows_per_second": float,
    "seconds": float,
    "peak_memory_bytes?": (int, None),
    "train_label_mean?": (float, None),
    "dropped_values?": {str: int},
}
_EPOCH = {"epoch": int, "train_loss": float, "valid": {str: (float, None)}}
_PROMOTION = {"time": str, "as": str, "run": str, "incumbent": (str, None), "before": [str]}


@dataclass(frozen=True)
class RunDirectory:
    """Paths inside one run, and its state on disk."""

    path: Path
    trust: bool = False
    """Whether files that its recipe names may be read although another user, or another machine, made the run."""

    @property
    def recipe_path(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    @property
    def plan_dir(self) -> Path:
        return self.path / "plan"

    @property
    def memory_path(self) -> Path:
        return self.plan_dir / "memory.safetensors"

    @property
    def memory_sums_path(self) -> Path:
        return self.plan_dir / "memory_sums.safetensors"

    @property
    def rare_dir(self) -> Path:
        return self.plan_dir / "rare"

    @property
    def forms_path(self) -> Path:
        return self.plan_dir / "forms.json"

    @property
    def source_kinds_path(self) -> Path:
        return self.plan_dir / "source_kinds.json"

    @property
    def missing_path(self) -> Path:
        return self.plan_dir / "missing.json"

    @property
    def reference_path(self) -> Path:
        return self.plan_dir / "reference.json"

    @property
    def best_path(self) -> Path:
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def best_state_path(self) -> Path:
        return self.path / "checkpoints" / "best_state.safetensors"

    @property
    def last_path(self) -> Path:
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def promotions_path(self) -> Path:
        return self.path / "promotions.jsonl"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.json"

    @property
    def golden_path(self) -> Path:
        return self.path / "golden.parquet"

    @property
    def done_path(self) -> Path:
        return self.path / "DONE"

    @property
    def is_done(self) -> bool:
        return self.done_path.exists()

    def manifest(self) -> dict[str, Any]:
        """Read the manifest. Raises ArtefactError when this is no run, a damaged one, or one of a newer format."""
        if not self.path.is_dir():
            raise ArtefactError(f"{self.path}: there is no run here; `widedeep train` makes one")
        with self.telling_removal():
            path = self.checked(self.manifest_path)
            manifest = read_json_artefact(path, "this is no run directory, or a damaged one")
        if not isinstance(manifest, dict) or type(manifest.get("format")) is not int or manifest["format"] < 1:
            raise ArtefactError(f"{path}: no format version: this is no run directory, or a damaged one")
        if manifest["format"] > RUN_FORMAT:
            raise ArtefactError(
                f"{self.path}: the run has format {manifest['format']}, this widedeep reads up to {RUN_FORMAT}: "
                "upgrade widedeep to use it"
            )
        require_shape(manifest, _MANIFEST, path)
        for stage, key in manifest["keys"].items():
            if not re.fullmatch("[0-9a-f]{1,64}", key):  # a key names a folder
                raise ArtefactError(f"{path}: keys.{stage} is {key[:40]!r}, must be hexadecimal digits: {DAMAGED}")
        if "pins" in manifest and manifest["pins"]["manifest"] != _digest_of_manifest(manifest):
            raise ArtefactError(
                f"{path}: it has changed since the run was finished: restore it from a copy, or train again"
            )
        return manifest

    def require_done(self) -> dict[str, Any]:
        """Read the manifest of a finished run. Raises ArtefactError for an unfinished or damaged one."""
        is_done = self.is_done  # asked first: what was read before its end would lack what the end adds
        manifest = self.manifest()
        if not is_done:
            raise ArtefactError(f"{self.path}: the run is unfinished: finish it with `widedeep train … --resume`")
        if manifest["format"] >= 3 and "pins" not in manifest:
            raise ArtefactError(f"{self.manifest_path}: it lacks `pins`, the digests of the run's files: {DAMAGED}")
        return manifest

    @contextmanager
    def telling_removal(self) -> Iterator[None]:
        """Let a fault of reading the run say so if another command has removed the run since: it is not damaged."""
        was_there = self.path.is_dir()
        try:
            yield
        except (ArtefactError, FileNotFoundError) as error:
            if not was_there or self.path.is_dir():
                raise
            raise ArtefactError(
                f"{self.path}: another command, such as `widedeep clean`, has removed the run meanwhile: name another"
            ) from error

    def checked(self, path: Path, manifest: Mapping[str, Any] | None = None) -> Path:
        """`path`, a file of the run, once it is known to be one that may be read: a file inside the run, and by the
        pins of `manifest`, if it has any, the file that the run was finished with.

        A missing file is for its reader to tell, unless it is pinned. Raises ArtefactError.
        """
        resolved = self._within(path)
        mode = stat.S_IFREG
        with suppress(OSError, ValueError):
            mode = os.stat(resolved).st_mode
        if not stat.S_ISREG(mode):
            raise ArtefactError(f"{path}: is no file: {DAMAGED}")
        check_readable(path)
        pins = (manifest or {}).get("pins")
        if pins is None:
            return path
        name = path.relative_to(self.path).as_posix()
        if not os.path.exists(path):
            if name in pins["files"]:
                raise ArtefactError(f"{path}: the file is missing: {DAMAGED}")
        elif pins["files"].get(name) != digest_of_file(path):
            raise ArtefactError(
                f"{path}: it has changed since the run was finished: restore it from a copy, or train again"
            )
        return path

    def _within(self, path: Path) -> str:
        """Where `path` leads, links followed. Raises ArtefactError if that is outside of the run."""
        resolved = os.path.realpath(path)
        if not resolved.startswith(os.path.realpath(self.path) + os.sep):
            raise ArtefactError(f"{path}: a link that leads out of the run, which is not followed: put the file there")
        return resolved

    def check_files_in(self, folder: Path) -> None:
        """Raise ArtefactError unless every file below a folder of the run is one that may be opened, see `checked`.

        A missing folder, and a file without permission to read it, are for their reader to tell.
        """
        self._within(folder)
        entries: list[os.DirEntry[str]] = []
        with suppress(OSError), os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                self.check_files_in(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):  # the folder tells the rest, which are thousands
                self.checked(Path(entry.path))

    def check_scoring(self, manifest: Mapping[str, Any]) -> None:
        """Raise ArtefactError unless all files that scoring depends on are those that the run was finished with."""
        with self.telling_removal():
            for path in self._pinned_paths():
                self.checked(path, manifest)
            self.check_files_in(self.plan_dir / "vocabularies")

    def is_own(self, manifest: Mapping[str, Any]) -> bool:
        """Whether this user made the run on this machine: by the seal of its manifest, which runs of older versions
        lack."""
        pins = manifest.get("pins")
        return pins is not None and hmac.compare_digest(pins["seal"].encode(), _seal(pins["manifest"]).encode())

    def require_own(self, manifest: Mapping[str, Any], what: str, way: str) -> None:
        """Raise ArtefactError for another's run: it says that `what` is not read, and the `way` to name it instead."""
        if self.trust or self.is_own(manifest):
            return
        why = (
            "the run was made by another user or on another machine"
            if "pins" in manifest
            else "an older widedeep, which did not note who made a run, made this one"
        )
        raise ArtefactError(f"{self.path}: {why}, so {what} is not read from where its recipe says: {way}, or --trust")

    def facts(self) -> dict[str, Any]:
        """Read `metrics.json`. Raises ArtefactError for a run without it, or with a damaged one."""
        with self.telling_removal():
            path = self.checked(self.metrics_path, self.manifest())
            facts: dict[str, Any] = read_json_artefact(path, "the run is damaged; train it again")
        require_shape(facts, _FACTS, path)
        return facts

    def epochs(self) -> list[dict[str, Any]]:
        """The events that training logged for its epochs; empty if the log is gone, which scoring does not need.

        Raises ArtefactError for a log that cannot be read.
        """
        path = self.checked(self.events_path)
        events = read_json_lines(path, "cannot read what training logged: the run is damaged")
        require_shape(events, [{"event": str}], path)
        epochs = [event for event in events if event["event"] == "epoch"]
        require_shape(epochs, [_EPOCH], path)
        return epochs

    def promotions(self) -> list[dict[str, Any]]:
        """The notes on when and why this run came to be served, or was replaced by another; empty if it never was.

        Each names the link (`as`), the `run` that it led to from then on, the `incumbent`, and the runs that were
        served `before`, oldest first. Raises ArtefactError for a damaged file.
        """
        path, advice = self.checked(self.promotions_path), "delete the file, which only tells what was served"
        notes: list[dict[str, Any]] = read_json_lines(path, f"cannot read what was served: {advice}")
        require_shape(notes, [_PROMOTION], path)
        for note in notes:
            for name in (note["run"], *filter(None, [note["incumbent"]]), *note["before"]):
                if name in ("", ".", "..") or os.path.basename(name) != name:  # it names a folder beside the run
                    raise ArtefactError(f"{path}: {name[:40]!r} is no name of a run: {advice}")
        return notes

    def pin(self, *, own: bool = True) -> None:
        """Note in the manifest the digests of the files that scoring and figures depend on, and who made the run.

        One that is not your `own`, as its recipe is of another's, gets no seal.
        """
        manifest = self.manifest()
        manifest.pop("pins", None)
        # Scoring does without these.
        later = (self.metrics_path, self.best_state_path, self.memory_sums_path, self.rare_dir / "rare.json")
        paths = [path for path in (*self._pinned_paths(), *later) if path.exists()]
        files = {path.relative_to(self.path).as_posix(): digest_of_file(path) for path in paths}
        manifest["pins"] = {"files": files, "manifest": "", "seal": ""}
        digest = _digest_of_manifest(manifest)
        manifest["pins"] |= {"manifest": digest, "seal": _seal(digest) if own else ""}
        write_json(self.manifest_path, manifest)

    def _pinned_paths(self) -> Iterator[Path]:
        # Vocabularies are pinned by the checksums in plan.json.
        yield from (self.recipe_path, self.plan_dir / "plan.json", self.source_kinds_path, self.forms_path)
        yield from (self.missing_path, self.memory_path, self.reference_path, self.best_path, self.golden_path)

    def finish(self) -> None:
        """Mark the run as finished and let `latest` beside it point to it.

        Killed between the two, this is completed by whoever asks for `latest` next, see `settle_latest`.
        """
        with _alone_at_latest(self.path.parent, wait=True):
            self._announce()
            write_text(self.done_path, "")
            self._take_latest()

    def make_latest(self, *, though_older: bool = False) -> bool:
        """Let `latest` point to this finished run if it points to one that began earlier, or to none; with
        `though_older`, whichever it points to. Whether it changed.

        Versions before this one, killed between the two steps of `finish`, left `latest` at an earlier run.
        """
        if not self._is_to_be_latest(though_older):  # asked before the lock, which has to be written
            return False
        with _alone_at_latest(self.path.parent, wait=True):
            if not self._is_to_be_latest(though_older):
                return False
            self._announce()
            self._take_latest()
        return True

    def _is_to_be_latest(self, though_older: bool) -> bool:
        latest = self.path.parent / LATEST
        if not latest.is_dir():
            return True
        now = RunDirectory(Path(os.path.realpath(latest)))
        return now.path.name != self.path.name and (though_older or now._began() < self._began())

    def _began(self) -> tuple[str, int]:
        # Names tell the second, also of a run that was copied; of two in one second, the later one was done later.
        return self.path.name.partition("-")[0], self.done_path.stat().st_mtime_ns if self.is_done else 0

    def _announce(self) -> None:
        announced = self.path.parent / _NEXT_LATEST
        with writing(announced):
            _settle(announced.parent)
            announced.unlink(missing_ok=True)
            announced.symlink_to(self.path.name)
            sync_directory(announced.parent)

    def _take_latest(self) -> None:
        latest = self.path.parent / LATEST
        with writing(latest):
            with suppress(FileNotFoundError):  # where a command of an earlier version, which takes no lock, was quicker
                os.replace(latest.parent / _NEXT_LATEST, latest)
            sync_directory(latest.parent)


def settle_latest(folder: Path) -> None:
    """Let `latest` in `folder` point to a run there that is finished, if the process that finished it died before that.

    Where that may not be written, `latest` stays as it is; so it does while another process moves it.
    """
    if not _is_left_announced(folder):  # asked before the lock, which has to be written
        return
    with suppress(WidedeepError, OSError), _alone_at_latest(folder, wait=False):
        _settle(folder)


def _settle(folder: Path) -> None:
    """`settle_latest`, for a caller who is alone at the links: else another run may be announced between the steps."""
    if _is_left_announced(folder):
        os.replace(folder / _NEXT_LATEST, folder / LATEST)


def _is_left_announced(folder: Path) -> bool:
    """Whether a finished run is announced as the latest."""
    with suppress(OSError):
        run = os.readlink(folder / _NEXT_LATEST)
        return os.path.basename(run) == run and RunDirectory(folder / run).is_done
    return False


def _alone_at_latest(folder: Path, *, wait: bool) -> AbstractContextManager[None]:
    """Keep others, who finish runs of the same recipe or settle `latest`, from the links in `folder`."""
    return locked(folder / LATEST, folder / ".latest.lock", "", wait=wait, note=lambda _: None, keep=False)


def find_run(argument: str, work_dir: Path, recipe_name: Callable[[], str | None] = lambda: None) -> Path:
    """The run directory that `argument` names: a run, a link to one such as `runs/<recipe>/serving` or `latest`, or a
    recipe's latest finished run, also by its folder `runs/<recipe>`.

    Relative paths are tried as they are and from the work directory. Where no run lies there, it is the name of a
    recipe that has runs here, whatever else is called so; else `recipe_name` is asked which recipe is meant, if any.
    Raises ArtefactError when nothing is there, or a run that may not be read.
    """
    places = (Path(argument), work_dir / argument)
    for path in places:
        if path.name == LATEST:
            settle_latest(path.parent)
        _refuse_dangling(path)
        RunDirectory(path).checked(RunDirectory(path).manifest_path)
        if os.path.exists(RunDirectory(path).manifest_path):  # pathlib raises for a name that is too long
            return Path(os.path.realpath(path))
    name = argument if folder_of_runs(argument, work_dir) is not None else recipe_name()
    if name is not None:
        latest = work_dir / RUNS / name / LATEST
        settle_latest(latest.parent)
        if latest.is_dir():
            return Path(os.path.realpath(latest))
        raise _nothing_finished(latest)
    for path in places:
        if os.path.isdir(path):
            settle_latest(path)
            latest = path / LATEST  # `runs/<recipe>` stands for its latest run
            if os.path.basename(os.path.dirname(os.path.realpath(path))) == RUNS and not os.path.isdir(latest):
                raise _nothing_finished(latest)
            # What a folder that is none lacks is for its reader to say.
            return Path(os.path.realpath(latest if os.path.isdir(latest) else path))
    if Path(argument).name == SERVING:
        raise ArtefactError(f"{argument}: no run is served here yet: choose one, `widedeep promote RUN`")
    raise ArtefactError(
        f"{argument}: there is no run here; `widedeep train` makes one, runs/<recipe>/latest is the last"
    )


def _nothing_finished(latest: Path) -> ArtefactError:
    name = latest.parent.name
    return ArtefactError(f"{latest}: recipe {name} has no finished run here; train it, or name --work")


def folder_of_runs(recipe: str, work_dir: Path) -> Path | None:
    """`runs/<recipe>`, links followed; None if no recipe of this name has runs here."""
    folder = work_dir / RUNS / recipe
    is_name = recipe == os.path.basename(recipe) and recipe not in {"", os.curdir, os.pardir}
    return Path(os.path.realpath(folder)) if is_name and os.path.isdir(folder) else None


def _refuse_dangling(path: Path) -> None:
    """Raise ArtefactError if `path` is a link to a run that is gone."""
    if os.path.islink(path) and not os.path.exists(path):  # pathlib raises for a name that is too long
        way = "train again" if path.name == LATEST else "choose another, `widedeep promote RUN`"
        raise ArtefactError(f"{path}: it leads to {os.readlink(path)}, and there is no such run any more: {way}")


def trained_splits(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The splits whose rows the run was trained on."""
    return tuple(manifest["refit"]["splits"]) if manifest.get("refit") else TRAIN_ONLY


def _digest_of_manifest(manifest: Mapping[str, Any]) -> str:
    """Of all that the manifest says, the pins of the other files included."""
    facts = {**manifest, "pins": manifest["pins"]["files"]}
    return digest_of_bytes(json.dumps(facts, sort_keys=True).encode())


def _seal(digest: str) -> str:
    """A digest with a key that this machine and this user have: who does not know the machine cannot make it."""
    try:
        machine = _MACHINE.read_bytes().strip()
    except OSError:
        machine = b""
    identity = b"\0".join([machine or os.uname().nodename.encode(), str(os.getuid()).encode()])
    key = hashlib.blake2b(identity).digest()
    return hashlib.blake2b(digest.encode(), key=key, digest_size=16).hexdigest()


def write_manifest(run: RunDirectory, facts: dict[str, Any]) -> None:
    """Write the manifest with the format version in front."""
    write_json(run.manifest_path, {"format": RUN_FORMAT, **facts})
