"""What `track` writes, read back by each tracker's own library: make test-trackers."""

import errno
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from widedeep import locks
from widedeep.errors import ArtefactError
from widedeep.locks import locked
from widedeep.pipeline.workspace import Workspace
from widedeep.reporting import Reporter
from widedeep.tracking.replay import Replay, read_replay

pytestmark = pytest.mark.trackers

CommandLine = Callable[..., tuple[int, str, str]]
Series = dict[str, list[tuple[int, float]]]


@pytest.fixture(scope="module")
def replay(trained: Path) -> Replay:
    return read_replay((trained / "runs" / "small" / "latest").resolve())


def series_of(replay: Replay) -> Series:
    return {name: [(p.step, p.value) for p in points] for name, points in replay.series().items()}


def tracked(widedeep: CommandLine, trained: Path, tracker: str, place: Path) -> dict[str, Any]:
    code, out, told = widedeep("track", "small", "--to", tracker, place, "--work", trained, "--json", "--quiet")
    assert (code, told) == (0, "")
    (run,) = json.loads(out)["runs"]
    assert run["pictures"] == 6
    return run


def test_tensorboard_reads_the_series_of_the_log(
    widedeep: CommandLine, trained: Path, replay: Replay, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):
        run = tracked(widedeep, trained, "tensorboard", tmp_path / "board")
        (file,) = Path(run["as"]).iterdir()
        content = file.read_bytes()
    tracked(widedeep, trained, "tensorboard", tmp_path / "another")

    read = EventAccumulator(run["as"], size_guidance={"scalars": 0, "images": 0}).Reload()
    scalars = {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
    figures = {name: scalars.pop(name) for name in replay.figures}
    for name, points in series_of(replay).items():
        assert [step for step, _ in scalars[name]] == [step for step, _ in points]
        assert [value for _, value in scalars.pop(name)] == pytest.approx([value for _, value in points], rel=2.0**-24)
    assert scalars == {}
    assert {name: value for name, [(_, value)] in figures.items()} == pytest.approx(dict(replay.figures), rel=2.0**-24)
    assert len(read.Tags()["images"]) == 6
    assert "recipe" in "".join(read.Tags()["tensors"])
    (other,) = (tmp_path / "another").rglob("events.*")
    assert other.read_bytes() == content


def test_tensorboard_reads_a_training_under_way_to_its_end(widedeep: CommandLine, project: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from widedeep.tracking.to_tensorboard import write_tensorboard

    code, out, told = widedeep(
        *("train", "small.yaml", "--set", "training.track={to: tensorboard, place: board}", "--json", "--quiet")
    )
    assert (code, told) == (0, "")
    run = project / json.loads(out)["run"]
    (file,) = (project / "board").rglob("events.*")
    content, node = file.read_bytes(), file.stat().st_ino
    # As when its first epoch had ended, and the reader had read so far.
    shutil.copytree(run, half := project / "half" / "small" / run.name)
    (half / "DONE").unlink()
    lines = (half / "events.jsonl").read_text().splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if json.loads(line)["event"] == "epoch")
    (half / "events.jsonl").write_text("".join(lines[: first + 1]))
    write_tensorboard(read_replay(half, though_unfinished=True), project / "later")
    (growing,) = (project / "later").rglob("events.*")
    reader = EventAccumulator(str(growing.parent)).Reload()
    assert [event.step for event in reader.Scalars("valid/auc")] == [1]

    for place in ("board", "later"):
        code, _, _ = widedeep("track", run, "--to", "tensorboard", place, "--no-pictures", "--quiet")
        assert code == 0

    assert (file.read_bytes(), file.stat().st_ino) == (content, node)
    assert growing.read_bytes() == content
    assert [event.step for event in reader.Reload().Scalars("valid/auc")] == [1, 2]


def test_tensorboards_file_is_the_same_from_any_process(trained: Path, tmp_path: Path) -> None:
    run = (trained / "runs" / "small" / "latest").resolve()
    for place in ("one", "other"):
        command = [*("-m", "widedeep_cli", "track"), run, *("--to", "tensorboard", tmp_path / place, "--no-pictures")]
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)

    one, other = (next((tmp_path / place).rglob("events.*")).read_bytes() for place in ("one", "other"))

    assert one == other


def test_mlflow_reads_the_series_of_the_log_and_has_one_run(
    widedeep: CommandLine, trained: Path, replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    place = tmp_path / "flow's 50% place"
    for _ in range(2):
        tracked(widedeep, trained, "mlflow", place)

    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    histories: Series = {
        name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics
    }
    expected = series_of(replay) | {name: [(replay.best_epoch, value)] for name, value in replay.figures.items()}
    assert histories == expected
    assert run.data.params["training.batch_size"] == "128"
    assert (run.info.status, run.info.start_time) == ("FINISHED", int(1000 * replay.started))
    assert run.data.tags["widedeep.run"] == f"small/{replay.name}"
    assert sorted(file.path for file in client.list_artifacts(run.info.run_id)) == [
        "events.jsonl",
        "metrics.json",
        "pictures",
        "recipe.yaml",
    ]
    assert len(client.list_artifacts(run.info.run_id, "pictures")) == 6
    assert list(here.iterdir()) == []


def test_mlflow_gets_the_points_that_a_run_there_lacks(replay: Replay, tmp_path: Path) -> None:
    from dataclasses import replace

    from mlflow.tracking import MlflowClient

    from widedeep.tracking.to_mlflow import MlflowTracker

    half = replace(replay, points=replay.points[: len(replay.points) // 2], figures={})
    tracker = MlflowTracker(str(tmp_path))
    tracker.write(half)
    tracker.write(replay)

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    for name, points in series_of(replay).items():
        assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)] == points


def test_mlflow_begins_its_database_anew_after_it_was_stopped_while_making_it(
    replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.db import utils

    from widedeep.tracking.to_mlflow import MlflowTracker

    class Stopped(BaseException):
        pass

    def stop(engine: object) -> None:
        raise Stopped

    with monkeypatch.context() as stopped:
        stopped.setattr(utils, "_upgrade_db", stop)  # with the first tables made
        with pytest.raises(Stopped):
            MlflowTracker(str(tmp_path))

    MlflowTracker(str(tmp_path)).write(replay)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "mlflow.db"]


def test_two_commands_at_a_time_make_one_database_and_one_run(trained: Path, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    options = ["--to", "mlflow", tmp_path / "flow", "--work", trained, "--no-pictures"]
    command = [sys.executable, "-m", "widedeep_cli", "track", "small", *options]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]

    assert [(process.communicate()[1], process.returncode) for process in both] == [(b"", 0)] * 2
    client = MlflowClient(f"sqlite:///{tmp_path}/flow/mlflow.db")
    assert len(client.search_runs([client.get_experiment_by_name("small").experiment_id])) == 1


def test_a_folder_that_a_training_has_locked_as_its_work_directory_takes_its_run(
    replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from widedeep.tracking.to_mlflow import MlflowTracker

    def wait(_: float) -> None:
        raise AssertionError("the tracker waits for the training, which waits for the tracker")

    monkeypatch.setattr(locks, "time", SimpleNamespace(sleep=wait))
    with Workspace(tmp_path).shared(Reporter(), wait=False):
        assert "mlflow.db" in MlflowTracker(str(tmp_path)).write(replay)


def test_nobody_else_adds_to_an_event_file_that_is_being_compared(
    replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from widedeep.tracking.to_tensorboard import write_tensorboard

    folder = write_tensorboard(replay, tmp_path)
    (file,) = folder.iterdir()
    content, read_bytes = file.read_bytes(), Path.read_bytes
    compared: list[Path] = []

    def read(path: Path) -> bytes:
        with (
            pytest.raises(ArtefactError, match="in use by"),
            locked(folder, folder / ".widedeep.lock", "", wait=False, note=print),
        ):
            pass
        compared.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    write_tensorboard(replay, tmp_path)
    monkeypatch.undo()
    assert compared == [file]
    assert file.read_bytes() == content
    assert list(folder.iterdir()) == [file]


def test_a_server_that_does_not_answer_is_told(widedeep: CommandLine, trained: Path) -> None:
    code, _, told = widedeep(
        "track", "small", "--to", "mlflow", "http://127.0.0.1:9", "--work", trained, "--no-pictures"
    )

    assert code == 6
    assert "http://127.0.0.1:9: MLflow cannot write" in told


def test_a_database_that_is_none_is_told(widedeep: CommandLine, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and longer than a header of one would be: " * 9)

    code, _, told = widedeep("track", "small", "--to", "mlflow", tmp_path, "--work", trained, "--no-pictures")

    assert code == 6
    assert "MLflow cannot write" in told


def test_a_database_that_cannot_be_opened_is_told_at_once(widedeep: CommandLine, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()

    code, _, told = widedeep("track", "small", "--to", "mlflow", tmp_path, "--work", trained, "--no-pictures")

    assert code == 6
    assert "MLflow cannot write: unable to open database file" in told


def test_wandb_keeps_the_series_of_the_log_in_one_offline_run(
    widedeep: CommandLine, trained: Path, replay: Replay, tmp_path: Path
) -> None:
    for _ in range(2):
        run = tracked(widedeep, trained, "wandb", tmp_path / "biases")

    (folder,) = (tmp_path / "biases" / "wandb").iterdir()
    assert run["as"] == str(folder)
    (log,) = folder.glob("*.wandb")
    series: Series = {}
    summary: dict[str, Any] = {}
    pictures: set[str] = set()
    for record in wandb_records(log.read_bytes()):
        if record.HasField("history"):
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            pictures |= {item.nested_key[0] for item in record.history.item if len(item.nested_key) > 1}
            count = row.get("training_step", row.get("training_epoch"))
            for name in row.keys() & series_of(replay).keys():
                series.setdefault(name, []).append((count, row[name]))
        if record.HasField("summary"):
            summary |= {item.key: json.loads(item.value_json) for item in record.summary.update}
    assert series == series_of(replay)
    assert {name: summary[name] for name in replay.figures} == replay.figures
    assert len(pictures) == 6
    assert (folder / "files" / "recipe.yaml").read_bytes() == (replay.path / "recipe.yaml").read_bytes()


def test_a_disk_that_is_full_is_told_and_nothing_of_the_offline_run_is_left(
    widedeep: CommandLine, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copyfile

    def full(source: Path, target: Path) -> Path:
        if str(target).startswith(str(tmp_path)):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", full)

    code, _, told = widedeep("track", "small", "--to", "wandb", tmp_path / "biases", "--work", trained, "--no-pictures")

    assert code == 6
    assert "cannot write: No space left on device" in told
    assert list((tmp_path / "biases" / "wandb").iterdir()) == []


def test_wandb_takes_the_longest_name_of_a_recipe(replay: Replay, tmp_path: Path) -> None:
    from dataclasses import replace

    from widedeep.tracking.to_wandb import write_wandb

    assert write_wandb(replace(replay, recipe="r" * 200), tmp_path).is_dir()


def wandb_records(content: bytes) -> Iterator[Any]:
    """The records of an offline run, as wandb's own messages. They lie in a log like LevelDB's, in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    block, at, parts = 2**15, 7, b""
    while at + 7 <= len(content):
        if block - at % block < 7:
            at += block - at % block
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


@pytest.fixture
def page() -> str:
    return (Path(__file__).parents[2] / "docs" / "tracking.md").read_text()


def test_the_commands_of_the_page_write_what_it_says(
    widedeep: CommandLine, trained: Path, tmp_path: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    commands = re.findall("^widedeep (track .*?)(?: +#.*)?$", page, flags=re.MULTILINE)
    commands = [command.replace("runs/sample", "runs/small") for command in commands if "http" not in command]

    assert len(commands) == 3
    for command in commands:
        assert widedeep(*command.split())[0] == 0
    (run,) = Path("runs/small").glob("2*")
    assert len(list(Path("board/small", run.name).iterdir())) == 1
    assert sorted(path.name for path in Path("flow").iterdir()) == ["files", "mlflow.db"]
    assert len(list(Path("biases/wandb").glob("offline-run-*"))) == 1
