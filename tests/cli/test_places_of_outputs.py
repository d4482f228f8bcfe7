"""Every command judges the place of its output by one rule, before it works."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from widedeep.errors import UsageError
from widedeep.files import refuse_file_of_a_run
from widedeep.runs import RunDirectory

CommandLine = Callable[..., tuple[int, str, str]]

WRITERS: dict[str, Callable[[str], Sequence[str]]] = {
    "init": lambda place: ["init", "log.csv", "--label", "click", "-o", place],
    "report": lambda place: ["report", "runs/small/latest", "-o", place],
    "predict": lambda place: ["predict", "runs/small/latest", "log.csv", "--output-format", "csv", "-o", place],
    "crosses": lambda place: ["crosses", "small.yaml", "--discover", "--budget", "2", "--write", place],
}


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "here"
    shutil.copytree(trained, copy, symlinks=True)
    monkeypatch.chdir(copy)
    (copy / "folder").mkdir()
    (copy / "file").write_text("mine")
    (copy / "loop").symlink_to("loop")
    return copy


PLACES = [
    ("nowhere/out", 6, "nowhere/out: its folder does not exist: make it first"),
    ("file/out", 6, "file/out: its folder does not exist: make it first"),
    ("folder", 6, "folder: is a directory; name a file in it"),
    ("n" * 300, 6, "cannot write: File name too long"),
    ("loop", 6, "loop: cannot write: Too many levels of symbolic links"),
    ("file", 2, "file: exists already; --force replaces it"),
]


@pytest.mark.parametrize(
    ("command", "place", "code", "told"),
    # `predict` writes a file of scores for each input into a folder.
    [(name, *place) for name in WRITERS for place in PLACES if (name, place[0]) != ("predict", "folder")],
    ids=lambda value: str(value)[:10],
)
def test_a_place_where_nothing_can_be_written_is_told_alike_by_all_commands(
    command: str, place: str, code: int, told: str, here: Path, widedeep: CommandLine
) -> None:
    before = sorted(os.listdir(here))

    ended, out, err = widedeep(*WRITERS[command](place))

    assert (ended, out) == (code, "")
    assert told in err
    assert err.count("\n") == 1, "nothing else is told, as no work has begun"
    assert sorted(os.listdir(here)) == before


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        (["ingest", "{}"], 2, "cannot be read: File name too long"),
        (["predict", "{}", "log.csv", "-o", "-"], 4, "there is no run here"),
        (["eval", "runs/small/latest", "--against", "{}"], 4, "there is no run here"),
        (["crosses", "{}", "--weights"], 4, "there is no run here"),
        (["crosses", "small.yaml", "--discover", "--on", "{}"], 4, "there is no run here"),
        (["compare", "{}"], 4, "there is no run here"),
        (["report", "{}", "-o", "-"], 4, "there is no run here"),
        (["predict", "runs/small/latest", "{}.csv", "-o", "-"], 3, "File name too long"),
        (["init", "{}.csv", "--label", "click"], 3, "File name too long"),
        (["ingest", "small.yaml", "--work", "{}"], 6, "cannot write: File name too long"),
    ],
    ids=str,
)
def test_a_name_that_no_file_system_takes_is_a_name_of_nothing(
    command: Sequence[str], code: int, told: str, here: Path, widedeep: CommandLine
) -> None:
    ended, out, err = widedeep(*(part.format("n" * 300) for part in command))

    assert (ended, out, err.count("\n")) == (code, "", 1), err
    assert told in err


@pytest.mark.parametrize("command", ["init", "report", "crosses"])
def test_a_device_is_not_replaced_by_a_file(command: str, here: Path, widedeep: CommandLine) -> None:
    os.mkfifo("pipe")

    code, _, err = widedeep(*WRITERS[command]("pipe"), "--force")

    assert (code, "pipe: is no file but a device, pipe or socket" in err) == (6, True), err
    assert Path("pipe").is_fifo()


@pytest.mark.parametrize("command", WRITERS)
def test_where_the_output_is_a_link_the_file_behind_it_is_written(
    command: str, here: Path, widedeep: CommandLine
) -> None:
    Path("link").symlink_to("folder/new")

    # In two seconds no cross may be found, and then only --force writes.
    force = ["--force"] if command == "crosses" else []
    code, _, err = widedeep(*WRITERS[command]("link"), *force)

    assert code == 0, err
    assert Path("link").is_symlink()
    assert (here / "folder" / "new").stat().st_size > 0


def test_discovered_crosses_do_not_take_the_place_of_the_data(here: Path, widedeep: CommandLine) -> None:
    before = (here / "log.csv").read_bytes()

    code, _, err = widedeep(*WRITERS["crosses"]("log.csv"), "--force")

    assert (code, "log.csv: is what is read" in err) == (2, True), err
    assert (here / "log.csv").read_bytes() == before


@pytest.mark.parametrize(("place", "code"), [("n" * 300, 6), ("file/log", 6), ("file", 2)], ids=ascii)
def test_a_sample_log_is_refused_a_place_that_cannot_be_a_folder(
    place: str, code: int, here: Path, widedeep: CommandLine
) -> None:
    ended, _, err = widedeep("synth", "--rows", "300", "-o", place)

    assert ended == code, err
    assert (err.count("\n"), place in err) == (1, True)


def test_a_folder_of_other_files_is_refused_before_a_sample_log_is_drawn(here: Path, widedeep: CommandLine) -> None:
    code, _, err = widedeep("synth", "--rows", "10000000000", "-o", str(here), "--force")

    assert (code, "which is no part of a sample log" in err) == (2, True), err


@pytest.mark.parametrize("command", WRITERS)
@pytest.mark.parametrize("name", ["golden.parquet", "recipe.yaml", "plan/plan.json", "events.jsonl"])
def test_no_output_takes_the_place_of_a_file_of_a_run(
    command: str, name: str, here: Path, widedeep: CommandLine
) -> None:
    (here / "link").symlink_to(here / "runs/small/latest" / name)
    before = (here / "link").read_bytes()

    for place in (f"runs/small/latest/{name}", "link"):
        code, out, err = widedeep(*WRITERS[command](place), "--force")

        assert (code, out) == (2, "")
        assert f"{place}: is a file of the run 2" in err
    assert (here / "link").read_bytes() == before


def test_every_file_of_a_run_is_known_as_one(here: Path) -> None:
    run = RunDirectory(next((here / "runs/small").glob("2*")))
    there = {path for path in run.path.rglob("*") if path.is_file()}
    named = {getattr(run, name) for name in dir(RunDirectory) if name.endswith("_path")}

    for path in sorted(there | named):
        with pytest.raises(UsageError, match="is a file of the run"):
            refuse_file_of_a_run(path)


@pytest.mark.parametrize("option", ["--report", "--log"])
def test_what_is_told_of_scores_takes_the_place_of_nothing_that_is_read_or_written(
    option: str, here: Path, widedeep: CommandLine
) -> None:
    (here / "day=1").mkdir()
    shutil.copy(here / "new.csv", here / "day=1/in.csv")
    (here / "link").symlink_to("day=1/in.csv")
    (here / "earlier.json").write_text("{}")
    before = (here / "link").read_bytes()
    command = ["predict", "runs/small/latest", "day=1/in.csv", "-o", "out.csv", option]
    run_file = "runs/small/latest/events.jsonl"

    for place in ("day=1/in.csv", "link", "day=1/../day=1/in.csv", "out.csv", "folder/../out.csv", run_file):
        code, _, err = widedeep(*command, place, "--force")

        assert code == 2, err
        assert place in err
        assert not (here / "out.csv").exists()
    assert (here / "link").read_bytes() == before


def test_a_report_is_judged_before_the_work_by_the_rule_for_outputs(here: Path, widedeep: CommandLine) -> None:
    os.mkfifo(here / "pipe")
    (here / "kept.json").write_text("{}")
    (here / "link").symlink_to("kept.json")
    command = ["predict", "runs/small/latest", "new.csv", "-o", "out.csv", "--force", "--report"]

    for place in ("pipe", "nowhere/r.json", "folder"):
        assert widedeep(*command, place)[:2] == (6, "")
        assert not (here / "out.csv").exists()
    assert (here / "pipe").is_fifo()
    assert widedeep(*command, "link")[0] == 0
    assert (here / "link").is_symlink()
    assert (here / "kept.json").read_text() != "{}"


@pytest.mark.parametrize("option", ["--against", "--report"])
def test_a_log_is_not_appended_to_a_report(option: str, here: Path, widedeep: CommandLine) -> None:
    (here / "r.json").write_text("{}")

    code, _, err = widedeep(
        "predict", "runs/small/latest", "new.csv", "-o", "out.csv", option, "r.json", "--log", "r.json"
    )

    assert (code, (here / "r.json").read_text(), (here / "out.csv").exists()) == (2, "{}", False)
    assert "--log r.json: the command needs that file for something else" in err


def test_a_page_takes_not_the_place_of_the_recipe_that_names_its_run(here: Path, widedeep: CommandLine) -> None:
    before = (here / "small.yaml").read_text()

    code, _, err = widedeep("report", "small.yaml", "-o", "small.yaml", "--force")

    assert (code, (here / "small.yaml").read_text()) == (2, before)
    assert "small.yaml: is what is read" in err


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_scores_take_not_the_place_of_a_side_table_that_the_recipe_names(
    option: str, rich: Path, rich_run: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    shutil.copy(rich / "users.csv", tmp_path)
    manifest = json.loads((rich_run / "manifest.json").read_text()) | {"base_dir": str(tmp_path)}
    del manifest["pins"]
    (rich_run / "manifest.json").write_text(json.dumps(manifest))
    RunDirectory(rich_run).pin()
    users, before = tmp_path / "users.csv", (tmp_path / "users.csv").read_bytes()
    command = ["predict", rich_run, rich / "log.csv", "--output-format", "csv", option, users, "--force"]

    code, _, err = widedeep(*command, *([] if option == "-o" else ["-o", tmp_path / "s.csv"]))

    assert (code, users.read_bytes() == before, (tmp_path / "s.csv").exists()) == (2, True, False), err
    assert f"{users}: is what is read" in err
