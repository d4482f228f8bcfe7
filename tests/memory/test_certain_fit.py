"""The additive fit at the rates that logs have: no sweep raises the loss, nothing diverges, and the end is scipy's."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from widedeep.lists import Lists
from widedeep.memory import counts
from widedeep.memory.additive import Additive, Target, fit_additive
from widedeep.memory.columns import CodeColumn, Column, ListColumn

Numbers = NDArray[np.float64]
ROWS = 300
FEW = [0.05, 1.0, 30.0]
"""Shrinkages, from the least that the fit chooses."""


class RareLog:
    """A field, a cross of it with another one, and weighted lists; the first code of the field has a lift."""

    def __init__(self, seed: int, rate: float, lift: float, codes: int, *, most_weight: float = 1.0) -> None:
        draw = np.random.default_rng(seed)
        self.rows = ROWS
        # Every third code is one that no row has.
        field = draw.integers(0, codes, ROWS) * 3
        other = draw.integers(0, 4, ROWS)
        lengths = draw.integers(0, 5, ROWS)
        values = draw.integers(0, 6, lengths.sum(), dtype=np.int32)
        factors = draw.normal(0.5, 1.5, len(values)).astype(np.float32)
        lists = Lists(values, lengths, factors)
        self.columns: list[Column] = [
            CodeColumn([field.astype(np.int32)], 3 * codes),
            CodeColumn([(field * 4 + other).astype(np.int32)], 12 * codes, 2),
            ListColumn([lists], 6),
        ]
        odds = rate / (1.0 - rate) * np.where(field == 0, lift, 1.0)
        label = draw.random(ROWS) < odds / (1.0 + odds)
        weight = None if most_weight == 1.0 else (most_weight ** draw.random(ROWS)).astype(np.float32)
        self.target = Target("binary", label.astype(np.float32), weight)

    def matrix(self) -> Numbers:
        """What bias and weights are multiplied by."""
        parts = [np.ones((self.rows, 1))]
        for column in self.columns:
            matrix = np.zeros((self.rows, column.size))
            for row in range(self.rows):
                if isinstance(column, CodeColumn):
                    (code,) = column.chunks[0][row : row + 1]
                    matrix[row, code] = code >= column.first
            if isinstance(column, ListColumn):
                (chunk,) = column.chunks
                np.add.at(
                    matrix, (np.repeat(np.arange(self.rows), chunk.lengths), chunk.values), chunk.weights.astype(float)
                )
            parts.append(matrix)
        return np.hstack(parts)


def penalised_loss(matrix: Numbers, target: Target, penalty: Numbers, weights: Numbers) -> float:
    logit = matrix @ weights
    weight = np.ones(len(logit)) if target.weight is None else target.weight.astype(np.float64)
    label = target.label.astype(np.float64)
    losses = np.logaddexp(0.0, logit) - label * logit if target.kind == "binary" else 0.5 * (label - logit) ** 2
    return float(weight @ losses + 0.5 * penalty @ weights**2)


def numbers(model: Additive) -> Numbers:
    return np.concatenate([[model.bias], *model.weights]).astype(np.float64)


def penalties(log: RareLog, shrinkage: list[float]) -> Numbers:
    return np.repeat([0.0, *shrinkage], [1, *(column.size for column in log.columns)])


RATES = st.floats(-5.0, 5.0).map(lambda power: 10.0**power / (1.0 + 10.0**power))  # 1e-5 to 1 - 1e-5
LOGS = {
    "seed": st.integers(0, 1000),
    "rate": RATES,
    "lift": st.floats(0.0, 3.0).map(lambda power: 10.0**power),
    "codes": st.sampled_from([1, 2, 25]),
    "most_weight": st.sampled_from([1.0, 10.0, 1e6]),
}


@given(**LOGS, shrinkage=st.lists(st.sampled_from(FEW), min_size=3, max_size=3), list_steps=st.sampled_from([1, 8]))
@example(seed=0, rate=0.02, lift=15.0, codes=25, most_weight=1.0, shrinkage=[1.0, 1.0, 1.0], list_steps=1)
@settings(max_examples=60)
def test_no_sweep_raises_the_penalised_loss_at_any_rate_lift_or_weight(
    seed: int, rate: float, lift: float, codes: int, most_weight: float, shrinkage: list[float], list_steps: int
) -> None:
    log = RareLog(seed, rate, lift, codes, most_weight=most_weight)
    used = np.random.default_rng(seed).random(ROWS) < 0.9
    matrix, penalty = log.matrix()[used], penalties(log, shrinkage)
    target = log.target.gather(np.flatnonzero(used))
    model, last = None, np.inf
    for _ in range(12):
        model = fit_additive(
            log.columns, log.target, used, sweeps=1, shrinkage=shrinkage, start=model, list_steps=list_steps
        )
        assert np.isfinite(numbers(model)).all()
        loss = penalised_loss(matrix, target, penalty, numbers(model))
        assert loss <= last + 2e-6 * abs(last)  # weights are float32
        last = loss


@given(**LOGS)
@settings(max_examples=30)
def test_a_fit_that_chooses_its_shrinkage_stays_finite_and_below_the_constant(
    seed: int, rate: float, lift: float, codes: int, most_weight: float
) -> None:
    log = RareLog(seed, rate, lift, codes, most_weight=most_weight)
    used = np.ones(ROWS, dtype=np.bool_)
    constant = fit_additive([], log.target, used, sweeps=8)
    total = ROWS if log.target.weight is None else float(log.target.weight.sum(dtype=np.float64))
    for sweeps in (1, 2, 8):
        model = fit_additive(log.columns, log.target, used, sweeps=sweeps)
        assert np.isfinite(numbers(model)).all()
        nothing = np.zeros_like(numbers(model))
        loss = penalised_loss(log.matrix(), log.target, nothing, numbers(model))
        of_constant = penalised_loss(np.ones((ROWS, 1)), log.target, np.zeros(1), numbers(constant))
        # Where there is one class only, the bias never ends, and a millionth of a nat a row is left to say.
        assert loss <= of_constant * (1.0 + 1e-5) + 1e-6 * total


@pytest.mark.parametrize("rate", [1e-5, 0.002, 0.05, 0.5, 0.99, 1.0 - 1e-5])
@pytest.mark.parametrize(
    ("lift", "most_weight", "num_columns"),
    [(1.0, 1.0, 3), (50.0, 1.0, 3), (1000.0, 1.0, 3), (50.0, 10.0, 3), (50.0, 1e6, 1)],
)
def test_after_enough_sweeps_the_weights_are_scipys(
    rate: float, lift: float, most_weight: float, num_columns: int
) -> None:
    log = RareLog(3, rate, lift, 5, most_weight=most_weight)
    # What a field and a cross of it both may say passes from one to the other the slower the less the penalty weighs:
    # with a million to a row it takes a million sweeps.
    del log.columns[num_columns:]
    shrinkage = [1.0, 2.0, 4.0][:num_columns]
    matrix, penalty = log.matrix(), penalties(log, shrinkage)
    if log.target.label.mean() in (0.0, 1.0):
        log.target.label[0] = 1.0 - log.target.label[0]  # the bias has no end where there is one class
    weight = np.ones(ROWS) if log.target.weight is None else log.target.weight.astype(np.float64)
    label = log.target.label.astype(np.float64)

    def gradient(weights: Numbers) -> Numbers:
        chance = 0.5 * (1.0 + np.tanh(0.5 * (matrix @ weights)))
        return matrix.T @ (weight * (chance - label)) + penalty * weights

    def hessian(weights: Numbers) -> Numbers:
        chance = 0.5 * (1.0 + np.tanh(0.5 * (matrix @ weights)))
        return (matrix.T * (weight * chance * (1.0 - chance))) @ matrix + np.diag(penalty)

    def loss(weights: Numbers) -> float:
        return penalised_loss(matrix, log.target, penalty, weights)

    start = np.zeros(matrix.shape[1])
    start[0] = np.log(np.average(label, weights=weight) / (1 - np.average(label, weights=weight)))
    expected = minimize(loss, start, jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-7}).x
    model = fit_additive(log.columns, log.target, np.ones(ROWS, np.bool_), sweeps=6000, shrinkage=shrinkage)
    assert numbers(model) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("outlier", [1e3, 1e6])
def test_a_regression_with_outliers_never_gets_worse_by_a_sweep(outlier: float) -> None:
    log = RareLog(5, 0.5, 1.0, 5)
    label = log.target.label.copy()
    label[7] = outlier
    target, used = Target("regression", label), np.ones(ROWS, dtype=np.bool_)
    model, last = None, np.inf
    for _ in range(12):
        model = fit_additive(log.columns, target, used, sweeps=1, shrinkage=FEW, start=model)
        loss = penalised_loss(log.matrix(), target, penalties(log, FEW), numbers(model))
        assert loss <= last * (1.0 + 1e-6)
        last = loss


@given(
    gradient=st.floats(-1e6, 1e6),
    hessian=st.floats(0.0, 1e6),
    reach=st.floats(0.1, 50.0),
    weight=st.floats(-20.0, 20.0),
    penalty=st.floats(0.05, 1e5),
)
@settings(max_examples=300)
def test_a_step_is_never_beyond_where_the_bound_of_the_loss_is_least(
    gradient: float, hessian: float, reach: float, weight: float, penalty: float
) -> None:
    (step,) = steps([gradient], [hessian], reach, weight, penalty)
    asked, reach = gradient - penalty * float(np.float32(weight)), float(np.float32(reach))
    length = abs(float(step)) * (1.0 - 1e-5)
    # At the step, the bound still falls: its slope has not changed sign.
    assert hessian * np.expm1(min(reach * length, 700.0)) / reach + penalty * length <= abs(asked) + 1e-30 + 1e-30
    assert float(step) * asked >= 0.0


def test_near_the_end_a_step_is_newtons() -> None:
    (step,) = steps([0.01], [5.0], 1.0, 0.0, 1.0)
    assert step == pytest.approx(0.01 / 6.0, rel=2e-3)


def test_a_code_that_no_row_has_keeps_its_weight_at_zero() -> None:
    assert steps([0.0], [0.0], 1.0, 0.0, 0.0).tolist() == [0.0]


def steps(gradient: list[float], hessian: list[float], reach: float, weight: float, penalty: float) -> Any:
    return counts.certain_steps(
        np.array(gradient),
        np.array(hessian),
        np.array([reach], dtype=np.float32),
        np.array([weight], dtype=np.float32),
        penalty,
        True,
    )
