"""Memory of crosses counted on from stored sums: rows that are gone count as they did, or less, as the recipe says."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from widedeep.errors import ArtefactError
from widedeep.features.fields import FIRST as FIRST_INDEX
from widedeep.features.fields import FittedCategorical, FittedCross
from widedeep.features.fit_vocabularies import NO_MIXES, NO_VALUES
from widedeep.features.plan import FeaturePlan
from widedeep.memory import additive
from widedeep.memory.additive import Target
from widedeep.memory.columns import CodeColumn, Column, Floats
from widedeep.memory.cross_memory import CrossMemory, FoldMemory
from widedeep.memory.remember import remember
from widedeep.memory.sums import MemorySums
from widedeep.reporting import Reporter

ROWS, FIELD, CROSS = 24_000, 6, 40


class Log:
    """Rows of a field and a cross with an effect of each of its values, but of the last, which is no value at all."""

    def __init__(self) -> None:
        draw = np.random.default_rng(4)
        self.field = draw.integers(0, FIELD, ROWS, dtype=np.int32)
        self.cross = draw.integers(0, CROSS - 1, ROWS, dtype=np.int32)
        self.effects = draw.normal(0, 0.8, CROSS)
        logit = 0.4 * (self.field - 2) + self.effects[self.cross] * (self.cross >= 2)
        self.label = (draw.random(ROWS) < 1 / (1 + np.exp(-logit))).astype(np.float32)

    def remembered(
        self, rows: slice, stored: MemorySums | None = None, label: Floats | None = None
    ) -> tuple[CrossMemory, FoldMemory, MemorySums]:
        field: list[Column] = [CodeColumn([self.field[rows]], FIELD)]
        cross: list[Column] = [CodeColumn([self.cross[rows]], CROSS, 2)]
        target = Target("binary", (self.label if label is None else label)[rows])
        folds: NDArray[np.uint8] = (np.arange(len(target.label)) % 5).astype(np.uint8)
        return remember(field, cross, [2], target, folds, Reporter(), stored)


LOG = Log()
FIRST, SECOND = slice(0, ROWS // 2), slice(ROWS // 2, ROWS)


def test_two_halves_counted_one_after_the_other_remember_what_all_rows_together_do() -> None:
    whole, _, _ = LOG.remembered(slice(0, ROWS))
    _, _, sums = LOG.remembered(FIRST)
    counted_on, _, _ = LOG.remembered(SECOND, sums)
    second_alone, _, _ = LOG.remembered(SECOND)
    away = np.abs(counted_on.value - whole.value).max()
    assert away < 0.04
    assert away < 0.25 * np.abs(second_alone.value - whole.value).max()
    assert np.array_equal(counted_on.support, whole.support)


def test_a_folds_values_know_the_rows_before_and_nothing_of_the_folds_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LEAST_SHRINKAGE", "FIRST_SHRINKAGE", "MOST_SHRINKAGE"):
        monkeypatch.setattr(additive, name, 4.0)  # the one thing that a fold takes from all rows, held still
    _, _, sums = LOG.remembered(FIRST)
    _, folds, _ = LOG.remembered(SECOND, sums)
    others = LOG.label.copy()
    others[SECOND][np.arange(ROWS // 2) % 5 == 2] = 1.0
    _, changed, _ = LOG.remembered(SECOND, sums, others)
    assert np.array_equal(folds.value[2], changed.value[2])
    assert np.abs(folds.value[1] - changed.value[1]).max() > 0.1
    _, alone, _ = LOG.remembered(SECOND)
    errors = [float(np.abs(fitted.value - LOG.effects)[:, 2:-1].mean()) for fitted in (folds, alone)]
    assert errors[0] < 0.95 * errors[1]


def test_sums_that_have_faded_away_say_nothing() -> None:
    _, _, sums = LOG.remembered(FIRST)
    faded, _, _ = LOG.remembered(SECOND, sums.faded(0.0))
    alone, _, _ = LOG.remembered(SECOND)
    assert np.abs(faded.value - alone.value)[2:].max() < 0.1
    assert np.array_equal(faded.support, alone.support)


def test_the_more_the_old_rows_have_faded_the_nearer_values_are_to_those_of_new_rows_alone() -> None:
    _, _, sums = LOG.remembered(FIRST)
    turned = LOG.label.copy()
    turned[SECOND] = 1.0 - turned[SECOND]
    new, _, _ = LOG.remembered(SECOND, label=turned)
    distances = [
        float(np.abs(LOG.remembered(SECOND, sums.faded(kept), turned)[0].value - new.value).mean())
        for kept in (1.0, 0.5, 0.1)
    ]
    assert distances[0] > distances[1] > distances[2]


def test_a_value_that_no_new_row_has_is_remembered_as_it_was() -> None:
    memory, _, sums = LOG.remembered(FIRST)
    few = slice(ROWS // 2, ROWS // 2 + 40)
    later, _, _ = LOG.remembered(few, sums)
    absent = np.setdiff1d(np.arange(2, CROSS), LOG.cross[few])
    assert len(absent) > 5
    assert np.abs(later.value - memory.value)[absent].max() < 0.02
    assert np.array_equal(later.support[absent], memory.support[absent])


def test_columns_that_have_grown_know_nothing_of_their_new_codes() -> None:
    _, _, sums = LOG.remembered(FIRST)
    grown = sums.grown([FIELD + 2, CROSS + 3], [CROSS + 3])
    assert [len(column.gradient) for column in grown.columns] == [FIELD + 2, CROSS + 3]
    assert not grown.columns[1].information[CROSS:].any()
    assert not grown.support[0][CROSS:].any()


def test_sums_are_read_as_they_were_written_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    _, _, sums = LOG.remembered(FIRST)
    sums.save(tmp_path / "sums.safetensors")
    field = FittedCategorical("a", "a", None, None, FIELD - FIRST_INDEX, 0, NO_VALUES, FIELD - FIRST_INDEX)
    cross = FittedCross("a x b", ("a", "b"), CROSS - FIRST_INDEX, NO_MIXES, None, {})
    plan = FeaturePlan((), (field,), (), (cross,))
    read = MemorySums.load(tmp_path / "sums.safetensors", plan)
    assert (read.bias, read.shrinkage) == (sums.bias, sums.shrinkage)
    for one, other in zip(read.columns, sums.columns, strict=True):
        assert np.array_equal(one.gradient, other.gradient)
        assert np.array_equal(one.information, other.information)
    (tmp_path / "sums.safetensors").write_bytes(b"no tensors")
    for path in (tmp_path / "sums.safetensors", tmp_path / "none.safetensors"):
        with pytest.raises(ArtefactError, match="train again"):
            MemorySums.load(path, plan)
