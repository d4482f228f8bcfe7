"""`training.evict`: values that no longer come are dropped from a chain of runs, with all that the model knew of them."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from chains import RECIPE, log_odds, read, scores, trained, write_day

from widedeep.errors import RecipeError
from widedeep.features.plan import FeaturePlan
from widedeep.features.rare import RareCounts
from widedeep.recipe.kinds import KINDS
from widedeep.runs import RunDirectory

CommandLine = Callable[..., tuple[int, str, str]]
EVICT = "training.evict={unseen_runs: 1}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Days with other users each, the third with those of the first; a day that teaches wrong things; valid rows."""
    folder = tmp_path_factory.mktemp("evicting")
    for day, users in enumerate((range(30), range(20, 45), range(30), range(40, 60)), start=1):
        write_day(folder / f"day-{day}.csv", day, 500, users)
    write_day(folder / "wrong.csv", 5, 500, range(20, 45), wrong=True)
    again = come_again(folder).with_columns(click=(1 - pl.col("click").cast(pl.Int64)).cast(pl.String))
    pl.concat([read(folder, "wrong"), again]).write_csv(folder / "wrong.csv")
    write_day(folder / "valid.csv", 6, 300, range(20, 30))
    write_day(folder / "no-rows.csv", 7, 0, range(1))
    (folder / "chain.yaml").write_text(RECIPE)
    return folder


def chain(folder: Path, *overrides: str, days: int) -> list[RunDirectory]:
    runs: list[RunDirectory] = []
    for day in range(1, days + 1):
        before = runs[-1].path if runs else None
        runs.append(RunDirectory(trained(folder, f"data.train=day-{day}.csv", *overrides, before=before).run))
    return runs


def plan_of(run: RunDirectory) -> FeaturePlan:
    return FeaturePlan.load(run.plan_dir)


def users_of(run: RunDirectory) -> set[str]:
    return set(plan_of(run).categoricals[0].vocabulary["value"])


def names(numbers: range) -> set[str]:
    return {f"u{number}" for number in numbers}


def test_a_value_is_dropped_after_so_many_runs_without_it_and_is_new_where_it_comes_back(folder: Path) -> None:
    one, two, three = chain(folder, "training.evict={unseen_runs: 1}", days=3)
    assert users_of(one) == names(range(30))
    assert users_of(two) == names(range(20, 45))
    assert users_of(three) == names(range(30))
    counted = dict(plan_of(three).categoricals[0].vocabulary.select("value", "count").iter_rows())
    rows = [read(folder, f"day-{day}") for day in (1, 2, 3)]
    of_user = [Counter([*day["user"], *day["friend"]]) for day in rows]
    assert counted["u5"] == of_user[2]["u5"]  # its rows of the first day are forgotten
    assert counted["u25"] == sum(day["u25"] for day in of_user)
    kept = chain(folder, "training.evict={unseen_runs: 2}", days=4)
    assert users_of(kept[2]) == names(range(45))
    assert users_of(kept[3]) == names(range(30)) | names(range(40, 60))


def test_values_that_stay_keep_their_order_in_all_vocabularies(folder: Path) -> None:
    one, two = (plan_of(run) for run in chain(folder, EVICT, days=2))
    rows = read(folder, "day-2")
    for before, after in zip(
        (*one.vocabulary_fields, *one.crosses), (*two.vocabulary_fields, *two.crosses), strict=True
    ):
        stayed = before.vocabulary.filter(pl.col("value").is_in(after.vocabulary["value"].implode()))["value"]
        assert after.vocabulary["value"].head(len(stayed)).equals(stayed)
        assert (after.vocabulary["unseen_runs"] == 0).all() if after.buckets is None else after.vocabulary.is_empty()
    assert set(two.categoricals[2].vocabulary["value"]) == set(rows["shape"].drop_nulls()) - {""}
    pairs = rows.filter(pl.col("shape") != "").select("shape", "user").n_unique()
    assert 50 < len(two.crosses[0].vocabulary) <= pairs + 25
    rare = RareCounts.load(RunDirectory(trained(folder, "data.train=day-2.csv", EVICT).run).rare_dir)
    assert set(rare.vocabularies) <= {"of tags", "shared users", "of shape", *(f"cross {c.name}" for c in one.crosses)}


@pytest.mark.parametrize("kind", [*KINDS, "wide_deep with learnt crosses"])
def test_dropped_values_score_as_unknown_and_all_others_as_before(kind: str, folder: Path) -> None:
    name, _, learnt = kind.partition(" ")
    overrides = [f"model.kind={name}", "training.epochs=1", *(["model.wide.crosses=gradient"] if learnt else [])]
    before = trained(folder, *overrides).run
    after = trained(folder, *overrides, EVICT, "data.train=wrong.csv", before=before)
    assert after.best_epoch == 0  # so that the weights are those of the run before
    assert after.dropped_values is not None
    assert after.dropped_values["user"] > 5
    moved = log_odds(after.run, come_again(folder)) - log_odds(before, come_again(folder))
    assert np.abs(moved - RunDirectory(after.run).facts()["level_shift"]).max() < 2e-5
    gone = users_of(RunDirectory(before)) - users_of(RunDirectory(after.run))
    dropped = read(folder, "day-1").filter(pl.col("user").is_in(gone))
    nobody = dropped.with_columns(user=pl.lit("nobody"))
    assert np.array_equal(scores(after.run, dropped), scores(after.run, nobody))
    assert not np.allclose(scores(before, dropped), scores(before, nobody), atol=1e-4)


def come_again(folder: Path) -> pl.DataFrame:
    """Rows of the first day that come again in wrong.csv, so that all their values and combinations stay."""
    return read(folder, "day-1").head(20)


def test_the_first_run_is_the_same_with_and_without(folder: Path) -> None:
    plain, evicting = (RunDirectory(trained(folder, *overrides).run) for overrides in ((), (EVICT,)))
    assert plain.manifest()["keys"]["encoded"] == evicting.manifest()["keys"]["encoded"]
    assert plain.best_path.read_bytes() == evicting.best_path.read_bytes()
    assert "dropped_values" not in evicting.facts()


def test_a_setting_that_no_value_is_old_enough_for_changes_nothing_but_what_is_kept_of_ages(folder: Path) -> None:
    one = RunDirectory(trained(folder).run)
    plain, evicting = (
        RunDirectory(trained(folder, "data.train=day-2.csv", *overrides, before=one.path).run)
        for overrides in ((), ("training.evict={unseen_runs: 2}",))
    )
    assert plain.best_path.read_bytes() == evicting.best_path.read_bytes()
    assert plain_values(plan_of(plain)) == plain_values(plan_of(evicting))
    assert plan_of(plain).digest != plan_of(evicting).digest
    assert evicting.facts()["dropped_values"] == {}
    later = RunDirectory(trained(folder, "data.train=day-4.csv", before=evicting.path).run)
    assert plan_of(later).categoricals[0].vocabulary.columns == ["value", "count"]


def plain_values(plan: FeaturePlan) -> list[list[tuple[object, int]]]:
    return [f.vocabulary.select("value", "count").rows() for f in (*plan.vocabulary_fields, *plan.crosses)]


def test_a_day_without_rows_makes_nothing_older(folder: Path) -> None:
    one, two = chain(folder, "training.evict={unseen_runs: 2}", days=2)
    quiet = two
    for _ in range(3):
        quiet = RunDirectory(
            trained(folder, "training.evict={unseen_runs: 2}", "data.train=no-rows.csv", before=quiet.path).run
        )
    assert plan_of(quiet).digest == plan_of(two).digest
    assert "dropped_values" not in quiet.facts()
    assert users_of(quiet) >= users_of(one)


def test_a_chain_whose_users_go_needs_no_more_room_than_the_last_runs_do(tmp_path: Path) -> None:
    for day in range(1, 9):
        write_day(tmp_path / f"day-{day}.csv", day, 200, range(10 * day, 10 * day + 20))
    write_day(tmp_path / "valid.csv", 99, 100, range(10, 110))
    (tmp_path / "chain.yaml").write_text(RECIPE)
    overrides = ["training.epochs=1", "crosses=[[shape, user]]"]
    grown = [plan_of(run) for run in chain(tmp_path, *overrides, days=8)]
    bounded = [plan_of(run) for run in chain(tmp_path, *overrides, "training.evict={unseen_runs: 2}", days=8)]
    assert [len(plan.categoricals[0].vocabulary) for plan in grown] == [20 + 10 * day for day in range(8)]
    assert [len(plan.categoricals[0].vocabulary) for plan in bounded] == [20, 30, *[30] * 6]
    assert len(bounded[7].crosses[0].vocabulary) < 1.5 * len(bounded[2].crosses[0].vocabulary)
    assert len(grown[7].crosses[0].vocabulary) > 2 * len(bounded[7].crosses[0].vocabulary)


def test_equal_inputs_give_equal_bytes(folder: Path) -> None:
    one = trained(folder)
    runs = [
        RunDirectory(trained(folder, "data.train=day-2.csv", EVICT, before=one.run, work=work).run)
        for work in ("work", "again")
    ]
    paths = [path.relative_to(runs[0].path) for path in runs[0].path.rglob("*") if path.is_file()]
    paths = [path for path in paths if path.parts[0] in ("plan", "checkpoints") or path.name == "golden.parquet"]
    assert len(paths) > 10
    for path in paths:
        assert (runs[0].path / path).read_bytes() == (runs[1].path / path).read_bytes(), path


def test_train_and_compare_tell_how_many_values_were_dropped(
    folder: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    one = trained(folder).run
    arguments = ["--set", "data.train=day-2.csv", "--set", EVICT, "--work", str(folder / "work"), "--from", str(one)]
    code, out, err = widedeep("train", str(folder / "chain.yaml"), *arguments, "--resume")
    assert code == 0, err
    dropped = RunDirectory(trained(folder, "data.train=day-2.csv", EVICT, before=one).run).facts()["dropped_values"]
    assert dropped["user"] == 20
    assert "friend" not in dropped  # it has the vocabulary of the users
    assert f"user: {dropped['user']}" in " ".join(out.split())
    run = str(trained(folder, "data.train=day-2.csv", EVICT, before=one).run)
    code, out, err = widedeep("compare", run, "--split", "valid")
    assert code == 0, err
    assert f"{sum(dropped.values())} values dropped" in " ".join(out.split())
    code, out, err = widedeep("compare", run, "--split", "valid", "--json")
    assert json.loads(out)["lines"][0]["dropped_values"] == dropped


def test_a_recipe_without_a_vocabulary_has_nothing_to_drop(tmp_path: Path) -> None:
    hashed = (
        "features={numeric: [{column: age, buckets: 5}], categorical: [{column: user, buckets: 9}]}",
        "crosses=[{fields: [age, user], buckets: 30}]",
    )
    (tmp_path / "chain.yaml").write_text(RECIPE)
    with pytest.raises(RecipeError, match=r"training\.evict: leave it out"):
        trained(tmp_path, *hashed, EVICT)
