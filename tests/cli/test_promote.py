"""`widedeep promote`: what is served is chosen on purpose, and no worse than what was."""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sample_projects import RECIPE, only_json, write_log
from sklearn.metrics import log_loss

from widedeep.comparison import promotion
from widedeep.pipeline.experiment import train
from widedeep.pipeline.serving import Pointer
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory

CommandLine = Callable[..., tuple[int, str, str]]

VARIANTS: dict[str, list[str]] = {
    "poor": ["crosses=[]", "training.deep.learning_rate=1e-6", "training.wide.learning_rate=1e-6", "training.epochs=1"],
    "good": ["training.epochs=6"],
    "again": ["training.epochs=6", "seed=1"],
    "fewer": ["features.categorical=[color, shape]", "training.epochs=1"],
}


@pytest.fixture(scope="session")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work directory with four runs of `small`, named as in `VARIANTS`; not to be written to."""
    folder = tmp_path_factory.mktemp("variants")
    write_log(folder / "log.csv", 2000)
    write_log(folder / "new.csv", 1000, seed=1)
    (folder / "small.yaml").write_text(RECIPE)
    for number, (name, settings) in enumerate(VARIANTS.items()):
        made = train(load_recipe(folder / "small.yaml", settings), folder, Reporter()).run
        made.rename(made.parent / f"2026010{number + 1}T000000Z-{name}")
    (folder / "runs" / "small" / "latest").unlink()
    return folder


@pytest.fixture
def runs(variants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Name → run, in a copy of the work directory, which is the current directory."""
    shutil.copytree(variants, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return {path.name.partition("-")[2]: path.resolve() for path in sorted(Path("runs/small").iterdir())}


def promoted(widedeep: CommandLine, *arguments: str | Path) -> Any:
    code, out, err = widedeep("promote", *arguments, "--json")
    assert code == 0, err
    return only_json(out)


def refused(widedeep: CommandLine, *arguments: str | Path) -> str:
    before = {path: os.readlink(path) for path in Path("runs/small").iterdir() if path.is_symlink()}
    code, out, err = widedeep("promote", *arguments)
    assert (code, out) == (7, ""), err
    assert {path: os.readlink(path) for path in Path("runs/small").iterdir() if path.is_symlink()} == before
    return err


def served(name: str = "serving") -> str:
    return os.readlink(f"runs/small/{name}").partition("-")[2]


def notes(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "promotions.jsonl").read_text().splitlines()]


def test_the_first_run_needs_its_golden_rows_only(runs: dict[str, Path], widedeep: CommandLine) -> None:
    shutil.rmtree("stages")
    result = promoted(widedeep, runs["poor"])

    assert (result["run"], result["incumbent"], result["moved"]) == (str(runs["poor"]), None, True)
    assert served() == "poor"
    assert widedeep("predict", "runs/small/serving", "new.csv", "-o", "scores.csv")[0] == 0
    (note,) = notes(runs["poor"])
    assert (note["as"], note["run"], note["incumbent"], note["before"]) == ("serving", runs["poor"].name, None, [])


def test_a_better_run_takes_its_place_and_both_note_why(runs: dict[str, Path], widedeep: CommandLine) -> None:
    promoted(widedeep, runs["poor"])
    result = promoted(widedeep, runs["good"], "new.csv")

    assert served() == "good"
    label = pl.read_csv("new.csv")["click"].to_numpy()
    for whose, run in (("run", "good"), ("incumbent", "poor")):
        assert widedeep("predict", runs[run], "new.csv", "-o", f"{run}.parquet")[0] == 0
        scores = pl.read_parquet(f"{run}.parquet")["score"].cast(pl.Float64)
        assert result["measured"][whose]["log_loss"] == pytest.approx(log_loss(label, scores), abs=1e-6)
    assert result["measured"]["difference"]["high"] < 0.0
    assert result["measured"]["rows"] == 1000
    assert notes(runs["good"]) == notes(runs["poor"])[1:]
    (note,) = notes(runs["good"])
    assert note["measured"] == result["measured"]
    assert note["measured"]["on"] == ["new.csv"]
    assert note["argv"]


@pytest.mark.parametrize("rows", [[], ["new.csv"]], ids=["its own held-out rows", "new rows"])
def test_a_worse_run_is_refused_and_forced_with_its_faults_noted(
    rows: list[str], runs: dict[str, Path], widedeep: CommandLine
) -> None:
    promoted(widedeep, runs["good"])
    told = refused(widedeep, runs["poor"], *rows)

    assert "what is served has a lower log loss than it, by 0." in told
    assert "--force" in told
    assert not (runs["poor"] / "promotions.jsonl").exists()

    result = promoted(widedeep, runs["poor"], *rows, "--force")
    assert served() == "poor"
    assert "lower log loss" in result["forced_past"][0]
    assert notes(runs["good"])[-1]["forced_past"] == result["forced_past"]


def test_a_run_that_cannot_be_told_from_what_is_served_is_promoted(
    runs: dict[str, Path], widedeep: CommandLine
) -> None:
    promoted(widedeep, runs["good"])
    difference = promoted(widedeep, runs["again"])["measured"]["difference"]

    assert served() == "again"
    assert difference["low"] < 0.0 < difference["high"]


def test_a_run_that_reads_fewer_columns_is_refused(runs: dict[str, Path], widedeep: CommandLine) -> None:
    promoted(widedeep, runs["good"])

    assert "does not read 'user', which what is served does" in refused(widedeep, runs["fewer"])
    promoted(widedeep, runs["fewer"], "--force")
    promoted(widedeep, runs["good"])  # which reads more
    assert served() == "good"


def lower_level(run: Path, log_odds: float) -> None:
    """Lower all scores of a run, as if its train rows had had fewer clicks."""
    path, golden = run / "checkpoints" / "best.safetensors", run / "golden.parquet"
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    weights = load_file(path)
    save_file(weights | {"model.bias": np.asarray(weights["model.bias"] - np.float32(log_odds))}, path, metadata)
    path.chmod(golden.stat().st_mode)
    odds = pl.col("score") / (1 - pl.col("score")) * math.exp(-log_odds)
    pl.read_parquet(golden).with_columns((odds / (1 + odds)).cast(pl.Float32)).write_parquet(golden)
    RunDirectory(run).pin()


def test_scores_that_lie_elsewhere_are_refused_where_no_label_bears_them_out(
    runs: dict[str, Path], widedeep: CommandLine
) -> None:
    lower_level(runs["again"], 1.5)
    promoted(widedeep, runs["good"])
    rows = pl.read_csv("new.csv")
    rows.head(60).write_csv("few.csv")
    told = refused(widedeep, runs["again"], "few.csv")
    assert "from those served now (limit: 25%)" in told
    assert "log loss" not in told  # of so few rows no difference can be told
    assert promoted(widedeep, runs["again"], "few.csv", "--force")["measured"]["shift"]["level"]["value"] < -0.25

    promoted(widedeep, runs["good"], "few.csv", "--force")
    clicks = rows.filter(pl.col("click") == 1)
    pl.concat([rows.filter(pl.col("click") == 0), clicks.head(40)]).write_csv("fewer_clicks.csv")
    code, out, err = widedeep("promote", runs["again"], "fewer_clicks.csv")
    assert (code, "the labels bear it out" in " ".join(out.split())) == (0, True), err
    assert served() == "again"


def test_a_run_whose_golden_rows_are_off_is_never_served(runs: dict[str, Path], widedeep: CommandLine) -> None:
    (runs["good"] / "golden.parquet").write_bytes(b"other rows")

    for options in ([], ["--force"]):
        assert "golden.parquet" in refused(widedeep, runs["good"], *options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda run: (run / "recipe.yaml").chmod(0o600), "cannot be read by group"),
        (lambda run: (run / "plan").chmod(0o700), "cannot be read by group"),
        (lambda run: (run / "golden.parquet").chmod(0o666), "anybody may write"),
        (lambda run: run.chmod(0o777), "anybody may write"),
    ],
    ids=["a file", "a folder", "a file for all", "a folder for all"],
)
def test_a_run_that_fewer_may_read_or_all_may_write_is_refused(
    change: Callable[[Path], None], words: str, runs: dict[str, Path], widedeep: CommandLine
) -> None:
    for path in Path("runs").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    promoted(widedeep, runs["poor"])
    change(runs["good"])

    assert words in refused(widedeep, runs["good"])


def test_back_returns_step_by_step_whatever_was_promoted_in_between(
    runs: dict[str, Path], widedeep: CommandLine
) -> None:
    for name in ("poor", "good", "again", "good"):
        promoted(widedeep, runs[name], "--force")
    for name in ("again", "good", "poor"):
        assert promoted(widedeep, "--back")["run"] == str(runs[name])
        assert served() == name
        assert notes(runs[name])[-1]["back"] is True
    code, _, err = widedeep("promote", "--back", "small")
    assert (code, "not known what was served before" in err) == (4, True), err
    assert served() == "poor"


def test_a_run_that_is_served_already_stays_and_nothing_is_noted_twice(
    runs: dict[str, Path], widedeep: CommandLine
) -> None:
    promoted(widedeep, runs["good"])

    assert promoted(widedeep, "runs/small/serving")["moved"] is False
    assert len(notes(runs["good"])) == 1


def test_links_of_other_names_are_apart(runs: dict[str, Path], widedeep: CommandLine) -> None:
    promoted(widedeep, runs["good"])
    promoted(widedeep, runs["poor"], "--as", "canary")

    assert (served(), served("canary")) == ("good", "poor")
    assert widedeep("eval", "runs/small/canary", "new.csv")[0] == 0
    for name in ("latest", "best", "a/b", "..", "20260101", "", "x" * 65):
        assert widedeep("promote", runs["again"], "--as", name)[0] == 2
        assert widedeep("promote", "--back", "small", "--as", name)[0] == 2


def test_a_link_that_dangles_or_is_not_there_is_told_by_every_command(
    runs: dict[str, Path], widedeep: CommandLine
) -> None:
    for command in (["eval"], ["predict", "-o", "s.csv"], ["promote"], ["compare"], ["report", "-o", "page.html"]):
        code, _, err = widedeep(
            *command[:1], "runs/small/serving", *["new.csv"] * (command[0] == "predict"), *command[1:]
        )
        assert (code, "no run is served here yet" in err) == (4, True), err
    promoted(widedeep, runs["poor"])
    promoted(widedeep, runs["good"])
    shutil.rmtree(runs["good"])
    code, _, err = widedeep("predict", "runs/small/serving", "new.csv", "-o", "scores.csv")
    assert (code, "there is no such run any more" in err) == (4, True), err
    code, out, err = widedeep("promote", runs["poor"], "--json")
    assert (code, only_json(out)["moved"], "is gone" in err) == (0, True, True), err


def test_without_held_out_rows_it_is_said_what_is_needed(runs: dict[str, Path], widedeep: CommandLine) -> None:
    promoted(widedeep, runs["poor"])
    shutil.rmtree("stages")
    code, _, err = widedeep("promote", runs["good"])

    assert (code, "promote RUN NEW.csv" in err) == (4, True), err
    assert promoted(widedeep, runs["good"], "new.csv")["moved"]


def test_a_broken_file_or_an_unfinished_run_moves_nothing(runs: dict[str, Path], widedeep: CommandLine) -> None:
    promoted(widedeep, runs["poor"])
    Path("broken.csv").write_text("color,shape\nred,flat,,,\n")
    assert widedeep("promote", runs["good"], "broken.csv")[0] in (2, 3)
    assert widedeep("promote", runs["good"], "absent.csv")[0] == 3
    (runs["good"] / "DONE").unlink()
    assert widedeep("promote", runs["good"], "--force")[0] == 4
    assert served() == "poor"


def test_a_run_outside_of_a_work_directory_is_refused(
    runs: dict[str, Path], tmp_path: Path, widedeep: CommandLine
) -> None:
    shutil.copytree(runs["good"], tmp_path / "elsewhere" / "run")
    code, _, err = widedeep("promote", tmp_path / "elsewhere" / "run")

    assert (code, "does not lie in runs/RECIPE/" in err) == (2, True), err


def test_notes_that_lead_out_of_the_folder_are_refused(runs: dict[str, Path], widedeep: CommandLine) -> None:
    promoted(widedeep, runs["good"])
    (note,) = notes(runs["good"])
    (runs["good"] / "promotions.jsonl").write_text(json.dumps({**note, "before": ["../../elsewhere"]}) + "\n")
    code, _, err = widedeep("promote", "--back", "small")

    assert (code, "no name of a run" in err) == (4, True), err


DAMAGES: dict[str, Callable[[Path], object]] = {
    "other bytes": lambda path: path.write_bytes(b"\xff\xfe"),
    "half a line": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "no object": lambda path: path.write_text("[]\n"),
    "nested deeply": lambda path: path.write_text("[" * 200_000),
    "other types": lambda path: path.write_text(path.read_text().replace('"before": []', '"before": 7')),
    "a link out": lambda path: (
        path.rename(path.parents[3] / "outside") and path.symlink_to(path.parents[3] / "outside")
    ),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_notes_that_are_damaged_are_told_by_name_and_nothing_moves(
    damage: str, runs: dict[str, Path], widedeep: CommandLine
) -> None:
    promoted(widedeep, runs["good"])
    DAMAGES[damage](runs["good"] / "promotions.jsonl")
    for command in (["promote", "--back"], ["promote", runs["again"]], ["runs"], ["clean", "--keep", "1"]):
        code, out, err = widedeep(*command)
        assert (code, out, "promotions.jsonl" in err) == (4, "", True), (command, err)
    assert served() == "good"
    assert len(list(Path("runs/small").iterdir())) == 5


def test_a_link_that_another_command_moves_meanwhile_is_left_to_it(
    runs: dict[str, Path], widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(widedeep, runs["poor"])
    compare = promotion.compare_scorers

    def meanwhile(*arguments: Any, **settings: Any) -> Any:
        Pointer(runs["again"].parent).move(RunDirectory(runs["again"]), {})
        return compare(*arguments, **settings)

    monkeypatch.setattr(promotion, "compare_scorers", meanwhile)
    code, out, err = widedeep("promote", runs["good"])

    assert (code, out, "moved it meanwhile" in err) == (4, "", True), err
    assert served() == "again"


def test_a_work_directory_in_use_is_told(runs: dict[str, Path], widedeep: CommandLine) -> None:
    promoted(widedeep, runs["poor"])
    with Workspace(Path()).locked(Reporter(), wait=False):
        for command in (["promote", runs["good"]], ["promote", "--back", "small"]):
            code, out, err = widedeep(*command)
            assert (code, out, "in use" in err) == (4, "", True), err
    assert served() == "poor"
