"""Workers elsewhere are asked for their releases and for the work directory before they get any work."""

import os
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from widedeep.errors import UsageError, WorkersError
from widedeep.workers.clusters import check_address, check_workers


def answers(version: Any, sees: Any = None) -> Callable[..., dict[str, Any]]:
    """Workers `a`, which is as this process, and `b`, which has that release of widedeep or sees that of the folder."""

    def ask_all(function: Callable[..., Any], argument: str) -> dict[str, Any]:
        here = function(argument)
        if function is metadata.version:
            return {"a": here, "b": here if argument != "widedeep" or version is None else version}
        assert function is os.path.isfile
        assert here
        return {"a": here, "b": here if sees is None else sees}

    return ask_all


def test_workers_with_the_same_releases_that_see_the_folder_are_taken(tmp_path: Path) -> None:
    check_workers("tcp://host:1", tmp_path, answers(None))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("version", "sees", "message"),
    [
        ("0.0.9", None, f"worker b has widedeep 0.0.9 and this process {metadata.version('widedeep')}: install"),
        (metadata.PackageNotFoundError("widedeep"), None, "worker b has no widedeep: install release"),
        (OSError("lost"), None, "worker b does not answer: lost"),
        (None, False, "worker b does not see .*: put --work on a disk that all workers share"),
    ],
)
def test_a_worker_that_differs_is_refused_by_its_name(version: Any, sees: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(WorkersError, match=message):
        check_workers("tcp://host:1", tmp_path, answers(version, sees))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["tcp://host", "ray://:77", "tcp://host:many"])
def test_an_address_without_host_or_port_is_a_usage_error(where: str) -> None:
    with pytest.raises(UsageError, match=r"must be (tcp|ray)://HOST:PORT"):
        check_address(where)


def test_an_address_at_which_nobody_listens_is_told_at_once() -> None:
    with pytest.raises(WorkersError, match=r"tcp://127\.0\.0\.1:1: nobody answers there"):
        check_address("tcp://127.0.0.1:1")


@pytest.mark.parametrize("command", ["ingest", "crosses"])
def test_workers_that_are_none_are_a_usage_error_and_leave_nothing(
    command: str, project: Path, widedeep: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = widedeep(command, "small.yaml", "--workers", "many")

    assert (code, out) == (2, "")
    assert "--workers many: must be a number of processes" in err
    assert list(project.glob("stages/*")) == []


def test_workers_belong_to_the_rows_of_a_recipe(project: Path, widedeep: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = widedeep("crosses", "small.yaml", "--weights", "--workers", "2")

    assert code == 2
    assert "leave out --weights" in err
