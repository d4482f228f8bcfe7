"""Who may read what widedeep writes, and what it says of a run that it may not read."""

import errno
import io
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CommandLine = Callable[..., tuple[int, str, str]]

READ_BY_PREDICT = [
    "manifest.json",
    "recipe.yaml",
    "plan/plan.json",
    "plan/source_kinds.json",
    "plan/memory.safetensors",
    "plan/vocabularies/field-0000.arrow",
    "checkpoints/best.safetensors",
    "golden.parquet",
]


@pytest.fixture
def others_may_write() -> Iterator[int]:
    """The umask of a group that works in one folder: not the usual one, and none that a library would choose."""
    before = os.umask(0o007)
    yield 0o007
    os.umask(before)


def test_every_file_of_a_work_directory_has_the_permissions_that_the_umask_leaves(
    others_may_write: int, project: Path, widedeep: CommandLine
) -> None:
    assert widedeep("train", "small.yaml")[0] == 0
    assert widedeep("predict", "runs/small/latest", "log.csv", "-o", "runs/scores.parquet")[0] == 0

    written = [path for top in ("runs", "stages") for path in (project / top).rglob("*") if not path.is_symlink()]
    modes = {path.relative_to(project): stat.S_IMODE(path.stat().st_mode) for path in written}
    wrong = {
        str(path): oct(mode)
        for path, mode in modes.items()
        if mode != (0o777 if (project / path).is_dir() else 0o666) & ~others_may_write
    }
    assert {path.suffix for path in modes} >= {".safetensors", ".json", ".arrow", ".parquet"}
    assert wrong == {}


@pytest.fixture
def run_of_another(trained: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    (latest,) = (trained / "runs" / "small").glob("latest")
    shutil.copytree(latest.resolve(), tmp_path / "run")
    return tmp_path / "run"


def forbid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no reader in Python open this file; permissions alone would not keep out root."""
    opened = io.open

    def refusing(file: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(file, str | os.PathLike) and Path(file).resolve() == path.resolve():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return opened(file, *arguments, **options)

    monkeypatch.setattr(io, "open", refusing)


def told(path: Path) -> str:
    return f"{path}: you have no permission to read it: ask its owner for that (chmod a+r), or for a copy of your own"


@pytest.mark.parametrize("name", READ_BY_PREDICT)
def test_a_file_of_a_run_that_may_not_be_read_is_told_as_that(
    name: str, run_of_another: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, widedeep: CommandLine
) -> None:
    forbid(run_of_another / name, monkeypatch)

    code, _, stderr = widedeep("predict", run_of_another, trained / "new.csv", "-o", "-")

    assert (code, stderr) == (4, f"widedeep: error: {told(run_of_another / name)}\n")


def test_so_it_is_by_every_command_that_reads_a_run(
    run_of_another: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, widedeep: CommandLine
) -> None:
    with monkeypatch.context() as patch:
        forbid(run_of_another / "checkpoints" / "best.safetensors", patch)
        code, _, stderr = widedeep("crosses", run_of_another, "--weights", "--work", trained)
        assert (code, stderr) == (4, f"widedeep: error: {told(run_of_another / 'checkpoints/best.safetensors')}\n")
    with monkeypatch.context() as patch:
        forbid(run_of_another / "metrics.json", patch)
        code, _, stderr = widedeep("report", run_of_another, "-o", trained / "report.html")
        assert (code, stderr) == (4, f"widedeep: error: {told(run_of_another / 'metrics.json')}\n")


def test_rows_of_a_stage_that_may_not_be_read_are_told_as_that(
    project: Path, monkeypatch: pytest.MonkeyPatch, widedeep: CommandLine
) -> None:
    assert widedeep("crosses", "small.yaml")[0] == 0
    (shard,) = (project / "stages").glob("encoded/*/train/*.arrow")
    forbid(shard, monkeypatch)

    code, _, stderr = widedeep("train", "small.yaml", "--quiet")

    assert (code, stderr) == (4, f"widedeep: error: {told(shard.relative_to(project))}\n")


@pytest.mark.parametrize("command", ["compare", "report"])
@pytest.mark.parametrize("closed", ["folder of runs", "run in it"])
def test_a_folder_that_may_not_be_entered_is_told_as_that(
    command: str, closed: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: CommandLine
) -> None:
    folder = trained / "runs" / "small"
    place = folder if closed == "folder of runs" else (folder / "latest").resolve()
    is_done, listed = Path.exists, Path.iterdir

    def refusing(operation: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def may_enter(path: Path) -> Any:
            if path == place if operation is listed else path.parent == place:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return operation(path)

        return may_enter

    monkeypatch.setattr(Path, "exists", refusing(is_done))
    monkeypatch.setattr(Path, "iterdir", refusing(listed))

    code, _, stderr = widedeep(command, folder, *(["-o", tmp_path / "r.html"] if command == "report" else []))

    assert (code, "you have no permission to read it" in stderr) == (4, True)
