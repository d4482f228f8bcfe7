"""Scoring that a timer starts: silent when all is well, logged, one job for each output, folders that are gone on with."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from kills import moments, run_to_call

CommandLine = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    """A folder with `in/a.csv` to `in/c.csv`, 100 rows each."""
    rows = pl.read_csv(trained / "new.csv")
    (tmp_path / "in").mkdir()
    for number, name in enumerate("abc"):
        rows.slice(100 * number, 100).write_csv(tmp_path / "in" / f"{name}.csv")
    return tmp_path


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


def test_quiet_says_nothing_when_all_is_well(trained: Path, place: Path, widedeep: CommandLine) -> None:
    run, out = trained / "runs/small/latest", place / "scores.csv"

    assert widedeep("predict", run, trained / "new.csv", "-o", out, "--quiet") == (0, "", "")
    code, _, err = widedeep("predict", run, trained / "new.csv", "-o", out, "--quiet")

    assert code == 2
    assert "exists already" in err


def test_every_command_leaves_a_line_in_the_log(trained: Path, place: Path, widedeep: CommandLine) -> None:
    run, log = trained / "runs/small/latest", place / "log.jsonl"
    drifted = pl.read_csv(trained / "new.csv").with_columns(shape=pl.lit("hexagonal"))
    drifted.write_csv(place / "drifted.csv")

    widedeep("predict", run, trained / "new.csv", "-o", place / "s.csv", "--log", log)
    widedeep("predict", run, place / "drifted.csv", "-o", place / "t.csv", "--log", log)
    widedeep("predict", run, place / "absent.csv", "-o", place / "u.csv", "--log", log)
    widedeep("predict", "no-such-run", place / "absent.csv", "-o", place / "u.csv", "--log", log)
    good, refused, absent, nowhere = lines(log)

    assert [line["exit"] for line in (good, refused, absent, nowhere)] == [0, 7, 3, 4]
    assert good["run"] == str(run.resolve())
    assert (good["rows"], good["limits"]) == (300, [])
    assert good["seconds"] > 0
    assert {limit["field"] for limit in refused["limits"] if limit["refused"]} == {"shape"}
    assert "absent.csv" in absent["message"]
    assert good.keys() == {"time", "run", "rows", "limits", "seconds", "exit"}


def test_a_log_that_cannot_be_written_stops_the_command_before_it_scores(
    trained: Path, place: Path, widedeep: CommandLine
) -> None:
    code, _, err = widedeep(
        "predict", trained / "runs/small/latest", trained / "new.csv", "-o", place / "s.csv", "--log", place / "no/log"
    )

    assert code == 6
    assert "no/log" in err
    assert not (place / "s.csv").exists()


def test_lines_of_two_jobs_stay_whole(place: Path) -> None:
    program = (
        "from pathlib import Path\nfrom widedeep_cli.command_log import logged\n"
        f"for number in range(200):\n with logged(Path({str(place / 'log')!r}), 'x' * 5000) as facts: facts['rows'] = number"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [job.wait() for job in jobs] == [0, 0]

    assert sorted(line["rows"] for line in lines(place / "log")) == sorted([*range(200)] * 2)


def lock_of(trained: Path, place: Path, widedeep: CommandLine, *, is_folder: bool) -> Path:
    """The lock file that a command takes, seen while a pipe keeps it waiting."""
    if is_folder:
        (place / "out").mkdir(exist_ok=True)
        return place / "out" / ".widedeep.lock"
    from hashlib import blake2b

    return place / f".widedeep-{blake2b(b's.csv', digest_size=8).hexdigest()}.lock"


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_second_job_for_one_output_is_refused_and_names_the_first(
    is_folder: bool, trained: Path, place: Path, widedeep: CommandLine
) -> None:
    lock, output = lock_of(trained, place, widedeep, is_folder=is_folder), f"{place}/{'out/' if is_folder else 's.csv'}"
    command = ("predict", trained / "runs/small/latest", place / "in/a.csv", "-o", output)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("process 7 (widedeep predict)")
        held.flush()
        code, _, err = widedeep(*command)
        waiting = subprocess.Popen(
            [sys.executable, "-m", "widedeep_cli", *map(str, command), "--wait"], stderr=subprocess.PIPE, text=True
        )
        assert waiting.stderr is not None
        heard = waiting.stderr.readline()
        assert waiting.poll() is None
    lock.unlink()

    assert waiting.wait() == 0
    assert "in use by process 7 (widedeep predict)" in heard
    assert code == 4
    assert "in use by process 7 (widedeep predict); wait for it (--wait)" in err
    assert not lock.exists()


def test_a_folder_gets_a_file_for_each_and_success_last(trained: Path, place: Path, widedeep: CommandLine) -> None:
    run = trained / "runs/small/latest"
    code, out, _ = widedeep("predict", run, place / "in/*.csv", "-o", f"{place}/out/", "--json", "--keep", "id")
    widedeep("predict", run, place / "in/b.csv", "-o", place / "b.parquet", "--keep", "id")

    assert (code, json.loads(out)["rows"]) == (0, 300)
    assert sorted(os.listdir(place / "out")) == ["_SUCCESS", "_widedeep.json", "a.parquet", "b.parquet", "c.parquet"]
    assert pl.read_parquet(place / "out/b.parquet").equals(pl.read_parquet(place / "b.parquet"))


def test_a_folder_that_is_done_is_not_done_again_and_new_files_are_added(
    trained: Path, place: Path, widedeep: CommandLine
) -> None:
    command = ("predict", trained / "runs/small/latest", place / "in/*.csv", "-o", f"{place}/out/", "--json")
    widedeep(*command)
    times = {path.name: path.stat().st_mtime_ns for path in (place / "out").iterdir()}
    again = widedeep(*command)
    unchanged = {path.name: path.stat().st_mtime_ns for path in (place / "out").iterdir()}
    (place / "in/d.csv").write_bytes((place / "in/a.csv").read_bytes())
    added = widedeep(*command)

    assert (again[0], json.loads(again[1])["rows"], unchanged) == (0, 0, times)
    assert (added[0], json.loads(added[1])["rows"]) == (0, 100)
    assert (place / "out/a.parquet").stat().st_mtime_ns == times["a.parquet"]
    assert (place / "out/_SUCCESS").exists()


def test_a_folder_refuses_what_changed_since_and_what_others_wrote(
    trained: Path, place: Path, widedeep: CommandLine
) -> None:
    run, out = trained / "runs/small/latest", place / "out"
    command = ("predict", run, place / "in/*.csv", "-o", out)
    out.mkdir()
    (out / "b.parquet").write_text("somebody's")
    foreign = widedeep(*command)
    (out / "b.parquet").unlink()
    widedeep(*command)
    (out / "c.parquet").unlink()
    other = widedeep(*command, "--keep", "id")
    with (place / "in/a.csv").open("a") as file:
        file.write("1,red,flat,u1,2.0,30,0\n")
    changed = widedeep(*command)
    forced = widedeep(*command, "--force", "--json")

    assert (foreign[0], other[0], changed[0]) == (2, 2, 3)
    assert "b.parquet: exists already" in foreign[2]
    assert "with other options" in other[2]
    assert "a.csv: changed since its scores were begun" in changed[2]
    assert (forced[0], json.loads(forced[1])["rows"]) == (0, 301)


def test_a_refused_file_leaves_the_others_and_no_success(trained: Path, place: Path, widedeep: CommandLine) -> None:
    rows = pl.read_csv(place / "in/b.csv").with_columns(shape=pl.lit("hexagonal"))
    rows.write_csv(place / "in/b.csv")

    code, _, err = widedeep("predict", trained / "runs/small/latest", place / "in/*.csv", "-o", f"{place}/out/")

    assert code == 7
    assert f"{place}/in/b.csv: shape 100.0% unseen" in err
    assert sorted(os.listdir(place / "out")) == ["_widedeep.json", "a.parquet"]


def test_what_cannot_go_into_a_folder_is_told(trained: Path, place: Path, widedeep: CommandLine) -> None:
    run, twin = trained / "runs/small/latest", place / "twin"
    twin.mkdir()
    (twin / "a.csv.gz").write_bytes(b"")

    both = widedeep("predict", run, place / "in/a.csv", twin / "a.csv.gz", "-o", f"{place}/out/")
    report = widedeep("predict", run, place / "in/a.csv", "-o", f"{place}/out/", "--report", place / "r.json")
    itself = widedeep("predict", run, place / "in/a.csv", "-o", place / "in", "--output-format", "csv", "--force")

    assert (both[0], report[0], itself[0]) == (2, 2, 2)
    assert "the scores of both would be" in both[2]
    assert "is what is read" in itself[2]


def test_scoring_into_a_folder_killed_at_any_write_and_started_again_gives_the_same_bytes(
    trained: Path, place: Path, widedeep: CommandLine
) -> None:
    command = ("predict", trained / "runs/small/latest", str(place / "in/*.csv"), "-o")
    total = run_to_call("write", 0, *command, "whole/", cwd=place)
    assert total is not None
    for number in moments(total, min(total, 6), seed=3):
        assert run_to_call("write", number, *command, f"{number}/", cwd=place) is None
        if (place / str(number) / "_SUCCESS").exists():
            assert len(bytes_in(place / str(number))) == 5

        code, _, err = widedeep(*command, f"{place / str(number)}/")

        assert code == 0, err
        assert sorted(os.listdir(place / str(number))) == sorted(os.listdir(place / "whole"))
        assert bytes_in(place / str(number)) == bytes_in(place / "whole")
