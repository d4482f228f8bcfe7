"""`widedeep sweep` from end to end. What kills it and starts it many times needs `-m sweeps`."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from widedeep.recipe.load import load_recipe

CommandLine = Callable[..., tuple[int, str, str]]

SPACE = ("--space", "training.deep.learning_rate=log(1e-3,1e-1)", "--space", "model.deep.hidden=[[16, 8], [8]]")


def test_a_sweep_trains_its_trials_side_by_side_and_writes_the_best_recipe(
    project: Path, widedeep: CommandLine
) -> None:
    words = ("sweep", "small.yaml", *SPACE, "--trials", "2", "--workers", "2", "--set", "training.epochs=1")
    code, out, err = widedeep(*words, "--json", "-o", "best.yaml", "--html", "page.html", "--confirm", "1")
    assert code == 0, err
    result = json.loads(out)
    assert (result["finished"], result["wanted"], result["metric"], result["better"]) == (2, 2, "log_loss", "lower")
    first, _ = result["trials"]
    assert first["settings"] == {"training.deep.learning_rate": 0.001, "model.deep.hidden": [16, 8]}
    for trial in result["trials"]:
        metrics = json.loads((project / trial["run"] / "metrics.json").read_text())
        assert trial["value"] == metrics["metrics"]["valid"]["log_loss"]
        assert "\nsweep:" not in (project / trial["run"] / "recipe.yaml").read_text()
    assert result["best"] == min(result["trials"], key=lambda trial: trial["value"])
    # Trials, and the training of their best, share what is made of the data.
    assert [len(list((project / "stages" / stage).iterdir())) for stage in ("ingest", "encoded")] == [1, 1]
    best = load_recipe(project / "best.yaml")
    assert best.recipe.training.deep.learning_rate == result["best"]["settings"]["training.deep.learning_rate"]
    confirmed = result["confirmed"]
    assert confirmed["metrics"]["valid"]["log_loss"]["mean"] == pytest.approx(result["best"]["value"], rel=1e-4)
    assert "Sweep of small" in (project / "page.html").read_text()

    code, out, err = widedeep(*words)
    assert (code, len(list((project / "runs" / "small-sweep").glob("*Z-*")))) == (0, 2), err
    assert max(map(len, out.splitlines())) <= 80
    code, out, err = widedeep("train", "best.yaml", "--json")
    assert json.loads(out)["already_done"], err


def test_a_trial_has_the_bytes_of_the_command_that_it_is(project: Path) -> None:
    finished(sweep_words("--trials", "2", "--workers", "1", "--set", "training.epochs=1"))
    second = max((project / "runs" / "small-sweep").glob("*Z-*"))
    words = json.loads((second / "manifest.json").read_text())["argv"]
    assert words[:2] == ["widedeep", "train"]
    words[words.index("--work") + 1] = "by-itself"
    run = Path(finished([sys.executable, "-m", "widedeep_cli", *words[1:]])["run"])
    checkpoints = [path.relative_to(second) for path in second.glob("checkpoints/*")]
    assert len(checkpoints) == 3
    for path in checkpoints:
        assert (run / path).read_bytes() == (second / path).read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "no setting to search"),
        (("--space", "training.epoch=int(1, 2)"), "did you mean 'epochs'"),
        (("--space", "training.epochs=int(2, 1)"), "the first end must be below the second"),
        (("--space", "data.keep_negatives=float(0.1, 1)"), "features, crosses, model, training"),
        ((*SPACE, "--space", "model.deep.hidden=[[4], [8]]"), "model.deep.hidden: is named by two --space"),
        ((*SPACE, "--metric", "rmse"), "must be one of auto, log_loss"),
        ((*SPACE, "--seconds", "0"), "must be a number above 0"),
        ((*SPACE, "-o", "small.yaml"), "exists already"),
        ((*SPACE, "-o", "small.yaml", "--force"), "is the recipe itself"),
        ((*SPACE, "-o", "log.csv", "--force"), "log.csv"),
        ((*SPACE, "-o", "x", "--html", "x"), "give one of them another name"),
        ((*SPACE, "--set", "data.split={kind: random, valid: 0, test: 0.2}"), "chooses by valid rows"),
    ],
    ids=lambda words: " ".join(words[-2:]) if isinstance(words, tuple) else "",
)
def test_what_cannot_be_searched_is_one_message(
    words: tuple[str, ...], told: str, project: Path, widedeep: CommandLine
) -> None:
    code, out, err = widedeep("sweep", "small.yaml", *words)
    assert (code, out) == (2, ""), err
    assert told in err
    assert not (project / "runs").exists()


def test_without_optuna_it_is_told_what_to_install(
    project: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from widedeep_cli.commands import sweep

    monkeypatch.setattr(sweep, "find_spec", lambda _: None)
    code, _, err = widedeep("sweep", "small.yaml", *SPACE)
    assert (code, "pip install 'widedeep[sweep]'" in err) == (2, True)


def test_check_tells_what_a_sweep_searches(project: Path, widedeep: CommandLine) -> None:
    with Path("small.yaml").open("a") as recipe:
        recipe.write("sweep: {space: {training.epochs: [1, 2]}, trials: 5}\n")
    assert "1 setting, 5 trials" in widedeep("check", "small.yaml")[1]


def sweep_words(*more: str) -> list[str]:
    words = ["sweep", "small.yaml", *SPACE, "--workers", "2", "--quiet", "--json", *more]
    return [sys.executable, "-m", "widedeep_cli", *words]


def finished(words: list[str]) -> dict[str, Any]:
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def children_in(folder: Path) -> dict[int, int]:
    """The processes that sweeps in this current directory have started, each with its parent."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            if b"widedeep_cli.started" in words and (place / "cwd").readlink() == folder:
                found[int(place.name)] = int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
    return found


def trials_in(folder: Path) -> list[int]:
    """Those of them that train: forks of the others."""
    children = children_in(folder)
    return [process for process, parent in children.items() if parent in children]


@pytest.mark.sweeps
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_a_sweep_ends_with_its_number_of_trials(seed: int, project: Path) -> None:
    draw = random.Random(seed)
    words = sweep_words("--trials", "6", "--pruner", "none", "--set", "training.epochs=3")
    for _ in range(4):
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
            time.sleep(draw.uniform(0.2, 9.0))
            process.kill()
        while children_in(project):  # they die with it
            time.sleep(0.05)
    result = finished(words)
    assert result["finished"] == 6
    assert [trial["state"] for trial in result["trials"] if trial["state"] != "failed"] == ["trained"] * 6
    assert finished(words) == result
    left = [path.name for path in project.rglob("*") if ".tmp-" in path.name or path.name.endswith(".lock")]
    assert sorted(left) == [".widedeep.lock", "journal.lock"]


@pytest.mark.sweeps
def test_a_killed_trial_goes_on_with_its_run(project: Path) -> None:
    words = sweep_words("--trials", "2", "--set", "training.epochs=8")
    killed = False
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            if not killed and list((project / "runs").glob("small-sweep/*/checkpoints/last.safetensors")):
                for child in trials_in(project)[:1]:
                    os.kill(child, signal.SIGKILL)
                    killed = True
            time.sleep(0.05)
        assert process.stdout is not None
        result = json.loads(process.stdout.read())
    states = [trial["state"] for trial in result["trials"]]
    assert (killed, states.count("failed"), result["finished"]) == (True, 1, 2)
    assert "SIGKILL" in next(trial["why"] for trial in result["trials"] if trial["state"] == "failed")
    assert len(list((project / "runs" / "small-sweep").glob("*Z-*"))) == 2


@pytest.mark.sweeps
@pytest.mark.parametrize(("signal_number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_ends_its_trials_and_goes_on_later(signal_number: int, code: int, project: Path) -> None:
    words = sweep_words(
        "--trials", "3", "--set", "training.epochs=30", "--set", "training.early_stopping.patience=null"
    )
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while not list((project / "runs").glob("small-sweep/*/events.jsonl")):
            time.sleep(0.05)
        process.send_signal(signal_number)
        assert process.stderr is not None
        told = process.stderr.read().decode()
    assert process.returncode == code, told
    assert children_in(project) == {}
    assert finished(words)["finished"] == 3


@pytest.mark.sweeps
def test_trials_that_fall_behind_are_pruned_and_keep_a_checkpoint(project: Path) -> None:
    space = ["--space", "training.deep.learning_rate=[0.01, 1e-6, 2e-6, 3e-6, 4e-6]"]
    words = [sys.executable, "-m", "widedeep_cli", "sweep", "small.yaml", *space, "--trials", "12", "--json", "--quiet"]
    more = ["--set", "training.epochs=40", "--set", "training.early_stopping.patience=null", "--set", "model.kind=deep"]
    result = finished([*words, *more, "--workers", "2"])
    pruned = [trial for trial in result["trials"] if trial["state"] == "pruned"]
    assert result["finished"] == 12
    assert pruned
    for trial in pruned:
        assert 2 <= trial["epochs"] < 40
        assert not (project / trial["run"] / "DONE").exists()


@pytest.mark.sweeps
@pytest.mark.parametrize("seed", range(3))
def test_commands_that_share_a_folder_share_a_search_though_one_is_killed(seed: int, project: Path) -> None:
    draw = random.Random(seed)
    words = sweep_words("--trials", "8", "--pruner", "none", "--set", "training.epochs=3")
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE) as first,
        subprocess.Popen(words, stdout=subprocess.PIPE) as second,
        subprocess.Popen(words, stdout=subprocess.DEVNULL) as third,
    ):
        time.sleep(draw.uniform(1.0, 9.0))
        third.kill()
        results = [json.loads(process.stdout.read()) for process in (first, second) if process.stdout is not None]
    assert (first.returncode, second.returncode) == (0, 0)
    assert results[0] == results[1] == finished(words)
    states = [trial["state"] for trial in results[0]["trials"]]
    assert (states.count("trained"), results[0]["finished"]) == (8, 8)
    settings = [json.dumps(trial["settings"]) for trial in results[0]["trials"] if trial["state"] == "trained"]
    assert len(set(settings)) == 8
    assert len(list((project / "runs" / "small-sweep").glob("*Z-*"))) == 8
    assert [len(list((project / "stages" / stage).iterdir())) for stage in ("ingest", "encoded")] == [1, 1]


@pytest.mark.sweeps
def test_a_folder_in_which_a_sweep_is_at_work_is_not_cleaned(project: Path) -> None:
    words = sweep_words("--trials", "3", "--set", "training.epochs=30")
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        while not list((project / "runs").glob("small-sweep/*/events.jsonl")):
            time.sleep(0.05)
        clean = [sys.executable, "-m", "widedeep_cli", "clean", "--keep", "1"]
        done = subprocess.run(clean, capture_output=True, text=True, check=False)
        assert (done.returncode, f"in use by process {process.pid} " in done.stderr) == (4, True), done.stderr
        process.terminate()
