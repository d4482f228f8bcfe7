"""The figures of one column alone, against plain counting and scikit-learn."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from widedeep.profile.single_column import Evidence, ListItems, evidence_of, evidence_of_list, recurrence, strength
from widedeep.profile.value_table import (
    Target,
    ValueTable,
    bucket_codes,
    bucket_cuts,
    bucketed,
    numbers_of,
    value_table,
    value_tables,
)

ROWS = 400


def target_of(label: Sequence[float], *, is_binary: bool = True) -> Target:
    return Target.of(np.array(label, dtype=np.float64), is_binary=is_binary)


def drawn_label(rows: int = ROWS, rate: float = 0.4) -> list[int]:
    draw = random.Random(0)
    return [int(draw.random() < rate) for _ in range(rows)]


def evidence(values: Sequence[Any], label: Sequence[float], *, is_binary: bool = True) -> Evidence:
    target = target_of(label, is_binary=is_binary)
    table = value_table(pl.Series(values), target)
    return evidence_of(table, numbers_of(table), target)


def test_halves_are_about_even_and_do_not_change() -> None:
    half = target_of([0.0] * 10_000).half
    assert 4800 < half.sum() < 5200
    assert half[:12].tolist() == target_of([1.0] * 12).half.tolist() == [0, 1, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("positives", "rows", "is_binary", "is_enough"),
    [
        (200, 400, True, True),
        (8, 400, True, False),
        (392, 400, True, False),
        (0, 40, False, True),
        (0, 39, False, False),
    ],
)
def test_strengths_need_ten_rows_of_a_class_in_each_half(
    positives: int, rows: int, is_binary: bool, is_enough: bool
) -> None:
    assert target_of([1] * positives + [0] * (rows - positives), is_binary=is_binary).is_enough == is_enough


def test_ten_rows_of_a_class_in_a_half_are_enough_and_nine_are_not() -> None:
    half = target_of([0.0] * ROWS).half
    for rarer, is_enough in ((10, True), (9, False)):
        label = np.zeros(ROWS)
        label[np.flatnonzero(half == 0)[:rarer]] = 1.0
        label[np.flatnonzero(half == 1)[:50]] = 1.0
        assert target_of(label.tolist()).is_enough == is_enough
        assert target_of((1 - label).tolist()).is_enough == is_enough


@pytest.mark.parametrize(
    ("label", "is_binary", "noise"),
    [
        ([1] * 25 + [0] * 75, True, 0.1),
        ([0] * 25 + [1] * 75, True, 0.1),
        ([0] * 9, True, 0.5),
        ([3.0] * 900, False, 0.1),
    ],
)
def test_noise_falls_with_the_rows_of_the_rarer_class(label: list[float], is_binary: bool, noise: float) -> None:
    assert target_of(label, is_binary=is_binary).noise == pytest.approx(noise)


# -------------------------------------------------------------------------------------------------------- value tables


def test_a_value_table_counts_rows_and_sums_labels_per_half_with_missing_as_a_value() -> None:
    label = [1.0, 2.0, 3.0, 4.0, 5.0]
    target = target_of(label, is_binary=False)
    table = value_table(pl.Series(["b", None, "a", "b", None]), target)
    assert table.values.to_list() == ["b", None, "a"]
    assert table.is_present.tolist() == [True, False, True]
    assert table.counts.tolist() == [2.0, 2.0, 1.0]
    assert table.label_totals.tolist() == [5.0, 7.0, 3.0]
    for half in (0, 1):
        rows = [[k for k in group if target.half[k] == half] for group in ((0, 3), (1, 4), (2,))]
        assert table.rows[half].tolist() == [len(group) for group in rows]
        assert table.label_sums[half].tolist() == [sum(label[k] for k in group) for group in rows]
        assert table.label_squares[half].tolist() == [sum(label[k] ** 2 for k in group) for group in rows]
    frame = table.as_frame()
    assert frame.rows() == [("b", 2, 5.0), (None, 2, 7.0), ("a", 1, 3.0)]
    assert frame.schema["rows"] == pl.Int64


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["1", None, "-2.5"], [1.0, None, -2.5]),
        ([3, 4], [3.0, 4.0]),
        ([True, False], None),
        (["012", "7"], None),
        (["1" * 16, "7"], None),
        ([2**53, 7], None),
        (["a", "7"], None),
        (["7"] * 98 + ["a", "b"], [7.0, None, None]),
        (["7"] * 97 + ["a", "b", "c"], None),
    ],
    ids=str,
)
def test_numbers_are_what_nearly_all_rows_hold_but_for_codes_written_with_digits(
    values: list[Any], numbers: list[float | None] | None
) -> None:
    found = numbers_of(value_table(pl.Series(values), target_of([0] * len(values))))
    assert (None if found is None else [None if np.isnan(one) else one for one in found]) == numbers


def test_groups_of_values_are_summed() -> None:
    table = value_table(pl.Series(["a", "b", "c", "a"]), target_of([1, 0, 1, 0]))
    grouped = table.grouped(np.array([1, 0, 1]))
    assert grouped.counts.tolist() == [1.0, 3.0]
    assert grouped.label_totals.tolist() == [0.0, 2.0]
    assert grouped.rows.sum(axis=1).tolist() == table.rows.sum(axis=1).tolist()


# ------------------------------------------------------------------------------------------------------------- buckets


@given(
    st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=300),
    st.integers(2, 12),
)
def test_buckets_keep_the_order_and_heavy_values_have_one_of_their_own(values: list[float], buckets: int) -> None:
    numbers, counts = np.unique(values, return_counts=True)
    cuts = bucket_cuts(numbers, counts, buckets)
    codes = bucket_codes(numbers, cuts)
    assert (np.diff(cuts) > 0).all()
    assert (np.diff(codes) >= 0).all()
    assert codes[0] == 0
    if len(numbers) <= buckets:
        assert codes.tolist() == list(range(len(numbers)))
    for number, count in enumerate(counts):
        if count * buckets >= len(values):
            assert (codes == codes[number]).sum() == 1


def test_buckets_hold_about_equally_many_rows_and_at_least_twenty() -> None:
    numbers = np.arange(1000.0)
    sizes = np.bincount(bucket_codes(numbers, bucket_cuts(numbers, np.ones(1000), 10)))
    assert sizes.tolist() == [100] * 10
    numbers = np.arange(100.0)
    assert np.bincount(bucket_codes(numbers, bucket_cuts(numbers, np.ones(100), 50))).tolist() == [20] * 5
    assert len(bucket_cuts(np.arange(39.0), np.ones(39), 30)) == 0


@pytest.mark.parametrize("place", [0, 50, 100])
def test_a_heavy_value_has_a_bucket_to_itself_and_the_others_are_cut_by_their_own_quantiles(place: int) -> None:
    numbers = np.arange(101.0)
    codes = bucket_codes(numbers, bucket_cuts(numbers, np.where(numbers == place, 900, 1), 4))
    assert codes[0] == 0
    assert (np.diff(codes) >= 0).all()
    assert (codes == codes[place]).sum() == 1
    sizes = np.bincount(codes)
    assert sorted(sizes[sizes > 0].tolist()) == [1, 25, 25, 25, 25]


def test_a_missing_number_has_a_bucket_of_its_own() -> None:
    assert bucket_codes(np.array([1.0, np.nan, 3.0]), np.array([2.0])).tolist() == [0, 2, 1]
    table = value_table(pl.Series([1.0, None, 3.0] * 9), target_of([0, 1, 0] * 9))
    counts = bucketed(table, np.array([1.0, np.nan, 3.0])).counts
    assert counts[counts > 0].tolist() == [9.0, 9.0, 9.0]


# ------------------------------------------------------------------------------------------------------------ strength


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 1)), min_size=60, max_size=120))
def test_the_auc_of_a_column_is_that_of_its_held_out_label_rates(rows: list[tuple[str, int]]) -> None:
    values, label = [value for value, _ in rows], np.array([one for _, one in rows], dtype=float)
    target = target_of(label.tolist())
    aucs = []
    for half in (0, 1):
        fitted, judged = target.half != half, target.half == half
        assume(len(set(label[judged])) == 2 and fitted.any())
        mean = label[fitted].mean()
        rate = {
            value: (sum(label[k] for k in np.flatnonzero(fitted) if values[k] == value) + 10 * mean)
            / (sum(values[k] == value for k in np.flatnonzero(fitted)) + 10)
            for value in "abcd"
        }
        aucs.append(roc_auc_score(label[judged], [round(rate[values[k]], 12) for k in np.flatnonzero(judged)]))
    assert strength(value_table(pl.Series(values), target), is_binary=True) == pytest.approx(np.mean(aucs), abs=1e-9)


def test_a_column_that_tells_all_has_auc_1_and_one_that_tells_nothing_about_a_half() -> None:
    label = drawn_label()
    draw = random.Random(3)
    assert evidence(label, label).strength == 1.0
    assert evidence([1 - one for one in label], label).strength == 1.0
    assert evidence(["x"] * ROWS, label).strength == 0.5
    assert 0.4 < (evidence([draw.choice("ab") for _ in label], label).strength or 0) < 0.6
    assert evidence(label, [0.0] * ROWS).strength is None
    assert evidence(label, [0.0] * ROWS).by_value == 0.5


def test_the_r2_of_a_column_is_the_variance_that_its_values_explain() -> None:
    draw = np.random.default_rng(0)
    group = draw.integers(0, 5, 20_000)
    label = group + draw.normal(0, 2, 20_000)
    expected = 2.0 / (2.0 + 4.0)  # variance of 0 … 4, and of the noise
    assert evidence(group.tolist(), label.tolist(), is_binary=False).strength == pytest.approx(expected, abs=0.02)
    assert evidence(draw.integers(0, 5, 20_000).tolist(), label.tolist(), is_binary=False).strength < 0.002  # type: ignore[operator]
    assert evidence(["x"] * ROWS, drawn_label(), is_binary=False).strength == 0.0
    assert evidence(drawn_label(), [3.0] * ROWS, is_binary=False).strength == 0.0


def test_a_copy_of_an_amount_explains_all_of_it_however_few_rows_a_value_has() -> None:
    draw = np.random.default_rng(0)
    codes = draw.integers(0, 100, 400)
    label = (codes * 7919 % 100).astype(float)
    found = evidence([f"c{code}" for code in codes], label.tolist(), is_binary=False).strength
    assert found is not None
    # A value that only one half has is unknown to the other: one in seven here.
    assert found > 0.8
    assert evidence(label.tolist(), label.tolist(), is_binary=False).strength == pytest.approx(found, abs=0.2)


def test_numbers_are_judged_by_value_and_by_bucket_and_the_better_counts() -> None:
    label = drawn_label()
    draw = random.Random(4)
    amount = [draw.uniform(0, 1) + one for one in label]
    code = [2 * draw.randrange(100) + one for one in label]
    of_amount, of_code = evidence(amount, label), evidence(code, label)
    assert (of_amount.by_value, of_amount.strength) == (0.5, of_amount.by_bucket)
    assert of_amount.by_bucket > 0.95  # type: ignore[operator]
    assert of_code.strength == of_code.by_value
    assert of_code.by_value > 0.8  # type: ignore[operator]
    assert of_code.by_bucket < 0.7  # type: ignore[operator]
    assert evidence([f"x{one}" for one in code], label).by_bucket is None


@pytest.mark.parametrize(
    ("values", "filled"),
    [
        ([5.0, 0.0, None, 7.0], [True, False, False, True]),
        (["5", "0", None, "7"], [True, False, False, True]),
        (["x", "0", None, "y"], [True, True, False, True]),
    ],
)
def test_a_row_is_filled_where_it_has_a_value_that_is_not_zero(values: list[Any], filled: list[bool]) -> None:
    label = [1, 1, 0, 0] * 25
    pattern = evidence(values * 25, label).pattern
    assert pattern.filled == 25 * sum(filled)
    assert pattern.filled_positives == 25 * sum(filled[:2])
    assert pattern.empty == 25 * (4 - sum(filled))
    assert pattern.empty_positives == 25 * (2 - sum(filled[:2]))


def test_the_strength_of_being_filled_is_that_of_two_values() -> None:
    label = drawn_label()
    filled = [f"v{row}" if one else None for row, one in enumerate(label)]
    found = evidence(filled, label)
    assert found.by_filled == 1.0
    assert not found.has_two_values
    assert evidence(["a" if one else None for one in label], label).has_two_values
    assert evidence(["a" if one else "b" for one in label], label).has_two_values
    assert not evidence(["a"] * ROWS, label).has_two_values


@pytest.mark.parametrize(
    ("values", "label", "is_pure"),
    [
        ("abab", [0, 1, 0, 1], False),  # eight rows at least
        ("abababab", [0, 1, 0, 1, 0, 1, 0, 1], True),
        ("aabb" * 2 + "c", [0, 0, 1, 1] * 2 + [1], False),  # four rows a value at least
        ("aabb" * 2 + "aabb", [0, 0, 1, 1] * 2 + [0, 0, 1, 0], False),
        ("aaaaaabb", [0, 0, 0, 0, 0, 0, 1, 1], False),  # three rows of the rarer class at least
        ("aaaaabbb", [0, 0, 0, 0, 0, 1, 1, 1], True),
        ("aaaaabbb", [1, 1, 1, 1, 1, 0, 0, 0], True),
    ],
)
def test_values_are_pure_where_each_in_several_rows_has_one_label(values: str, label: list[int], is_pure: bool) -> None:
    assert evidence(list(values), label).is_pure == is_pure
    assert not evidence(list(values), label, is_binary=False).is_pure


# --------------------------------------------------------------------------------------------------------------- lists


def of_list(lists: Sequence[Any], label: Sequence[float], *, is_binary: bool = True) -> Evidence:
    target = target_of(label, is_binary=is_binary)
    column = pl.Series(lists, dtype=pl.List(pl.String))
    return evidence_of_list(ListItems.of(column, target), column, target)


def test_a_row_counts_once_for_each_value_of_its_list_and_without_any_for_missing() -> None:
    items = ListItems.of(pl.Series([["a", "b", "a"], None, ["b"], None]), target_of([1, 0, 0, 1]))
    assert items.items.rows() == [(0, "a"), (0, "b"), (1, None), (2, "b"), (3, None)]
    assert items.table.as_frame().rows() == [("a", 1, 1.0), ("b", 2, 1.0), (None, 2, 1.0)]


def test_a_list_is_as_strong_as_the_mean_of_its_values() -> None:
    label = drawn_label()
    draw = random.Random(5)
    telling = [[*draw.sample("pqr", 2), *["bought"] * one] for one in label]
    assert of_list(telling, label).strength == 1.0
    assert of_list([draw.sample("pqr", 2) for _ in label], label).strength < 0.6  # type: ignore[operator]
    assert of_list([["a"] if one else ["b"] for one in label], label).strength == 1.0
    assert of_list(telling, label, is_binary=False).strength is None
    found = of_list([["a"] if one else None for one in label], label)
    assert (found.by_filled, found.pattern.filled, found.pattern.filled_positives) == (1.0, sum(label), sum(label))


# ---------------------------------------------------------------------------------------------------------- recurrence


def test_recurrence_says_how_often_a_value_comes_again_in_the_other_half() -> None:
    target = target_of([0.0] * 8)
    values = pl.Series(["a", "a", "a", "b", "b", "c", None, None])
    halves: dict[Any, list[int]] = {}
    for value, half in zip(values, target.half.tolist(), strict=True):
        halves.setdefault(value, [0, 0])[half] += 1
    known = {value: rows for value, rows in halves.items() if value is not None}
    seen = sum(sum(rows) for rows in known.values() if min(rows) > 0) / 6
    pairs = sum(rows[0] * rows[1] for rows in known.values())
    found = recurrence(value_table(values, target), 80)
    assert 0.0 < seen < 1.0
    assert found.seen == pytest.approx(seen)
    first, second = (sum(rows[half] for rows in known.values()) for half in (0, 1))
    assert found.others == pytest.approx(pairs / (first * second) * 80)


def test_a_column_without_values_does_not_come_again() -> None:
    table = ValueTable(pl.Series([None]), *(np.ones((2, 1)) for _ in range(3)))
    assert (recurrence(table, 10).seen, recurrence(table, 10).others) == (0.0, 0.0)


@pytest.mark.parametrize("values", [["a", None, "b", "a"], [1.5, None, -0.0, 0.0], [True, None, False, True]])
def test_columns_counted_together_have_the_tables_that_each_has_alone(values):
    target = target_of([0.25, 1.5, 2.0, 4.125])
    columns = [pl.Series(values), pl.Series(values[::-1]), pl.Series(values)]
    for column, table in zip(columns, value_tables(columns, target), strict=True):
        alone = value_table(column, target)
        assert table.values.to_list() == alone.values.to_list()
        for part in ("rows", "label_sums", "label_squares"):
            assert np.array_equal(getattr(table, part), getattr(alone, part))
