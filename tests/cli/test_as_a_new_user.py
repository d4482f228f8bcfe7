"""What somebody tries first: a file named from where one stands, the same training twice, rows in a pipe."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from sample_projects import only_json

from widedeep.api.recipes import load_recipe
from widedeep.evaluation.comparison import Change
from widedeep.pipeline import experiment
from widedeep.report import headline
from widedeep.runs import LATEST

Widedeep = Callable[..., tuple[int, str, str]]
SHORT = ("--set", "training.epochs=1")


# ----------------------------------------------------------------------------------------- files of --set


@pytest.mark.parametrize(
    ("override", "setting", "paths"),
    [
        ("data.train=new.csv", "train", ("../here/new.csv",)),
        ("data.train=[new.csv, logs/*.csv]", "train", ("../here/new.csv", "../here/logs/*.csv")),
        ("data.train.0=../recipes/log.csv", "train", ("log.csv",)),
        ("data.train=/srv/log.csv", "train", ("/srv/log.csv",)),
        ("data.train=s3://logs/a.csv", "train", ("s3://logs/a.csv",)),
        ("data.train=days/", "train", ("../here/days/",)),
        ("data.valid=v.csv", "valid", ("../here/v.csv",)),
        ("data={train: a.csv, label: click}", "train", ("../here/a.csv",)),
    ],
)
def test_a_file_of_an_override_starts_from_where_one_stands(
    override: str, setting: str, paths: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("here", "recipes"):
        (tmp_path / folder).mkdir()
    recipe = tmp_path / "recipes" / "r.yaml"
    recipe.write_text("data: {train: [log.csv], label: click}\nfeatures: {numeric: [age]}\n")
    monkeypatch.chdir(tmp_path / "here")

    for named in (recipe, "../recipes/r.yaml"):
        loaded = load_recipe(named, set=[override])
        assert getattr(loaded.recipe.data, setting) == paths


def test_a_side_table_of_an_override_starts_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.yaml").write_text("data: {train: log.csv, label: click}\nfeatures: {numeric: [age]}\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    loaded = load_recipe("../r.yaml", set=["data.tables.users={files: u.csv, key: user}", "data.tables.users.on=train"])
    again = load_recipe(loaded, set=["data.tables.users.files=v.csv"])

    assert loaded.recipe.data.tables["users"].files == ("here/u.csv",)
    assert loaded.recipe.data.tables["users"].on == "train"
    assert again.recipe.data.tables["users"].files == ("here/v.csv",)


def test_a_file_of_an_override_is_the_one_meant_though_the_recipe_lies_behind_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "r.yaml").write_text(
        "data: {train: log.csv, label: click}\nfeatures: {numeric: [age]}\n"
    )
    (tmp_path / "link").symlink_to("elsewhere/deep")
    (tmp_path / "new.csv").touch()
    monkeypatch.chdir(tmp_path)

    loaded = load_recipe("link/r.yaml", set=["data.train=new.csv"])

    (path,) = loaded.recipe.data.train
    assert (loaded.base_dir / path).samefile("new.csv")


def test_a_file_named_from_here_and_from_the_recipe_is_one_file_for_the_stages(
    project: Path, monkeypatch: pytest.MonkeyPatch, widedeep: Widedeep
) -> None:
    first = only_json(widedeep("ingest", "small.yaml", "--json")[1])
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")

    second = only_json(
        widedeep("ingest", "../small.yaml", "--work", "..", "--set", "data.train=../log.csv", "--json")[1]
    )

    assert second["cached"] is True
    assert Path(second["path"]).resolve() == (project / first["path"]).resolve()


# --------------------------------------------------------------------------------- the same training twice


def train_small(widedeep: Widedeep, *options: str) -> dict[str, Any]:
    code, out, err = widedeep("train", "small.yaml", *SHORT, *options, "--json")
    assert code == 0, err
    return {**only_json(out), "said": err}


def test_the_same_training_is_not_done_twice_unless_asked(project: Path, widedeep: Widedeep) -> None:
    first = train_small(widedeep)
    second = train_small(widedeep)
    assert (first["already_done"], second["already_done"]) == (False, True)
    assert second["run"] == first["run"]
    assert f"{first['run']}: trained already, and taken as it is; --again trains it anew" in second["said"]

    third = train_small(widedeep, "--again")
    assert third["already_done"] is False
    assert third["run"] != first["run"]
    assert third["metrics"] == first["metrics"]
    assert train_small(widedeep)["run"] == third["run"]


def test_the_run_that_is_taken_is_the_latest_one(project: Path, widedeep: Widedeep) -> None:
    latest = project / "runs" / "small" / LATEST
    first = train_small(widedeep)
    other = train_small(widedeep, "--set", "model.kind=wide")
    assert latest.resolve().name == Path(other["run"]).name

    again = train_small(widedeep)

    assert again["run"] == first["run"]
    assert "it is `latest` now" in again["said"]
    assert latest.resolve().name == Path(first["run"]).name


def test_other_rows_and_other_versions_are_another_training(
    project: Path, monkeypatch: pytest.MonkeyPatch, widedeep: Widedeep
) -> None:
    first = train_small(widedeep)
    head = experiment.manifest_head
    with monkeypatch.context() as newer:
        newer.setattr(experiment, "manifest_head", lambda *facts: head(*facts) | {"libraries": {"torch": "9"}})
        by_others = train_small(widedeep)
    assert "the same training, but by another set of libraries: training anew" in by_others["said"]
    lines = (project / "log.csv").read_text().splitlines()
    (project / "log.csv").write_text("\n".join(lines[:-1]) + "\n")
    of_others = train_small(widedeep)

    assert not by_others["already_done"]
    assert not of_others["already_done"]
    assert len({first["run"], by_others["run"], of_others["run"]}) == 3


@pytest.mark.parametrize("file", ["manifest.json", "metrics.json", "checkpoints/best.safetensors"])
def test_a_damaged_run_of_the_same_training_is_told_and_trained_anew(
    file: str, project: Path, widedeep: Widedeep
) -> None:
    first = train_small(widedeep)
    damaged = project / first["run"] / file
    damaged.write_bytes(damaged.read_bytes()[:-7])

    second = train_small(widedeep)

    assert not second["already_done"]
    assert second["metrics"] == first["metrics"]
    assert f"{file}" in second["said"]
    assert "now training anew" in second["said"]


def test_seeds_and_refits_that_are_trained_already_are_taken_too(project: Path, widedeep: Widedeep) -> None:
    seeds = train_small(widedeep, "--seeds", "2")["runs"]
    assert [run["run"] for run in train_small(widedeep, "--seeds", "2")["runs"]] == [run["run"] for run in seeds]
    refit = train_small(widedeep, "--refit")
    assert train_small(widedeep, "--refit")["run"] == refit["run"]
    assert refit["run"] not in {run["run"] for run in seeds}


def test_again_and_resume_contradict_each_other(project: Path, widedeep: Widedeep) -> None:
    code, out, err = widedeep("train", "small.yaml", "--again", "--resume")

    assert (code, out) == (2, "")
    assert "leave one of them out" in err


# ------------------------------------------------------------------------------- what is said once is enough


def test_ablate_notes_what_holds_for_all_variants_once(project: Path, widedeep: Widedeep) -> None:
    code, _, err = widedeep("ablate", "small.yaml", *SHORT)

    assert code == 0
    notes = [line for line in err.splitlines() if line.startswith("widedeep: ")]
    assert len(notes) == len(set(notes))
    assert "widedeep: small-wide (2 of 5)" in notes
    assert not any("seed 0" in note for note in notes)


def test_every_seed_of_every_variant_is_announced(project: Path, widedeep: Widedeep) -> None:
    err = widedeep("ablate", "small.yaml", "--kinds", "wide", "--seeds", "2", *SHORT)[2]

    announced = [line for line in err.splitlines() if line.endswith(" of 2)")]
    assert announced == [
        *("widedeep: small-wide-no-crosses (1 of 2)", "widedeep: seed 0 (1 of 2)", "widedeep: seed 1 (2 of 2)"),
        *("widedeep: small-wide (2 of 2)", "widedeep: seed 0 (1 of 2)", "widedeep: seed 1 (2 of 2)"),
    ]


# ------------------------------------------------------------------------------------------- rows in a pipe


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_the_form_of_rows_in_a_pipe_is_seen(
    form: str, packed: bool, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: Widedeep
) -> None:
    rows = pl.read_csv(trained / "new.csv")
    content = ((rows.write_csv() if form == "csv" else rows.write_ndjson()) or "").encode()
    pipe = tmp_path / "rows"
    pipe.write_bytes(gzip.compress(content) if packed else content)
    run = trained / "runs" / "small" / LATEST
    expected = tmp_path / "expected.csv"
    assert widedeep("predict", run, trained / "new.csv", "-o", expected)[0] == 0

    with pipe.open("rb") as stream:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream))
        code, _, err = widedeep("predict", run, "-", "-o", tmp_path / "scores.csv")

    assert code == 0, err
    assert (tmp_path / "scores.csv").read_bytes() == expected.read_bytes()


# -------------------------------------------------------------------------------------------------- headline


def told_of(auc: Change, log_loss: Change) -> list[str]:
    """The verdicts of a report on two runs with these differences."""
    runs = [
        SimpleNamespace(finished=SimpleNamespace(recipe=SimpleNamespace(name=title), refit=None), behind=behind)
        for title, behind in (("a", {}), ("b", {"auc": auc, "log_loss": log_loss}))
    ]
    report: Any = SimpleNamespace(runs=runs, other_rows=[], split="test")
    return headline._verdicts(report)


def test_the_headline_speaks_of_log_loss_where_the_auc_cannot_tell() -> None:
    unsure, sure = Change(-0.001, 0.002), Change(0.01, 0.001)
    unknown = Change(-0.001, float("inf"))

    for auc in (unsure, unknown):
        first, second = told_of(auc, sure)
        assert "AUC" in first
        assert second == "But a has a lower log loss than b, by 0.01000 (95%: 0.00804 to 0.01196)."
    assert len(told_of(unsure, unsure)) == 1
    assert len(told_of(Change(-0.01, 0.001), sure)) == 1
