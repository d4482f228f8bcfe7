"""`widedeep runs` tells what lies in a work directory; `widedeep clean` drops what nothing needs, and nothing else."""

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sample_projects import only_json

from widedeep.pipeline.listed_runs import bytes_of
from widedeep.runs import RunDirectory

CommandLine = Callable[..., tuple[int, str, str]]


@pytest.fixture
def nights(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Six copies of a finished run, the oldest first, in a work directory that is the current one."""
    shutil.copytree(trained, tmp_path / "work", symlinks=True)
    monkeypatch.chdir(tmp_path / "work")
    (run,) = [path for path in Path("runs/small").iterdir() if not path.is_symlink()]
    copies = []
    for night in range(6, 0, -1):
        began = datetime.now(UTC) - timedelta(days=night)
        copies.append(Path(f"runs/small/{began:%Y%m%dT%H%M%SZ}-{night:08d}").resolve())
        shutil.copytree(run, copies[-1])
    shutil.rmtree(run)
    link("latest", copies[-1])
    for stage in Path("stages").glob("*/*"):
        os.utime(stage, (0, 0))
    return copies


def link(name: str, run: Path) -> None:
    path = run.parent / name
    path.unlink(missing_ok=True)
    path.symlink_to(run.name)


def listed(widedeep: CommandLine, *arguments: str) -> list[dict[str, Any]]:
    code, out, err = widedeep("runs", *arguments, "--json")
    assert (code, err) == (0, "")
    (recipe,) = only_json(out)["recipes"]
    assert (recipe["recipe"], recipe["path"]) == ("small", str(Path("runs/small")) if not arguments else recipe["path"])
    runs: list[dict[str, Any]] = recipe["runs"]
    return runs


def cleaned(widedeep: CommandLine, *arguments: str) -> Any:
    code, out, err = widedeep("clean", *arguments, "--json")
    assert (code, err) == (0, "")
    return only_json(out)


def left() -> list[str]:
    return sorted(path.name for path in Path("runs/small").iterdir() if not path.is_symlink())


def stages() -> set[Path]:
    return set(Path("stages").glob("*/*"))


def change_facts(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    facts = json.loads((run / "metrics.json").read_text())
    change(facts)
    (run / "metrics.json").write_text(json.dumps(facts))
    RunDirectory(run).pin()


def test_runs_are_listed_newest_first_with_what_leads_to_them(nights: list[Path], widedeep: CommandLine) -> None:
    for run, figure in zip(nights, (0.5, 0.51, 0.52, 0.53, 0.54, 0.55), strict=True):
        change_facts(run, lambda facts, figure=figure: facts["metrics"]["valid"].update(log_loss=figure))  # type: ignore[misc]
    link("serving", nights[3])
    (nights[5] / "DONE").unlink()
    (nights[4] / "manifest.json").write_text("{}")
    (Path("runs/small") / "notes").mkdir()
    runs = listed(widedeep)

    assert [run["run"] for run in runs] == [path.name for path in reversed(nights)]
    assert [run["state"] for run in runs] == ["unfinished", "damaged", *["finished"] * 4]
    assert [run["links"] for run in runs] == [["latest"], [], ["serving"], [], [], []]
    assert [run["best"] for run in runs] == [False] * 5 + [True]
    assert [run["valid"] for run in runs[2:]] == pytest.approx([0.53, 0.52, 0.51, 0.5])
    assert runs[2]["rows"] == json.loads((nights[3] / "metrics.json").read_text())["rows"]
    assert runs[2]["bytes"] == sum(path.stat().st_size for path in nights[3].rglob("*") if path.is_file())
    assert runs[0]["age_seconds"] == pytest.approx(24 * 3600, abs=3000)


@pytest.mark.parametrize("name", ["small", "small.yaml", "runs/small", "runs/small/latest"])
def test_a_recipe_is_named_in_any_way(name: str, nights: list[Path], widedeep: CommandLine) -> None:
    Path("small").mkdir()  # which is no folder of runs
    assert len(listed(widedeep, name)) == 6


@pytest.mark.parametrize("name", [".", "..", "runs"])
def test_a_folder_that_is_no_recipes_is_refused(name: str, nights: list[Path], widedeep: CommandLine) -> None:
    code, out, err = widedeep("runs", name)
    assert (code, out, "no runs of such a recipe" in err) == (4, "", True)


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "small", "log.csv", "-o", "-"],
        ["eval", "small", "--json"],
        ["crosses", "small", "--weights"],
        ["promote", "small", "--json"],
        ["compare", "small", "--json"],
    ],
    ids=lambda command: str(command[0]),
)
def test_a_recipes_name_is_its_latest_run_though_a_folder_is_called_so(
    command: list[str], nights: list[Path], widedeep: CommandLine
) -> None:
    Path("small").mkdir()
    by_name = widedeep(*command)
    assert by_name[0] == 0, by_name[2]
    if command[0] == "promote":
        assert only_json(by_name[1])["run"] == str(nights[-1])
    else:
        assert by_name == widedeep(*("runs/small/latest" if word == "small" else word for word in command))


def test_the_table_fits_eighty_columns(nights: list[Path], widedeep: CommandLine) -> None:
    for name in ("serving", "canary", "shadow"):
        link(name, nights[5])
    change_facts(nights[5], lambda facts: facts["rows"].update(train=1_234_567_890))
    (nights[4] / "DONE").unlink()
    code, out, err = widedeep("runs")

    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert nights[0].name in out
    assert "1,234,567,890" in out
    assert "serving" in out
    assert "unfinished" in out


def test_where_nothing_lies_that_is_told(tmp_path: Path, widedeep: CommandLine) -> None:
    assert only_json(widedeep("runs", "--work", tmp_path, "--json")[1]) == {"recipes": []}
    code, out, err = widedeep("runs", "small", "--work", tmp_path)
    assert (code, out, "no runs of such a recipe" in err) == (4, "", True)


def test_all_but_the_last_runs_go_and_their_bytes_are_told(nights: list[Path], widedeep: CommandLine) -> None:
    size = sum(map(bytes_of, nights[:4]))
    before = left()
    told = cleaned(widedeep, "--keep", "2", "--dry-run")
    assert left() == before

    assert cleaned(widedeep, "--keep", "2") == {**told, "dry_run": False}
    assert (told["runs"], told["kept"], told["bytes"]) == (
        [str(path.relative_to(Path.cwd())) for path in reversed(nights[:4])],
        2,
        size,
    )
    assert left() == [path.name for path in nights[4:]]
    assert widedeep("eval", "runs/small/latest")[0] == 0
    assert cleaned(widedeep, "--keep", "2")["runs"] == []


def test_what_is_served_or_was_before_stays(nights: list[Path], widedeep: CommandLine) -> None:
    for run in nights[:2]:
        assert widedeep("promote", run)[0] == 0
    link("canary", nights[2])
    cleaned(widedeep, "--keep", "1")

    assert left() == [path.name for path in (*nights[:3], nights[5])]
    assert widedeep("promote", "--back")[0] == 0
    assert os.path.realpath("runs/small/serving") == str(nights[0])


def test_what_is_unfinished_goes_after_a_week_and_what_is_newer_or_damaged_never(
    nights: list[Path], widedeep: CommandLine
) -> None:
    for run in (nights[2], nights[5]):
        (run / "DONE").unlink()
    (nights[3] / "manifest.json").write_text("{}")
    old = nights[0].parent / "20200101T000000Z-00000000"
    shutil.copytree(nights[2], old)
    (nights[0].parent / "notes").mkdir()
    cleaned(widedeep, "--keep", "1")

    assert left() == [*(path.name for path in nights[2:]), "notes"]


@pytest.mark.parametrize("entry", ["from", "refit"])
def test_what_an_unfinished_run_goes_on_from_stays(entry: str, nights: list[Path], widedeep: CommandLine) -> None:
    manifest = json.loads((nights[4] / "manifest.json").read_text())
    manifest["from"] = {"run": nights[1].name, "key": "0", "ancestors": [nights[0].name]}
    if entry == "refit":
        manifest["refit"] = {"of": nights[2].name, "splits": ["train", "valid"], "epochs": 1}
    manifest.pop("pins")  # which are written at its end
    (nights[4] / "manifest.json").write_text(json.dumps(manifest))
    (nights[4] / "DONE").unlink()
    cleaned(widedeep, "--keep", "1")

    assert left() == [
        path.name
        for path in nights
        if path in (nights[1], nights[4], nights[5]) or (entry == "refit" and path == nights[2])
    ]


def test_an_unfinished_run_that_goes_on_from_none_is_listed(nights: list[Path], widedeep: CommandLine) -> None:
    manifest = json.loads((nights[4] / "manifest.json").read_text())
    del manifest["pins"]
    (nights[4] / "manifest.json").write_text(json.dumps({**manifest, "from": None}))
    (nights[4] / "DONE").unlink()

    assert listed(widedeep)[1]["state"] == "unfinished"


def test_where_no_run_is_finished_nothing_goes(nights: list[Path], widedeep: CommandLine) -> None:
    for run in nights:
        (run / "DONE").unlink()
    before = left(), stages()
    told = cleaned(widedeep, "--keep", "1")

    assert (told["runs"], told["stages"]) == ([], [])
    assert (left(), stages()) == before


def test_stages_go_that_no_run_left_was_trained_on(nights: list[Path], widedeep: CommandLine) -> None:
    needed = stages()
    for stage in list(needed):
        for name, moment in (("0" * 16, 0.0), ("f" * 16, datetime.now(UTC).timestamp())):
            other = shutil.copytree(stage, stage.parent / name)
            os.utime(other, (moment, moment))
    for stage in needed:  # made after what lies beside it as `000…`
        os.utime(stage, (100, 100))
    told = cleaned(widedeep, "--keep", "6")

    assert told["runs"] == []
    assert {Path(path) for path in told["stages"]} == {stage.parent / ("0" * 16) for stage in needed}
    assert {stage.parent.name for stage in needed} == {"ingest", "encoded", "memory"}
    assert stages() == needed | {stage.parent / ("f" * 16) for stage in needed}


def test_the_next_training_uses_the_stages_that_are_left(nights: list[Path], widedeep: CommandLine) -> None:
    told = cleaned(widedeep, "--keep", "1")
    code, out, err = widedeep("ingest", "small.yaml", "--json")

    assert (told["stages"], code) == ([], 0), err
    assert only_json(out)["cached"] is False  # of the files of another folder, whence the stages were copied
    assert cleaned(widedeep, "--keep", "1")["stages"] == []  # newer than the last run


def test_a_work_directory_in_use_is_left_alone(nights: list[Path], widedeep: CommandLine) -> None:
    from widedeep.pipeline.workspace import Workspace
    from widedeep.reporting import Reporter

    before = left()
    with Workspace(Path()).locked(Reporter(), wait=False):
        code, _, err = widedeep("clean", "--keep", "1")
    assert (code, "in use" in err) == (4, True)
    assert left() == before
