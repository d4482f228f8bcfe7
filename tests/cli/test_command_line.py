"""The commands refuse what does not fit before any work is done, and document themselves."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import widedeep
from widedeep.errors import OutputExistsError, UsageError
from widedeep_cli.boundary import EXIT_CODES
from widedeep_cli.main import COMMANDS, build_app, dispatch

Widedeep = Callable[..., tuple[int, str, str]]


def test_the_commands_are_there() -> None:
    assert list(COMMANDS) == [
        "init",
        "synth",
        "ingest",
        "crosses",
        "train",
        "eval",
        "compare",
        "ablate",
        "sweep",
        "backtest",
        "split-check",
        "report",
        "track",
        "predict",
        "latency",
        "export",
        "promote",
        "runs",
        "clean",
        "show",
        "recipes",
        "check",
        "schema",
    ]


@pytest.mark.parametrize("arguments", [[], *([command] for command in ["", *COMMANDS])], ids=str)
def test_help_fits_eighty_columns(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch([*filter(None, arguments), "--help"]) == 0
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_and_argument_has_help(command: str) -> None:
    for parameter in typer.main.get_command(build_app()).commands[command].params:
        assert parameter.help, parameter.name


def test_help_lists_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    dispatch([])

    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line.strip() for line in EXIT_CODES.splitlines()] == shown[-EXIT_CODES.count("\n") - 1 :]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["--version"]) == 0
    assert capsys.readouterr().out == f"widedeep {widedeep.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "Did you mean 'train'"),
        (["train"], "RECIPE"),
        (["train", "adult", "--sed", "1"], "--sed"),
        (["train", "adult", "--seeds", "none"], "--seeds"),
        (["eval"], "see `widedeep eval --help`"),
        (["eval", "runs/x", "new.csv", "--split", "test"], "not both"),
        (["eval", "runs/x", "--split", "tset"], "--split"),
        (["predict", "runs/x", "in.csv"], "--output"),
        (["promote"], "name the run to serve"),
        (["promote", "--back"], "no recipe has a run served"),
        (["promote", "--back", "small", "new.csv"], "takes no rows"),
        (["recipes", "--show", "adult", "--copy", "adult"], "give one of the three"),
        (["recipes", "--show", "adult", "--json"], "give one of the three"),
        (["recipes", "--copy", "adlut"], "did you mean adult?"),
        (["clean"], "--keep"),
        (["clean", "--keep", "0"], "--keep"),
        (["promote", "--back", "small", "--force"], "no --force"),
        (["predict", "runs/x", "in.csv", "-o", "-", "--json"], "--json"),
        (["predict", "runs/x", "in.csv", "-o", "scores.txt"], "--output-format"),
        (["synth", "-o", "log", "--rows", "many"], "--rows"),
        (["synth", "-o", "log", "--shape", "movies"], "--shape"),
        (["synth", "-o", "log", "--triples", "0"], "--triples is for --shape criteo"),
        (["synth", "-o", "log", "--shape", "clicks", "--low-rank", "2"], "--low-rank is for --shape criteo"),
        (["synth", "-o", "log", "--shape", "criteo", "--crosses", "-1"], "--crosses"),
        (["synth", "-o", "log", "--shape", "criteo", "--new-users", "0.3"], "--new-users is for --shape clicks"),
        (["synth", "-o", "log", "--rate", "1.5"], "--rate must be above 0 and below 1, not 1.5"),
        (["synth", "-o", "log", "--lift", "0"], "--lift must be a number of at least 1, not 0.0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_line_that_does_not_fit_is_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(UsageError) as refusal:
        dispatch(arguments)

    assert words in str(refusal.value)


def test_an_unknown_recipe_is_told_the_bundled_ones() -> None:
    with pytest.raises(UsageError) as refusal:
        dispatch(["train", "adlut"])

    assert str(refusal.value) == (
        "adlut: there is no such recipe file, and the bundled recipes are adult, criteo, frappe, movielens-100k, "
        "movielens-1m, quickstart; "
        "did you mean adult?"
    )


def test_an_error_leaves_stdout_empty_for_json_readers(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "from widedeep_cli.main import main; main()", "train", "nothing.yaml", "--json"]

    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("widedeep: error: nothing.yaml: ")
    assert list(tmp_path.iterdir()) == []


def test_synth_keeps_what_is_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(OutputExistsError, match="--force"):
        dispatch(["synth", "-o", str(tmp_path), "--rows", "100"])
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        dispatch(["synth", "-o", str(tmp_path), "--rows", "100", "--force"])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_synth_does_not_write_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("mine")

    with pytest.raises(OutputExistsError, match="this is a file"):
        dispatch(["synth", "-o", str(tmp_path / "log"), "--rows", "100", "--force"])


def test_synth_with_force_replaces_an_older_log(tmp_path: Path) -> None:
    arguments = ["synth", "-o", str(tmp_path / "log"), "--rows", "100", "--force"]
    assert dispatch(arguments) == 0
    first = (tmp_path / "log" / "log.csv").read_bytes()

    assert dispatch([*arguments, "--seed", "1"]) == 0
    assert (tmp_path / "log" / "log.csv").read_bytes() != first


def test_synth_writes_a_criteo_shaped_log_and_says_what_it_planted(tmp_path: Path, widedeep: Widedeep) -> None:
    folder = tmp_path / "log"
    planting = ["--crosses", "2", "--low-rank", "1", "--triples", "1"]
    arguments = ["synth", "-o", str(folder), "--rows", "100", "--force"]
    assert widedeep(*arguments)[0] == 0  # a click log, which the other shape replaces

    code, out, _ = widedeep(*arguments, "--shape", "criteo", *planting, "--json")

    said, truth = json.loads(out), json.loads((folder / "truth.json").read_text())
    assert code == 0
    assert sorted(said) == ["best_auc", "best_log_loss", "files", "low_rank", "path", "planted", "rows"]
    assert said["planted"] == truth["crosses"] + truth["triples"]
    assert [len(columns) for columns in said["planted"]] == [2, 2, 3]
    assert said["low_rank"] == truth["low_rank"]
    assert said["best_auc"] == truth["best_auc"]
    assert sorted(str(path) for path in folder.iterdir()) == sorted(said["files"])


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--shape", "clicks"], ["--rate", "0.1"]),
        (["--shape", "clicks"], ["--lift", "5"]),
        (["--shape", "clicks"], ["--new-users", "0.5"]),
        (["--shape", "criteo"], ["--rate", "0.1"]),
        (["--shape", "criteo"], ["--lift", "5"]),
    ],
)
def test_each_option_of_the_labels_and_users_changes_a_log(
    tmp_path: Path, arguments: list[str], option: list[str]
) -> None:
    for name, more in (("plain", []), ("other", option)):
        assert dispatch(["synth", "-o", str(tmp_path / name), "--rows", "300", *arguments, *more]) == 0
    plain, other = (json.loads((tmp_path / name / "truth.json").read_text()) for name in ("plain", "other"))
    assert plain["best_log_loss"] != other["best_log_loss"]


def test_synth_refuses_to_plant_more_than_it_can_and_leaves_no_folder(tmp_path: Path, widedeep: Widedeep) -> None:
    code, out, error = widedeep(
        "synth", "-o", str(tmp_path / "log"), "--rows", "100", "--shape", "criteo", "--crosses", "5000"
    )
    assert (code, out) == (2, "")
    assert "--crosses must be from 0 to" in error
    assert list(tmp_path.iterdir()) == []
