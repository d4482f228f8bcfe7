"""The sample log: reproducible bytes, the shape it promises, and signal where it says that signal was planted."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import OneHotEncoder

from widedeep.errors import UsageError, WriteError
from widedeep.recipe.schema import Recipe
from widedeep.reporting import Reporter
from widedeep.synth import sample_log as synth
from widedeep.synth import world as synth_world
from widedeep.synth.sample_log import SampleLog, write_sample_log

ROWS = 60_000

GOLDEN_LINES = [
    "time,user,device,slot,browser,format,category,country,advertiser,publisher,city,keyword,page,hour,ag"
    "e,price,past_clicks,hours_since_visit,quality,tags,click",
    "2025-01-06T06:09:21,user_17452,desktop,top,chrome,336x280,animals,be,advertiser_041,publisher_001,ci"
    "ty_0039,keyword_0021,page_02391,6,19,11.26,10,,0.082,festival,0",
    "2025-01-06T09:55:03,user_00077,phone,overlay,chrome,300x600,animals,id,advertiser_062,publisher_003,"
    "city_1248,keyword_0003,page_00319,9,43,23.97,0,41.7,0.02,long-read,1",
    "2025-01-06T19:43:19,user_28458,desktop,top,opera,300x250,cinema,mx,advertiser_001,publisher_035,city"
    "_0009,keyword_0081,page_00015,19,25,10.44,2,59.1,0.046,sale|festival|remote,1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample")


@pytest.fixture(scope="module")
def sample(folder: Path) -> SampleLog:
    return write_sample_log(folder, ROWS, 3, Reporter())


@pytest.fixture(scope="module")
def log(sample: SampleLog) -> pl.DataFrame:
    return pl.read_csv(sample.files[0])


def bytes_of(folder: Path, rows: int, seed: int) -> dict[str, bytes]:
    folder.mkdir()
    return {path.name: path.read_bytes() for path in write_sample_log(folder, rows, seed, Reporter()).files}


# ---------------------------------------------------------------------------------------------------- reproducible


def test_equal_rows_and_seed_give_equal_bytes_whatever_the_block_size(tmp_path, monkeypatch):
    first = bytes_of(tmp_path / "a", 1_000, 5)
    monkeypatch.setattr(synth, "_BLOCK_ROWS", 37)
    assert bytes_of(tmp_path / "b", 1_000, 5) == first


def test_another_seed_gives_another_log(tmp_path):
    first, second = bytes_of(tmp_path / "a", 200, 5), bytes_of(tmp_path / "b", 200, 6)
    assert first["log.csv"] != second["log.csv"]


def test_the_first_rows_of_a_seed_are_what_they_have_always_been(tmp_path):
    lines = bytes_of(tmp_path / "a", 100, 7)["log.csv"].decode().splitlines()
    assert len(lines) == 101
    assert lines[:4] == GOLDEN_LINES


# ------------------------------------------------------------------------------------------------- shape of the log


def test_the_files_are_a_log_its_truth_and_a_recipe(folder, sample):
    assert [path.name for path in sample.files] == ["log.csv", "truth.json", "recipe.yaml"]
    assert sorted(folder.iterdir()) == sorted(sample.files)


def test_truth_json_says_what_the_result_says(sample, log):
    truth = json.loads(sample.files[1].read_text())
    assert list(truth.pop("weights")) == [" x ".join(pair) for pair in sample.planted]
    assert truth == {
        "rows": ROWS,
        "seed": 3,
        "ctr": pytest.approx(log["click"].mean()),
        "planted": [list(pair) for pair in sample.planted],
        "low_rank": [list(pair) for pair in sample.low_rank],
        "best_auc": sample.best_auc,
        "best_log_loss": sample.best_log_loss,
    }


def test_columns_have_the_values_and_cardinalities_they_promise(log):
    assert len(log) == ROWS
    for column in synth_world.CATEGORICAL:
        assert set(log[column.name]) <= set(column.values), column.name
        if len(column.values) <= 1_500:
            assert log[column.name].n_unique() > 0.9 * len(column.values), column.name
    sizes = {column.name: len(column.values) for column in synth_world.CATEGORICAL if column.name != "user"}
    assert min(sizes.values()) == 3
    assert max(sizes.values()) == 20_000
    assert set(log["hour"]) == set(range(24))
    assert all(500 <= sizes[name] <= 6_000 for pair in synth_world.LOW_RANK for name in pair)


def test_values_have_zipf_tails(log):
    counts = log["keyword"].value_counts(sort=True)["count"]
    assert counts[0] > 0.1 * ROWS
    assert (counts <= 5).sum() > 1_000


def test_time_rises_over_four_weeks_and_hour_follows_it(log):
    times = log["time"].str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=True)
    assert times.is_sorted()
    assert times[0].date() == datetime(2025, 1, 6).date()
    assert timedelta(days=27, hours=23) < times[-1] - times[0] < timedelta(days=28)
    assert (times.dt.hour() == log["hour"]).all()


def test_numbers_have_missing_values_and_heavy_tails(log):
    share_missing = {name: log[name].null_count() / ROWS for name in synth_world.NUMERIC_DIGITS}
    assert share_missing == pytest.approx(
        {"age": 0.1, "price": 0, "past_clicks": 0, "hours_since_visit": 0.25, "quality": 0}, abs=0.01
    )
    for name in ("past_clicks", "hours_since_visit"):
        assert log[name].max() > 100 * log[name].median(), name


def test_tags_hold_up_to_four_different_values_in_a_cell(log):
    cells = log["tags"].drop_nulls().str.split("|")
    assert set(cells.explode()) == set(synth_world.TAGS)
    assert cells.list.len().max() == 4
    assert (cells.list.n_unique() == cells.list.len()).all()
    assert log["tags"].null_count() > 0


@pytest.mark.parametrize("seed", range(5))
def test_every_seed_has_the_click_rate_and_about_the_same_difficulty(tmp_path, seed):
    result = write_sample_log(tmp_path, 20_000, seed, Reporter())
    assert 0.28 < json.loads(result.files[1].read_text())["ctr"] < 0.32
    assert 0.82 < result.best_auc < 0.86


# ----------------------------------------------------------------------------------------------------------- signal


def interaction(log: pl.DataFrame, left: str, right: str) -> float:
    """How well a table of cell means, taken on even rows after both main effects, predicts what is left of odd rows."""
    if "tags" in (left, right):
        log = log.with_columns(pl.col("tags").str.split("|")).explode("tags").drop_nulls("tags")
    a, b = (log[name].rank("dense").to_numpy().astype(int) for name in (left, right))
    click = log["click"].to_numpy().astype(float)
    learn, judge = np.arange(len(log)) % 2 == 0, np.arange(len(log)) % 2 == 1
    rest = click - click[learn].mean()
    for _ in range(4):
        for code in (a, b):
            rest = rest - cell_means(code, rest, learn)[code]
    cell = a * (b.max() + 1) + b
    return float(np.corrcoef(cell_means(cell, rest, learn)[cell][judge], rest[judge])[0, 1])


def cell_means(cell, values, learn):
    counts = np.bincount(cell[learn], minlength=cell.max() + 1)
    return np.bincount(cell[learn], weights=values[learn], minlength=cell.max() + 1) / (counts + 5)


@pytest.mark.parametrize("pair", synth_world.PLANTED + synth_world.LOW_RANK, ids="-".join)
def test_planted_pairs_say_more_than_their_columns_do_apart(log, pair):
    # A tag is one of several in its row, whose weights blur each other's.
    assert interaction(log, *pair) > (0.03 if "tags" in pair else 0.05)


@pytest.mark.parametrize("pair", synth_world.PLANTED, ids="-".join)
def test_the_planted_weights_in_truth_json_are_what_moved_the_clicks(log, sample, pair):
    weights = json.loads(sample.files[1].read_text())["weights"][" x ".join(pair)]
    left, right = (log[name].cast(pl.String) for name in pair)
    values = right.str.split("|") if pair[1] == "tags" else right.fill_null("").str.split("|")
    effect = [
        sum(weights[a][b] for b in ([] if several is None else several) if b)
        for a, several in zip(left, values, strict=True)
    ]
    assert np.std(effect) == pytest.approx(synth_world.CROSS_STRENGTH, rel=0.03)
    assert np.corrcoef(effect, log["click"])[0, 1] > 0.1


@pytest.mark.parametrize("pair", [("device", "slot"), ("browser", "country"), ("advertiser", "city")], ids="-".join)
def test_pairs_that_were_not_planted_say_nothing_of_their_own(log, pair):
    assert abs(interaction(log, *pair)) < 0.025


@pytest.mark.parametrize("pair", synth_world.LOW_RANK, ids="-".join)
def test_low_rank_pairs_have_too_many_combinations_to_memorise(log, pair):
    early, late = log[: ROWS * 4 // 5].select(pair).unique(), log[ROWS * 4 // 5 :].select(pair)
    assert len(early) > 10_000
    assert len(late.join(early, on=list(pair), how="anti")) > 0.1 * len(late)


def test_crosses_lift_a_linear_model_and_the_best_figures_stay_out_of_its_reach(log, sample):
    later = np.arange(ROWS) >= ROWS * 4 // 5
    click = log["click"].to_numpy()
    names = [column.name for column in synth_world.CATEGORICAL if column.name not in ("user", "page", "keyword")]
    main = log.select(pl.col(names), pl.col("hour").cast(pl.String))
    crossed = main.with_columns(
        pl.concat_str(pair, separator="^").alias("^".join(pair)) for pair in sample.planted if "tags" not in pair
    )
    auc, loss = [], []
    for frame in (main, crossed):
        encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=5)
        train = encoder.fit_transform(frame.to_numpy()[~later])
        model = LogisticRegression(C=0.1, tol=1e-4, max_iter=300).fit(train, click[~later])
        score = model.predict_proba(encoder.transform(frame.to_numpy()[later]))[:, 1]
        auc.append(roc_auc_score(click[later], score))
        loss.append(log_loss(click[later], score))
    assert auc[0] + 0.05 < auc[1] < sample.best_auc - 0.05
    assert loss[0] > loss[1] > sample.best_log_loss


def test_the_best_auc_is_that_of_the_true_probabilities():
    random = np.random.default_rng(0)
    probability = random.random(2_000).round(2)
    click = random.random(2_000) < probability
    assert synth._auc(click, probability) == pytest.approx(roc_auc_score(click, probability), abs=1e-12)


# ----------------------------------------------------------------------------------------------------------- recipe


def test_the_recipe_is_valid_and_names_columns_that_exist(folder, sample, log):
    recipe = Recipe.model_validate(yaml.safe_load(sample.files[2].read_text()))
    assert [(folder / path).is_file() for path in recipe.data.train] == [True]
    features = recipe.features
    fields = [field.column for field in (*features.numeric, *features.categorical, *features.multi_valued)]
    assert recipe.data.label.column == "click"
    assert recipe.data.time.column == "time"
    assert recipe.data.split.kind == "time"
    assert sorted([*fields, "click", "time"]) == sorted(log.columns)
    assert [cross.fields for cross in recipe.crosses] == sample.planted


# --------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(("rows", "seed", "message"), [(99, 0, "--rows must be at least 100, not 99"), (100, -1, "-1")])
def test_too_few_rows_or_a_negative_seed_are_refused(tmp_path, rows, seed, message):
    with pytest.raises(UsageError, match=message):
        write_sample_log(tmp_path, rows, seed, Reporter())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(WriteError, match="gone: cannot write the sample log: No such file"):
        write_sample_log(tmp_path / "gone", 100, 0, Reporter())
