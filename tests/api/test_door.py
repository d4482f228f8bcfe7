"""`import widedeep as wd`: recipes, runs, discovery and comparison from Python."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from heard import Heard
from sample_projects import RECIPE, only_json, write_log

import widedeep as wd
from widedeep.errors import ArtefactError, RecipeError, UsageError
from widedeep.recipe.load import load_recipe as load_file

Widedeep = Callable[..., tuple[int, str, str]]


@pytest.fixture
def as_data() -> dict[str, Any]:
    """The small recipe as a dictionary."""
    data: dict[str, Any] = yaml.safe_load(RECIPE)
    return data


# ------------------------------------------------------------------------------------------------------------- recipes


def test_a_dictionary_says_what_the_file_says(project: Path, as_data: dict[str, Any]) -> None:
    before = pickle.dumps(as_data)

    loaded = wd.load_recipe(as_data, set=["training.epochs=5"])

    assert loaded.recipe == load_file(project / "small.yaml", ["training.epochs=5"]).recipe
    assert pickle.dumps(as_data) == before


def test_a_dictionary_starts_from_the_current_directory(project: Path, as_data: dict[str, Any]) -> None:
    assert wd.load_recipe(as_data).base_dir == project


def test_a_dictionary_may_hold_paths_tuples_and_numbers_of_numpy(project: Path, as_data: dict[str, Any]) -> None:
    as_data["data"]["train"] = (Path("log.csv"),)
    as_data["crosses"] = (("color", "shape"), {"fields": ("price", "color"), "buckets": np.int64(100)})
    as_data["model"]["deep"]["dropout"] = np.float32(0.5)

    recipe = wd.load_recipe(as_data).recipe

    assert recipe.data.train == ("log.csv",)
    assert [cross.fields for cross in recipe.crosses] == [("color", "shape"), ("price", "color")]
    assert recipe.model.deep.dropout == 0.5


def test_text_of_a_dictionary_stands_for_itself(as_data: dict[str, Any]) -> None:
    as_data["data"]["train"] = "${HOME}/log.csv"

    assert wd.load_recipe(as_data).recipe.data.train == ("${HOME}/log.csv",)


def test_all_faults_of_a_dictionary_are_told_at_once(as_data: dict[str, Any]) -> None:
    as_data["training"] |= {"epoch": 3, "batch_size": "many"}
    as_data[7] = {}

    with pytest.raises(RecipeError) as caught:
        wd.load_recipe(as_data, set=["training.optimiser=x"])

    assert sorted(str(fault).partition(";")[0] for fault in caught.value.faults) == [
        "--set: training.optimiser: unknown setting 'optimiser'",
        "a key must be text, is 7",
        "training.batch_size: must be a whole number, is the text 'many'",
        "training.epoch: unknown setting 'epoch'",
    ]


def test_overrides_stand_on_top_of_any_recipe(trained: Path, as_data: dict[str, Any]) -> None:
    run = wd.open_run(trained / "runs/small/latest")
    loaded = wd.load_recipe(trained / "small.yaml")

    for source in (trained / "small.yaml", str(trained / "small.yaml"), as_data, loaded, run):
        recipe = wd.load_recipe(source, set=["seed=7"])

        assert recipe.recipe == loaded.recipe.model_copy(update={"seed": 7})
        assert source is as_data or recipe.base_dir == trained


def test_one_override_may_stand_alone(as_data: dict[str, Any]) -> None:
    assert wd.load_recipe(as_data, set="seed=7").recipe.seed == 7


def test_a_bundled_recipe_is_called_by_its_name() -> None:
    assert wd.load_recipe("adult", set=["training.epochs=2"]).recipe.training.epochs == 2


def test_a_name_that_no_recipe_has_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"adlut: there is no such recipe file, .* did you mean adult\?"):
        wd.load_recipe("adlut")


def test_what_is_no_recipe_is_refused() -> None:
    with pytest.raises(UsageError, match="not a value of type int"):
        wd.load_recipe(3)  # type: ignore[arg-type]


def test_the_notes_of_a_recipe_reach_the_reporter(as_data: dict[str, Any]) -> None:
    heard = Heard()

    loaded = wd.load_recipe(as_data, set=["model.kind=wide"], reporter=heard)

    assert heard.notes == list(loaded.notes)
    assert any("model.deep is left out" in note for note in heard.notes)


# ---------------------------------------------------------------------------------------------------- training and runs


def test_a_run_trained_from_python_is_the_run_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_data: dict[str, Any], trained: Path
) -> None:
    write_log(tmp_path / "log.csv", 2000)
    monkeypatch.chdir(tmp_path)

    run = wd.train(as_data, work_dir="work")

    assert run.path.parents[1] == tmp_path / "work" / "runs"
    assert run.metrics == wd.open_run(trained / "runs/small/latest").metrics


def test_nothing_is_printed_unless_a_reporter_is_handed_in(
    project: Path, as_data: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    heard = Heard()
    rows = pl.read_csv("log.csv")

    run = wd.train(as_data)
    run.predict(rows)
    run.evaluate()
    wd.compare([run, run])
    wd.discover(as_data, budget=60)

    assert capfd.readouterr() == ("", "")
    run.predict(rows.with_columns(color=pl.lit("mauve")), reporter=heard)
    assert heard.notes[-1].startswith("unseen values: ")
    assert "color 2,000" in heard.notes[-1]


def test_a_run_tells_its_figures_without_loading_its_model(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from widedeep.scoring.scorer import Scorer

    monkeypatch.delattr(Scorer, "load")
    run = wd.open_run(trained / "runs/small/latest")

    assert run.recipe == load_file(trained / "small.yaml").recipe
    assert 0.5 < (run.metrics["test"]["auc"] or 0.0) < 1.0
    assert run.facts["epochs"] == 2
    assert run.manifest["seed"] == 0
    assert run.warnings == []


def test_the_epochs_of_a_run_are_a_frame(trained: Path) -> None:
    run = wd.open_run(trained / "runs/small/latest")

    assert run.epochs["epoch"].to_list() == [1, 2]
    assert run.epochs["best"].sum() >= 1
    assert run.epochs.filter(pl.col("epoch") == run.facts["best_epoch"])["valid_log_loss"].item() == pytest.approx(
        run.epochs["valid_log_loss"].min()
    )


def test_the_repr_of_a_run_names_its_model_its_figures_and_its_place(trained: Path) -> None:
    run = wd.open_run(trained / "runs/small/latest")

    assert repr(run).startswith("<Run small: wide_deep, best epoch ")
    assert f"test auc={run.metrics['test']['auc']:.4f} log_loss=" in repr(run)
    assert repr(run).endswith(f"; {run.path}>")


@pytest.mark.parametrize("argument", ["runs/small/latest", "small.yaml"])
def test_a_run_is_opened_by_what_the_command_takes(argument: str, trained: Path) -> None:
    os_argument = trained / argument if argument.endswith("yaml") else Path(argument)

    assert wd.open_run(os_argument, work_dir=trained).path == (trained / "runs/small/latest").resolve()


def test_a_run_outlives_a_change_of_directory(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    run = wd.open_run("runs/small/latest")
    monkeypatch.chdir(tmp_path)

    assert run.predict(trained / "new.csv").height == 300
    assert run.evaluate(split="valid").split == "valid"


def test_a_run_that_is_not_there_or_not_finished_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="there is no run here"):
        wd.open_run("runs/small/latest", work_dir=tmp_path)
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "manifest.json").write_text((trained / "runs/small/latest/manifest.json").read_text())
    with pytest.raises(ArtefactError, match="the run is unfinished"):
        wd.open_run(unfinished)


def test_a_finished_run_is_taken_up_and_refitted(project: Path, as_data: dict[str, Any]) -> None:
    run = wd.train(as_data)

    assert wd.train(as_data, resume=True).path == run.path
    refit = wd.train(as_data, refit="valid")
    assert refit.manifest["refit"]["of"] == run.path.name
    assert sorted(refit.metrics) == ["test"]


# -------------------------------------------------------------------------------------------- comparison and discovery


def test_runs_are_compared_as_the_command_compares_them(
    tmp_path: Path, as_data: dict[str, Any], trained: Path, widedeep: Widedeep
) -> None:
    changes = ["model.kind=wide", "training.epochs=1"]
    seeds = [
        wd.train(wd.load_recipe(trained / "small.yaml", set=[*changes, f"seed={seed}"]), work_dir=tmp_path)
        for seed in (1, 2)
    ]
    first = wd.open_run(trained / "runs/small/latest")

    table = wd.compare([first, *seeds])
    _, out, _ = widedeep("compare", first.path, *(run.path for run in seeds), "--json")
    lines = only_json(out)["lines"]

    assert table["seeds"].to_list() == [line["seeds"] for line in lines]
    assert table["auc"].to_list() == [line["metrics"]["auc"]["mean"] for line in lines]
    assert table["auc_deviation"].to_list() == [line["metrics"]["auc"]["deviation"] for line in lines]
    assert table["auc_low"].to_list() == [line["metrics"]["auc"]["low"] for line in lines]
    assert table["paths"].to_list() == [line["runs"] for line in lines]
    assert "model.kind=wide;" in table.filter(pl.col("seeds").list.len() == 2)["differs"].item()
    assert wd.compare([tmp_path / "runs" / "small"])["seeds"].to_list() == [[1, 2]]


def test_crosses_are_found_in_a_dictionary_and_go_on_into_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_data: dict[str, Any]
) -> None:
    write_log(tmp_path / "log.csv", 6000)
    monkeypatch.chdir(tmp_path)
    recipe = wd.load_recipe(as_data, set=["crosses=[]"])

    found = wd.discover(recipe)

    assert [set(cross.fields) for cross in found.crosses] == [{"color", "shape"}]
    crossed = recipe.with_crosses(found.crosses)
    assert crossed.recipe == recipe.recipe.model_copy(update={"crosses": found.crosses})
    assert (crossed.base_dir, crossed.with_crosses(found.crosses).recipe) == (tmp_path, crossed.recipe)


def test_discovery_can_stand_on_a_run(project: Path, as_data: dict[str, Any]) -> None:
    run = wd.train(as_data)

    assert wd.discover(as_data, on=run).train_rows == wd.discover(as_data, on=str(run.path)).train_rows


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"fdr": 0.0}, "must be greater than 0 and less than 1"), ({"budget": 0.5}, "must be at least 1 second")],
)
def test_settings_of_discovery_out_of_their_range_are_refused(
    settings: dict[str, Any], message: str, project: Path, as_data: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match=message):
        wd.discover(as_data, **settings)


def test_a_recipe_without_a_file_is_called_by_its_name_in_messages(project: Path, as_data: dict[str, Any]) -> None:
    as_data |= {"features": {"categorical": ["color"]}, "crosses": []}

    with pytest.raises(UsageError, match=r"^recipe small: a cross needs at least two fields, and this recipe has 1$"):
        wd.discover(as_data)


def test_every_name_of_the_front_door_is_there() -> None:
    assert all(getattr(wd, name) is not None for name in wd.__all__)
    assert set(wd.__all__) <= set(dir(wd))
    assert wd.errors.DataError is not None
    with pytest.raises(AttributeError, match="module 'widedeep' has no attribute 'nothing'"):
        wd.nothing  # noqa: B018


def test_rooms_below_do_not_hide_a_name_of_the_front_door() -> None:

    assert callable(wd.compare)
    assert callable(wd.discover)
    assert not any((Path(wd.__file__).parent / name).exists() for name in wd.__all__)
