"""Folders and files of ours may have any name: no character in it is a pattern, a home directory or an option."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_projects import RECIPE, write_log

CommandLine = Callable[..., tuple[int, str, str]]

NAMES = [
    *("w[1]", "a*b", "q?{x} p%20c#h:d,é", "~", "~root", "-dash", "n\nl"),
    # macOS has no such names.
    *([os.fsdecode(b"x\xff")] if sys.platform == "linux" else []),
]
QUICK = ["--quiet", "--set", "training.epochs=1"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_every_command_takes_a_folder_of_any_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: CommandLine
) -> None:
    home = tmp_path / name
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_log(home / "log.csv", 400)
    (home / "small.yaml").write_text(RECIPE)
    # What the name would match, were it a pattern.
    for decoy in ("w1", "ab", "aXb", "q1"):
        (home / decoy).mkdir()
    out = f"out{name}"
    (home / out).mkdir()
    (home / out / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(home / out / "tmp"))
    run = f"./{name}/runs/small/latest"
    for command in (
        ["train", "small.yaml", f"--work={name}", *QUICK],
        ["crosses", "small.yaml", f"--work={name}"],
        ["predict", run, "log.csv", "-o", f"{out}/s.csv"],
        ["predict", run, "log.csv", "-o", f"{out}/s.ndjson"],
        ["predict", run, "log.csv", "-o", f"{out}/s.parquet", "--keep", "user"],
        ["predict", run, "log.csv", "-o", os.devnull, "--output-format", "parquet"],
        ["eval", run, "log.csv"],
        ["crosses", run, "--weights", f"--work={name}"],
        ["compare", run],
        ["report", run, "-o", f"{out}/r.html", f"--work={name}"],
        ["synth", "-o", f"{out}/synth", "--rows", "300", "--shape", "criteo"],
        ["ingest", f"{out}/synth/recipe.yaml", f"--work={name}"],
        ["init", "log.csv", "--label", "click", "-o", f"{out}/r.yaml"],
        ["ingest", f"{out}/r.yaml", f"--work={name}"],
    ):
        code, _, stderr = widedeep(*command)
        assert code == 0, (command, stderr)
    expected = {"s.csv", "s.ndjson", "s.parquet", "r.html", "synth", "r.yaml", "tmp"}
    assert set(os.listdir(home / out)) == expected
    assert [left for left in os.listdir(home / out / "tmp") if "widedeep" in left] == []
    assert set(os.listdir(tmp_path)) <= {name, "home"}  # torch and Matplotlib keep something at home
    assert not list((tmp_path / "home").rglob("runs"))
    assert {path for decoy in ("w1", "ab", "aXb", "q1") for path in (home / decoy).iterdir()} == set()


def test_a_name_as_long_as_the_file_system_allows_is_written(
    trained: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    output = tmp_path / f"{'s' * 251}.csv"
    assert widedeep("predict", trained / "runs" / "small" / "latest", trained / "new.csv", "-o", output)[0] == 0
    assert output.exists()
