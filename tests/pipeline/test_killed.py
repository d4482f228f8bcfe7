"""Killed anywhere and resumed, training ends in the same bytes; stages and scores are whole or absent."""

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest


def start(*arguments: str | Path, cwd: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "widedeep_cli", *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(*arguments: str | Path, cwd: Path) -> int:
    process = start(*arguments, cwd=cwd)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr.decode()
    return process.returncode


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


@pytest.fixture
def undisturbed(project: Path) -> tuple[dict[str, bytes], float]:
    """The weights of a run that nobody killed, and the seconds that it took; its stages and run are removed again."""
    started = time.monotonic()
    finish("train", "small.yaml", "--work", "quiet", *SETTINGS, cwd=project)
    return weights(project / "quiet"), time.monotonic() - started


def test_ten_kills_at_random_moments_and_resumed_end_in_the_same_weights(
    project: Path, undisturbed: tuple[dict[str, bytes], float]
) -> None:
    expected, seconds = undisturbed
    draw, kills, finished = random.Random(), 0, 0
    while kills < 10 or finished == 0:
        work = f"work-{finished}"
        started = time.monotonic()
        process = start("train", "small.yaml", "--work", work, "--resume", *SETTINGS, cwd=project)
        # From start-up over the stages to the end of training; after ten kills it may run on.
        killer = threading.Timer(draw.uniform(0.4, 1.0) * seconds, process.kill)
        if kills < 10:
            killer.start()
        process.wait()
        killer.cancel()
        if process.returncode == -signal.SIGKILL:
            kills += 1
            continue
        assert process.returncode == 0, process.stderr.read().decode() if process.stderr else ""
        assert weights(project / work) == expected
        # The undisturbed run may have compiled kernels for all that follow: kills must come before a warm run's end.
        seconds = min(seconds, time.monotonic() - started)
        finished += 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_write_a_checkpoint_and_say_how_to_go_on(
    number: signal.Signals, code: int, project: Path
) -> None:
    settings = ["--set", "training.epochs=100000", "--set", "training.early_stopping={patience: null}"]
    process = start("train", "small.yaml", *settings, cwd=project)
    while not list(project.glob("runs/small/*/checkpoints/last.safetensors")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == code, stderr.decode()
    assert b"--resume" in stderr
    assert b"Traceback" not in stderr
    assert not list(project.glob("runs/small/*/DONE"))


@pytest.mark.parametrize("command", ["ingest", "crosses"])
def test_a_killed_stage_is_whole_or_absent(command: str, project: Path) -> None:
    log = project / "log.csv"
    header, *rows = log.read_text().splitlines()
    log.write_text("\n".join([header, *(rows * 60)]) + "\n")
    started = time.monotonic()
    finish(command, "small.yaml", "--work", "quiet", cwd=project)
    seconds = time.monotonic() - started
    draw = random.Random()
    for _ in range(4):
        process = start(command, "small.yaml", cwd=project)
        time.sleep(draw.uniform(0.3, 1.0) * seconds)
        process.kill()
        process.wait()
        for stage in project.glob("stages/*/*"):
            assert stage.name.startswith(".") or (stage / "DONE").exists(), stage
    finish(command, "small.yaml", cwd=project)
    for whole in (project / "quiet" / "stages").rglob("*"):
        if whole.is_file():
            assert (project / whole.relative_to(project / "quiet")).read_bytes() == whole.read_bytes(), whole


def test_killed_scoring_leaves_no_file_under_its_name(trained: Path, tmp_path: Path) -> None:
    header, *rows = (trained / "new.csv").read_text().splitlines()
    (tmp_path / "long.csv").write_text("\n".join([header, *(rows * 1000)]) + "\n")
    run = trained / "runs" / "small" / "latest"
    started = time.monotonic()
    finish("predict", run, "long.csv", "-o", "whole.csv", cwd=tmp_path)
    seconds = time.monotonic() - started
    for share in (0.5, 0.8, 0.95):
        process = start("predict", run, "long.csv", "-o", "scores.csv", cwd=tmp_path)
        time.sleep(share * seconds)
        process.kill()
        process.wait()
        scores = tmp_path / "scores.csv"
        assert not scores.exists() or scores.read_bytes() == (tmp_path / "whole.csv").read_bytes()
        scores.unlink(missing_ok=True)
