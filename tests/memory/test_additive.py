"""Additive models from counts against scikit-learn, closed forms and themselves on other chunks, weights and rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from widedeep.lists import Lists
from widedeep.memory import additive
from widedeep.memory.additive import Additive, Target, fit_additive
from widedeep.memory.columns import CodeColumn, Column, ListColumn, narrow_lists

ROWS = 400
SHRINKAGE = (0.5, 2.0, 6.0, 3.0)
KINDS = ("binary", "regression")


class Log:
    """Rows of two fields, a cross and a cross of weighted lists; codes below 2 of the crosses are unknown."""

    def __init__(self, seed: int = 0, rows: int = ROWS) -> None:
        draw = np.random.default_rng(seed)
        self.codes = [draw.integers(0, size, rows, dtype=np.int32) for size in (5, 9, 20)]
        self.lengths = draw.integers(1, 5, rows)
        self.values = draw.integers(0, 12, self.lengths.sum(), dtype=np.int32)
        self.factors = draw.normal(1.0, 0.7, len(self.values)).astype(np.float32)
        self.weight = draw.integers(0, 4, rows).astype(np.float32)
        logit = 0.8 * (self.codes[0] - 2) + 0.3 * (self.codes[2] % 3 - 1)
        self.clicked = (draw.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float32)
        self.amount = (3 + logit + draw.normal(0, 1, rows)).astype(np.float32)

    def columns(self, cuts: Sequence[int] = (), rows: NDArray[np.int64] | None = None) -> list[Column]:
        """Cut into chunks before the rows `cuts`; of all rows, or of those that `rows` names."""
        order = np.arange(len(self.lengths)) if rows is None else rows
        starts = np.cumsum(self.lengths) - self.lengths
        lists = []
        for part in np.split(order, cuts):
            places = np.concatenate([np.arange(starts[i], starts[i] + self.lengths[i]) for i in part] or [[]])
            places = places.astype(np.int64)
            lists.append(Lists(self.values[places], self.lengths[part], self.factors[places]))
        a, b, cross = ([codes[part] for part in np.split(order, cuts)] for codes in self.codes)
        return [CodeColumn(a, 5), CodeColumn(b, 9), CodeColumn(cross, 20, 2), ListColumn(lists, 12, 2)]

    def target(self, kind: Any, *, weighted: bool = False) -> Target:
        return Target(kind, self.clicked if kind == "binary" else self.amount, self.weight if weighted else None)

    def matrix(self) -> NDArray[np.float64]:
        """What the weights of all columns are multiplied by, [rows, 46]."""
        matrix = np.zeros((len(self.lengths), 46))
        places = self.values.astype(np.int64)
        for row, (a, b, cross) in enumerate(zip(*self.codes, strict=True)):
            matrix[row, [a, 5 + b]] = 1.0
            matrix[row, 14 + cross] = cross >= 2
        for row, value, factor in zip(np.repeat(np.arange(len(self.lengths)), self.lengths), places, self.factors):  # noqa: B905
            matrix[row, 34 + value] += factor * (value >= 2)
        return matrix


LOG = Log()
ALL = np.ones(ROWS, dtype=np.bool_)
PENALTY = np.repeat(SHRINKAGE, (5, 9, 20, 12))


def flat(model: Additive) -> NDArray[np.float32]:
    return np.concatenate(model.weights)


def same_bytes(one: Additive, other: Additive) -> bool:
    return (one.bias, one.shrinkage) == (other.bias, other.shrinkage) and flat(one).tobytes() == flat(other).tobytes()


@pytest.mark.parametrize("weighted", [False, True])
def test_the_weights_are_those_of_scikit_learns_penalised_logistic_regression(weighted: bool) -> None:
    model = fit_additive(LOG.columns(), LOG.target("binary", weighted=weighted), ALL, sweeps=4000, shrinkage=SHRINKAGE)
    # With columns divided by the root of their penalty, one penalty of 1 is what they have of their own.
    oracle = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000)
    oracle.fit(LOG.matrix() / np.sqrt(PENALTY), LOG.clicked, LOG.weight if weighted else None)
    assert flat(model) == pytest.approx(oracle.coef_[0] / np.sqrt(PENALTY), abs=2e-3)
    assert model.bias == pytest.approx(oracle.intercept_[0], abs=2e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_weights_of_a_regression_are_those_of_the_normal_equations(weighted: bool) -> None:
    model = fit_additive(
        LOG.columns(), LOG.target("regression", weighted=weighted), ALL, sweeps=4000, shrinkage=SHRINKAGE
    )
    inputs = np.hstack([np.ones((ROWS, 1)), LOG.matrix()])
    weight = LOG.weight.astype(np.float64) if weighted else np.ones(ROWS)
    normal = inputs.T @ (weight[:, None] * inputs) + np.diag([0.0, *PENALTY])
    expected = np.linalg.solve(normal, inputs.T @ (weight * LOG.amount))
    assert np.array([model.bias, *flat(model)]) == pytest.approx(expected, abs=2e-3)


def test_a_value_that_a_list_holds_many_times_is_no_step_too_far() -> None:
    lists = Lists(np.repeat(LOG.codes[0], 12), np.full(ROWS, 12))
    model = fit_additive([ListColumn([lists], 5)], LOG.target("regression"), ALL, sweeps=3000, shrinkage=[144.0])
    expected = fit_additive(LOG.columns()[:1], LOG.target("regression"), ALL, sweeps=300, shrinkage=[1.0])
    assert 12 * flat(model) == pytest.approx(flat(expected), abs=1e-4)


def test_the_logit_is_the_bias_and_the_sum_of_a_rows_weights() -> None:
    model = fit_additive(LOG.columns(), LOG.target("binary"), ALL, sweeps=3)
    expected = model.bias + LOG.matrix() @ flat(model).astype(np.float64)
    assert model.logit(LOG.columns(), ROWS) == pytest.approx(expected, abs=1e-5)


@given(cuts=st.lists(st.integers(0, ROWS), max_size=6), kind=st.sampled_from(KINDS), weighted=st.booleans())
@settings(max_examples=25)
def test_the_chunks_that_rows_come_in_change_no_bit(cuts: list[int], kind: str, weighted: bool) -> None:
    target = LOG.target(kind, weighted=weighted)
    whole = fit_additive(LOG.columns(), target, ALL, sweeps=4)
    assert same_bytes(fit_additive(LOG.columns(sorted(cuts)), target, ALL, sweeps=4), whole)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_lists_in_the_fewest_bytes_change_no_bit(kind: str, weighted: bool) -> None:
    *others, column = LOG.columns([150])
    chunks = [narrow_lists(chunk, column.size) for chunk in column.chunks if isinstance(chunk, Lists)]
    narrow = ListColumn(chunks, column.size, column.first)
    target = LOG.target(kind, weighted=weighted)
    wide, fitted = (fit_additive([*others, lists], target, ALL, sweeps=4) for lists in (column, narrow))
    assert same_bytes(fitted, wide)
    assert narrow.support(ALL).tolist() == column.support(ALL).tolist()


@pytest.mark.parametrize(
    ("size", "longest", "types"),
    [
        (256, 255, (np.uint8, np.uint8)),
        (257, 256, (np.uint16, np.uint16)),
        (65_536, 65_535, (np.uint16, np.uint16)),
        (65_537, 65_536, (np.int32, np.int32)),
    ],
)
def test_codes_and_lengths_take_the_fewest_bytes_that_hold_them(
    size: int, longest: int, types: tuple[Any, Any]
) -> None:
    values = np.full(longest + 1, size - 1, dtype=np.int32)
    lists = Lists(values, np.array([1, longest]))
    narrow = narrow_lists(lists, size)
    assert (narrow.codes.dtype, narrow.lengths.dtype) == types
    again = narrow.lists()
    assert again.values.tolist() == values.tolist()
    assert (again.values.dtype, again.lengths.dtype) == (np.int32, np.int64)
    assert again.lengths.tolist() == [1, longest]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_is_that_of_its_rows_alone_whatever_the_others_say(kind: str, weighted: bool) -> None:
    used = np.random.default_rng(1).random(ROWS) < 0.7
    target = LOG.target(kind, weighted=weighted)
    model = fit_additive(LOG.columns(), target, used, sweeps=5)
    # The shrinkage that the data choose is of these rows, too.
    others = Target(target.kind, np.where(used, target.label, 1 - target.label).astype(np.float32), target.weight)
    assert same_bytes(fit_additive(LOG.columns(), others, used, sweeps=5), model)
    weight = None if target.weight is None else target.weight[used]
    alone = Target(target.kind, target.label[used], weight)
    (rows,) = np.nonzero(used)
    assert same_bytes(fit_additive(LOG.columns(rows=rows), alone, np.ones(len(rows), np.bool_), sweeps=5), model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_weight_three_is_three_rows_and_one_of_weight_zero_is_none(kind: str) -> None:
    rows = np.repeat(np.arange(ROWS), LOG.weight.astype(np.int64))
    label = LOG.target(kind).label[rows]
    repeated = fit_additive(LOG.columns(rows=rows), Target(kind, label), np.ones(len(rows), np.bool_), sweeps=6)  # type: ignore[arg-type]
    weighted = fit_additive(LOG.columns(), LOG.target(kind, weighted=True), ALL, sweeps=6)
    assert flat(weighted) == pytest.approx(flat(repeated), abs=1e-4)
    assert weighted.shrinkage == pytest.approx(repeated.shrinkage, rel=1e-3)


def test_codes_that_no_used_row_has_and_those_below_the_first_weigh_nothing() -> None:
    used = (LOG.codes[0] != 3) & (LOG.codes[2] != 7)
    field, _, cross, lists = fit_additive(LOG.columns(), LOG.target("binary"), used, sweeps=4).weights
    assert (field[3], cross[7]) == (0.0, 0.0)
    assert not cross[:2].any()
    assert not lists[:2].any()
    assert field[[0, 1, 2, 4]].all()


def test_the_rows_of_a_code_are_counted_among_the_used_ones() -> None:
    used = np.random.default_rng(2).random(ROWS) < 0.5
    field, _, cross, lists = (column.support(used).tolist() for column in LOG.columns([100, 101, 300]))
    assert field == [int((LOG.codes[0][used] == code).sum()) for code in range(5)]
    assert cross == [0, 0, *(int((LOG.codes[2][used] == code).sum()) for code in range(2, 20))]
    held = np.repeat(used, LOG.lengths)
    assert lists == [0, 0, *(int((LOG.values[held] == code).sum()) for code in range(2, 12))]


@pytest.mark.parametrize(("deviation", "least", "most"), [(1.0, 0.5, 2.0), (0.5, 2.5, 6.5), (0.0, 100.0, 1e5)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_chosen_shrinkage_is_noise_by_the_variance_of_the_true_weights(
    kind: str, deviation: float, least: float, most: float
) -> None:
    draw = np.random.default_rng(5)
    codes = draw.integers(0, 300, 30_000, dtype=np.int32)
    logit = draw.normal(0, deviation, 300)[codes]
    label = draw.random(len(codes)) < 1 / (1 + np.exp(-logit)) if kind == "binary" else logit + draw.normal(size=30_000)
    target = Target(kind, label.astype(np.float32))  # type: ignore[arg-type]
    model = fit_additive([CodeColumn([codes], 300)], target, np.ones(30_000, np.bool_), sweeps=12)
    assert least <= model.shrinkage[0] <= most


def test_on_an_offset_only_what_it_leaves_unsaid_is_fitted() -> None:
    offset = fit_additive(LOG.columns()[:1], LOG.target("binary"), ALL, sweeps=50, shrinkage=[1e-3])
    logit = offset.logit(LOG.columns(), ROWS)
    again = fit_additive(LOG.columns()[:1], LOG.target("binary"), ALL, sweeps=20, shrinkage=[1.0], offset=logit)
    assert np.abs(flat(again)).max() < 1e-3
    assert abs(again.bias) < 1e-3


def test_a_fit_goes_on_from_where_another_ended() -> None:
    columns, target = LOG.columns(), LOG.target("binary")
    first = fit_additive(columns[:2], target, ALL, sweeps=30, shrinkage=SHRINKAGE[:2])
    warm = fit_additive(columns, target, ALL, sweeps=4000, shrinkage=SHRINKAGE, start=first)
    cold = fit_additive(columns, target, ALL, sweeps=4000, shrinkage=SHRINKAGE)
    assert flat(warm) == pytest.approx(flat(cold), abs=1e-3)


def test_more_steps_of_lists_bring_a_sweep_further_to_the_same_end() -> None:
    end = fit_additive(LOG.columns(), LOG.target("binary"), ALL, sweeps=4000, shrinkage=SHRINKAGE)
    once, often = (
        fit_additive(LOG.columns(), LOG.target("binary"), ALL, sweeps=3, shrinkage=SHRINKAGE, list_steps=steps)
        for steps in (1, 8)
    )
    left = [np.abs(model.weights[3] - end.weights[3]).max() for model in (once, often)]
    assert left[1] < 0.3 * left[0]
    long = fit_additive(LOG.columns(), LOG.target("binary"), ALL, sweeps=1000, shrinkage=SHRINKAGE, list_steps=8)
    assert flat(long) == pytest.approx(flat(end), abs=1e-3)


def test_weights_of_rows_that_are_no_copies_count_as_many_equal_rows_as_say_as_much() -> None:
    assert additive.effective_weights(np.full(7, 100.0, np.float32)).tolist() == [1.0] * 7
    heavy = np.array([100.0, 1.0, 1.0, 0.0], np.float32)
    assert additive.effective_weights(heavy).sum() == pytest.approx(102.0**2 / 10_002.0)
    assert additive.effective_weights(8 * heavy) == pytest.approx(additive.effective_weights(heavy))


@pytest.mark.parametrize("rate", [0.5, 0.01])
def test_a_column_that_says_nothing_stands_out_by_chance_alone_whatever_the_rows_weigh(rate: float) -> None:
    draw = np.random.default_rng(0)
    columns = [CodeColumn([draw.integers(0, 400, 8_000, dtype=np.int32)], 400)]
    deviations = []
    for _ in range(60):
        label = (draw.random(8_000) < rate).astype(np.float32)
        target = Target("binary", label, np.where(draw.random(8_000) < 0.1, 30.0, 1.0).astype(np.float32))
        constant = fit_additive(columns, target, np.ones(8_000, np.bool_), sweeps=2, shrinkage=[1e9])
        ((_, found),) = additive.shrinkage_and_z(constant, columns, [0], target, np.ones(8_000, np.bool_))
        deviations.append(found)
    # They were 274 and 218 on average when each weight was taken for as many rows.
    assert abs(np.mean(deviations)) < 0.4
    assert np.std(deviations) < 1.3


def test_where_one_class_alone_has_weight_no_column_stands_out() -> None:
    label = np.arange(8, dtype=np.float32) % 2
    target, used = Target("binary", label, 1 - label), np.ones(8, np.bool_)
    column = CodeColumn([np.arange(8, dtype=np.int32) // 2], 4)
    model = fit_additive([column], target, used, sweeps=3)
    ((_, found),) = additive.shrinkage_and_z(model, [column], [0], target, used)
    assert found < 2.0


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_shrinkage_does_not_depend_on_the_unit_of_an_amount(scale: float) -> None:
    target = LOG.target("regression")
    scaled = Target("regression", (target.label * np.float32(scale)).astype(np.float32))
    here, there = (fit_additive(LOG.columns(), one, ALL, sweeps=6) for one in (target, scaled))
    assert there.shrinkage == pytest.approx(here.shrinkage, rel=0.01)
