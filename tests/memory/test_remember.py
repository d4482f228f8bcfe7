"""What crosses remember: no row's own label is in it, supports are those of the other folds, and it comes back from disk."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from widedeep.encoded.folds import row_folds
from widedeep.errors import ArtefactError
from widedeep.lists import Lists
from widedeep.memory import additive
from widedeep.memory.additive import Target, fit_additive
from widedeep.memory.columns import CodeColumn, Column, ListColumn, narrow_lists
from widedeep.memory.cross_memory import CrossMemory, FoldMemory, contribution, support_bucket
from widedeep.memory.remember import remember
from widedeep.reporting import Reporter

ROWS, FOLDS = 600, 4
SIZES = (5, 40, 60)
LEAST = (1, 3)
"""Rows that a value of the cross of single values, and one of the cross of lists, must have to be known."""
KINDS = ("binary", "regression")


class Log:
    """Rows of one field, a cross (of which codes from 2 on are known) and a cross of weighted lists."""

    def __init__(self, rows: int = ROWS) -> None:
        draw = np.random.default_rng(0)
        self.folds = row_folds(0, rows, FOLDS)
        self.field = draw.integers(0, SIZES[0], rows, dtype=np.int32)
        self.cross = np.minimum(draw.geometric(0.08, rows) + 1, SIZES[1] - 1).astype(np.int32)
        self.lengths = draw.integers(1, 4, rows)
        self.values = np.minimum(draw.geometric(0.1, self.lengths.sum()) + 1, SIZES[2] - 1).astype(np.int32)
        self.factors = draw.choice([-1.0, 0.5, 2.0], len(self.values)).astype(np.float32)
        listed = np.bincount(np.repeat(np.arange(rows), self.lengths), self.factors * (self.values % 2 - 0.5))
        logit = 0.5 * (self.field - 2) + (self.cross % 3 - 1) + listed
        self.clicked = (draw.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float32)
        self.amount = (5 + logit + draw.normal(0, 1, rows)).astype(np.float32)
        self.weight = draw.uniform(0.5, 2.0, rows).astype(np.float32)

    def main(self, cuts: Sequence[int] = (), rows: NDArray[np.bool_] | None = None) -> list[Column]:
        order = np.flatnonzero(np.ones(len(self.folds)) if rows is None else rows)
        return [CodeColumn([self.field[part] for part in np.split(order, cuts)], SIZES[0])]

    def crosses(self, cuts: Sequence[int] = (), rows: NDArray[np.bool_] | None = None) -> list[Column]:
        order = np.flatnonzero(np.ones(len(self.folds)) if rows is None else rows)
        lists = []
        for part in np.split(order, cuts):
            held = np.isin(np.repeat(np.arange(len(self.folds)), self.lengths), part)
            lists.append(Lists(self.values[held], self.lengths[part], self.factors[held]))
        dense = [self.cross[part] for part in np.split(order, cuts)]
        return [CodeColumn(dense, SIZES[1], 2), ListColumn(lists, SIZES[2], 2)]

    def target(self, kind: str) -> Target:
        label = self.clicked if kind == "binary" else self.amount
        return Target(kind, label.copy(), self.weight)  # type: ignore[arg-type]

    def remembered(self, target: Target, cuts: Sequence[int] = ()) -> tuple[CrossMemory, FoldMemory]:
        return remember(self.main(cuts), self.crosses(cuts), LEAST, target, self.folds, Reporter())[:2]


LOG = Log()


@pytest.fixture
def fixed_shrinkage(monkeypatch: pytest.MonkeyPatch) -> float:
    """The one thing that a fold takes from all rows, held still."""
    for name in ("LEAST_SHRINKAGE", "FIRST_SHRINKAGE", "MOST_SHRINKAGE"):
        monkeypatch.setattr(additive, name, 4.0)
    return 4.0


def all_bytes(*memories: CrossMemory | FoldMemory) -> list[bytes]:
    return [array.tobytes() for memory in memories for array in vars(memory).values()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("row", [0, 17, 599])
def test_a_rows_own_label_has_no_part_in_what_it_is_trained_with(row: int, kind: str, fixed_shrinkage: float) -> None:
    target = LOG.target(kind)
    _, before = LOG.remembered(target)
    target.label[row] = 1 - target.label[row]
    _, after = LOG.remembered(target)
    own = int(LOG.folds[row])
    assert after.value[own].tobytes() == before.value[own].tobytes()
    for fold in set(range(FOLDS)) - {own}:
        assert after.value[fold, LOG.cross[row]] != before.value[fold, LOG.cross[row]]
    assert after.support.tobytes() == before.support.tobytes()


def test_through_the_shrinkage_a_rows_label_moves_its_values_by_a_hair() -> None:
    # The price of choosing it once, from all rows: what a label does to its own fold is next to nothing.
    target = LOG.target("binary")
    _, before = LOG.remembered(target)
    own, others = [], []
    for row in range(0, ROWS, 60):
        label = target.label.copy()
        label[row] = 1 - label[row]
        moved = np.abs(LOG.remembered(Target("binary", label, target.weight))[1].value - before.value)
        code, fold = LOG.cross[row], LOG.folds[row]
        own.append(moved[fold, code])
        others.append(np.delete(moved[:, code], fold).mean())
    assert np.mean(own) < 0.1 * np.mean(others)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_fold_is_trained_with_is_fitted_as_if_its_rows_were_not_there(kind: str, fixed_shrinkage: float) -> None:
    target = LOG.target(kind)
    _, memory = LOG.remembered(target)
    assert target.weight is not None
    for fold in range(FOLDS):
        used = LOG.folds != fold
        alone = Target(target.kind, target.label[used], target.weight[used])
        columns = [*LOG.main(rows=used), *LOG.crosses(rows=used)]
        model = fit_additive(columns, alone, np.ones(used.sum(), np.bool_), sweeps=9, shrinkage=[fixed_shrinkage] * 3)
        rows = np.concatenate([column.support(np.ones(used.sum(), np.bool_)) for column in columns[1:]])
        known = rows >= np.repeat(LEAST, SIZES[1:])
        assert memory.value[fold].tolist() == np.where(known, np.concatenate(model.weights[1:]), 0).tolist()
        assert memory.support[fold].tolist() == support_bucket(np.where(known, rows, 0)).tolist()


def test_supports_count_the_rows_outside_the_fold_and_too_few_of_them_are_none() -> None:
    whole, folds = LOG.remembered(LOG.target("binary"))
    held = np.repeat(np.arange(ROWS), LOG.lengths)

    def expected(without: int | None) -> list[int]:
        used = LOG.folds != without if without is not None else np.ones(ROWS, np.bool_)
        dense = [int((LOG.cross[used] == code).sum()) if code >= 2 else 0 for code in range(SIZES[1])]
        lists = [int((LOG.values[used[held]] == code).sum()) if code >= 2 else 0 for code in range(SIZES[2])]
        enough = [n if n >= LEAST[0] else 0 for n in dense] + [n if n >= LEAST[1] else 0 for n in lists]
        return [min(7, n.bit_length()) for n in enough]

    assert whole.support.tolist() == expected(None)
    for fold in range(FOLDS):
        assert folds.support[fold].tolist() == expected(fold)
    # A value seen in one fold alone is new to that fold's rows, as it would be to new ones.
    assert any(
        folds.support[fold, row] == 0 < whole.support[row] for fold in range(FOLDS) for row in range(sum(SIZES[1:]))
    )
    assert not whole.value[whole.support == 0].any()
    assert not folds.value[folds.support == 0].any()


@given(st.integers(0, 10**7))
def test_support_buckets_are_powers_of_two_up_to_sixty_four(rows: int) -> None:
    assert support_bucket(np.array([rows]))[0] == min(7, rows.bit_length())


@pytest.mark.parametrize("kind", KINDS)
def test_threads_the_chunks_of_the_store_and_narrow_lists_change_no_bit(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = LOG.target(kind)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    eight = all_bytes(*LOG.remembered(target))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert all_bytes(*LOG.remembered(target)) == eight
    assert all_bytes(*LOG.remembered(target, cuts=[1, 64, 64, 500])) == eight
    single, lists = LOG.crosses([64])
    narrow = ListColumn(
        [narrow_lists(part, lists.size) for part in lists.chunks if isinstance(part, Lists)], lists.size, lists.first
    )
    memories = remember(LOG.main([64]), [single, narrow], LEAST, target, LOG.folds, Reporter())[:2]
    assert all_bytes(*memories) == eight


def logit(
    memory: CrossMemory | FoldMemory, scale: NDArray[np.float32], offset: NDArray[np.float32]
) -> NDArray[np.float64]:
    """What the crosses add to each row, out of fold for a FoldMemory."""
    total = np.zeros(ROWS)
    held = np.repeat(np.arange(ROWS), LOG.lengths)
    parts = (
        (slice(0, SIZES[1]), LOG.cross, np.arange(ROWS), np.ones(ROWS)),
        (slice(SIZES[1], None), LOG.values, held, LOG.factors),
    )
    for cross, (place, codes, rows, factors) in enumerate(parts):
        value, support = memory.value[..., place], memory.support[..., place]
        found = (LOG.folds[rows], codes) if value.ndim == 2 else codes
        np.add.at(total, rows, factors * contribution(value[found], support[found], scale[cross], offset[cross]))
    return total


def test_scales_and_offsets_differ_from_one_and_zero_just_where_a_row_holds_such_a_value() -> None:
    memory, folds = LOG.remembered(LOG.target("binary"))
    held = np.repeat(LOG.folds, LOG.lengths)
    for cross, place, rows, codes in (
        (0, slice(0, SIZES[1]), LOG.folds, LOG.cross),
        (1, slice(SIZES[1], None), held, LOG.values),
    ):
        value, support = folds.value[:, place][rows, codes], folds.support[:, place][rows, codes]
        seen = {(int(bucket), int(one < 0)) for bucket, one in zip(support, value, strict=True) if one}
        assert {(int(bucket), int(sign)) for bucket, sign in np.argwhere(memory.scale[cross] != 1)} == seen
        assert set(np.flatnonzero(memory.offset[cross]).tolist()) == set(support.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_the_scales_to_start_from_make_out_of_fold_values_fit_better_than_to_believe_them_as_they_are(
    kind: str,
) -> None:
    target = LOG.target(kind)
    memory, folds = LOG.remembered(target)
    main = fit_additive(LOG.main(), target, np.ones(ROWS, np.bool_), sweeps=20).logit(LOG.main(), ROWS)

    def loss(crosses: NDArray[np.float64]) -> float:
        guess, label = main + crosses, target.label
        each = np.logaddexp(0, guess) - label * guess if kind == "binary" else 0.5 * (label - guess) ** 2
        return float(np.average(each, weights=target.weight))

    started = loss(logit(folds, memory.scale, memory.offset))
    believed = loss(logit(folds, np.ones_like(memory.scale), np.zeros_like(memory.offset)))
    assert started < believed < loss(np.zeros(ROWS))


def test_memories_come_back_from_disk_bit_by_bit_and_equal_ones_are_equal_files(tmp_path: Path) -> None:
    memory, folds = LOG.remembered(LOG.target("binary"))
    again, folds_again = LOG.remembered(LOG.target("binary"))
    memory.save(tmp_path / "memory")
    again.save(tmp_path / "again")
    folds.save(tmp_path / "folds")
    folds_again.save(tmp_path / "folds-again")
    for loaded, saved in (
        (CrossMemory.load(tmp_path / "memory"), memory),
        (FoldMemory.load(tmp_path / "folds"), folds),
    ):
        assert vars(loaded).keys() == vars(saved).keys()
        for name, array in vars(saved).items():
            assert getattr(loaded, name).dtype == array.dtype
            assert getattr(loaded, name).tolist() == array.tolist()
    assert (tmp_path / "memory").read_bytes() == (tmp_path / "again").read_bytes()
    assert (tmp_path / "folds").read_bytes() == (tmp_path / "folds-again").read_bytes()


@pytest.mark.parametrize("load", [CrossMemory.load, FoldMemory.load])
def test_a_memory_that_is_missing_damaged_or_another_file_is_told(
    load: Callable[[Path], object], tmp_path: Path
) -> None:
    memory, folds = LOG.remembered(LOG.target("binary"))
    (folds if load == CrossMemory.load else memory).save(tmp_path / "other")
    (memory if load == CrossMemory.load else folds).save(tmp_path / "short")
    content = (tmp_path / "short").read_bytes()
    (tmp_path / "short").write_bytes(content[:-1])
    (tmp_path / "text").write_text("no memory")
    for name in ("none", "short", "text", "other"):
        with pytest.raises(ArtefactError, match=f"{name}: not? .*memory of crosses.*train again"):
            load(tmp_path / name)
