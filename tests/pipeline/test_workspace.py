"""The work directory: one writer of a stage or run at a time, finished stages only."""

import ctypes
import fcntl
import os
import platform
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from widedeep import files, locks
from widedeep.errors import ArtefactError, WriteError
from widedeep.files import own_claim
from widedeep.locks import locked
from widedeep.pipeline.workspace import Workspace
from widedeep.reporting import Reporter


def test_a_stage_is_done_only_when_its_whole_block_succeeded(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    def build_and_fail() -> None:
        with workspace.building("ingest", "k") as folder:
            (folder / "part").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        build_and_fail()
    assert not workspace.is_done("ingest", "k")
    assert not list((tmp_path / "stages" / "ingest").iterdir())
    with workspace.building("ingest", "k") as folder:
        (folder / "part").write_text("whole")
    assert workspace.is_done("ingest", "k")
    assert (workspace.stage_path("ingest", "k") / "part").read_text() == "whole"


def test_a_c_library_that_cannot_give_back_memory_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    with Workspace(tmp_path).building("ingest", "k") as folder:
        (folder / "part").write_text("whole")
    assert Workspace(tmp_path).is_done("ingest", "k")


def test_what_a_killed_process_left_behind_is_swept_by_the_next_writer(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    leftover = tmp_path / "stages" / "ingest" / ".abc.tmp-123"
    leftover.mkdir(parents=True)
    (leftover / "part").write_text("half")
    with workspace.locked(Reporter(), wait=False):
        assert not leftover.exists()


@pytest.mark.parametrize("top", ["stages/ingest", "runs/small", "runs"])
@pytest.mark.parametrize("shared", [False, True])
def test_folders_that_others_remove_while_they_are_looked_through_are_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top: str, shared: bool
) -> None:
    folder = tmp_path / top
    (folder / "passing" / "new").mkdir(parents=True)
    leftover = folder / ".abc.tmp-123"
    leftover.mkdir()
    scandir = os.scandir
    removed: list[str | Path] = []

    def scandir_too_late(path: str | Path | int) -> Any:
        if not isinstance(path, int) and os.path.basename(path) == "passing" and not removed:
            removed.append(path)
            shutil.rmtree(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scandir_too_late)
    workspace = Workspace(tmp_path)
    with workspace.shared(Reporter(), wait=False) if shared else workspace.locked(Reporter(), wait=False):
        assert removed
        assert not leftover.exists()


def test_a_process_of_another_machine_is_named_with_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Workspace(tmp_path).locked(Reporter(), wait=False), monkeypatch.context() as elsewhere:
        elsewhere.setattr(files, "_machine", lambda: ("0" * 8, "0" * 8))
        with (
            pytest.raises(ArtefactError, match=rf"in use by process {os.getpid()} \(.*\) on {platform.node()};"),
            Workspace(tmp_path).shared(Reporter(), wait=False),
        ):
            pass


def test_waiting_goes_on_when_the_first_writer_leaves(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    order: list[str] = []
    first_is_in, second_waits = threading.Event(), threading.Event()

    def first() -> None:
        with workspace.locked(Reporter(), wait=False):
            order.append("first in")
            first_is_in.set()
            second_waits.wait()
            order.append("first out")

    class Watcher(Reporter):
        def note(self, message: str) -> None:
            assert message.startswith("waiting for ")
            second_waits.set()

    thread = threading.Thread(target=first, daemon=True)
    thread.start()
    first_is_in.wait()
    with pytest.raises(ArtefactError, match="--wait"), workspace.locked(Reporter(), wait=False):
        pass
    with workspace.locked(Watcher(), wait=True):
        order.append("second in")
    thread.join()
    assert order == ["first in", "first out", "second in"]


def test_two_use_a_work_directory_at_once_and_one_that_wants_it_alone_is_told_the_first(tmp_path: Path) -> None:
    first, second, alone = Workspace(tmp_path), Workspace(tmp_path), Workspace(tmp_path)
    refused = pytest.raises(ArtefactError, match=f"in use by process {os.getpid()} ")
    with (
        first.shared(Reporter(), wait=False),
        second.shared(Reporter(), wait=False),
        refused,
        alone.locked(Reporter(), wait=False),
    ):
        pass
    with alone.locked(Reporter(), wait=False), refused, first.shared(Reporter(), wait=False):
        pass


def test_of_those_who_share_a_work_directory_the_first_that_lives_is_named(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _SHARING, str(tmp_path)], stdout=subprocess.PIPE) as gone:
        assert gone.stdout is not None
        assert gone.stdout.readline() == b"in\n"
        gone.kill()
    workspace = Workspace(tmp_path)
    with (
        workspace.shared(Reporter(), wait=False),
        pytest.raises(ArtefactError, match=f"in use by process {os.getpid()} ") as refused,
        Workspace(tmp_path).locked(Reporter(), wait=False),
    ):
        pass
    assert str(gone.pid) not in str(refused.value)


_SHARING = """
import signal
import sys
from pathlib import Path
from widedeep.pipeline.workspace import Workspace
from widedeep.reporting import Reporter

with Workspace(Path(sys.argv[1])).shared(Reporter(), wait=False):
    print("in", flush=True)
    signal.pause()
"""


def test_the_lines_of_the_dead_do_not_make_a_lock_grow_without_end(tmp_path: Path) -> None:
    lock = tmp_path / ".widedeep.lock"
    claim_of_the_dead = "-".join([*own_claim().split("-")[:2], "4194304", "1"])
    lock.write_text(f"process 1 (widedeep train)\t{claim_of_the_dead}\n" * 1000)
    with Workspace(tmp_path).shared(Reporter(), wait=False):
        assert lock.read_text().count("\n") == 1


def test_a_second_builder_of_a_stage_is_refused_and_one_that_waits_takes_what_the_first_made(tmp_path: Path) -> None:
    built: list[str] = []
    first_is_in, second_waits = threading.Event(), threading.Event()

    class Watcher(Reporter):
        def note(self, message: str) -> None:
            assert "stages/encoded/0a" in message
            second_waits.set()

    def first() -> None:
        workspace = Workspace(tmp_path)
        with workspace.shared(Reporter(), wait=False), workspace.missing("encoded", "0a") as folder:
            assert folder is not None
            first_is_in.set()
            second_waits.wait()
            built.append("first")

    thread = threading.Thread(target=first, daemon=True)
    thread.start()
    first_is_in.wait()
    workspace = Workspace(tmp_path)
    with workspace.shared(Reporter(), wait=False):
        with workspace.missing("encoded", "0b") as folder:
            assert folder is not None  # another stage, meanwhile
        with pytest.raises(ArtefactError, match="in use by process"), workspace.missing("encoded", "0a"):
            pass
    with workspace.shared(Watcher(), wait=True), workspace.missing("encoded", "0a") as folder:
        assert folder is None
    thread.join()
    assert built == ["first"]
    assert sorted(path.name for path in (tmp_path / "stages" / "encoded").iterdir()) == ["0a", "0b"]


def test_the_locks_of_killed_processes_are_gone_with_the_next_command(tmp_path: Path) -> None:
    left = [tmp_path / ".widedeep.ingest-0a.lock", tmp_path / "runs" / "small" / ".latest.lock"]
    for lock in left:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.write_text("process 1 (widedeep train)\n")
    held = tmp_path / ".widedeep.ingest-0b.lock"
    with locked(held, held, "", wait=False, note=print), Workspace(tmp_path).shared(Reporter(), wait=False):
        assert [lock.exists() for lock in (*left, held)] == [False, False, True]


def test_a_lock_that_somebody_has_taken_and_not_yet_signed_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock"
    with lock.open("a") as unsigned:
        fcntl.flock(unsigned, fcntl.LOCK_EX)
        waited: list[float] = []

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 2:
                fcntl.flock(unsigned, fcntl.LOCK_UN)

        monkeypatch.setattr(locks.time, "sleep", sleep)
        with locked(lock, lock, "", wait=False, note=print):
            assert len(waited) == 2


def test_a_lock_that_nobody_signs_is_refused_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks.time, "sleep", lambda _: None)
    lock = tmp_path / "lock"
    with lock.open("a") as unsigned:
        fcntl.flock(unsigned, fcntl.LOCK_EX)
        with (
            pytest.raises(ArtefactError, match="in use by another process"),
            locked(lock, lock, "", wait=False, note=print),
        ):
            pass


def test_a_lock_that_cannot_be_made_is_a_fault_of_writing_that_names_it(tmp_path: Path) -> None:
    (tmp_path / ".widedeep.ingest-key.lock").mkdir()
    told = r"\.widedeep\.ingest-key\.lock: cannot write: Is a directory"
    with pytest.raises(WriteError, match=told), Workspace(tmp_path).missing("ingest", "key"):
        pass
