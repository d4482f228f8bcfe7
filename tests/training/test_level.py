"""The level that valid rows ask for: all of it where they are many and independent, little where they are few or alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from widedeep.training.level import DEVIATION, level_shift

Floats = NDArray[np.float32]


def rows(number: int, rate: float, off: float, seed: int = 0) -> tuple[Floats, Floats]:
    """Logits that are too low by `off`, and labels."""
    draw = np.random.default_rng(seed)
    true = np.log(rate / (1 - rate)) + draw.normal(0, 1, number)
    label = draw.random(number) < 1 / (1 + np.exp(-true))
    return (true - off).astype(np.float32), label.astype(np.float32)


def calibration(logit: Floats, label: Floats) -> float:
    return float((1 / (1 + np.exp(-logit.astype(np.float64)))).mean() / label.mean())


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("off", [-0.2, 0.2])
def test_many_independent_rows_get_nearly_all_that_they_ask_for(rate: float, off: float) -> None:
    logit, label = rows(400_000, rate, off)
    shift = level_shift(logit, label, None)
    assert shift == pytest.approx(off, abs=0.03)
    assert calibration(logit + np.float32(shift), label) == pytest.approx(1.0, abs=0.03)


def test_a_score_that_few_positives_call_off_is_hardly_moved() -> None:
    logit, label = rows(10_000, 0.002, 0.5, seed=3)
    assert label.sum() < 60
    assert 0.0 < level_shift(logit, label, None) < 0.1


def test_rows_that_come_in_a_few_clusters_move_less_than_independent_ones() -> None:
    draw = np.random.default_rng(1)
    of_user = np.repeat(draw.normal(0, 1.5, 60), 200)
    logit = np.full(len(of_user), -1.2, dtype=np.float32)
    label = (draw.random(len(of_user)) < 1 / (1 + np.exp(1.2 - of_user))).astype(np.float32)
    mixed = draw.permutation(len(label))
    together, apart = level_shift(logit, label, None), level_shift(logit, label[mixed], None)
    assert abs(together) < 0.5 * abs(apart)


@given(scale=st.sampled_from([1e-3, 1.0, 1e6]), seed=st.integers(0, 20))
def test_the_unit_of_the_weights_is_of_no_matter(scale: float, seed: int) -> None:
    logit, label = rows(5_000, 0.2, 0.3, seed)
    weight = np.random.default_rng(seed).uniform(0.5, 2.0, len(label)).astype(np.float32)
    expected = level_shift(logit, label, weight)
    assert level_shift(logit, label, (scale * weight).astype(np.float32)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize("number", [1, 7, 1000])
def test_rows_of_one_class_or_few_rows_leave_it_finite_and_small(label: float, number: int) -> None:
    shift = level_shift(np.full(number, -3.0, np.float32), np.full(number, label, np.float32), None)
    assert np.isfinite(shift)
    assert (shift >= 0.0) == (label == 1.0)
    assert abs(shift) <= number * DEVIATION**2 + 1e-6


def test_rows_without_weight_ask_for_nothing() -> None:
    logit, label = rows(500, 0.2, 0.3)
    assert level_shift(logit, label, np.zeros(500, dtype=np.float32)) == 0.0
