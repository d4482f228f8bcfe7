"""A disk that is full from some write on: exit 6, the old output as it was, and nothing half-written left."""

import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CommandLine = Callable[..., tuple[int, str, str]]


class Disk:
    """Counts what asks it for room, and gives none from call number `full_from` on (0: it always does)."""

    def __init__(self) -> None:
        self.calls, self.full_from = 0, 0

    def ask(self, path: Any) -> None:
        self.calls += 1
        if self.full_from and self.calls >= self.full_from:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    @contextmanager
    def full(self, call: int) -> Iterator[None]:
        self.calls, self.full_from = 0, call
        yield
        self.full_from = 0


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    # A file that gets another name needs no room.
    opened, sync, mkdir = io.open, os.fsync, os.mkdir

    def open_(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if set(mode) & set("wxa") and str(file) != os.devnull:
            disk.ask(file)
        return opened(file, mode, *arguments, **options)

    def sync_(handle: int) -> None:
        disk.ask(None)
        sync(handle)

    def mkdir_(path: Any, *arguments: Any, **options: Any) -> None:
        if not os.path.exists(path):
            disk.ask(path)
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(io, "open", open_)
    monkeypatch.setattr(os, "fsync", sync_)
    monkeypatch.setattr(os, "mkdir", mkdir_)
    return disk


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "RUN", "new.csv", "-o", "out/s.csv", "--force"],
        ["predict", "RUN", "new.csv", "-o", "out/s.ndjson", "--force"],
        ["predict", "RUN", "new.csv", "-o", "out/s.parquet", "--force"],
        ["report", "RUN", "-o", "out/r.html", "--force", "--work", "TRAINED"],
        ["init", "new.csv", "--label", "click", "-o", "out/r.yaml", "--force"],
        ["synth", "-o", "out/synth", "--rows", "200", "--force"],
        ["synth", "-o", "out/synth", "--rows", "200", "--shape", "criteo", "--force"],
    ],
    ids=lambda command: " ".join(command[:1] + command[-3:]),
)
def test_an_output_is_the_old_or_the_new_one_wherever_the_disk_was_full(
    command: list[str],
    disk: Disk,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    widedeep: CommandLine,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained / "new.csv", "new.csv")
    (tmp_path / "out").mkdir()
    places = {"RUN": str(trained / "runs" / "small" / "latest"), "TRAINED": str(trained)}
    command = [places.get(part, part) for part in command]
    with disk.full(0):
        code, _, stderr = widedeep(*command)
        total = disk.calls
    assert code == 0, stderr
    before = tree(tmp_path / "out")
    for call in range(1, total + 1):
        with disk.full(call):
            code, _, stderr = widedeep(*command)
        assert (code, "No space left on device" in stderr, "Traceback" in stderr) == (6, True, False), (call, stderr)
        # The last call syncs the folder, when the new output has its name.
        assert tree(tmp_path / "out").keys() == before.keys()
        assert [path for path in tmp_path.rglob("*") if ".tmp-" in path.name] == []


def test_training_on_a_disk_that_fills_says_so_and_resumes_when_there_is_room(
    disk: Disk, project: Path, widedeep: CommandLine
) -> None:
    command = ["train", "small.yaml", "--quiet", "--set", "training.epochs=1"]
    with disk.full(0):
        assert widedeep(*command, "--work", "whole")[0] == 0
        total = disk.calls
    for call in range(1, total + 1, 9):
        with disk.full(call):
            code, _, stderr = widedeep(*command, "--work", f"work-{call}")
        assert (code, "Traceback" in stderr) == (6, False), (call, stderr)
        assert [path for path in (project / f"work-{call}").rglob("*") if ".tmp-" in path.name] == []
        done = [path.parent for path in (project / f"work-{call}").rglob("stages/*/*/DONE")]
        assert all((path / "report.json").exists() or path.parent.name == "memory" for path in done)
    assert widedeep(*command, "--resume", "--work", f"work-{call}")[0] == 0
