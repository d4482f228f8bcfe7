"""The work directory: one writer at a time, finished stages only."""

import ctypes
import threading
from pathlib import Path

import pytest

from widedeep.errors import ArtefactError
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
