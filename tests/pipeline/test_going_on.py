"""`train --from`: a run goes on from a finished one, on new rows, and is never the worse for it on its valid rows."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from chains import RECIPE, log_odds, read, scores, trained, write_day

from widedeep.api import experiments as api
from widedeep.api.runs import Run
from widedeep.errors import ArtefactError, RecipeError, UsageError
from widedeep.features.plan import FeaturePlan
from widedeep.features.rare import RareCounts
from widedeep.pipeline.experiment import Asked, train, train_seeds
from widedeep.pipeline.past_runs import finished_stage
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.table.parts import read_typed

CommandLine = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days and valid rows, a day that teaches wrong things, one without rows; runs of day 1 and on to day 2."""
    folder = tmp_path_factory.mktemp("chain")
    write_day(folder / "day-1.csv", 1, 700, range(30))
    write_day(folder / "day-2.csv", 2, 500, range(20, 45))
    write_day(folder / "wrong.csv", 3, 500, range(20, 45), wrong=True)
    write_day(folder / "valid.csv", 4, 300, range(45))
    write_day(folder / "no-rows.csv", 5, 0, range(45))
    (folder / "chain.yaml").write_text(RECIPE)
    day_one = trained(folder)
    trained(folder, "data.train=day-2.csv", before=day_one.run)
    return folder


@pytest.fixture
def first(folder: Path) -> RunDirectory:
    return RunDirectory(trained(folder).run)


@pytest.fixture
def second(folder: Path, first: RunDirectory) -> RunDirectory:
    result = trained(folder, "data.train=day-2.csv", before=first.path)
    assert result.already_done
    return RunDirectory(result.run)


def test_old_values_keep_their_indices_and_new_ones_follow_by_the_counts_of_old_and_new_rows(
    folder: Path, first: RunDirectory, second: RunDirectory
) -> None:
    old, new = FeaturePlan.load(first.plan_dir), FeaturePlan.load(second.plan_dir)
    rows = read(folder, "day-1", "day-2")
    users = Counter(rows["user"].to_list() + rows["friend"].to_list())
    for before, after in zip(old.vocabulary_fields[:2], new.vocabulary_fields[:2], strict=True):
        size = len(before.vocabulary)
        assert after.vocabulary["value"][:size].equals(before.vocabulary["value"])
        counted = dict(after.vocabulary.iter_rows())
        assert counted == {value: count for value, count in users.items() if count >= 2}
        added = after.vocabulary[size:]
        assert len(added) > 10
        assert added.equals(added.sort(["count", "value"], descending=[True, False]))
    for crossed, grown in zip(old.crosses, new.crosses, strict=True):
        assert grown.vocabulary["value"][: len(crossed.vocabulary)].equals(crossed.vocabulary["value"])
        assert grown.cuts == crossed.cuts
    assert len(new.crosses[0].vocabulary) > len(old.crosses[0].vocabulary)
    assert new.numerics == old.numerics


def test_a_value_too_rare_on_each_day_gets_its_index_once_both_days_together_have_it_often_enough(
    tmp_path: Path,
) -> None:
    write_day(tmp_path / "day-1.csv", 1, 300, range(9))
    write_day(tmp_path / "day-2.csv", 2, 300, range(9))
    write_day(tmp_path / "valid.csv", 4, 100, range(9))
    for day, names in (("day-1", ["twice", "never again"]), ("day-2", ["twice", "once"])):
        with (tmp_path / f"{day}.csv").open("a") as file:
            file.writelines(f"{name},u1,flat,1,a,30,1,1\n" for name in names)
    (tmp_path / "chain.yaml").write_text(RECIPE)
    one = RunDirectory(trained(tmp_path).run)
    two = RunDirectory(trained(tmp_path, "data.train=day-2.csv", before=one.path).run)
    assert "twice" not in FeaturePlan.load(one.plan_dir).categoricals[0].vocabulary["value"]
    assert FeaturePlan.load(two.plan_dir).categoricals[0].vocabulary["value"].to_list()[-1] == "twice"
    rare = RareCounts.load(two.rare_dir).vocabularies["shared users"]
    assert sorted(rare.iter_rows()) == [("never again", 1), ("once", 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_day_that_only_teaches_wrong_things_leaves_every_score_as_it_was(kind: str, folder: Path) -> None:
    overrides = [f"model.kind={kind}", "training.epochs=1"]
    before = trained(folder, *overrides).run
    result = trained(folder, *overrides, "data.train=wrong.csv", before=before)
    assert (result.best_epoch, result.epochs) == (0, 1)
    rows = read(folder, "day-2", "valid")
    moved = log_odds(result.run, rows) - log_odds(before, rows)
    shift = RunDirectory(result.run).facts()["level_shift"]
    assert np.abs(moved - shift).max() < 2e-5  # only the level is set anew, as after every training
    assert abs(shift) < 0.05
    old, new = (FeaturePlan.load(RunDirectory(run).plan_dir) for run in (before, result.run))
    assert len(new.categoricals[0].vocabulary) > len(old.categoricals[0].vocabulary)  # else this shows little


def test_going_on_is_better_on_new_rows_than_the_run_before(
    folder: Path, first: RunDirectory, second: RunDirectory
) -> None:
    rows = read(folder, "day-2")
    label = rows["click"].cast(pl.Float64).to_numpy()
    losses = [-np.mean(np.log(np.where(label == 1, p, 1 - p))) for p in (scores(r.path, rows) for r in (first, second))]
    assert losses[1] < losses[0] - 0.01


def test_a_day_without_rows_gives_a_run_with_the_same_scores_and_bytes(folder: Path, second: RunDirectory) -> None:
    told: list[str] = []
    reporter = Reporter()
    reporter.note = told.append  # type: ignore[method-assign]
    loaded = load_recipe(folder / "chain.yaml", ["data.train=no-rows.csv"])
    result = train(loaded, folder / "quiet-day", reporter, Asked(goes_on_from=second.path))
    run = RunDirectory(result.run)
    rows = read(folder, "day-1", "day-2")
    assert np.array_equal(scores(run.path, rows), scores(second.path, rows))
    assert run.best_path.read_bytes() == second.best_path.read_bytes()
    assert any("no new rows" in note for note in told)
    assert result.metrics == second.facts()["metrics"]
    assert run.manifest()["from"]["no_new_rows"]
    again = train(loaded, folder / "quiet-day", reporter, Asked(resume=True, goes_on_from=second.path))
    assert again.run == result.run
    later = trained(folder, "data.train=day-2.csv", before=run.path, work="quiet-day").run
    plainly = trained(folder, "data.train=day-2.csv", before=second.path, work="quiet-day").run
    assert RunDirectory(later).best_path.read_bytes() == RunDirectory(plainly).best_path.read_bytes()


def test_files_of_valid_rows_that_are_empty_are_refused_as_ever(folder: Path, first: RunDirectory) -> None:
    with pytest.raises(Exception, match="no rows"):
        trained(folder, "data.train=day-2.csv", "data.valid=no-rows.csv", before=first.path)


def test_equal_inputs_give_equal_bytes_wherever_the_run_before_lies(
    folder: Path, first: RunDirectory, second: RunDirectory
) -> None:
    moved = folder / "moved" / "runs" / "chain" / "elsewhere"
    shutil.copytree(first.path, moved)
    again = RunDirectory(trained(folder, "data.train=day-2.csv", before=moved, work="other").run)
    for path in ("checkpoints/best.safetensors", "checkpoints/best_state.safetensors", "golden.parquet"):
        assert (again.path / path).read_bytes() == (second.path / path).read_bytes(), path
    for path in sorted(second.plan_dir.rglob("*")):
        if path.is_file():
            assert (again.plan_dir / path.relative_to(second.plan_dir)).read_bytes() == path.read_bytes(), path


def test_another_run_before_gives_another_run_of_the_same_rows(
    folder: Path, first: RunDirectory, second: RunDirectory
) -> None:
    other_first = trained(folder, "training.epochs=1")
    other = RunDirectory(trained(folder, "data.train=day-2.csv", before=other_first.run).run)
    assert other.path != second.path
    assert other.best_path.read_bytes() != second.best_path.read_bytes()


def test_python_goes_on_as_the_command_does(folder: Path, first: RunDirectory, second: RunDirectory) -> None:
    recipe = load_recipe(folder / "chain.yaml", ["data.train=day-2.csv"])
    run = api.train(recipe, work_dir=folder / "work", resume=True, goes_on_from=Run(first.path))
    assert run.path == second.path.resolve()


def test_several_seeds_go_on_from_one_run(folder: Path, first: RunDirectory, second: RunDirectory) -> None:
    loaded = load_recipe(folder / "chain.yaml", ["data.train=day-2.csv"])
    result = train_seeds(loaded, folder / "work", Reporter(), 2, Asked(resume=True, goes_on_from=first.path))
    assert result.runs[0].run == second.path
    seeds = [RunDirectory(run.run) for run in result.runs]
    assert seeds[0].best_path.read_bytes() != seeds[1].best_path.read_bytes()
    assert [run.manifest()["from"]["run"] for run in seeds] == [first.path.name] * 2


def test_the_manifest_and_compare_say_the_chain(
    folder: Path, first: RunDirectory, second: RunDirectory, widedeep: CommandLine
) -> None:
    third = RunDirectory(trained(folder, "data.train=wrong.csv", before=second.path).run)
    assert third.manifest()["from"]["run"] == second.path.name
    assert third.manifest()["from"]["ancestors"] == [first.path.name]
    code, out, err = widedeep("compare", *map(str, (first.path, second.path, third.path)), "--split", "valid")
    assert code == 0, err
    assert f"going on from {second.path.name} ← {first.path.name}" in " ".join(out.split())
    code, out, err = widedeep("compare", str(second.path), "--split", "valid", "--json")
    assert json.loads(out)["lines"][0]["goes_on_from"]["run"] == first.path.name


def test_every_setting_in_which_a_recipe_is_not_that_of_the_run_is_refused_at_once(
    folder: Path, first: RunDirectory
) -> None:
    overrides = [
        "data.train=day-2.csv",
        "features.categorical=[user, shape]",
        "crosses=[[shape, user]]",
        "model.kind=dcn",
        "model.embeddings.dim=8",
        "training.deep.optimizer=adamw",
        "training.wide.optimizer=adagrad",
        "data.keep_negatives=0.5",
    ]
    with pytest.raises(RecipeError) as refused:
        trained(folder, *overrides, before=first.path)
    named = {fault.where for fault in refused.value.faults}
    assert {override.partition("=")[0] for override in overrides[1:]} <= named
    assert all(str(first.path) in fault.message for fault in refused.value.faults)
    with pytest.raises(RecipeError, match=r"data\.label"):
        trained(folder, "data.label={column: click, positive: [0]}", before=first.path)


def test_settings_of_how_the_new_rows_are_read_and_learnt_may_change(folder: Path, first: RunDirectory) -> None:
    overrides = ["data.train=day-2.csv", "training.epochs=1", "training.deep.learning_rate=0.002", "seed=5"]
    overrides += ["model.wide.memory_half_life=2", "model.wide.folds=4", "training.batch_size=100"]
    assert trained(folder, *overrides, before=first.path).goes_on_from is not None


def test_new_rows_are_gone_through_a_few_times_at_most(folder: Path, first: RunDirectory) -> None:
    day = ["data.train=day-2.csv", "training.epochs=9", "training.early_stopping={patience: null}"]
    assert trained(folder, *day, before=first.path).epochs == 2
    assert trained(folder, *day, "training.going_on_epochs=3", before=first.path).epochs == 3
    assert trained(folder, "data.train=day-2.csv", "training.epochs=1", before=first.path).epochs == 1


def test_the_half_life_decides_what_old_rows_count_in_the_memory(folder: Path, first: RunDirectory) -> None:
    day = ["data.train=wrong.csv", "training.epochs=1"]
    kept = RunDirectory(trained(folder, *day, before=first.path).run)
    fading = RunDirectory(trained(folder, *day, "model.wide.memory_half_life=0.2", before=first.path).run)
    assert kept.memory_sums_path.read_bytes() != fading.memory_sums_path.read_bytes()


def test_a_run_without_the_state_of_its_optimizers_is_refused_with_what_to_do(
    folder: Path, first: RunDirectory, tmp_path: Path
) -> None:
    old = tmp_path / "runs" / "chain" / "old"
    shutil.copytree(first.path, old)
    (old / "checkpoints" / "best_state.safetensors").unlink()
    with pytest.raises(ArtefactError, match="train it once more with this version"):
        trained(folder, "data.train=day-2.csv", before=old)


@pytest.mark.parametrize("damaged", ["checkpoints/best_state.safetensors", "plan/rare/rare.json"])
def test_a_run_whose_state_or_counts_are_damaged_is_refused(
    damaged: str, folder: Path, first: RunDirectory, tmp_path: Path
) -> None:
    broken = tmp_path / "runs" / "chain" / "broken"
    shutil.copytree(first.path, broken)
    (broken / damaged).write_bytes(b"{")
    with pytest.raises(ArtefactError, match="has changed since the run was finished"):
        trained(folder, "data.train=day-2.csv", before=broken)


def test_a_refit_does_not_go_on(folder: Path, first: RunDirectory) -> None:
    loaded = load_recipe(folder / "chain.yaml", ["data.train=day-2.csv"])
    with pytest.raises(UsageError, match="--refit"):
        train(loaded, folder / "work", Reporter(), Asked(refit="valid", goes_on_from=first.path))


def test_texts_of_new_rows_are_read_in_the_writing_that_the_first_rows_had(tmp_path: Path) -> None:
    write_day(tmp_path / "day-1.csv", 1, 300, range(9))
    write_day(tmp_path / "valid.csv", 4, 100, range(9))
    write_day(tmp_path / "numbers.csv", 6, 300, range(9))
    numbers = read(tmp_path, "numbers").with_columns(shape=pl.Series(["1.0", "2.0"] * 150))
    numbers.write_csv(tmp_path / "day-2.csv")
    pl.concat([read(tmp_path, "day-1").with_columns(shape=pl.Series(["1", "2", "x"] * 100))]).write_csv(
        tmp_path / "day-1.csv"
    )
    (tmp_path / "chain.yaml").write_text(RECIPE)
    one = trained(tmp_path)
    two = RunDirectory(trained(tmp_path, "data.train=day-2.csv", before=one.run).run)
    assert two.forms_path.read_bytes() == RunDirectory(one.run).forms_path.read_bytes()
    # Texts beside numbers are texts: 1.0 is another value than 1, as `predict` of the first run has it.
    assert {"1", "1.0"} <= set(FeaturePlan.load(two.plan_dir).categoricals[2].vocabulary["value"])


def test_values_that_only_new_rows_have_tell_how_many_the_next_ones_may_have(
    folder: Path, first: RunDirectory, second: RunDirectory
) -> None:
    old = FeaturePlan.load(first.plan_dir).categoricals[0]
    stage = finished_stage(second, "ingest", folder / "work")
    assert stage is not None
    users = read_typed(stage, "train")["user"]
    new = (~users.is_in(old.vocabulary["value"].implode())).mean()
    assert second.facts()["unknown_values"]["user"]["expected"] == pytest.approx(new)


def test_the_command_goes_on_and_tells_from_where(
    folder: Path, first: RunDirectory, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    arguments = ["--set", "data.train=day-2.csv", "--set", "seed=9", "--work", str(folder / "work")]
    code, out, err = widedeep("train", str(folder / "chain.yaml"), *arguments, "--from", str(first.path))
    assert code == 0, err
    assert "went on from" in out
    assert first.path.name in out
    assert "before its first step" in err
    code, out, err = widedeep("train", str(folder / "chain.yaml"), "--from", str(folder / "nowhere"))
    assert code == 4
