"""A cross that does not stand out from chance is left out of the memory, and one that speaks stays, at any rate."""

import numpy as np
import pytest
from numpy.typing import NDArray

from widedeep.encoded.folds import row_folds
from widedeep.lists import Lists
from widedeep.memory.additive import Additive, Target, fit_additive, shrinkage_and_z
from widedeep.memory.columns import CodeColumn, Column, ListColumn
from widedeep.memory.cross_memory import CrossMemory
from widedeep.memory.remember import remember
from widedeep.reporting import Reporter

ROWS, FIELD, OTHER = 40_000, 25, 20
RATES = [0.002, 0.01, 0.3, 0.99]


def drawn(seed: int, rate: float, strength: float) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Codes of a field with one heavy value and of its cross with another field, and labels; the cross's weights have
    `strength` for their deviation, in logits."""
    draw = np.random.default_rng(seed)
    field = draw.integers(0, FIELD, ROWS)
    cross = field * OTHER + draw.integers(0, OTHER, ROWS)
    logit = np.log(rate / (1 - rate)) + np.log(10.0) * (field == 0) + draw.normal(0, strength, FIELD * OTHER)[cross]
    label = draw.random(ROWS) < 1 / (1 + np.exp(-logit))
    return field.astype(np.int32), (cross + 2).astype(np.int32), label.astype(np.float32)


def remembered(seed: int, rate: float, strength: float, *, listed: bool) -> CrossMemory:
    field, cross, label = drawn(seed, rate, strength)
    size = FIELD * OTHER + 2
    column: Column = CodeColumn([cross], size, 2)
    if listed:
        chunk = Lists(cross, np.ones(ROWS, dtype=np.int64))
        column = ListColumn([chunk], size, 2)
    folds = row_folds(0, ROWS, 5)
    memory, *_ = remember([CodeColumn([field], FIELD)], [column], [2], Target("binary", label), folds, Reporter())
    return memory


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("rate", RATES)
def test_a_cross_that_says_nothing_is_left_out_and_one_that_speaks_stays(rate: float, listed: bool) -> None:
    left_out = [not remembered(seed, rate, 0.0, listed=listed).support.any() for seed in range(6)]
    assert sum(left_out) >= 5  # one in 44 passes for more than it is
    spoken = remembered(1, rate, 1.5, listed=listed)
    assert spoken.support.any()
    assert np.abs(spoken.value).max() > 0.5


@pytest.mark.parametrize("rate", RATES)
def test_what_is_left_out_says_nothing_not_even_by_its_support(rate: float) -> None:
    memory = next(
        memory for seed in range(6) if not (memory := remembered(seed, rate, 0.0, listed=False)).support.any()
    )
    assert not memory.value.any()


@pytest.mark.parametrize("rate", RATES)
def test_without_an_effect_a_column_stands_out_by_chance_alone(rate: float) -> None:
    deviations = []
    for seed in range(100, 160):
        field, cross, label = drawn(seed, rate, 0.0)
        target, used = Target("binary", label), np.ones(ROWS, dtype=np.bool_)
        columns: list[Column] = [CodeColumn([field], FIELD), CodeColumn([cross], FIELD * OTHER + 2, 2)]
        # The main effects alone are fitted: the cross stands at 0.
        main = fit_additive(columns[:1], target, used, sweeps=8)
        ((_, out_by),) = shrinkage_and_z(with_none(main, columns[1]), columns, [1], target, used)
        deviations.append(out_by)
    # The field's 25 weights have taken what they could of the cross's 500.
    assert -1.5 < np.mean(deviations) < 0.5
    assert 0.6 < np.std(deviations) < 1.5


def with_none(main: Additive, column: Column) -> Additive:
    """The model with one more column, whose weights are 0."""
    none = np.zeros(column.size, dtype=np.float32)
    return Additive(main.bias, (*main.weights, none), (*main.shrinkage, 1e5))
