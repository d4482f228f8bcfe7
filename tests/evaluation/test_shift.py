"""How far one model's scores lie from another's: the level against its error, and the divergence against SciPy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from widedeep.evaluation.comparison import LabelledRows
from widedeep.evaluation.shift import LEAST_ROWS, score_shift


def click_rates(rows: int, seed: int, *, spread: float = 1.0, level: float = -3.0) -> np.ndarray:
    return (1.0 / (1.0 + np.exp(-np.random.default_rng(seed).normal(level, spread, rows)))).astype(np.float32)


def of_rows(rows: int, weight: np.ndarray | None = None, group: np.ndarray | None = None) -> LabelledRows:
    return LabelledRows.of("binary", np.zeros(rows, dtype=np.float32), weight, group)


def test_equal_scores_have_not_moved() -> None:
    scores = click_rates(1000, 0)
    shift = score_shift(of_rows(1000), scores, scores)

    assert shift is not None
    assert (shift.level.value, shift.level.error, shift.divergence, shift.faults()) == (0.0, 0.0, 0.0, [])


def test_the_level_is_a_share_of_the_old_mean_and_its_error_that_of_paired_rows() -> None:
    old, new = click_rates(5000, 0), click_rates(5000, 1, level=-2.0)
    shift = score_shift(of_rows(5000), new, old)
    difference = new.astype(float) - old

    assert shift is not None
    assert shift.level.value == pytest.approx(difference.mean() / old.astype(float).mean())
    assert shift.level.error == pytest.approx(difference.std() / np.sqrt(5000) / old.astype(float).mean())
    assert "its scores lie +" in shift.faults()[0]


def test_clicks_that_are_the_rule_are_measured_by_those_that_are_none() -> None:
    old, new = click_rates(2000, 0), click_rates(2000, 1, level=-2.5)
    rare, common = score_shift(of_rows(2000), new, old), score_shift(of_rows(2000), 1 - new, 1 - old)

    assert rare is not None
    assert common is not None
    assert common.level.value == pytest.approx(-rare.level.value, rel=1e-4)


def test_a_regression_is_measured_by_the_spread_of_the_old_predictions() -> None:
    old = np.random.default_rng(0).normal(100.0, 5.0, 1000).astype(np.float32)
    rows = LabelledRows.of("regression", old)
    shift = score_shift(rows, old + np.float32(2.0), old)

    assert shift is not None
    assert shift.level.value == pytest.approx(2.0 / old.astype(float).std(), rel=1e-4)
    assert len(shift.faults()) == 1


@pytest.mark.parametrize(("spread", "level", "far"), [(1.0, -3.0, False), (1.1, -3.0, False), (4.0, -3.0, True)])
def test_the_divergence_is_that_of_scipy_and_tells_another_spread(spread: float, level: float, far: bool) -> None:
    old, new = click_rates(4000, 0), click_rates(4000, 1, spread=spread, level=level)
    shift = score_shift(of_rows(4000), new, old)
    edges = np.quantile(np.concatenate([old, new]), np.arange(1, 20) / 20)
    shares = [np.bincount(np.searchsorted(edges, scores), minlength=20) for scores in (old, new)]

    assert shift is not None
    assert shift.divergence == pytest.approx(jensenshannon(*shares, base=2) ** 2, abs=2e-3)
    assert any("Jensen" in fault for fault in shift.faults()) == far


def test_the_divergence_is_the_same_for_log_odds_and_needs_enough_rows() -> None:
    old, new = (click_rates(500, seed, spread=1.0 + seed).astype(np.float64) for seed in (0, 1))
    kinds = [score_shift(of_rows(500), of(new), of(old)) for of in (np.asarray, lambda p: np.log(p / (1 - p)))]
    few = score_shift(of_rows(LEAST_ROWS - 1), new[: LEAST_ROWS - 1], old[: LEAST_ROWS - 1])

    assert kinds[0] is not None
    assert kinds[1] is not None
    assert kinds[0].divergence == pytest.approx(kinds[1].divergence)
    assert few is not None
    assert few.divergence is None


def test_rows_without_weight_do_not_count() -> None:
    old, new = click_rates(1000, 0), click_rates(1000, 1)
    weight = (np.arange(1000) < 600).astype(np.float32)
    both = [score_shift(of_rows(1000, weight), new, old), score_shift(of_rows(600), new[:600], old[:600])]

    assert both[0] is not None
    assert both[1] is not None
    assert both[0].level.interval == pytest.approx(both[1].level.interval)
    assert score_shift(of_rows(1000, np.zeros(1000, dtype=np.float32)), new, old) is None


def test_a_model_that_scores_all_rows_alike_is_told() -> None:
    old = click_rates(1000, 0)
    shift = score_shift(of_rows(1000), np.full_like(old, old.mean()), old)

    assert shift is not None
    assert shift.level.value == pytest.approx(0.0, abs=1e-5)
    assert "spread otherwise" in shift.faults()[0]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=300))
def test_it_is_defined_for_any_scores_and_bounded(pairs: list[tuple[float, float]]) -> None:
    new, old = np.array(pairs).T
    shift = score_shift(of_rows(len(pairs)), new, old)

    assert shift is not None
    assert not np.isnan(shift.level.value)
    assert shift.divergence is None or 0.0 <= shift.divergence <= 1.0 + 1e-12
    assert isinstance(shift.faults(), list)
