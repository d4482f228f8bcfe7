"""What a killed process leaves: runs all but finished, temporaries, logs, stages that were deleted meanwhile."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from widedeep.errors import ArtefactError
from widedeep.files import replacing_file, sweep, temporary_directory
from widedeep.pipeline.workspace import Workspace
from widedeep.runs import find_run
from widedeep.training import checkpoints
from widedeep.training.events import EventLog
from widedeep_cli.main import dispatch

CommandLine = Callable[..., tuple[int, str, str]]

_OWNER = """
import sys
from pathlib import Path
from widedeep.files import replacing_file

with replacing_file(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(flush=True)
    sys.stdin.read()
"""


class Killed(BaseException):
    """Ends a command as SIGKILL would, before anything more is written."""


@contextmanager
def writer_at_work(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process, which is writing `path`."""
    command = [sys.executable, "-c", _OWNER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if ".tmp-" in path.name)


@pytest.fixture
def killed_before_latest(project: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two runs of a recipe: one to which `latest` points, and a later one that died between DONE and `latest`."""
    assert widedeep("train", "small.yaml", "--set", "training.epochs=1")[0] == 0
    older = Path(os.path.realpath("runs/small/latest"))
    replace = os.replace

    def dying(source: Any, target: Any) -> None:
        if Path(target).name == "latest":
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying)
        with pytest.raises(Killed):
            dispatch(["train", "small.yaml", "--quiet"])
    (newer,) = {path for path in (project / "runs" / "small").iterdir() if not path.is_symlink()} - {older}
    assert (newer / "DONE").exists()
    assert Path(os.path.realpath("runs/small/latest")) == older
    return older, newer


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "runs/small/latest", "log.csv", "-o", "s.csv"],
        ["predict", "small.yaml", "log.csv", "-o", "s.csv"],
        ["compare", "small.yaml"],
        ["compare", "runs/small"],
        ["train", "small.yaml", "--resume", "--quiet"],
        ["ingest", "small.yaml"],
    ],
    ids=" ".join,
)
def test_a_run_that_died_before_latest_is_latest_for_the_next_command(
    command: list[str], killed_before_latest: tuple[Path, Path], widedeep: CommandLine
) -> None:
    assert widedeep(*command)[0] == 0
    assert Path(os.path.realpath("runs/small/latest")) == killed_before_latest[1]


def test_resume_makes_a_finished_run_latest_where_an_earlier_version_died(
    killed_before_latest: tuple[Path, Path], widedeep: CommandLine
) -> None:
    Path("runs/small/.latest.next").unlink()
    code, _, stderr = widedeep("train", "small.yaml", "--resume")
    assert (code, "it is `latest` now" in stderr) == (0, True)
    assert Path(os.path.realpath("runs/small/latest")) == killed_before_latest[1]


def test_latest_stays_where_someone_put_it(killed_before_latest: tuple[Path, Path], widedeep: CommandLine) -> None:
    older, _ = killed_before_latest
    assert widedeep("ingest", "small.yaml")[0] == 0
    Path("runs/small/latest").unlink()
    Path("runs/small/latest").symlink_to(older.name)
    for command in (["compare", "small.yaml"], ["ingest", "small.yaml"]):
        assert widedeep(*command)[0] == 0
    assert find_run("runs/small/latest", Path()) == older


def test_a_link_that_leads_out_of_the_folder_never_becomes_latest(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs" / "small", tmp_path / "small", symlinks=True)
    before = os.path.realpath(tmp_path / "small" / "latest")
    (tmp_path / "small" / ".latest.next").symlink_to(trained / "runs" / "small" / "latest")
    assert str(find_run(str(tmp_path / "small" / "latest"), tmp_path)) == before


def test_what_a_dead_process_left_beside_a_file_goes_with_the_next_write_and_what_a_living_one_writes_stays(
    tmp_path: Path,
) -> None:
    with writer_at_work(tmp_path / "a.csv") as first:
        assert len(left_in(tmp_path)) == 1
        with replacing_file(tmp_path / "b.csv"):
            assert len(left_in(tmp_path)) == 2
        assert len(left_in(tmp_path)) == 1
        first.kill()
        first.wait()
        with replacing_file(tmp_path / "b.csv"):
            assert len(left_in(tmp_path)) == 1
    assert sorted(os.listdir(tmp_path)) == ["b.csv"]


@pytest.mark.parametrize(
    ("part", "value", "goes"),
    [
        ("host", "00000000", False),
        ("boot", "00000000", True),
        ("start", "1", True),
        ("start", None, False),
    ],
)
def test_a_temporary_is_judged_by_machine_and_by_start_of_its_process(
    part: str, value: str | None, goes: bool, tmp_path: Path
) -> None:
    with temporary_directory(tmp_path) as own:
        name = own.name
    before, _, claim = name.partition(".tmp-")
    parts = dict(zip(["host", "boot", "process", "start", "number"], claim.split("-"), strict=True))
    parts[part] = value or parts[part]
    (tmp_path / f"{before}.tmp-{'-'.join(parts.values())}").mkdir()
    sweep(tmp_path)
    assert left_in(tmp_path) == ([] if goes else [f"{before}.tmp-{'-'.join(parts.values())}"])


def test_a_users_file_that_looks_like_one_of_an_earlier_version_stays_beside_an_output(tmp_path: Path) -> None:
    (tmp_path / ".notes.tmp-1").write_text("mine")
    with replacing_file(tmp_path / "out.csv"):
        pass
    assert (tmp_path / ".notes.tmp-1").read_text() == "mine"


def test_scoring_into_a_work_directory_goes_on_while_another_command_locks_it(
    project: Path, widedeep: CommandLine
) -> None:
    (project / "runs").mkdir()
    with writer_at_work(project / "runs" / "s.csv") as scoring:
        assert widedeep("ingest", "small.yaml")[0] == 0
        assert len(left_in(project / "runs")) == 1
        scoring.communicate()
    assert (project / "runs" / "s.csv").read_text() == "half"


def test_scores_of_workers_that_a_killed_process_left_in_a_work_directory_are_gone_with_the_next_command(
    project: Path, widedeep: CommandLine
) -> None:
    with temporary_directory(project) as own:
        machine = "-".join(own.name.split("-")[1:3])
    left = project / f".widedeep.tmp-{machine}-4194304-1-0"
    (left / "piece-0").mkdir(parents=True)
    (project / ".mine.tmp-1").touch()
    assert widedeep("ingest", "small.yaml")[0] == 0
    assert left_in(project) == [".mine.tmp-1"]


def epochs_of(run: Path) -> list[int]:
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event["epoch"] for event in events if event["event"] == "epoch"]


def test_an_epoch_is_logged_once_wherever_training_was_killed(
    project: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["--set", "training.checkpoint_seconds=1e-9", "--set", "training.batch_size=700", "--quiet"]
    save, calls = checkpoints.save_checkpoint, [0, 0]

    def dying(*arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == calls[1]:
            raise Killed
        save(*arguments)

    monkeypatch.setattr(checkpoints, "save_checkpoint", dying)
    assert widedeep("train", "small.yaml", "--work", "whole", *settings)[0] == 0
    total = calls[0]
    for number in range(1, total + 1):
        work = f"work-{number}"
        shutil.copytree("whole/stages", f"{work}/stages")
        calls[:] = [0, number]
        with pytest.raises(Killed):
            dispatch(["train", "small.yaml", "--work", work, *settings])
        calls[:] = [0, 0]
        assert widedeep("train", "small.yaml", "--work", work, "--resume", *settings)[0] == 0
        assert epochs_of(Path(work, "runs/small/latest")) == [1, 2], number


def test_a_log_is_read_up_to_where_it_was_torn(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    epoch = {"event": "epoch", "step": 3, "epoch": 1}
    for torn in (b'{"event": "ep', b"\0\0\0\0\n", b"\xff\xfe\n", b"[]\n", b"{}\n"):
        path.write_bytes(json.dumps(epoch).encode() + b"\n" + torn)
        log = EventLog(path, keep_until_step=3, keep_until_epoch=1)
        log.append({"event": "step", "step": 4})
        log.close()
        assert [json.loads(line) for line in path.read_text().splitlines()] == [epoch, {"event": "step", "step": 4}]


def test_a_stage_that_is_deleted_while_it_is_made_is_told_and_never_done(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    def build_and_lose() -> None:
        with workspace.building("encoded", "k") as folder:
            (folder / "plan").mkdir()
            shutil.rmtree(tmp_path / "stages")
            (folder / "train").mkdir(parents=True)

    with pytest.raises(ArtefactError, match="was deleted while it was made"):
        build_and_lose()
    assert not workspace.is_done("encoded", "k")


def test_a_stage_that_lost_files_is_made_again(project: Path, widedeep: CommandLine) -> None:
    assert widedeep("crosses", "small.yaml")[0] == 0
    whole = {path: path.read_bytes() for path in (project / "stages").rglob("*") if path.is_file()}
    (plan,) = (project / "stages" / "encoded").glob("*/plan")
    shutil.rmtree(plan)
    for part in (project / "stages" / "ingest").glob("*/test/*"):
        part.unlink()
    assert widedeep("train", "small.yaml", "--quiet")[0] == 0
    assert {path: path.read_bytes() for path in whole} == whole


def test_a_damaged_stage_is_named_and_no_run_takes_over_what_is_damaged(project: Path, widedeep: CommandLine) -> None:
    assert widedeep("train", "small.yaml", "--quiet", "--set", "training.epochs=1")[0] == 0
    (encoded,), (memory,), (ingested,) = (
        (project / "stages" / stage).iterdir() for stage in ("encoded", "memory", "ingest")
    )
    runs = sorted((project / "runs" / "small").iterdir())
    deep = b"[" * 100_000
    damages = [
        (encoded / "plan" / "plan.json", b"null"),
        (encoded / "plan" / "vocabularies" / "field-0000.arrow", b""),
        (encoded / "plan" / "rare" / "rare.json", deep),
        (encoded / "report.json", b"null"),
        (ingested / "report.json", b"null"),
        (ingested / "forms.json", b""),
        (encoded / "report.json", b'{"unknown_values": []}'),
        (encoded / "report.json", b'{"crosses": [], "unknown_values": {"shape": {}}}'),
        (ingested / "report.json", b"{}"),
        (memory / "memory.safetensors", b""),
        (memory / "sums.safetensors", b""),
        # The last, as a run has been begun by then.
        (encoded / "train" / "manifest.json", deep),
        (ingested / "first-rows.arrow", b""),
    ]
    for file, content in damages:
        whole = file.read_bytes()
        file.write_bytes(content)

        code, _, err = widedeep("train", "small.yaml", "--quiet", "--set", "seed=5")

        assert code == 4, err
        assert f"stages/{file.parent.relative_to(project / 'stages').parts[0]}/" in err
        assert file.name in err
        assert "delete stages/ and run again" in err
        assert "train again" not in err
        assert "the run is damaged" not in err
        file.write_bytes(whole)
        if file not in [path for path, _ in damages[-2:]]:
            assert sorted((project / "runs" / "small").iterdir()) == runs


def test_stages_deleted_while_training_end_it_with_a_message_and_resume_goes_on(
    project: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = checkpoints.save_checkpoint

    def save_and_delete(*arguments: Any) -> None:
        save(*arguments)
        shutil.rmtree(project / "stages", ignore_errors=True)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_checkpoint", save_and_delete)
        code, _, stderr = widedeep("train", "small.yaml", "--quiet")
    assert code == 4
    assert "stages" in stderr
    assert "Traceback" not in stderr
    assert widedeep("train", "small.yaml", "--quiet", "--resume")[0] == 0
    assert epochs_of(project / "runs" / "small" / "latest") == [1, 2]
