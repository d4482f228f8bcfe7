"""Each promise of SECURITY.md, tried by every command that reads a run, and from Python."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import widedeep as wd
from widedeep import runs
from widedeep.errors import ArtefactError
from widedeep.runs import RunDirectory

CommandLine = Callable[..., tuple[int, str, str]]


def of_another(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the run be one that another machine made."""
    other = run.parent / "other-machine-id"
    other.write_text("another machine")
    with monkeypatch.context() as patch:
        patch.setattr(runs, "_MACHINE", other)
        RunDirectory(run).pin()


def as_older_versions_made_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["pins"]
    (run / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))


@pytest.fixture(params=[of_another, as_older_versions_made_it])
def foreign(request: pytest.FixtureRequest, rich_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    request.param(rich_run, monkeypatch)
    return rich_run


COMMANDS: dict[str, Callable[[Path, Path], Sequence[str | Path]]] = {
    "predict": lambda run, rich: ["predict", run, rich / "log.csv", "-o", "-"],
    "eval files": lambda run, rich: ["eval", run, rich / "log.csv"],
    "eval split": lambda run, rich: ["eval", run, "--split", "test"],
    "against": lambda run, rich: ["eval", run, "--against", run, rich / "log.csv"],
    "against split": lambda run, rich: ["eval", run, "--against", run],
    "report": lambda run, rich: ["report", run, "-o", "-"],
    "weights": lambda run, rich: ["crosses", run, "--weights"],
    "on": lambda run, rich: ["crosses", rich / "rich.yaml", "--discover", "--on", run],
}
READS_ROWS = ["predict", "eval files", "against"]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory: no stages are there."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize("command", COMMANDS)
def test_no_file_that_anothers_recipe_names_is_read(
    command: str, foreign: Path, rich: Path, elsewhere: Path, widedeep: CommandLine
) -> None:
    code, out, err = widedeep(*COMMANDS[command](foreign, rich))

    assert (code, out) == (4, ""), err
    assert "--trust" in err
    assert str(foreign) in err
    assert ("--table users=FILE" in err) == (command in READS_ROWS)


@pytest.mark.parametrize("command", READS_ROWS)
def test_a_side_table_of_ones_own_or_trust_lets_another_run_be_used(
    command: str, foreign: Path, rich: Path, elsewhere: Path, widedeep: CommandLine
) -> None:
    arguments = COMMANDS[command](foreign, rich)
    trusted = widedeep(*arguments, "--trust")
    with_table = widedeep(*arguments, "--table", f"users={rich / 'users.csv'}")

    assert trusted[0] == with_table[0] == 0, (trusted[2], with_table[2])
    assert trusted[1] == with_table[1]


def test_another_run_is_exported_without_a_file_that_its_recipe_names(
    rich_run: Path, elsewhere: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_another(rich_run, monkeypatch)

    code, _, err = widedeep("export", rich_run, "-o", "served", "--quiet")

    assert (code, err) == (0, "")
    assert (elsewhere / "served" / "plan.json").exists()


@pytest.mark.parametrize("command", ["eval split", "weights"])
def test_trust_lets_the_files_of_another_run_be_read_again(
    command: str, foreign: Path, rich: Path, elsewhere: Path, widedeep: CommandLine
) -> None:
    code, _, err = widedeep(*COMMANDS[command](foreign, rich), "--trust")

    assert code == 0, err


def test_the_stages_of_the_work_directory_serve_another_run_too(
    rich_run: Path, rich: Path, elsewhere: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_another(rich_run, monkeypatch)

    code, _, err = widedeep("eval", rich_run, "--split", "test", "--work", rich)

    assert code == 0, err


@pytest.mark.parametrize("command", ["eval split", "against split", "report", "weights"])
def test_the_stages_of_an_older_widedeep_are_not_read(
    command: str,
    rich_run: Path,
    rich: Path,
    elsewhere: Path,
    widedeep: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_older_versions_made_it(rich_run, monkeypatch)
    manifest = json.loads((rich_run / "manifest.json").read_text())
    # Finished stages of other keys, whose columns have names that this version does not know.
    for stage in ("ingest", "encoded"):
        manifest["keys"][stage] = "01d" * 5
        older = elsewhere / "stages" / stage / manifest["keys"][stage]
        older.mkdir(parents=True)
        (older / "DONE").touch()
    (rich_run / "manifest.json").write_text(json.dumps(manifest))

    code, out, err = widedeep(*COMMANDS[command](rich_run, rich))
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert "an older widedeep, which did not note who made a run" in err
    assert "--trust" in err

    code, out, err = widedeep(*COMMANDS[command](rich_run, rich), "--trust")
    assert code == 0, err
    assert "the run's typed table is of an older widedeep: reading the recipe's files again" in err
    assert "whether the recipe's data files have changed since an older widedeep trained the run is unknown" in err


@pytest.mark.parametrize("command", [*READS_ROWS, "eval split"])
def test_ones_own_run_needs_nothing_wherever_it_lies(
    command: str, rich_run: Path, rich: Path, elsewhere: Path, widedeep: CommandLine
) -> None:
    code, _, err = widedeep(*COMMANDS[command](rich_run, rich))

    assert (code, "trust" in err) == (0, False), err


def test_python_asks_for_trust_too(foreign: Path, rich: Path, elsewhere: Path) -> None:
    rows = pl.read_csv(rich / "log.csv")
    run = wd.open_run(foreign)
    with pytest.raises(ArtefactError, match="--table users=FILE"):
        run.predict(rows)
    with pytest.raises(ArtefactError, match="--trust"):
        run.evaluate(split="test")
    with pytest.raises(ArtefactError, match="--trust"):
        run.evaluate(rows)

    trusted = wd.open_run(foreign, trust=True).predict(rows)

    assert trusted.equals(run.predict(rows, tables={"users": str(rich / "users.csv")}))


def test_another_user_of_the_machine_is_another(rich_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory(rich_run)
    assert run.is_own(run.manifest())
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    assert not run.is_own(run.manifest())


def test_an_edited_manifest_loses_its_seal(rich_run: Path) -> None:
    run = RunDirectory(rich_run)
    manifest = json.loads(run.manifest_path.read_text())
    manifest["base_dir"] = "/etc"
    manifest["pins"]["manifest"] = runs._digest_of_manifest(manifest)
    run.manifest_path.write_text(json.dumps(manifest))

    assert not run.is_own(run.manifest())


def test_no_url_is_opened_and_no_variable_is_read(
    rich: Path, rich_run: Path, monkeypatch: pytest.MonkeyPatch, widedeep: CommandLine
) -> None:
    recipe = rich_run / "recipe.yaml"
    text = recipe.read_text()
    assert "files: [users.csv]" in text
    recipe.write_text(text.replace("files: [users.csv]", "files: ['http://localhost:9/users.csv']"))
    of_another(rich_run, monkeypatch)
    code, out, err = widedeep("predict", rich_run, rich / "log.csv", "-o", "-")
    assert (code, out) == (4, "")
    assert "side table 'users' is not read" in err

    monkeypatch.setenv("SECRET_OF_MINE", "users.csv")
    recipe.write_text(text.replace("files: [users.csv]", "files: ['${SECRET_OF_MINE}']"))
    RunDirectory(rich_run).pin()
    for command, arguments in COMMANDS.items():
        code, out, err = widedeep(*arguments(rich_run, rich), "--work", rich)
        assert (code, out) == (4, ""), (command, err)
        assert "recipe.yaml" in err
        assert "SECRET_OF_MINE" in err
    code, out, err = widedeep("compare", rich_run)
    assert (code, out) == (4, "")
    with pytest.raises(ArtefactError, match="SECRET_OF_MINE"):
        _ = wd.open_run(rich_run).recipe


LINKED = [
    "recipe.yaml",
    "manifest.json",
    "metrics.json",
    "golden.parquet",
    "plan",
    "plan/plan.json",
    "plan/source_kinds.json",
    "plan/forms.json",
    "plan/memory.safetensors",
    "plan/vocabularies",
    "plan/vocabularies/field-0000.arrow",
    "checkpoints",
    "checkpoints/best.safetensors",
    "events.jsonl",
]


@pytest.mark.parametrize("name", LINKED)
def test_links_in_a_run_do_not_lead_out(name: str, rich: Path, rich_run: Path, widedeep: CommandLine) -> None:
    outside = rich_run.parent / "outside"
    (rich_run / name).rename(outside)
    (rich_run / name).symlink_to(outside)
    reads: dict[str, Any] = {
        "metrics.json": ["compare", rich_run],
        "events.jsonl": ["report", rich_run, "-o", "-", "--work", rich],
    }

    code, out, err = widedeep(*reads.get(name, ["predict", rich_run, rich / "log.csv", "-o", "-"]))

    assert (code, out) == (4, ""), err
    assert f"{rich_run / name}" in err
    assert "a link that leads out of the run" in err


def test_a_link_that_stays_inside_is_followed(rich: Path, rich_run: Path, widedeep: CommandLine) -> None:
    (rich_run / "golden.parquet").rename(rich_run / "rows.parquet")
    (rich_run / "golden.parquet").symlink_to("rows.parquet")

    assert widedeep("predict", rich_run, rich / "log.csv", "-o", "-")[0] == 0


def test_a_pipe_in_a_run_is_not_opened(rich: Path, rich_run: Path, widedeep: CommandLine) -> None:
    def replaced(name: str) -> None:
        (rich_run / name).unlink()
        os.mkfifo(rich_run / name)  # whose reader would wait for ever

    replaced("events.jsonl")
    with pytest.raises(ArtefactError, match=r"events.jsonl: is no file"):
        RunDirectory(rich_run).epochs()
    for name in ("golden.parquet", "manifest.json"):
        replaced(name)
        code, _, err = widedeep("predict", rich_run, rich / "log.csv", "-o", "-")
        assert (code, f"{name}: is no file" in err) == (4, True), err


def test_a_key_in_a_manifest_leads_to_no_other_folder(rich: Path, rich_run: Path, widedeep: CommandLine) -> None:
    manifest = json.loads((rich_run / "manifest.json").read_text())
    manifest["keys"]["ingest"] = "../../elsewhere"
    (rich_run / "manifest.json").write_text(json.dumps(manifest))

    code, out, err = widedeep("eval", rich_run, "--work", rich)

    assert (code, out) == (4, "")
    assert "manifest.json: keys.ingest" in err


@pytest.fixture
def day(rich: Path, tmp_path: Path) -> Path:
    """A recipe of one's own like that of `rich`, for a day on which nothing happened."""
    header = (rich / "log.csv").read_text().partition("\n")[0]
    (tmp_path / "log.csv").write_text(f"{header}\n")
    (tmp_path / "users.csv").write_bytes((rich / "users.csv").read_bytes())
    (tmp_path / "day.yaml").write_text((rich / "rich.yaml").read_text().replace("name: rich", "name: day"))
    return tmp_path / "day.yaml"


def test_going_on_from_a_run_copies_nothing_that_lies_outside(
    day: Path, rich_run: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    (tmp_path / "secret").write_text("a secret of mine")
    outside = {"plan/notes": "secret", "plan/rare/rare-0099.arrow": "secret", "plan/folder": "."}
    for name, leads_to in outside.items():
        (rich_run / name).symlink_to(tmp_path / leads_to)

        code, _, err = widedeep("train", day, "--from", rich_run, "--work", tmp_path / "work")

        assert (code, f"{rich_run / name}: a link that leads out of the run" in err) == (4, True), err
        assert not (tmp_path / "work" / "runs").exists()
        (rich_run / name).unlink()
    os.mkfifo(rich_run / "plan/notes")  # whose reader would wait for ever
    code, _, err = widedeep("train", day, "--from", rich_run, "--work", tmp_path / "work")
    assert (code, "plan/notes: is no file" in err) == (4, True), err


def test_a_day_without_rows_makes_no_run_of_anothers_ones_own(
    day: Path, rich: Path, rich_run: Path, tmp_path: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = ["train", day, "--from", rich_run, "--work", tmp_path]
    score = ["predict", tmp_path / "runs" / "day" / "latest", rich / "log.csv", "-o", "-"]
    assert widedeep(*go_on)[0] == widedeep(*score)[0] == 0  # of a run of one's own

    of_another(rich_run, monkeypatch)
    code, _, err = widedeep(*go_on, "--again")
    assert code == 0, err
    code, out, err = widedeep(*score)

    assert (code, out) == (4, "")
    assert "side table 'users' is not read" in err
    assert widedeep(*score, "--trust")[0] == 0
