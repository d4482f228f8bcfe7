"""What a run tells a tracker: each point of its log once, resumed or not, and what `track` refuses before it begins."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from widedeep.errors import ArtefactError
from widedeep.tracking.replay import read_replay

CommandLine = Callable[..., tuple[int, str, str]]
EXCHANGE = {"event": "exchange", "step": 4, "bytes_sent_a_step": 12}


def epoch(number: int, step: int, seconds: float, **valid: float | None) -> dict[str, Any]:
    event = {"event": "epoch", "step": step, "epoch": number, "train_loss": 1.0 / number, "valid": valid}
    return {**event, "seconds": seconds, "best": True}


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to be changed."""
    return shutil.copytree((trained / "runs" / "small" / "latest").resolve(), tmp_path / "runs" / "small" / "run")


def with_events(run: Path, *events: dict[str, Any]) -> Path:
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return run


def test_every_figure_of_the_log_is_a_point(run: Path) -> None:
    logged = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    expected = set()
    for event in logged:
        count = event["epoch"] if event["event"] == "epoch" else event["step"]
        for name, value in event.items():
            if isinstance(value, float) or (name not in ("event", "step", "epoch", "valid", "best")):
                expected.add((f"{event['event']}/{name}", count, value))
        expected |= {(f"valid/{name}", count, value) for name, value in event.get("valid", {}).items()}

    replay = read_replay(run)

    assert {(point.series, point.step, point.value) for point in replay.points} == expected
    assert len(replay.points) == len(expected) > 20


def test_the_figures_are_those_of_metrics_json(run: Path) -> None:
    facts = json.loads((run / "metrics.json").read_text())

    figures = read_replay(run).figures

    for split, metrics in facts["metrics"].items():
        assert {name: figures[f"final/{split}/{name}"] for name in metrics} == metrics
    assert figures["final/best_epoch"] == facts["best_epoch"]


def test_the_settings_are_those_of_the_resolved_recipe(run: Path) -> None:
    settings = read_replay(run).settings

    assert settings["training.batch_size"] == 128
    assert settings["training.deep.learning_rate"] == 0.001
    assert settings["model.deep.hidden"] == "[16, 8]"
    assert settings["training.plateau"] == "null"


def test_an_event_that_is_logged_again_after_a_resumption_counts_once_as_it_was_last(run: Path) -> None:
    steps = [{"event": "step", "step": step, "epoch": 1, "loss": step / 10} for step in (1, 2)]
    undisturbed = read_replay(with_events(run, *steps, epoch(1, 2, 4.0, auc=0.7))).points

    again = {**steps[1], "loss": 0.9}
    resumed = read_replay(
        with_events(run, *steps[:1], again, epoch(1, 2, 9.0, auc=0.6), steps[1], epoch(1, 2, 4.0, auc=0.7))
    )

    assert list(resumed.points) == list(undisturbed)


def test_a_metric_without_a_value_has_no_point(run: Path) -> None:
    points = read_replay(with_events(run, epoch(1, 2, 1.0, auc=None, log_loss=0.5))).points

    assert {point.series for point in points} == {"epoch/train_loss", "epoch/seconds", "valid/log_loss"}


def test_what_a_run_went_on_from_is_epoch_0_and_an_exchange_is_counted_in_steps(run: Path) -> None:
    start = {"event": "start", "step": 0, "valid": {"auc": 0.6}}

    points = read_replay(with_events(run, start, EXCHANGE, epoch(1, 4, 1.0, auc=0.7))).series()

    assert [(point.step, point.value, point.axis) for point in points["valid/auc"]] == [
        (0, 0.6, "epoch"),
        (1, 0.7, "epoch"),
    ]
    assert [(point.step, point.axis) for point in points["exchange/bytes_sent_a_step"]] == [(4, "step")]


def test_times_go_from_the_start_through_the_seconds_of_the_epochs(run: Path) -> None:
    steps = [{"event": "step", "step": step, "epoch": 1, "loss": 1.0} for step in (5, 15)]
    first, second = epoch(1, 10, 4.0), epoch(2, 20, 6.0)

    replay = read_replay(with_events(run, steps[0], first, steps[1], second))

    times = {(point.series, point.step): point.time - replay.started for point in replay.points}
    assert times["step/loss", 5] == 2.0
    assert times["epoch/train_loss", 1] == 4.0
    assert times["step/loss", 15] == 7.0
    assert times["epoch/train_loss", 2] == 10.0


def test_a_run_whose_log_is_gone_has_figures_only(run: Path) -> None:
    (run / "events.jsonl").unlink()

    replay = read_replay(run)

    assert replay.points == []
    assert "events.jsonl" not in replay.files
    assert replay.figures


@pytest.mark.parametrize("step", [-1, 2**63])
def test_a_log_with_a_step_that_cannot_be_is_refused(run: Path, step: int) -> None:
    with pytest.raises(ArtefactError, match=r"events\.jsonl: an event has the step or epoch"):
        read_replay(with_events(run, {"event": "step", "step": step, "loss": 1.0}))


def test_an_unfinished_run_is_refused(run: Path) -> None:
    (run / "DONE").unlink()

    with pytest.raises(ArtefactError, match="the run is unfinished"):
        read_replay(run)


def test_a_tracker_that_is_unknown_is_refused(widedeep: CommandLine, run: Path) -> None:
    code, _, told = widedeep("track", run, "--to", "excel", "pages")

    assert code == 2
    assert "--to excel: is no tracker that is known: take tensorboard, mlflow, wandb" in told


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_named_with_its_extra(
    widedeep: CommandLine, run: Path, tracker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widedeep.pipeline.live_tracking.find_spec", lambda name: None)

    code, _, told = widedeep("track", run, "--to", tracker, "pages")

    assert code == 2
    assert f"pip install 'widedeep[{tracker}]'" in told


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every tracker were installed, as far as `track` looks before it begins."""
    monkeypatch.setattr("widedeep.pipeline.live_tracking.find_spec", lambda name: name)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("tracker", "place", "must"),
    [
        ("tensorboard", "s3://logs/board", "must be a folder"),
        ("wandb", "https://example.org", "must be a folder"),
        ("mlflow", "sqlite:///mlflow.db", "must be a folder, or http:// and https:// of a server"),
        ("mlflow", "postgresql://host/db", "must be a folder, or http:// and https:// of a server"),
        ("mlflow", "what?", "MLflow reads `?` and `%20` in a path as a URL does: name another folder"),
        ("mlflow", "my%20flow", "MLflow reads `?` and `%20` in a path as a URL does: name another folder"),
    ],
)
def test_a_place_that_the_tracker_does_not_take_is_refused(
    widedeep: CommandLine, run: Path, tracker: str, place: str, must: str
) -> None:
    code, _, told = widedeep("track", run, "--to", tracker, place)

    assert code == 2
    assert f"--to {tracker} {place}: {must}" in " ".join(told.split())


@pytest.mark.usefixtures("installed")
def test_a_place_within_a_run_and_a_file_are_refused(widedeep: CommandLine, run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    within = widedeep("track", run, "--to", "tensorboard", run / "board")
    file = widedeep("track", run, "--to", "tensorboard", tmp_path / "file")

    assert (within[0], file[0]) == (2, 6)
    assert "lies in the run" in within[2]
    assert "is no folder" in file[2]
    assert not (run / "board").exists()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("address", ["http://me:secret@127.0.0.1:9", "postgresql://me:secret@host/db"])
def test_an_address_with_a_password_is_refused_and_not_shown(widedeep: CommandLine, run: Path, address: str) -> None:
    code, out, told = widedeep("track", run, "--to", "mlflow", address)

    assert code == 2
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in told
    assert "secret" not in out + told


@pytest.mark.usefixtures("installed")
def test_a_run_that_is_missing_leaves_no_folder(widedeep: CommandLine, tmp_path: Path) -> None:
    code, _, told = widedeep("track", tmp_path / "gone", "--to", "wandb", tmp_path / "biases")

    assert code == 4
    assert "there is no run here" in told
    assert not (tmp_path / "biases").exists()
