"""A run directory as it begins: where it lies, what it takes from the stages, what its manifest says."""

import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from widedeep import __version__
from widedeep.artefacts import unreadable
from widedeep.files import replacing_directory, write_json, write_text, writing
from widedeep.pipeline.stages import EncodingResult, MemoryResult
from widedeep.pipeline.workspace import Workspace, read_report
from widedeep.recipe.load import LoadedRecipe
from widedeep.runs import RunDirectory, write_manifest
from widedeep.source.forms import Forms
from widedeep.table.parts import write_forms

_LIBRARIES = ("numba", "numpy", "polars", "polars-hash", "safetensors", "torch")
_COPIED_BYTES = 1 << 22


def last_run(workspace: Workspace, name: str, key: str, *, finished: bool = False) -> RunDirectory | None:
    """The last run with this key, or with `finished` the last finished run with it."""
    for path in sorted((workspace.runs_dir / name).glob(f"*-{key[:8]}*"), reverse=True):
        run = RunDirectory(path)
        if finished and not run.is_done:
            continue
        if run.manifest_path.exists() and run.manifest()["keys"]["run"] == key:
            return run
    return None


def new_run_path(folder: Path, key: str) -> Path:
    """A directory for a new run in the folder of its recipe, that no run has yet: the time and the run's key."""
    stem = f"{datetime.now(UTC):%Y%m%dT%H%M%S}Z-{key[:8]}"
    path, number = folder / stem, 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}"
    return path


def begin_run(
    path: Path,
    loaded: LoadedRecipe,
    recipe_text: str,
    encoded: EncodingResult,
    memory: MemoryResult | None,
    forms: Forms,
    head: Mapping[str, Any],
    key: str,
) -> RunDirectory:
    """Make the directory of a run that is to be trained on `encoded`, with texts in `forms`.

    `head` are the first entries of its manifest. Raises ArtefactError for stages that cannot be read, WriteError.
    """
    with replacing_directory(path) as temporary:
        run = RunDirectory(temporary)
        run.best_path.parent.mkdir()
        copy_directory(encoded.path / "plan", run.plan_dir)
        if memory is not None:
            copy_file(memory.memory, run.memory_path)
            copy_file(memory.sums, run.memory_sums_path)
        write_json(run.source_kinds_path, read_report(encoded.ingested.path)["source_kinds"])
        write_forms(run.plan_dir, forms)
        write_text(run.recipe_path, recipe_text)
        write_manifest(
            run,
            {
                **head,
                "keys": {"ingest": encoded.ingested.key, "encoded": encoded.key, "run": key},
                "base_dir": str(loaded.base_dir.resolve()),
            },
        )
    return RunDirectory(path)


def manifest_head(loaded: LoadedRecipe, device: torch.device, threads: int) -> dict[str, Any]:
    """What a manifest says of how, when and where the run was made."""
    return {
        "widedeep": __version__,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "git_commit": _git_commit(loaded.base_dir),
        "argv": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "threads": threads,
        "seed": loaded.recipe.seed,
    }


def _git_commit(directory: Path) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=directory, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def copy_file(source: Path, target: Path) -> None:
    """Copy the bytes of a file of a stage or run. Raises ArtefactError if they cannot be read, WriteError."""
    with writing(target), target.open("xb") as copy:
        for piece in _pieces(source):
            copy.write(piece)


def copy_directory(source: Path, target: Path) -> None:
    """Copy a directory of a stage or run into a new one, as `copy_file` does."""
    with writing(target):
        target.mkdir()
    try:
        entries = sorted(source.iterdir())
    except OSError as error:
        raise unreadable(source, error) from error
    for entry in entries:
        if entry.is_dir():
            copy_directory(entry, target / entry.name)
        else:
            copy_file(entry, target / entry.name)


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(_COPIED_BYTES):
                yield piece
    except OSError as error:
        raise unreadable(path, error) from error
