"""Mean and deviation without rounding: right to the last digits, and the same however the rows come."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.features.moments import Moments

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def moments_of(values: list[float]) -> Moments:
    moments = Moments()
    moments.add(np.array(values, dtype=np.float64))
    return moments


@settings(max_examples=100)
@given(st.lists(FINITE, max_size=30))
def test_sums_are_exact_for_every_float_subnormal_and_huge_ones_included(values: list[float]) -> None:
    moments = moments_of(values)
    assert moments.count == len(values)
    assert Fraction(moments.total, 2**1074) == sum(map(Fraction, values))
    assert Fraction(moments.squares, 2**2148) == sum(Fraction(value) ** 2 for value in values)


@settings(max_examples=50)
@given(st.lists(FINITE, min_size=1, max_size=30), st.randoms(use_true_random=False), st.integers(1, 5))
def test_merging_in_any_order_and_chunking_gives_the_same_moments(
    values: list[float], chance: random.Random, parts: int
) -> None:
    shuffled = values[:]
    chance.shuffle(shuffled)
    partials = [moments_of(shuffled[part::parts]) for part in range(parts)]
    chance.shuffle(partials)
    merged = Moments()
    for partial in partials:
        merged.merge(partial)
    assert merged == moments_of(values)


def test_mean_and_deviation_survive_a_mean_far_from_zero() -> None:
    moments = moments_of([1e15 + 1.0, 1e15 + 2.0, 1e15 + 3.0])
    assert moments.mean() == 1e15 + 2.0
    assert moments.deviation() == pytest.approx(math.sqrt(2 / 3), rel=1e-15)


def test_mean_and_deviation_are_numpys_where_numpy_is_accurate() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 10_000)
    moments = moments_of(values.tolist())
    assert moments.mean() == pytest.approx(values.mean(), rel=1e-14)
    assert moments.deviation() == pytest.approx(values.std(), rel=1e-14)


def test_a_constant_column_and_an_empty_one_have_no_deviation() -> None:
    assert moments_of([0.1] * 1000).deviation() == 0.0
    assert moments_of([0.1] * 1000).mean() == 0.1
    assert (Moments().mean(), Moments().deviation()) == (0.0, 0.0)


@settings(max_examples=50)
@given(st.lists(st.floats(1.6e9, 1.8e9) | st.integers(1_600_000_000, 1_800_000_000), min_size=1, max_size=50))
def test_timestamps_keep_every_digit_of_mean_and_deviation(stamps: list[float]) -> None:
    exact = [Fraction(float(stamp)) for stamp in stamps]
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / len(exact)
    moments = moments_of([float(stamp) for stamp in stamps])
    assert moments.mean() == float(mean)
    # An integer root with 200 bits behind the point is right far beyond float64.
    root = Fraction(math.isqrt((variance.numerator << 400) // variance.denominator), 1 << 200)
    assert abs(moments.deviation() - float(root)) <= 2 * math.ulp(float(root))
