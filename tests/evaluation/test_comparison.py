"""How much better one model is than another on the same rows, against scikit-learn and the plain formulas."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from widedeep.evaluation.comparison import Change, LabelledRows, auc_estimate, loss_fall, row_losses


def rows(seed: int, count: int, levels: int = 0) -> dict[str, Any]:
    """Labels, weights and two scores that have a part in common; with `levels`, many scores are tied."""
    draw = np.random.default_rng(seed)
    label = np.append((draw.random(count - 2) < 0.4), [True, False]).astype(np.float64)
    common = label + draw.normal(0, 1, count)
    before, after = (common + draw.normal(0, spread, count) for spread in (1.0, 0.5))
    if levels:
        before, after = np.round(before * levels) / levels, np.round(after * levels) / levels
    weight = draw.integers(0, 4, count).astype(np.float64)
    weight[-2:] = 1.0
    return {"label": label, "before": before, "after": after, "weight": weight}


def auc_rise(label: Any, before: Any, after: Any, weight: Any = None) -> Change | None:
    labelled = LabelledRows.of("binary", label, weight)
    first, second = auc_estimate(labelled, before), auc_estimate(labelled, after)
    return None if first is None or second is None else second.minus(first).change()


drawn = st.builds(rows, st.integers(0, 2**32), st.integers(4, 80), st.sampled_from([0, 1, 4]))


@given(drawn, st.booleans())
@settings(max_examples=80)
def test_the_rise_is_the_difference_of_scikit_learns_aucs(log: dict[str, Any], weighted: bool) -> None:
    weight = log["weight"] if weighted else None
    change = auc_rise(log["label"], log["before"], log["after"], weight)
    aucs = [roc_auc_score(log["label"], log[name], sample_weight=weight) for name in ("before", "after")]
    assert change is not None
    assert change.value == pytest.approx(aucs[1] - aucs[0], abs=1e-12)


def delong_error(log: dict[str, Any]) -> float:
    """DeLong, DeLong and Clarke-Pearson (1988), pair by pair, with variances over m rather than m - 1."""
    label = log["label"] > 0
    components = []
    for name in ("before", "after"):
        higher, lower = log[name][label][:, None], log[name][~label][None, :]
        wins = (higher > lower) + 0.5 * (higher == lower)
        components.append((wins.mean(axis=1), wins.mean(axis=0)))
    of_positive, of_negative = (components[1][i] - components[0][i] for i in (0, 1))
    return float(np.sqrt(of_positive.var() / len(of_positive) + of_negative.var() / len(of_negative)))


@given(drawn)
@settings(max_examples=60)
def test_the_error_of_the_rise_is_delongs(log: dict[str, Any]) -> None:
    change = auc_rise(log["label"], log["before"], log["after"])
    assert change is not None
    assert change.error == pytest.approx(delong_error(log), abs=1e-12)


@pytest.mark.parametrize("levels", [0, 2])
def test_the_error_of_the_rise_is_how_much_it_varies_between_samples(levels: int) -> None:
    changes = [
        auc_rise(log["label"], log["before"], log["after"]) for log in (rows(i, 300, levels) for i in range(400))
    ]
    values, errors = zip(*((one.value, one.error) for one in changes if one is not None), strict=True)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.12)


def test_with_weights_too_the_error_of_the_rise_is_how_much_it_varies() -> None:
    values, errors = [], []
    for seed in range(400):
        log = rows(1000 + seed, 300)
        change = auc_rise(log["label"], log["before"], log["after"], log["weight"])
        assert change is not None
        values.append(change.value)
        errors.append(change.error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.12)


@given(drawn)
@settings(max_examples=40)
def test_a_weight_of_three_is_three_rows_and_one_of_zero_is_none(log: dict[str, Any]) -> None:
    times = log["weight"].astype(np.int64)
    label, before, after = (np.repeat(log[name], times) for name in ("label", "before", "after"))
    weighted = auc_rise(log["label"], log["before"], log["after"], log["weight"])
    repeated = auc_rise(label, before, after)
    assert weighted is not None
    assert repeated is not None
    assert weighted.value == pytest.approx(repeated.value, abs=1e-12)
    fall = loss_fall(log["before"], log["after"], log["weight"])
    assert fall.value == pytest.approx(loss_fall(before, after).value, abs=1e-12)


def test_with_one_class_there_is_no_auc() -> None:
    scores = np.array([0.1, 0.2, 0.3])
    assert auc_rise(np.ones(3), scores, scores) is None
    assert auc_rise(np.zeros(3), scores, scores) is None
    assert auc_rise(np.array([0.0, 0.0, 1.0]), scores, scores, np.array([1.0, 1.0, 0.0])) is None


def test_the_loss_of_rows_is_that_of_scikit_learn() -> None:
    log = rows(1, 200)
    before = row_losses("binary", log["label"], log["before"])
    assert before.mean() == pytest.approx(log_loss(log["label"], 1 / (1 + np.exp(-log["before"]))), rel=1e-9)
    assert row_losses("regression", np.array([1.0, 2.0]), np.array([3.0, 2.5])).tolist() == [4.0, 0.25]


@pytest.mark.parametrize("logit", [-1e3, -40.0, 0.0, 40.0, 1e3])
def test_a_logit_of_any_size_has_a_finite_loss(logit: float) -> None:
    losses = row_losses("binary", np.array([0.0, 1.0]), np.full(2, logit))
    assert np.isfinite(losses).all()
    assert losses[0] - losses[1] == pytest.approx(logit)


@given(drawn)
@settings(max_examples=40)
def test_the_error_of_a_fall_is_that_of_the_mean_of_its_rows(log: dict[str, Any]) -> None:
    fall = loss_fall(log["before"], log["after"])
    differences = log["before"] - log["after"]
    assert fall.value == pytest.approx(differences.mean(), abs=1e-12)
    assert fall.error == pytest.approx(differences.std() / np.sqrt(len(differences)), abs=1e-12)
    # Equal weights change nothing, whatever their size.
    same = loss_fall(log["before"], log["after"], np.full(len(differences), 7.5))
    assert same.interval == pytest.approx(fall.interval, abs=1e-12)


def test_the_error_of_a_weighted_fall_is_how_much_it_varies_between_samples() -> None:
    values, errors = [], []
    for seed in range(600):
        draw = np.random.default_rng(seed)
        before, after, weight = draw.normal(1, 1, 200), draw.normal(0, 2, 200), draw.gamma(1.0, 1.0, 200)
        fall = loss_fall(before, after, weight)
        values.append(fall.value)
        errors.append(fall.error)
    assert np.mean(values) == pytest.approx(1.0, abs=0.03)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.1)


def test_the_interval_is_two_deviations_on_either_side() -> None:
    change = Change(2.0, 0.5)
    assert change.interval == (2.0, pytest.approx(1.02, abs=1e-3), pytest.approx(2.98, abs=1e-3))
    assert change.z == 4.0
    assert Change(0.0, 0.0).z == 0.0
