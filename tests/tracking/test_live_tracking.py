"""A training that is shown in a tracker while it goes on: it gives the bytes of one that is not, whatever the tracker
does. The tracker is a stand-in, so that it can fail at will and nothing has to be installed.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from widedeep.pipeline import live_tracking
from widedeep.pipeline.live_tracking import LiveTracking
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.load import parse_recipe
from widedeep.recipe.schema import TrackSettings
from widedeep.reporting import Reporter
from widedeep.tracking.replay import read_replay

CommandLine = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, a finished training waits for its trackers."""
    monkeypatch.setattr(live_tracking, "_LAST_SECONDS", 3600.0)


class ClockOfAHang:
    """In the place of `time`: its seconds pass only once the process that hangs is at work."""

    sleep = staticmethod(time.sleep)

    def __init__(self, pids: Path) -> None:
        self._pids, self._now = pids, 0.0

    def monotonic(self) -> float:
        self._now += is_started(self._pids)
        return self._now


STAND_IN = '''\
"""In the place of wandb, of which it has what widedeep calls."""

import json
import os
import signal
import time
from pathlib import Path

act = os.environ["STAND_IN"]
with open(os.environ["STAND_IN_PIDS"], "a") as file:
    file.write(f"{os.getpid()}\\n")
if act == "hangs":
    while True:
        time.sleep(0.1)
if act == "dies":
    os.kill(os.getpid(), signal.SIGKILL)
if act == "is broken":
    raise ImportError("no such symbol: GLIBC_9.99")


class Settings:
    def __init__(self, **settings):
        self.root_dir, self.run_id = settings["root_dir"], settings["run_id"]


class Run:
    def __init__(self, folder):
        self.dir, self.summary, self.logged = folder, {}, []
        os.makedirs(folder)

    def define_metric(self, *names, **settings):
        pass

    def log(self, values):
        self.logged.append(values)

    def finish(self):
        whole = json.dumps({"logged": self.logged, "summary": self.summary}, sort_keys=True)
        (Path(self.dir).parent / "run.json").write_text(whole)


def init(settings, config):
    if act == "refuses":
        raise RuntimeError("the account is closed")
    return Run(os.path.join(settings.root_dir, "wandb", "run", "files"))


def teardown():
    pass
'''


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a stand-in in the place of wandb, which acts as is said, and gives the file with the ids of its processes."""

    def put(act: str) -> Path:
        package = tmp_path / "stand_ins" / "wandb"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(STAND_IN)
        pids = tmp_path / "pids"
        monkeypatch.syspath_prepend(package.parent)
        monkeypatch.setenv("PYTHONPATH", str(package.parent))
        monkeypatch.setenv("STAND_IN", act)
        monkeypatch.setenv("STAND_IN_PIDS", str(pids))
        return pids

    return put


def is_started(pids: Path) -> bool:
    return pids.exists() and pids.read_text().endswith("\n")


def started(pids: Path) -> list[int]:
    """The ids of the stand-in's processes, once there is one."""
    while not is_started(pids):
        time.sleep(0.01)
    return [int(line) for line in pids.read_text().splitlines()]


def is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()  # it has ended, and nobody has asked how
    except OSError:
        return sys.platform != "linux"


def weights(run: Path) -> str:
    return hashlib.sha256((run / "checkpoints" / "best.safetensors").read_bytes()).hexdigest()


def shown(place: Path) -> dict[str, str]:
    """Run → what the tracker has of it."""
    return {path.parent.name: path.read_text() for path in place.glob("wandb/offline-run-*/run.json")}


TRACK = 'training.track={to: wandb, place: "the place"}'


def test_the_tracker_has_in_the_end_what_track_would_write(
    widedeep: CommandLine, project: Path, tmp_path: Path, stand_in: Callable[[str], Path]
) -> None:
    stand_in("works")

    code, out, told = widedeep("train", "small.yaml", "--set", TRACK, "--seeds", "2", "--json", "--quiet")

    assert (code, told) == (0, "")
    runs = [run["run"] for run in json.loads(out)["runs"]]
    live = shown(project / "the place")
    assert len(live) == 2
    code, _, _ = widedeep("track", *runs, "--to", "wandb", "anew", "--no-pictures", "--quiet")
    assert code == 0
    assert shown(project / "anew") == live
    assert all("final/valid/auc" in json.loads(run)["summary"] for run in live.values())


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("refuses", "wandb cannot write: the account is closed"),
        ("is broken", "no such symbol: GLIBC_9.99"),
        ("dies", "its process was ended by signal 9 (SIGKILL)"),
        ("hangs", "is not done 1 s after the end of training, and is left"),
    ],
)
def test_what_fails_in_a_tracker_is_one_warning_and_the_run_is_the_same(
    widedeep: CommandLine,
    project: Path,
    trained: Path,
    stand_in: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    act: str,
    reason: str,
) -> None:
    pids = stand_in(act)
    if act == "hangs":
        monkeypatch.setattr(live_tracking, "_LAST_SECONDS", 1.0)
        monkeypatch.setattr(live_tracking, "time", ClockOfAHang(pids))

    code, out, told = widedeep("train", "small.yaml", "--set", TRACK, "--json", "--quiet")

    assert code == 0
    assert told.count("\n") == 1
    assert told.startswith("widedeep: warning: `training.track` to wandb: ")
    assert reason in told
    assert not any(is_there(process) for process in started(pids))
    run, other = project / json.loads(out)["run"], (trained / "runs" / "small" / "latest").resolve()
    assert weights(run) == weights(other)
    assert (run / "recipe.yaml").read_bytes() == (other / "recipe.yaml").read_bytes()
    code, out, told = widedeep("train", "small.yaml", "--json", "--quiet")
    assert (code, json.loads(out)["already_done"], project / json.loads(out)["run"]) == (0, True, run)


def test_a_tracker_without_its_library_is_told_once(
    widedeep: CommandLine, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_tracking, "find_spec", lambda name: None)

    code, _, told = widedeep("train", "small.yaml", "--set", TRACK, "--seeds", "2", "--quiet")

    assert code == 0
    assert told == (
        "widedeep: warning: `training.track` to wandb writes with Weights & Biases, which is not installed: "
        "pip install 'widedeep[wandb]'; now training without it\n"
    )


class Warnings(Reporter):
    def __init__(self) -> None:
        self.told: list[str] = []

    def warn(self, message: str) -> None:
        self.told.append(message)


def test_what_interrupts_a_training_ends_its_trackers(
    trained: Path, tmp_path: Path, stand_in: Callable[[str], Path]
) -> None:
    pids, reporter = stand_in("hangs"), Warnings()
    live = LiveTracking([TrackSettings(to="wandb", place="w")], tmp_path, reporter)

    def interrupted() -> None:
        with live:
            live.begin((trained / "runs" / "small" / "latest").resolve())
            for _ in range(3):  # one at a time
                live.at_epoch_end()
                assert len(started(pids)) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert not is_there(*started(pids))
    assert reporter.told == []


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends a process with its parent")
def test_a_tracker_ends_with_a_training_that_is_killed(
    trained: Path, tmp_path: Path, stand_in: Callable[[str], Path]
) -> None:
    pids = stand_in("hangs")
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from widedeep.pipeline.live_tracking import LiveTracking\n"
        "from widedeep.recipe.schema import TrackSettings\n"
        "from widedeep.reporting import Reporter\n"
        "live = LiveTracking([TrackSettings(to='wandb', place='w')], Path(sys.argv[2]), Reporter())\n"
        "live.begin(Path(sys.argv[1]))\n"
        "live.at_epoch_end()\n"
        "time.sleep(3600)\n"
    )
    run = (trained / "runs" / "small" / "latest").resolve()
    training = subprocess.Popen([sys.executable, "-c", program, str(run), str(tmp_path)])

    (process,) = started(pids)
    training.send_signal(signal.SIGKILL)
    training.wait()

    while is_there(process):
        time.sleep(0.01)


def test_a_run_under_way_is_shown_up_to_its_last_epoch(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree((trained / "runs" / "small" / "latest").resolve(), tmp_path / "runs" / "small" / "run")
    finished = read_replay(run)
    for name in ("DONE", "metrics.json"):
        (run / name).unlink()
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({key: value for key, value in manifest.items() if key != "pins"}))
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if json.loads(line)["event"] == "epoch")
    later = '{"event": "step", "step": 9999, "epoch": 2, "loss": 0.5}\n'
    (run / "events.jsonl").write_text("".join(lines[: first + 1]) + later + lines[-1][:20])

    replay = read_replay(run, though_unfinished=True)

    points = list(replay.points)
    assert points == list(finished.points)[: len(points)]
    assert {point.step for point in points if point.axis == "epoch"} == {1}
    assert (replay.finished, replay.figures, list(replay.files)) == (False, {}, ["recipe.yaml"])
    assert replay.settings == finished.settings


TEXT = "data: {train: x, label: y}\nfeatures: {categorical: [c]}\ntraining: {track: %s}\n"


def test_one_tracker_stands_for_a_list_of_one() -> None:
    alone, listed = (
        parse_recipe(TEXT % track, "", Path(), "r").recipe
        for track in ("{to: mlflow, place: http://h:1}", "[{to: mlflow, place: http://h:1}]")
    )

    assert alone == listed
    assert parse_recipe(dump_recipe(alone), "", Path(), "r").recipe == alone


@pytest.mark.usefixtures("held_against_the_schema")
@pytest.mark.parametrize(
    ("track", "fault"),
    [
        ("{to: tensorbord, place: b}", "training.track.0.to: must be 'tensorboard', 'mlflow' or 'wandb'"),
        ("{to: wandb, place: http://h}", "`place` of wandb must be a folder, is 'http://h'"),
        ("{to: mlflow, place: sqlite:///m}", "must be a folder, or http:// and https:// of a server"),
        ("{to: mlflow, place: https://me:secret@h/m}", "`place` holds a user or password, which other users would see"),
        ("[{to: mlflow}]", "training.track.0.place: required, but missing"),
        ("board", "training.track: must be a list, is the text 'board'"),
    ],
)
def test_check_tells_what_is_wrong_with_a_tracker(
    widedeep: CommandLine, tmp_path: Path, track: str, fault: str
) -> None:
    (tmp_path / "r.yaml").write_text(TEXT % track)

    code, _, told = widedeep("check", tmp_path / "r.yaml")

    assert code == 2
    assert fault in told
    assert "secret" not in told
