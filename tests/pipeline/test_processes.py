"""`train --processes`: several processes give the bytes of one, killed and resumed by other numbers too."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from forks import run_forked

from widedeep.errors import TrainingError
from widedeep.pipeline import crew
from widedeep.pipeline.crew import StartedCrew, _Children
from widedeep.pipeline.parted import Assignment

PARTS = ["--set", "training.parts=6", "--set", "training.dense_rows=30", "--set", "training.batch_size=100"]
KINDS = {
    "wide": ["model.kind=wide", "model.wide.crosses=gradient", "training.unknown_share=0.1"],
    "dcn_v2": [
        "model.kind=dcn_v2",
        "model.deep.batch_norm=true",
        "training.deep={optimizer: adamw, embedding_l2: 0.01}",
    ],
}


def checkpoints(work: Path) -> dict[str, bytes]:
    (run,) = [path for path in work.glob("runs/*/*") if not path.is_symlink()]
    return {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}


@pytest.mark.parametrize(("kind", "processes"), [("wide", 2), ("dcn_v2", 3)])
def test_several_processes_give_the_bytes_of_one(kind: str, processes: int, project: Path) -> None:
    settings = [*PARTS, *(word for setting in KINDS[kind] for word in ("--set", setting))]
    for number in (1, processes):
        words = ["--work", f"by-{number}", "--processes", str(number), *settings]
        code, told = run_forked("train", "small.yaml", *words, cwd=project)
        assert code == 0, told
    alone = checkpoints(project / "by-1")
    assert sorted(alone) == ["best.safetensors", "best_state.safetensors", "last.safetensors"]
    assert checkpoints(project / f"by-{processes}") == alone


def test_lists_and_crosses_from_memory_give_the_same_bytes(rich: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        words = ["--work", tmp_path / f"by-{number}", "--processes", str(number), *PARTS]
        code, told = run_forked("train", "rich.yaml", *words, cwd=rich)
        assert code == 0, told
    assert checkpoints(tmp_path / "by-2") == checkpoints(tmp_path / "by-1")


def test_a_killed_rank_is_named_and_other_numbers_of_processes_go_on_to_the_same_bytes(project: Path) -> None:
    settings = [*PARTS, "--set", "training.epochs=3", "--set", "training.checkpoint_seconds=0"]
    assert run_forked("train", "small.yaml", "--work", "quiet", *settings, cwd=project)[0] == 0
    command = [sys.executable, "-m", "widedeep_cli", "train", "small.yaml", "--processes", "2", "--quiet", *settings]
    process = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True)
    while not list(project.glob("runs/small/*/checkpoints/last.safetensors")) and process.poll() is None:
        time.sleep(0.01)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    assert process.stderr is not None
    told = process.stderr.read()
    assert process.wait() == 5, told
    assert f"rank 1 (process {child}) was ended by signal 9 (SIGKILL)" in told
    assert list(project.glob("runs/small/*/checkpoints/last-*-of-2.safetensors"))
    code, told = run_forked("train", "small.yaml", "--processes", "3", "--resume", *settings, cwd=project)
    assert code == 0, told
    assert checkpoints(project) == checkpoints(project / "quiet")


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc which ports are open")
def test_processes_of_this_machine_listen_to_this_machine_alone(project: Path) -> None:
    settings = [*PARTS, "--set", "training.epochs=1000", "--set", "training.checkpoint_seconds=0"]
    command = [sys.executable, "-m", "widedeep_cli", "train", "small.yaml", "--processes", "2", "--quiet", *settings]
    with subprocess.Popen(command, cwd=project) as process:
        while not list(project.glob("runs/small/*/checkpoints/last-*")) and process.poll() is None:
            time.sleep(0.01)
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        listening = [address for number in (process.pid, int(child)) for address in listened_at(number)]
        process.send_signal(signal.SIGINT)
    assert set(listening) == {"127.0.0.1"}


def test_signals_to_the_whole_group_leave_the_end_of_ranks_that_are_still_starting_to_rank_0() -> None:
    with socket.create_server(("127.0.0.1", 0)) as store:
        children = _Children(2, store.getsockname()[1])
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                children._processes[1].send_signal(number)
            time.sleep(0.3)
            assert children.ended() is None
        finally:
            children.kill()


def test_after_an_error_no_thread_of_an_exchange_is_left_to_the_end_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    others = SimpleNamespace(ended=lambda: None, wait=lambda: None, kill=lambda: order.append("killed"))
    monkeypatch.setattr(crew, "_Children", lambda world, port: others)
    monkeypatch.setattr(crew, "_assign", lambda *_: None)
    left = SimpleNamespace(leave=lambda: order.append("left"))
    monkeypatch.setattr(crew, "JoinedRanks", lambda *_, **__: left)
    with pytest.raises(TrainingError, match="rank 1"), StartedCrew(2).at_work(cast(Assignment, None), 300.0):
        raise TrainingError("rank 1 has ended")
    assert order == ["killed", "left"]


def listened_at(process: int) -> list[str]:
    """The addresses at which a process waits for connections."""
    links = [os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir() if link.is_symlink()]
    addresses = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and f"socket:[{rest[5]}]" in links:
                packed = bytes.fromhex(local.split(":")[0])
                words = [packed[at : at + 4][::-1] for at in range(0, len(packed), 4)]
                addresses.append(str(ip_address(b"".join(words))))
    return addresses


def test_more_processes_than_parts_are_refused(project: Path, widedeep: Callable[..., tuple[int, str, str]]) -> None:
    code, _, told = widedeep("train", "small.yaml", "--processes", "4", "--set", "training.parts=3")
    assert code == 2
    assert "4 processes, and a step has training.parts: 3" in told
    code, _, told = widedeep("train", "small.yaml", "--processes", "2")
    assert code == 2
    assert "2 processes, and a step has training.parts: 1" in told


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 and WORLD_SIZE 2 in the environment"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK is 'one' in the environment, must be a whole number"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}, "MASTER_PORT is '' in the environment"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "1"}, "MASTER_ADDR is not in the environment"),
    ],
)
def test_variables_of_torchrun_that_do_not_fit_are_told(
    variables: dict[str, str],
    message: str,
    project: Path,
    widedeep: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, _, told = widedeep("train", "small.yaml", "--set", "training.parts=2")
    assert code == 2
    assert message in told


def test_processes_beside_those_of_torchrun_are_refused(
    project: Path, widedeep: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    code, _, told = widedeep("train", "small.yaml", "--processes", "2")
    assert code == 2
    assert "torchrun has started the processes already" in told
