"""The run-directory contract: where a run is and what lies in it, when it counts as finished, what refuses to load."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from widedeep.errors import ArtefactError
from widedeep.files import check_readable, sync_directory, write_json, write_text, writing

RUN_FORMAT = 2
"""Format version of a run directory; a run of a newer one is refused."""

RUNS = "runs"
"""The folder of a work directory that holds its runs."""

TRAIN_ONLY = ("train",)
"""The splits that a run is trained on, unless it is a refit."""


@dataclass(frozen=True)
class RunDirectory:
    """Paths inside one run, and its state on disk."""

    path: Path

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
        """Read the manifest. Raises ArtefactError when this is no run, or one of a newer format."""
        if not self.path.is_dir():
            raise ArtefactError(f"{self.path}: there is no run here; `widedeep train` makes one")
        manifest = read_json_artefact(self.manifest_path, "this is no run directory, or a damaged one")
        if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
            raise ArtefactError(f"{self.manifest_path}: no format version: this is no run directory, or a damaged one")
        if manifest["format"] > RUN_FORMAT:
            raise ArtefactError(
                f"{self.path}: the run has format {manifest['format']}, this widedeep reads up to {RUN_FORMAT}: "
                "upgrade widedeep to use it"
            )
        return manifest

    def require_done(self) -> dict[str, Any]:
        """Read the manifest of a finished run. Raises ArtefactError for an unfinished one."""
        manifest = self.manifest()
        if not self.is_done:
            raise ArtefactError(f"{self.path}: the run is unfinished: finish it with `widedeep train … --resume`")
        return manifest

    def facts(self) -> dict[str, Any]:
        """Read `metrics.json`. Raises ArtefactError for a run without it, or with a damaged one."""
        facts: dict[str, Any] = read_json_artefact(self.metrics_path, "the run is damaged; train it again")
        return facts

    def epochs(self) -> list[dict[str, Any]]:
        """The events that training logged for its epochs; empty if the log is gone, which scoring does not need.

        Raises ArtefactError for a log that cannot be read.
        """
        check_readable(self.events_path)
        if not self.events_path.exists():
            return []
        try:
            events = [json.loads(line) for line in self.events_path.read_text(encoding="utf-8").splitlines()]
            return [event for event in events if event["event"] == "epoch"]
        except (OSError, ValueError, KeyError) as error:
            raise ArtefactError(f"{self.events_path}: cannot read what training logged: the run is damaged") from error

    def finish(self) -> None:
        """Mark the run as finished and let `latest` beside it point to it."""
        write_text(self.done_path, "")
        latest = self.path.parent / "latest"
        temporary = latest.with_name(f".latest.tmp-{os.getpid()}")
        with writing(latest):
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(self.path.name)
            os.replace(temporary, latest)
            sync_directory(latest.parent)


def find_run(argument: str, work_dir: Path, recipe_name: Callable[[], str | None] = lambda: None) -> Path:
    """The run directory that `argument` names: a run, `runs/<recipe>/latest`, or a recipe's latest finished run.

    Relative paths are tried as they are and from the work directory. Where no run lies there, `recipe_name` is asked
    which recipe is meant, if any. Raises ArtefactError when nothing is there, or a run that may not be read.
    """
    places = (Path(argument), work_dir / argument)
    for path in places:
        check_readable(RunDirectory(path).manifest_path)
        if RunDirectory(path).manifest_path.exists():
            return Path(os.path.realpath(path))
    name = recipe_name()
    if name is not None:
        latest = work_dir / RUNS / name / "latest"
        if latest.is_dir():
            return Path(os.path.realpath(latest))
        raise ArtefactError(f"{latest}: recipe {name} has no finished run here; train it, or name --work")
    for path in places:
        if path.is_dir():
            return Path(os.path.realpath(path))  # what it lacks is for its reader to say
    raise ArtefactError(
        f"{argument}: there is no run here; `widedeep train` makes one, runs/<recipe>/latest is the last"
    )


def trained_splits(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The splits whose rows the run was trained on."""
    return tuple(manifest["refit"]["splits"]) if manifest.get("refit") else TRAIN_ONLY


def read_json_artefact(path: Path, meaning: str) -> Any:
    """Parse a JSON file of ours. Raises ArtefactError, ending in `meaning`, if it is missing or damaged."""
    check_readable(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: cannot read it ({error.__class__.__name__}): {meaning}") from error
    except json.JSONDecodeError as error:
        raise ArtefactError(f"{path}:{error.lineno}: not valid JSON ({error.msg}): {meaning}") from error


def write_manifest(run: RunDirectory, facts: dict[str, Any]) -> None:
    """Write the manifest with the format version in front."""
    write_json(run.manifest_path, {"format": RUN_FORMAT, **facts})
