"""`synth --days`: a log whose items and users come and go and whose effects move, with the truth of every day."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from widedeep.errors import UsageError
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.synth.drift import DriftingWorld
from widedeep.synth.sample_log import write_drifting_log

CommandLine = Callable[..., tuple[int, str, str]]
ROWS, DAYS = 30_000, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drifting")
    write_drifting_log(folder, ROWS, 3, Reporter(), days=DAYS)
    return folder


def test_days_follow_each_other_with_about_equally_many_rows(folder: Path) -> None:
    log = pl.read_csv(folder / "log.csv")
    days = log["time"].str.slice(0, 10)
    assert log["time"].is_sorted()
    assert days.value_counts()["count"].to_list() == pytest.approx([ROWS / DAYS] * DAYS, abs=2)


def test_items_and_users_come_and_go(folder: Path) -> None:
    log = pl.read_csv(folder / "log.csv")
    first, last = (set(part["item"]) for part in (log[: ROWS // 10], log[-ROWS // 10 :]))
    assert not first & last
    earlier, day = log[: ROWS // 2], log[ROWS // 2 : ROWS // 2 + ROWS // DAYS]
    new = {name: 1 - day[name].is_in(earlier[name].implode()).mean() for name in ("user", "item")}
    assert 0.15 < new["user"] < 0.4
    assert 0.05 < new["item"] < 0.5


def test_the_truth_of_each_day_is_that_of_its_rows(folder: Path) -> None:
    truth = json.loads((folder / "truth.json").read_text())
    world = DriftingWorld(3, ROWS, DAYS, 1.0)
    index = np.arange(ROWS, dtype=np.uint64)
    frame, probability, click = world.labelled(index)
    assert frame["click"].to_list() == pl.read_csv(folder / "log.csv")["click"].to_list()
    for entry in truth["by_day"]:
        rows = world.day_of(index) == entry["day"]
        assert entry["rows"] == rows.sum()
        assert entry["best_auc"] == pytest.approx(roc_auc_score(click[rows], probability[rows]))
        assert entry["best_log_loss"] == pytest.approx(log_loss(click[rows], probability[rows]))
        assert entry["ctr"] == pytest.approx(click[rows].mean())


@pytest.mark.parametrize(("drift", "least", "most"), [(0.0, 0.999, 1.0), (1.0, -0.4, 0.4), (2.0, -1.0, -0.999)])
def test_drift_says_what_the_last_effects_have_to_do_with_the_first(drift: float, least: float, most: float) -> None:
    world = DriftingWorld(3, ROWS, DAYS, drift)
    first, last = (list(world.weights("site", time).values()) for time in (0.0, 1.0))
    assert least <= np.corrcoef(first, last)[0, 1] <= most
    assert np.std(last) == pytest.approx(np.std(first), rel=0.5)


def test_the_effect_of_a_site_in_the_truth_is_that_of_its_rows(folder: Path) -> None:
    moving = json.loads((folder / "truth.json").read_text())["moving"]["site"]
    log = pl.read_csv(folder / "log.csv")
    for part, when in ((log[: ROWS // 5], "first"), (log[-ROWS // 5 :], "last")):
        by_site = part.group_by("site").agg(pl.col("click").mean(), rows=pl.len()).filter(pl.col("rows") > 100)
        effects = [moving[when][site] for site in by_site["site"]]
        assert np.corrcoef(effects, by_site["click"])[0, 1] > 0.6


def test_equal_seeds_give_equal_bytes_and_others_do_not(folder: Path, tmp_path: Path) -> None:
    for name, seed in (("same", 3), ("other", 4)):
        (tmp_path / name).mkdir()
        write_drifting_log(tmp_path / name, ROWS, seed, Reporter(), days=DAYS)
    assert (tmp_path / "same" / "log.csv").read_bytes() == (folder / "log.csv").read_bytes()
    assert (tmp_path / "other" / "log.csv").read_bytes() != (folder / "log.csv").read_bytes()


def test_its_recipe_is_valid_and_names_columns_of_the_log(folder: Path) -> None:
    recipe = load_recipe(folder / "recipe.yaml").recipe
    columns = set(pl.read_csv(folder / "log.csv", n_rows=1).columns)
    assert {field.column for field in recipe.features.all_fields()} <= columns
    assert recipe.data.time is not None


def test_the_command_writes_it_and_refuses_what_does_not_go_together(widedeep: CommandLine, tmp_path: Path) -> None:
    arguments = ["synth", "-o", tmp_path / "log", "--rows", "2000", "--days", "3", "--drift", "0.5", "--json"]
    code, out, err = widedeep(*arguments)
    assert code == 0, err
    assert json.loads(out)["planted"] == [["device", "site"], ["category", "hour"]]
    assert json.loads((tmp_path / "log" / "truth.json").read_text())["drift"] == 0.5
    for extra in (["--drift", "1"], ["--days", "3", "--shape", "criteo"], ["--days", "3", "--new-users", "0.5"]):
        code, _, err = widedeep("synth", "-o", tmp_path / "no", *extra)
        assert (code, "--days" in err) == (2, True)
    with pytest.raises(UsageError, match="at least 2"):
        write_drifting_log(tmp_path, 1000, 0, Reporter(), days=1)
