"""The Criteo-shaped log: reproducible and prefix-stable, equally hard for every seed, interacting where its truth says and nowhere else."""

import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from widedeep.errors import UsageError, WriteError
from widedeep.recipe.schema import Recipe
from widedeep.reporting import Reporter
from widedeep.synth import criteo as synth_criteo
from widedeep.synth import sample_log as synth
from widedeep.synth.criteo import CARDINALITIES, NUMERIC, CriteoWorld, Planting
from widedeep.synth.sample_log import SampleLog, write_criteo_log

ROWS = 150_000
SEED = 4
NOTHING = Planting(crosses=0, low_rank=0)
WITH_TRIPLE = Planting(triples=1)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleLog:
    return write_criteo_log(tmp_path_factory.mktemp("criteo"), ROWS, SEED, WITH_TRIPLE, Reporter())


@pytest.fixture(scope="module")
def log(sample: SampleLog) -> pl.DataFrame:
    return pl.read_parquet(sample.files[0])


@pytest.fixture(scope="module")
def truth(sample: SampleLog) -> dict:
    return json.loads(sample.files[1].read_text())


def written(folder: Path, rows: int, seed: int, planting: Planting = NOTHING) -> SampleLog:
    folder.mkdir()
    return write_criteo_log(folder, rows, seed, planting, Reporter())


# ---------------------------------------------------------------------------------------------------- reproducible


def test_equal_rows_and_seed_give_equal_bytes_whatever_the_block_size(tmp_path, monkeypatch):
    monkeypatch.setattr(synth, "_ROW_GROUP_ROWS", 300)
    first = written(tmp_path / "a", 1_000, 5)
    monkeypatch.setattr(synth, "_BLOCK_ROWS", 37)
    second = written(tmp_path / "b", 1_000, 5)
    assert [path.read_bytes() for path in first.files] == [path.read_bytes() for path in second.files]


def test_a_longer_log_begins_with_the_same_rows(log, tmp_path):
    short = pl.read_parquet(written(tmp_path / "short", 500, SEED, WITH_TRIPLE).files[0])
    assert short.equals(log.head(500))


def test_other_plantings_of_a_seed_keep_its_columns_and_add_to_what_fewer_planted(log, truth, tmp_path):
    fewer = written(tmp_path / "fewer", 500, SEED, Planting(crosses=3, low_rank=1))
    assert pl.read_parquet(fewer.files[0]).drop("label").equals(log.head(500).drop("label"))
    assert [list(columns) for columns in fewer.planted] == truth["crosses"][:3]
    assert [list(columns) for columns in fewer.low_rank] == truth["low_rank"][:1]


def test_another_seed_is_another_world():
    worlds = [CriteoWorld(seed, WITH_TRIPLE) for seed in (1, 2)]
    for what in ("sizes", "crosses", "low_rank", "triples"):
        assert getattr(worlds[0], what) != getattr(worlds[1], what), what


# ------------------------------------------------------------------------------------------------- shape of the log


def test_the_folder_holds_a_log_its_truth_and_a_recipe_and_nothing_else(sample):
    assert [path.name for path in sample.files] == ["log.parquet", "truth.json", "recipe.yaml"]
    assert sorted(sample.files[0].parent.iterdir()) == sorted(sample.files)


def test_columns_are_those_of_criteo_in_its_order(log):
    assert log.columns == ["label", *NUMERIC, *CARDINALITIES]
    assert log.height == ROWS
    assert log.dtypes == [pl.Int8, *[pl.Int64] * 13, *[pl.String] * 26]
    assert set(log["label"]) == {0, 1}


def test_categorical_values_are_eight_hex_digits_of_the_cardinality_that_the_world_has(log):
    sizes = CriteoWorld(SEED, NOTHING).sizes
    for name, size in sizes.items():
        values = log[name].unique()
        assert all(re.fullmatch("[0-9a-f]{8}", value) for value in values), name
        assert len(values) == size if size < 100 else len(values) <= size, name
        assert size == 3 or 0.7 < size / CARDINALITIES[name] < 1.4, name
    assert max(sizes.values()) > 100_000


def test_no_two_values_of_a_column_share_a_text():
    world = CriteoWorld(SEED, NOTHING)
    assert all(world._texts[name].n_unique() == size for name, size in world.sizes.items())


def test_categorical_values_have_zipf_tails(log):
    for name, size in CARDINALITIES.items():
        counts = log[name].value_counts(sort=True)["count"]
        assert counts[0] > 1.4 * counts[1] > 0, name
        if size > 10_000:
            assert (counts <= 5).sum() > 1_000, name


@given(
    size=st.integers(3, 200_000),
    exponent=st.floats(1.05, 1.5),
    uniform=st.floats(0, 1, exclude_min=True, exclude_max=True),
)
def test_a_value_number_is_drawn_where_the_power_law_puts_it(size, exponent, uniform):
    rank = int(synth_criteo._zipf_ranks(np.array([uniform]), size, exponent)[0])

    def below(edge: float) -> float:
        mass = [0.9 ** (1 - exponent) - (x + 0.9) ** (1 - exponent) for x in (edge, size)]
        return mass[0] / mass[1]

    assert 0 <= rank < size
    assert below(rank) - 1e-9 <= uniform <= below(rank + 1) + 1e-9


def test_counts_are_heavy_tailed_and_some_are_missing(log):
    missing = [log[name].null_count() / ROWS for name in NUMERIC]
    assert max(missing) < 0.27
    assert max(missing) - min(missing) > 0.1
    for name in NUMERIC:
        assert log[name].min() >= 0, name
        assert log[name].max() > 20 * log[name].median(), name


# ------------------------------------------------------------------------------------------------------------ truth


def test_truth_json_says_what_the_result_says(sample, log, truth):
    assert list(truth) == ["rows", "seed", "ctr", "crosses", "low_rank", "triples", "best_auc", "best_log_loss"]
    assert (truth["rows"], truth["seed"]) == (ROWS, SEED)
    assert truth["ctr"] == pytest.approx(log["label"].mean())
    assert [tuple(columns) for columns in truth["crosses"] + truth["triples"]] == sample.planted
    assert [tuple(columns) for columns in truth["low_rank"]] == sample.low_rank
    assert [len(truth[kind]) for kind in ("crosses", "low_rank", "triples")] == [8, 4, 1]
    assert (truth["best_auc"], truth["best_log_loss"]) == (sample.best_auc, sample.best_log_loss)


def test_the_best_figures_are_those_of_the_true_probabilities(sample, log):
    _, probability, _ = CriteoWorld(SEED, WITH_TRIPLE).labelled(np.arange(ROWS, dtype=np.uint64))
    label = log["label"].to_numpy()
    assert sample.best_auc == pytest.approx(roc_auc_score(label, probability), abs=1e-9)
    assert sample.best_log_loss == pytest.approx(log_loss(label, probability), abs=1e-9)
    # Calibrated: among rows of about one probability, about that share is positive.
    for low in np.arange(0.05, 0.95, 0.1):
        rows = (probability >= low) & (probability < low + 0.1)
        assert label[rows].mean() == pytest.approx(probability[rows].mean(), abs=0.02)


@pytest.mark.parametrize(("planting", "low", "high"), [(Planting(), 0.82, 0.855), (NOTHING, 0.67, 0.71)])
def test_every_seed_is_about_equally_hard(planting, low, high):
    for seed in range(4):
        _, probability, label = CriteoWorld(seed, planting).labelled(np.arange(20_000, dtype=np.uint64))
        assert 0.36 < label.mean() < 0.40, seed
        assert low < synth._auc(label, probability) < high, seed


@given(seed=st.integers(0, 10_000))
@settings(max_examples=4)
def test_what_is_planted_is_distinct_and_small_enough_to_memorise_but_for_low_rank_pairs(seed):
    world = CriteoWorld(seed, Planting(crosses=12, low_rank=6, triples=4))

    def cells(columns):
        return np.prod([world.sizes[name] for name in columns])

    planted = [*world.crosses, *world.low_rank, *world.triples]
    assert [len(columns) for columns in planted] == [2] * 18 + [3] * 4
    assert len({frozenset(columns) for columns in planted}) == len(planted)
    assert all(500 <= cells(columns) <= 150_000 for columns in world.crosses)
    assert all(2_000 <= cells(columns) <= 30_000 for columns in world.triples)
    assert all(cells(columns) >= 500_000 for columns in world.low_rank)
    assert all(200 <= world.sizes[name] <= 10_000 for columns in world.low_rank for name in columns)


# ----------------------------------------------------------------------------------------------------------- signal


def excess(log: pl.DataFrame, residual: np.ndarray, columns: list[str]) -> float:
    """How far `residual` varies between the combinations of `columns` beyond chance, in standard errors of chance."""
    cell = log.select(pl.struct(columns).rank("dense")).to_series().to_numpy().astype(int)
    count = np.bincount(cell)
    mean = np.bincount(cell, weights=residual) / np.maximum(count, 1)
    common = count >= 50
    chance = residual.var() / count[common]
    z = mean[common] ** 2 / chance
    return float((z.mean() - 1) / np.sqrt(2 / common.sum()))


def residual_of(planting: Planting, log: pl.DataFrame) -> np.ndarray:
    """Labels less the probabilities of the same seed's world without anything planted, shifted to a mean of 0."""
    _, probability, _ = CriteoWorld(SEED, planting).labelled(np.arange(ROWS, dtype=np.uint64))
    residual = log["label"].to_numpy() - probability
    return residual - residual.mean()


def test_combinations_say_more_than_their_columns_where_planted_and_nothing_elsewhere(log, truth):
    residual = residual_of(NOTHING, log)
    planted = truth["crosses"] + truth["low_rank"] + truth["triples"]
    for columns in planted:
        assert excess(log, residual, columns) > 10, columns
    touched = {name for columns in planted for name in columns}
    others = [name for name in CARDINALITIES if name not in touched]
    for pair in combinations(others[:6], 2):
        assert abs(excess(log, residual, list(pair))) < 6, pair


def test_nothing_is_left_of_any_combination_after_the_true_probabilities(log, truth):
    residual = residual_of(WITH_TRIPLE, log)
    for columns in truth["crosses"] + truth["low_rank"] + truth["triples"]:
        assert abs(excess(log, residual, columns)) < 5, columns


def test_twenty_quantile_buckets_catch_the_effect_of_a_count(tmp_path):
    log = pl.read_parquet(written(tmp_path / "plain", 60_000, SEED).files[0])
    world = CriteoWorld(SEED, NOTHING)
    for name in NUMERIC:
        numbers = log[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        effect = world._counts[name].effect(numbers)
        bucket = np.searchsorted(np.nanquantile(numbers, np.arange(1, 20) / 20), numbers)
        bucket[np.isnan(numbers)] = 20
        count = np.bincount(bucket)
        mean = np.bincount(bucket, weights=effect) / np.maximum(count, 1)
        assert np.corrcoef(mean[bucket], effect)[0, 1] > 0.98, name


# ----------------------------------------------------------------------------------------------------------- recipe


def test_the_recipe_is_valid_and_names_every_column_and_no_cross(sample, log):
    recipe = Recipe.model_validate(yaml.safe_load(sample.files[2].read_text()))
    assert [(sample.files[2].parent / path).is_file() for path in recipe.data.train] == [True]
    features = recipe.features
    assert recipe.data.label.column == "label"
    assert (recipe.data.split.kind, recipe.data.split.valid, recipe.data.split.test) == ("random", 0.1, 0.1)
    assert [field.column for field in features.numeric] == NUMERIC
    assert [field.column for field in features.categorical] == list(CARDINALITIES)
    assert {field.buckets for field in features.numeric} == {20}
    assert recipe.crosses == ()


def test_the_recipe_cuts_the_tails_of_the_big_columns_more(sample):
    recipe = Recipe.model_validate(yaml.safe_load(sample.files[2].read_text()))
    least = {field.column: field.min_count for field in recipe.features.categorical}
    assert least["C21"] > least["C1"] > least["C9"]


# --------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("rows", "seed", "planting", "message"),
    [
        (99, 0, NOTHING, "--rows must be at least 100, not 99"),
        (100, -1, NOTHING, "--seed must not be negative, not -1"),
        (100, 0, Planting(crosses=500), r"--crosses must be from 0 to \d\d, not 500: .* --seed 0$"),
        (100, 0, Planting(low_rank=100), r"--low-rank must be from 0 to \d\d, not 100: "),
        (100, 0, Planting(triples=9_999), r"--triples must be from 0 to \d+, not 9999: .* sets of 3 columns"),
        (100, 0, Planting(triples=-1), r"--triples must be from 0 to \d+, not -1"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_written(tmp_path, rows, seed, planting, message):
    with pytest.raises(UsageError, match=message):
        write_criteo_log(tmp_path, rows, seed, planting, Reporter())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(WriteError, match="gone: cannot write the sample log: No such file"):
        write_criteo_log(tmp_path / "gone", 100, 0, NOTHING, Reporter())
