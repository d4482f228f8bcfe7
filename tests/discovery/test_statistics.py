"""q-values and the null, against Benjamini and Hochberg's rule as it is told."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.discovery.statistics import q_values, tail, threshold

probabilities = st.lists(st.floats(0.0, 1.0) | st.sampled_from([0.01, 0.01, 0.5]), min_size=1, max_size=40).map(
    np.array
)
scores = st.lists(st.floats(-8.0, 8.0), min_size=1, max_size=40).map(np.array)


def discoveries(p: np.ndarray, rate: float) -> set[int]:
    """Benjamini and Hochberg: with the largest k for which the k-th least p is at most k / m * rate, the k least."""
    order = np.argsort(p)
    most = max((k for k in range(1, len(p) + 1) if p[order[k - 1]] <= rate * k / len(p)), default=0)
    return {i for i in range(len(p)) if most and p[i] <= p[order[most - 1]]}


@given(probabilities, st.sampled_from([0.0130917, 0.0521377, 0.2300713, 0.9700119]))
@settings(max_examples=200)
def test_what_has_a_q_value_up_to_the_rate_is_what_the_rule_finds_at_it(p: np.ndarray, rate: float) -> None:
    assert set(np.flatnonzero(q_values(p) <= rate).tolist()) == discoveries(p, rate)


@given(probabilities)
def test_q_values_rise_with_p_and_are_no_less_than_it(p: np.ndarray) -> None:
    q = q_values(p)
    assert (np.diff(q[np.argsort(p, kind="stable")]) >= 0.0).all()
    assert (q >= p - 1e-15).all()
    assert (q <= 1.0).all()


def test_known_q_values() -> None:
    assert q_values(np.array([0.04, 0.01, 0.03, 0.9])) == pytest.approx([0.16 / 3, 0.04, 0.16 / 3, 0.9])
    assert q_values(np.array([])).tolist() == []


@given(scores, scores, st.integers(0, 50), st.sampled_from([0.01, 0.05, 0.2]))
@settings(max_examples=200)
def test_a_score_reaches_the_threshold_where_its_q_value_is_at_most_the_rate(
    z: np.ndarray, null: np.ndarray, others: int, rate: float
) -> None:
    # Those that were not scored count as if they said nothing.
    q = q_values(np.concatenate([tail(z, null), np.ones(others)]))[: len(z)]
    least = threshold(z, null, rate, len(z) + others)
    clear = np.abs(z - least) > 1e-6
    assert ((z >= least) == (q <= rate))[clear].all()


def test_the_threshold_rises_with_the_number_of_candidates() -> None:
    z, null = np.array([3.0]), np.array([1.0])
    assert threshold(z, null, 0.05, 1) == pytest.approx(NormalDist().inv_cdf(0.95))
    assert threshold(z, null, 0.05, 1000) == pytest.approx(NormalDist().inv_cdf(1 - 0.05 / 1000))


def test_a_quiet_null_never_narrows_the_law_and_a_loud_one_widens_it() -> None:
    z = np.array([0.0, 1.0, 2.0])
    normal = [1 - NormalDist().cdf(one) for one in z]
    for quiet in ([], [0.0], [0.1, -0.2], [-9.0, -5.0, 0.01]):
        assert tail(z, np.array(quiet)) == pytest.approx(normal)
    loud = [1 - NormalDist(0, 3).cdf(one) for one in z]
    assert tail(z, np.array([3.0, -3.0, 3.0, -50.0])) == pytest.approx(loud)
