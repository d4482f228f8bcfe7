"""`train --refit`: the chosen epochs once more, on train and held-out rows; no figure on rows that the model saw."""

import csv
import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from widedeep.encoded.store import EncodedStore
from widedeep.errors import Interrupted
from widedeep.features.plan import FeaturePlan
from widedeep.features.targets import LABEL_COLUMN, WEIGHT_COLUMN
from widedeep.memory.cross_memory import CrossMemory
from widedeep.pipeline.experiment import Asked, TrainResult, train
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.table.parts import read_typed
from widedeep.table.typed_columns import LABEL
from widedeep.training.loop import Trainer

CommandLine = Callable[..., tuple[int, str, str]]

RECIPE = """\
seed: 8
data:
  train: train.csv
  valid: valid.csv
  test: test.csv
  label: click
  weight: weight
  group: user
features:
  numeric: [{column: age, buckets: 5}]
  categorical: [color, shape]
crosses:
  - [color, shape]
  - [age, shape]
model:
  deep: {hidden: [8]}
training:
  epochs: 8
  batch_size: 64
  threads: 1
  warmup_steps: 5
  deep: {learning_rate: 0.003}
  plateau: {factor: 0.5}
  early_stopping: {metric: auc, patience: 3}  # it moves more than log loss: rates fall before the best epoch
"""
ROWS = {"train": 900, "valid": 300, "test": 300}
OWN = {"train": "red", "valid": "violet", "test": "teal"}
"""The colour that only one part's rows have."""


def write_part(path: Path, part: str, *, click: float = 0.35) -> None:
    draw = random.Random(part)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["color", "shape", "user", "age", "weight", "click"])
        for _ in range(ROWS[part]):
            color, shape = draw.choice(["green", "blue", OWN[part]]), draw.choice(["round", "flat"])
            chance = click + (0.3 if (color == "green") == (shape == "flat") else -0.3 * click)
            row = [color, shape, f"u{draw.randrange(40)}", draw.randint(18, 80), draw.choice([0, 1, 2])]
            writer.writerow([*row, int(draw.random() < chance)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files and a recipe; the finished run that chose, its refit on valid rows, and its refit on all."""
    folder = tmp_path_factory.mktemp("refit")
    for part in ROWS:
        write_part(folder / f"{part}.csv", part)
    (folder / "small.yaml").write_text(RECIPE)
    recipe = load_recipe(folder / "small.yaml")
    train(recipe, folder, Reporter())
    for rows in ("all", "valid"):
        train(recipe, folder, Reporter(), Asked(refit=rows))
    return folder


def run_of(folder: Path, splits: list[str] | None) -> RunDirectory:
    """The run that was refitted on these splits; None for the one that chose."""
    runs = [RunDirectory(path) for path in sorted((folder / "runs" / "small").glob("2*"))]
    (found,) = [run for run in runs if run.manifest().get("refit", {}).get("splits") == splits]
    return found


@pytest.fixture
def chosen(folder: Path) -> RunDirectory:
    return run_of(folder, None)


@pytest.fixture
def refitted(folder: Path) -> RunDirectory:
    return run_of(folder, ["train", "valid"])


@pytest.fixture
def on_all(folder: Path) -> RunDirectory:
    return run_of(folder, ["train", "valid", "test"])


def facts(run: RunDirectory) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(run.metrics_path.read_text())
    return content


def written(run: Path) -> dict[str, bytes]:
    paths = [*run.glob("checkpoints/*"), *run.glob("plan/**/*"), run / "golden.parquet"]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def test_a_refit_trains_the_epochs_that_the_finished_run_chose(chosen: RunDirectory, refitted: RunDirectory) -> None:
    best = facts(chosen)["best_epoch"]
    assert 1 < best < facts(chosen)["epochs"]  # else this shows nothing
    assert (facts(refitted)["best_epoch"], facts(refitted)["epochs"]) == (best, best)
    assert facts(refitted)["steps"] == best * -(-(ROWS["train"] + ROWS["valid"]) // 64)
    assert refitted.manifest()["refit"] == {"of": chosen.path.name, "splits": ["train", "valid"], "epochs": best}


def test_learning_rates_fall_in_the_epochs_in_which_they_fell(chosen: RunDirectory, refitted: RunDirectory) -> None:
    then, now = ([epoch["learning_rate_scale"] for epoch in run.epochs()] for run in (chosen, refitted))
    assert len(set(then[: len(now)])) > 1  # else this shows nothing
    assert now == then[: len(now)]


def test_a_refit_is_the_model_of_a_log_whose_train_rows_are_all_those_rows(folder: Path, tmp_path: Path) -> None:
    steady = load_recipe(folder / "small.yaml", ["training.plateau=null"])
    found = train(steady, tmp_path / "refit", Reporter(), Asked(refit="valid"))
    assert found.refit is not None
    joined = ["data.train=[train.csv, valid.csv]", "data.valid=null", "data.split.valid=0"]
    settings = [*joined, "training.plateau=null", f"training.epochs={found.refit['epochs']}"]
    expected = train(load_recipe(folder / "small.yaml", settings), tmp_path / "joined", Reporter())
    assert weights_and_plan(found.run) == weights_and_plan(expected.run)
    assert found.metrics["test"] == expected.metrics["test"]
    assert "gauc" in found.metrics["test"]


def weights_and_plan(run: Path) -> dict[str, bytes]:
    return {name: content for name, content in written(run).items() if name != "last.safetensors"}


def known_colors(run: RunDirectory) -> set[str]:
    (color,) = [field for field in FeaturePlan.load(run.plan_dir).categoricals if field.name == "color"]
    return set(color.vocabulary["value"])


def test_vocabularies_and_crosses_are_fitted_on_the_rows_of_the_refit(
    chosen: RunDirectory, refitted: RunDirectory, on_all: RunDirectory
) -> None:
    seen = {"green", "blue", "red"}
    assert known_colors(chosen) == seen
    assert known_colors(refitted) == seen | {"violet"}
    assert known_colors(on_all) == seen | {"violet", "teal"}
    sizes = [len(CrossMemory.load(run.memory_path).value) for run in (chosen, refitted, on_all)]
    assert sizes == sorted(set(sizes))


def test_there_is_no_figure_on_rows_that_the_model_saw(refitted: RunDirectory, on_all: RunDirectory) -> None:
    assert list(facts(refitted)["metrics"]) == list(facts(refitted)["errors"]) == ["test"]
    assert facts(refitted)["rows"] == {"train": 1200, "test": 300}
    assert (facts(on_all)["metrics"], facts(on_all)["errors"], facts(on_all)["crosses"]) == ({}, {}, None)
    assert facts(on_all)["rows"] == {"train": 1500}
    assert all(epoch["valid"] == {} for epoch in [*refitted.epochs(), *on_all.epochs()])


def test_eval_refuses_rows_that_a_refit_was_trained_on_and_says_what_to_do(
    folder: Path, chosen: RunDirectory, refitted: RunDirectory, on_all: RunDirectory, widedeep: CommandLine
) -> None:
    code, out, err = widedeep("eval", refitted.path, "--split", "valid", "--work", folder)
    assert (code, out) == (2, "")
    assert "is a refit, trained on the train + valid rows" in err
    assert (
        f"take --split test or labelled files that it has not seen or the run that it is a refit of, {chosen.path}"
        in err
    )
    for split in ((), ("--split", "test")):
        code, out, err = widedeep("eval", on_all.path, *split, "--work", folder)
        assert (code, out) == (2, "")
        assert "trained on the train + valid + test rows" in err
    for pair in ((chosen.path, refitted.path), (refitted.path, chosen.path)):
        code, _, err = widedeep("eval", pair[0], "--against", pair[1], "--split", "valid", "--work", folder)
        assert (code, "is a refit" in err) == (2, True)


def test_rows_that_a_refit_did_not_see_are_measured_as_ever(
    folder: Path, chosen: RunDirectory, refitted: RunDirectory, on_all: RunDirectory, widedeep: CommandLine
) -> None:
    code, out, _ = widedeep("eval", refitted.path, "--work", folder, "--json")
    measured = json.loads(out)
    assert (code, measured["split"], measured["rows"]) == (0, "test", 300)
    assert measured["metrics"]["auc"] == pytest.approx(facts(refitted)["metrics"]["test"]["auc"], abs=1e-6)
    assert widedeep("eval", on_all.path, folder / "test.csv", "--work", folder)[0] == 0
    assert widedeep("eval", refitted.path, "--against", chosen.path, "--work", folder)[0] == 0


def test_compare_and_report_say_which_runs_are_refits(
    folder: Path, refitted: RunDirectory, on_all: RunDirectory, tmp_path: Path, widedeep: CommandLine
) -> None:
    code, out, err = widedeep("compare", folder / "runs" / "small", "--json")
    assert code == 0
    assert err.count("\n") == 1
    assert "left out: 1 of the runs, refits that were trained on the test rows" in err
    lines = json.loads(out)["lines"]
    assert [line["differs"] for line in lines] == [{}, {}]
    assert {str(line["runs"][0]): line["refit"] for line in lines}[str(refitted.path)] == refitted.manifest()["refit"]
    assert "small, seed 8, refit on train + valid rows" in widedeep("compare", folder / "runs" / "small")[1]
    code, out, err = widedeep("compare", on_all.path)
    assert (code, out) == (4, "")
    assert "it is a refit, trained on the train + valid + test rows" in err
    assert widedeep("report", folder / "runs" / "small", "-o", tmp_path / "page.html", "--work", folder)[0] == 0
    page = (tmp_path / "page.html").read_text()
    assert "small, refit" in page
    assert "refit on train + valid rows" in page


def test_wide_weights_count_the_rows_that_the_refit_saw_whether_encoded_or_typed(
    folder: Path, refitted: RunDirectory, tmp_path: Path, widedeep: CommandLine
) -> None:
    shutil.copytree(folder, tmp_path / "copy", symlinks=True)
    command = ("crosses", tmp_path / "copy" / "runs" / "small" / refitted.path.name, "--weights", "--json", "--work")
    encoded = json.loads(widedeep(*command, tmp_path / "copy")[1])
    shutil.rmtree(tmp_path / "copy" / "stages" / "encoded")
    assert json.loads(widedeep(*command, tmp_path / "copy")[1]) == encoded
    assert any("violet" in str(weight) for weight in encoded["weights"])


def test_discovery_refuses_a_refit_whose_rows_it_may_not_read(
    folder: Path, chosen: RunDirectory, refitted: RunDirectory, widedeep: CommandLine
) -> None:
    code, _, err = widedeep("crosses", folder / "small.yaml", "--discover", "--on", refitted.path, "--work", folder)
    assert code == 2
    assert f"take the run that it is a refit of, {chosen.path}" in err


def test_discovery_refuses_a_run_of_an_older_version_as_that(
    folder: Path, chosen: RunDirectory, tmp_path: Path, widedeep: CommandLine
) -> None:
    shutil.copytree(chosen.path, tmp_path / "older")
    manifest = json.loads((tmp_path / "older" / "manifest.json").read_text())
    manifest["keys"]["ingest"] = "01d" * 5
    del manifest["pins"]
    (tmp_path / "older" / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))
    arguments = ("--discover", "--on", tmp_path / "older", "--work", folder)
    code, _, err = widedeep("crosses", folder / "small.yaml", *arguments)
    assert (code, "other rows" in err) == (2, False)
    assert "trained by an older version of widedeep, on rows read otherwise" in err


def test_the_newest_finished_run_is_the_latest_and_a_refit_leaves_the_other_runs_alone(
    folder: Path, chosen: RunDirectory, refitted: RunDirectory
) -> None:
    assert (folder / "runs" / "small" / "latest").resolve() == refitted.path
    assert len(list((folder / "runs" / "small").glob("2*"))) == 3
    again = train(load_recipe(folder / "small.yaml"), folder, Reporter(), Asked(resume=True))
    assert (again.run, again.already_done, again.refit) == (chosen.path, True, None)


@pytest.mark.parametrize("in_chosen", [True, False])
def test_a_refit_killed_and_resumed_ends_in_the_same_bytes(
    in_chosen: bool, folder: Path, refitted: RunDirectory, tmp_path: Path
) -> None:
    recipe, step, trainers = load_recipe(folder / "small.yaml"), Trainer._step, []

    def interrupting(trainer: Trainer, batch: Any) -> None:
        step(trainer, batch)
        trainers.extend([] if trainer in trainers else [trainer])
        if trainer.progress.step == 17 and (len(trainers) == 1) == in_chosen:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Trainer, "_step", interrupting)
        with pytest.raises(Interrupted):
            train(recipe, tmp_path, Reporter(), Asked(refit="valid"))
    resumed = train(recipe, tmp_path, Reporter(), Asked(resume=True, refit="valid"))
    assert len(list(resumed.run.parent.glob("2*"))) == 2
    assert written(resumed.run) == written(refitted.path)
    done = train(recipe, tmp_path, Reporter(), Asked(resume=True, refit="valid"))
    assert (done.run, done.already_done) == (resumed.run, True)


def test_negatives_of_rows_that_join_are_sampled_as_those_of_train_rows(folder: Path, tmp_path: Path) -> None:
    recipe = load_recipe(folder / "small.yaml", ["data.keep_negatives=0.3"])
    runs: list[TrainResult] = [train(recipe, tmp_path / name, Reporter(), Asked(refit="valid")) for name in ("a", "b")]
    assert written(runs[0].run) == written(runs[1].run)
    keys = RunDirectory(runs[0].run).manifest()["keys"]
    store = EncodedStore.open(tmp_path / "a" / "stages" / "encoded" / keys["encoded"] / "train")
    stored = store.read(0, store.rows, [LABEL_COLUMN, WEIGHT_COLUMN])
    typed = tmp_path / "a" / "stages" / "ingest" / keys["ingest"]
    train_rows, valid = (read_typed(typed, split, [LABEL]) for split in ("train", "valid"))
    joining = pl.Series(stored[LABEL_COLUMN][len(train_rows) :])
    assert joining.sum() == valid[LABEL].sum()
    negatives = (joining == 0).sum() / (valid[LABEL] == 0).sum()
    assert 0.15 < negatives < 0.45
    assert runs[0].metrics["test"]["calibration"] == pytest.approx(1.0, abs=0.35)


def test_refit_goes_with_seeds_and_takes_its_value_or_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, widedeep: CommandLine
) -> None:
    monkeypatch.chdir(folder)
    command = ("train", "small.yaml", "--work", tmp_path, "--set", "training.epochs=1", "--json")
    code, out, err = widedeep(*command, "--seeds", "2", "--refit")
    assert code == 0, err
    result = json.loads(out)
    assert [run["refit"]["splits"] for run in result["runs"]] == [["train", "valid"]] * 2
    assert list(result["metrics"]) == ["test"]
    assert len(list((tmp_path / "runs" / "small").glob("2*"))) == 4
    for options, splits in (
        (("--refit", *command[1:]), ["train", "valid"]),
        ((*command[1:], "--refit", "all"), ["train", "valid", "test"]),
        ((*command[1:], "--refit=all", "--resume"), ["train", "valid", "test"]),
    ):
        code, out, err = widedeep("train", *options)
        assert code == 0, err
        assert json.loads(out)["refit"]["splits"] == splits
    assert len(list((tmp_path / "runs" / "small").glob("2*"))) == 5  # the first refit of these is there already
    assert widedeep(*command, "--refit=some")[0] == 2
    code, out, _ = widedeep("train", "small.yaml", "--work", tmp_path, "--set", "training.epochs=1", "--refit", "all")
    assert code == 0
    assert "1 epoch on the train + valid + test rows" in out


def test_a_recipe_without_held_out_rows_has_nothing_to_refit_on(folder: Path, widedeep: CommandLine) -> None:
    settings = ("--set", "data.valid=null", "--set", "data.split.valid=0", "--work", folder)
    code, out, err = widedeep("train", folder / "small.yaml", *settings, "--refit")
    assert (code, out) == (2, "")
    assert "--refit valid: the recipe holds no valid rows out" in err
