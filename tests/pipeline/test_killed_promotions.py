"""`promote`, `promote --back` and `clean`, killed at every write: the link leads to a run; done again, they end alike."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kills import run_to_every_call

CommandLine = Callable[..., tuple[int, str, str]]

RUNS = [f"2026010{night}T000000Z-{letter}" for night, letter in enumerate("abcde", start=1)]
COMMANDS = {
    "promote": ("promote", f"runs/small/{RUNS[2]}", "new.csv"),
    "back": ("promote", "--back"),
    "clean": ("clean", "--keep", "1"),
}


@pytest.fixture
def two_served(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: CommandLine) -> Path:
    """A work directory with five copies of a run, of which two were served, one after the other."""
    work = tmp_path / "two_served"
    (work / "runs" / "small").mkdir(parents=True)
    for name in RUNS:
        shutil.copytree((trained / "runs" / "small" / "latest").resolve(), work / "runs" / "small" / name)
    shutil.copy(trained / "new.csv", work)
    monkeypatch.chdir(work)
    for name in RUNS[:2]:
        assert widedeep("promote", f"runs/small/{name}", "new.csv")[0] == 0
    monkeypatch.chdir(tmp_path)
    return work


def state(work: Path) -> dict[str, Any]:
    """The names in the folder of runs, where links lead, and what runs note of serving, without times."""
    there: dict[str, Any] = {}
    for path in sorted((work / "runs" / "small").iterdir()):
        there[path.name] = os.readlink(path) if path.is_symlink() else None
        notes = path / "promotions.jsonl"
        if not path.is_symlink() and notes.exists():
            there[path.name] = [{**json.loads(line), "time": "", "argv": []} for line in notes.read_text().splitlines()]
    return there


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_any_write_the_link_leads_to_a_run_and_done_again_all_ends_alike(
    command: str, two_served: Path, tmp_path: Path
) -> None:
    before = state(two_served)
    folder = tmp_path / "killed"
    folder.mkdir()
    calls = run_to_every_call("write", *COMMANDS[command], start=two_served, folder=folder)
    expected = state(folder / "undisturbed")

    assert calls >= (2 if command == "clean" else 9)
    assert expected != before
    for number in range(1, calls + 1):
        link = folder / f"killed-{number}" / "runs" / "small" / "serving"
        assert os.readlink(link) in (before["serving"], expected["serving"])
        assert (link / "DONE").exists()
        assert state(folder / f"again-{number}") == expected, f"killed at write {number} of {calls}"
