"""Killed anywhere and resumed, training ends in the same bytes; stages and scores are whole or absent."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forks import run_forked
from kills import moments, run_to_call


def weights(project: Path) -> dict[str, bytes]:
    (run,) = [path for path in (project / "runs" / "small").iterdir() if not path.is_symlink()]
    return {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}


SETTINGS = [
    "--set",
    "training.checkpoint_seconds=0.05",
    "--set",
    "training.epochs=30",
    "--set",
    "training.early_stopping={patience: null}",
    "--set",
    "training.unknown_share=0.3",
]


@pytest.mark.parametrize("kind", ["write", "step"])
def test_training_killed_at_writes_and_steps_and_resumed_ends_in_the_same_weights(kind: str, project: Path) -> None:
    total = run_to_call(kind, 0, "train", "small.yaml", "--work", "quiet", *SETTINGS, cwd=project)
    assert total is not None
    expected = weights(project / "quiet")
    kills = works = 0
    for number in moments(total, kills=6, seed=20):
        work = f"work-{works}"
        if run_to_call(kind, number, "train", "small.yaml", "--work", work, "--resume", *SETTINGS, cwd=project) is None:
            kills += 1
        else:
            assert weights(project / work) == expected
            works += 1
    assert kills >= 2
    assert run_forked("train", "small.yaml", "--work", f"work-{works}", "--resume", *SETTINGS, cwd=project)[0] == 0
    assert weights(project / f"work-{works}") == expected


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_write_a_checkpoint_and_say_how_to_go_on(
    number: signal.Signals, code: int, project: Path
) -> None:
    # A process of its own, which a signal reaches.
    command = [sys.executable, "-m", "widedeep_cli", "train", "small.yaml", "--set", "training.epochs=100000"]
    command += ["--set", "training.early_stopping={patience: null}"]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not list(project.glob("runs/small/*/checkpoints/last.safetensors")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == code, stderr.decode()
    assert b"--resume" in stderr
    assert b"Traceback" not in stderr
    assert not list(project.glob("runs/small/*/DONE"))


@pytest.mark.parametrize("command", ["ingest", "crosses"])
def test_a_stage_killed_at_any_write_is_whole_or_absent(command: str, project: Path) -> None:
    total = run_to_call("write", 0, command, "small.yaml", "--work", "quiet", cwd=project)
    assert total is not None
    for number in moments(total, kills=4, seed=21):
        work = project / f"killed-{number}"
        assert run_to_call("write", number, command, "small.yaml", "--work", work, cwd=project) is None
        for stage in work.glob("stages/*/*"):
            assert stage.name.startswith(".") or (stage / "DONE").exists(), stage
        assert run_forked(command, "small.yaml", "--work", work, cwd=project)[0] == 0
        for whole in (project / "quiet" / "stages").rglob("*"):
            if whole.is_file():
                made = work / whole.relative_to(project / "quiet")
                assert made.read_bytes() == whole.read_bytes(), made


@pytest.mark.parametrize("output", ["scores.csv", "scores.parquet"])
def test_scoring_killed_before_its_file_takes_its_name_leaves_none(output: str, trained: Path, tmp_path: Path) -> None:
    command = ["predict", trained / "runs" / "small" / "latest", trained / "new.csv", "-o", output]
    total = run_to_call("write", 0, *command, cwd=tmp_path)
    assert total is not None
    whole = (tmp_path / output).read_bytes()
    for number in range(1, total + 1):
        (tmp_path / output).unlink(missing_ok=True)
        assert run_to_call("write", number, *command, cwd=tmp_path) is None
        # The last call syncs the folder, when the file has its name.
        assert not (tmp_path / output).exists() or (number == total and (tmp_path / output).read_bytes() == whole)
