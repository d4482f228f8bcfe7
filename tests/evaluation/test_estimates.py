"""Figures with their influences: against the metrics, against bootstraps, and how often their intervals hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from widedeep.evaluation import MetricAccumulator
from widedeep.evaluation.comparison import (
    LEAST_GROUPS,
    LEAST_OF_CLASS,
    Change,
    Estimate,
    LabelledRows,
    _student_deviations_95,
    change_over_seeds,
    estimates,
    score_losses,
)
from widedeep.evaluation.verdict import better, verdict


def drawn_rows(
    seed: int, count: int = 400, groups: int | None = None, weighted: bool = False
) -> tuple[LabelledRows, ...]:
    draw = np.random.default_rng(seed)
    group = None if groups is None else draw.integers(0, groups, count).astype(np.uint64)
    # What rows of a group share makes them depend on each other.
    shared = np.zeros(count) if groups is None else draw.normal(0, 1, groups)[group.astype(np.int64)]
    label = (draw.random(count) < 1 / (1 + np.exp(-shared))).astype(np.float32)
    weight = draw.integers(0, 4, count).astype(np.float32) if weighted else None
    scores = [sigmoid(label + 0.5 * shared + draw.normal(0, 1, count)) for _ in range(2)]
    return LabelledRows.of("binary", label, weight, group), *scores


def sigmoid(logit: NDArray[np.float64]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-logit))).astype(np.float32)


def noisy_copies(seed: int, rows: int, noise: tuple[float, float]) -> tuple[LabelledRows, list[NDArray[np.float32]]]:
    """Labels drawn from known probabilities, and copies of the true logit with so much noise."""
    draw = np.random.default_rng(seed)
    logit = draw.normal(-1.0, 1.2, rows)
    label = (draw.random(rows) < sigmoid(logit)).astype(np.float32)
    return LabelledRows.of("binary", label), [sigmoid(logit + draw.normal(0, one, rows)) for one in noise]


@given(st.integers(0, 2**32), st.booleans(), st.sampled_from([None, 1, 7, 60]))
@settings(max_examples=40, deadline=None)
def test_every_estimate_is_the_metric_of_the_same_name(seed: int, weighted: bool, groups: int | None) -> None:
    rows, score, _ = drawn_rows(seed, 200, groups, weighted)
    with MetricAccumulator("binary", grouped=groups is not None) as metrics:
        group = None if rows.group is None else rows.group.astype(np.uint64)
        metrics.add(rows.label, score, rows.weight, group)
        expected = metrics.result()
    found = estimates(rows, score)
    assert found.keys() >= {"auc", "log_loss"} | ({"gauc"} if groups == 1 else set())
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(expected[name], rel=1e-9), name
        assert rows.enough == (groups in (None, 60))
        told = rows.enough and (name != "gauc" or _groups_of_both(rows) >= LEAST_GROUPS)
        assert estimate.influence.sum() == pytest.approx(0.0 if told else np.nan, abs=1e-9, nan_ok=True)


def _groups_of_both(rows: LabelledRows) -> int:
    assert rows.group is not None
    classes = [set(rows.label[(rows.group == group) & (rows.weight > 0.0)]) for group in np.unique(rows.group)]
    return sum(len(found) == 2 for found in classes)


def test_a_regression_has_the_error_of_its_root_mean_square() -> None:
    draw = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(400):
        label, prediction = draw.normal(0, 1, 200), draw.normal(0, 1, 200)
        rows = LabelledRows.of("regression", label)
        found = estimates(rows, prediction)
        assert list(found) == ["rmse"]
        assert found["rmse"].value == pytest.approx(np.sqrt(np.square(label - prediction).mean()))
        values.append(found["rmse"].value)
        errors.append(found["rmse"].change().error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.12)
    assert estimates(LabelledRows.of("regression", label), label)["rmse"].change().error == 0.0


@pytest.mark.parametrize("name", ["auc", "gauc", "log_loss"])
def test_with_groups_the_error_is_that_of_a_bootstrap_by_group(name: str) -> None:
    rows, first, second = drawn_rows(3, 3000, 150)
    assert rows.group is not None
    difference = estimates(rows, first)[name].minus(estimates(rows, second)[name]).change()
    members = [np.flatnonzero(rows.group == number) for number in range(150)]
    draw, values = np.random.default_rng(0), []
    for _ in range(300):
        chosen = draw.integers(0, 150, 150)
        taken = np.concatenate([members[number] for number in chosen])
        # A group drawn twice is two groups.
        group = np.repeat(np.arange(150), [len(members[number]) for number in chosen]).astype(np.uint64)
        again = LabelledRows.of("binary", rows.label[taken], None, group)
        values.append(estimates(again, first[taken])[name].value - estimates(again, second[taken])[name].value)
    assert difference.error == pytest.approx(np.std(values), rel=0.15)


def test_rows_that_repeat_in_a_group_do_not_make_the_interval_narrower() -> None:
    rows, first, second = drawn_rows(5, 300)
    times = 10
    group = np.repeat(np.arange(300), times).astype(np.uint64)
    repeated = LabelledRows.of("binary", np.repeat(rows.label, times), None, group)
    for name in ("auc", "log_loss"):
        alone = estimates(rows, first)[name].minus(estimates(rows, second)[name]).change()
        many = (
            estimates(repeated, np.repeat(first, times))[name]
            .minus(estimates(repeated, np.repeat(second, times))[name])
            .change()
        )
        assert many.value == pytest.approx(alone.value, abs=1e-12)
        assert many.error == pytest.approx(alone.error, rel=1e-9)


def test_equally_noisy_copies_of_the_truth_are_told_apart_as_often_as_the_interval_says_and_a_worse_one_is_found() -> (
    None
):
    equal = worse = 0
    for seed in range(60):
        rows, (first, second) = noisy_copies(seed, 4000, (0.5, 0.5))
        change = estimates(rows, first)["auc"].minus(estimates(rows, second)["auc"]).change()
        equal += better("auc", change) is None
        rows, (first, second) = noisy_copies(seed, 4000, (0.5, 1.0))
        worse += better("auc", estimates(rows, first)["auc"].minus(estimates(rows, second)["auc"]).change()) == "first"
    assert equal >= 53  # 57 expected
    assert worse >= 55


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_over_seeds_holds_for_other_rows_and_other_seeds(seeds: int) -> None:
    draw, held = np.random.default_rng(seeds), 0
    for _ in range(2000):
        # What a row adds is common to all seeds, what a seed adds to all rows; the truth is 0.
        row, seed = draw.normal(0, 1, 100), draw.normal(0, 0.1, seeds)
        figures = [Estimate(row.mean() + one, (row - row.mean()) / 100) for one in seed]
        change = change_over_seeds(figures)
        held += change.low <= 0.0 <= change.high
    assert 0.93 < held / 2000 < 0.99


def test_with_one_seed_or_equal_seeds_the_interval_is_that_of_rows_alone() -> None:
    rows, first, _ = drawn_rows(1)
    one = estimates(rows, first)["auc"]
    assert change_over_seeds([one]) == one.change()
    assert change_over_seeds([one, one]).error == pytest.approx(one.change().error)


@pytest.mark.parametrize("freedom", [1, 1.9, 2, 2.5, 3, 4, 7.7, 30, 1e6, np.inf])
def test_the_width_of_students_law_is_that_of_scipy(freedom: float) -> None:
    expected = stats.t.ppf(0.975, np.floor(freedom)) if np.isfinite(freedom) else stats.norm.ppf(0.975)
    assert _student_deviations_95(freedom) == pytest.approx(expected, rel=0.003)


def test_rows_of_no_weight_and_of_one_class_leave_figures_out() -> None:
    score = np.array([0.2, 0.4, 0.6], dtype=np.float32)
    ones = np.ones(3, dtype=np.float32)
    assert list(estimates(LabelledRows.of("binary", ones), score)) == ["log_loss"]
    assert estimates(LabelledRows.of("binary", ones, 0 * ones), score) == {}
    group = np.array([1, 1, 2], dtype=np.uint64)
    label = np.array([1, 0, 0], dtype=np.float32)
    assert "gauc" not in estimates(
        LabelledRows.of("binary", label, np.array([1, 0, 1], dtype=np.float32), group), score
    )


def test_a_probability_of_one_has_a_finite_loss() -> None:
    losses = score_losses("binary", np.array([0.0, 1.0]), np.array([1.0, 1.0], dtype=np.float32))
    assert np.isfinite(losses).all()
    assert losses[0] > 15
    assert losses[1] < 1e-6


def test_the_verdict_names_the_better_model_and_how_much_it_is_better() -> None:
    assert verdict("auc", Change(0.005, 0.001), "A", "B") == (
        "A has a higher AUC than B, by 0.00500 (95%: 0.00304 to 0.00696)"
    )
    assert verdict("auc", Change(-0.005, 0.001), "A", "B").startswith("B has a higher AUC than A, by 0.00500")
    assert verdict("log_loss", Change(0.005, 0.001), "A", "B").startswith("B has a lower log loss than A, by 0.00500")
    assert verdict("log_loss", Change(-0.005, 0.001), "A", "B").startswith("A has a lower log loss than B")
    assert verdict("auc", Change(0.001, 0.001), "A", "B") == (
        "no difference in AUC can be told on these rows: A - B is +0.00100 (95%: -0.00096 to +0.00296)"
    )
    assert verdict("auc", Change(0.0, 0.0), "A", "B") == "A and B have the same AUC on these rows"


def test_too_few_positives_negatives_rows_or_groups_have_no_interval() -> None:
    draw = np.random.default_rng(0)
    first, second = draw.random((2, 60)).astype(np.float32)
    label = np.repeat([0, 1], [LEAST_OF_CLASS, 60 - LEAST_OF_CLASS]).astype(np.float32)
    groups = (np.arange(60) % LEAST_GROUPS).astype(np.uint64)
    few = np.where(np.arange(60) == 0, 1, label).astype(np.float32)
    for rows, enough in (
        (LabelledRows.of("binary", label, None, groups), True),
        (LabelledRows.of("binary", few), False),
        (LabelledRows.of("binary", 1 - few), False),
        (LabelledRows.of("regression", few), True),
        (LabelledRows.of("regression", few, (np.arange(60) < LEAST_OF_CLASS - 1).astype(np.float32)), False),
        (LabelledRows.of("binary", label, None, np.minimum(groups, LEAST_GROUPS - 2)), False),
    ):
        assert rows.enough == enough
        ours, theirs = estimates(rows, first), estimates(rows, second)
        for name in ours:
            change = ours[name].minus(theirs[name]).change()
            # Of the groups only LEAST_OF_CLASS have both classes.
            told = enough and name != "gauc"
            assert np.isfinite(change.error) == told
            assert told or better(name, change) is None
            assert told or verdict(name, change, "A", "B").startswith("these are too few rows")
            assert np.isfinite(change_over_seeds([ours[name]] * 3).error) == told


@pytest.mark.parametrize(("both", "told"), [(LEAST_GROUPS - 1, False), (LEAST_GROUPS, True)])
def test_gauc_has_an_interval_where_enough_groups_have_both_classes(both: int, told: bool) -> None:
    draw = np.random.default_rng(0)
    label = np.where(np.arange(200) < 2 * both, np.arange(200) % 2, 0).astype(np.float32)
    rows = LabelledRows.of("binary", label, None, (np.arange(200) // 2).astype(np.uint64))
    found = estimates(rows, draw.random(200).astype(np.float32))
    assert np.isfinite(found["gauc"].change().error) == told
    assert np.isfinite(found["auc"].change().error)
