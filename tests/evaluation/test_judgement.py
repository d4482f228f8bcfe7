"""A model that is no good is told so, with figures; a good one, and chance, are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from widedeep.evaluation import MetricAccumulator
from widedeep.evaluation.judgement import LabelTally, ModelWarning, judge_split, judge_training, poisson_interval


def judged(
    label: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None, train_rate: float | None = None
) -> list[str]:
    """The kinds of the warnings for scored rows."""
    with MetricAccumulator("binary") as accumulator:
        accumulator.add(label, score, weight)
        metrics = accumulator.result()
    tally = LabelTally()
    tally.add(label, weight)
    return [warning.kind for warning in judge_split("binary", "test", metrics, tally.positives, train_rate)]


def drawn(rows: int, rate: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(rows) < rate).astype(np.float64)


@given(st.floats(1.0, 1e6))
def test_the_interval_of_a_count_is_the_exact_one_of_poissons_law(count: float) -> None:
    low, high = poisson_interval(count)
    assert low == pytest.approx(chi2.ppf(0.005, 2 * count) / 2, rel=0.01, abs=0.05)
    assert high == pytest.approx(chi2.ppf(0.995, 2 * (count + 1)) / 2, rel=0.01)


def test_scores_that_carry_noise_alone_are_worse_than_their_rate_and_the_rate_itself_is_not() -> None:
    label = drawn(5000, 0.2)
    noise = np.random.default_rng(1).uniform(0.02, 0.38, 5000)
    assert judged(label, noise) == ["worse_than_constant"]
    assert judged(label, np.where(label == 1.0, 0.25, 0.19)) == []


def test_with_a_train_rate_a_model_is_held_against_always_saying_that() -> None:
    label = drawn(5000, 0.2)
    # Worse than the rows' own rate, which nobody knew, and better than the train rate of .3.
    score = np.full(5000, 0.22)
    assert judged(label, score) == ["worse_than_constant"]
    assert judged(label, score, train_rate=0.3) == []
    assert judged(label, np.full(5000, 0.18), train_rate=0.2) == ["worse_than_constant"]


def test_a_level_that_is_off_is_told_where_chance_cannot_explain_it() -> None:
    assert judged(drawn(5000, 0.1), np.full(5000, 0.2), train_rate=0.2) == ["level"]
    assert judged(drawn(5000, 0.1), np.full(5000, 0.05), train_rate=0.05) == ["level"]
    assert judged(drawn(5000, 0.1), np.full(5000, 0.112), train_rate=0.112) == []
    few = np.array([1.0] * 3 + [0.0] * 57)
    assert judged(few, np.full(60, 0.1), train_rate=0.1) == []


def test_a_few_heavy_rows_say_no_more_than_they_are() -> None:
    label = np.array([1.0] * 3 + [0.0] * 600)
    weight = np.array([1000.0] * 3 + [50.0] * 600)
    score = np.full(603, 0.18)
    assert judged(label, score, weight, train_rate=0.18) == []
    assert judged(np.repeat(label, 20), np.repeat(score, 20), np.repeat(weight, 20), train_rate=0.18) == ["level"]


def test_weights_count_in_the_mean_of_the_labels() -> None:
    tally = LabelTally()
    tally.add(np.array([1.0, 0.0]), np.array([3.0, 1.0]))
    tally.add(np.array([0.0]), np.array([2.0]))
    assert tally.mean == 0.5
    assert LabelTally().mean is None
    assert tally.positives == pytest.approx(1.0)


def test_a_regression_below_its_mean_is_told_with_the_error_of_the_mean() -> None:
    label = np.array([1.0, 2.0, 3.0, 4.0])
    with MetricAccumulator("regression") as accumulator:
        accumulator.add(label, label[::-1].copy())
        metrics = accumulator.result()
    (warning,) = judge_split("regression", "test", metrics, 0.0)
    assert warning.kind == "worse_than_constant"
    assert f"{np.std(label):.4g} (R² is -3.000)" in warning.message
    assert judge_split("regression", "valid", {**metrics, "r2": 0.1}, 0.0) == ()


def test_rows_whose_metrics_are_undefined_are_not_judged() -> None:
    nothing = dict.fromkeys(("log_loss", "normalized_entropy", "calibration", "positives", "rmse", "r2"))
    assert judge_split("binary", "valid", nothing, 0.0, 0.5) == ()
    assert judge_split("regression", "valid", nothing, 0.0) == ()


@pytest.mark.parametrize(
    ("losses", "epochs"),
    [
        ([0.5, 0.4, 0.3], None),
        ([0.6931, 0.6932, 0.6933], None),
        ([0.5, 0.3, 0.31], None),
        ([0.5], None),
        ([None, None], None),
        ([0.5, 0.4, 0.6], (1, 3)),
        ([0.5, 0.3, 0.45], (2, 3)),
    ],
)
def test_a_training_loss_that_grows_beyond_noise_is_told(losses: list[float | None], epochs: object) -> None:
    found = judge_training(losses)
    if epochs is None:
        assert found == ()
        return
    (warning,) = found
    assert isinstance(epochs, tuple)
    since, last = epochs
    assert f"{losses[since - 1]:.4f} in epoch {since} to {losses[last - 1]:.4f} in epoch {last}" in warning.message


def test_a_warning_in_json_names_its_split_where_it_has_one() -> None:
    assert ModelWarning("growing_loss", None, "m").to_json() == {"kind": "growing_loss", "message": "m"}
    assert ModelWarning("level", "test", "m").to_json() == {"kind": "level", "split": "test", "message": "m"}


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_train_rate_of_one_class_alone_is_no_constant_to_be_held_against(rate: float) -> None:
    label = drawn(500, 0.2)
    assert judged(label, np.where(label == 1.0, 0.3, 0.18), train_rate=rate) == []
    assert judged(label, np.where(label == 1.0, 0.15, 0.21), train_rate=rate) == ["worse_than_constant"]
