"""Slices where one of two models is worse: against plain loops, how often none is found where none is, and what is too small."""

import numpy as np
import pytest

from widedeep.evaluation.comparison import LEAST_GROUPS, LEAST_OF_CLASS, LabelledRows, loss_fall, score_losses
from widedeep.evaluation.slices import LEAST_ROWS, SliceColumn, compare_slices


def drawn(seed: int, rows: int, *, hurt: int | None = None) -> tuple[LabelledRows, SliceColumn, list[np.ndarray]]:
    """Ten slices; two copies of the truth with equal noise, but that in slice `hurt` the first has far more."""
    draw = np.random.default_rng(seed)
    code = draw.integers(0, 10, rows)
    logit = draw.normal(-0.5, 1, rows)
    label = (draw.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    noise = np.where(code == hurt, 1.5, 0.5)
    scores = [(1 / (1 + np.exp(-logit - draw.normal(0, 1, rows) * one))).astype(np.float32) for one in (noise, 0.5)]
    labelled = LabelledRows.of("binary", label)
    column = SliceColumn("color", code, [None, *"abcdefghi"])
    return labelled, column, [score_losses("binary", labelled.label, score) for score in scores]


def test_the_hurt_slice_is_found_with_the_difference_of_its_rows_alone() -> None:
    rows, column, (first, second) = drawn(0, 8000, hurt=3)
    report = compare_slices(rows, [column], first, second)
    (found,) = report.worse
    assert (found.column, found.value, found.worse) == ("color", "c", "first")
    inside = column.code == 3
    expected = loss_fall(first[inside], second[inside])
    assert found.rows == inside.sum()
    assert found.difference.value == pytest.approx(expected.value)
    assert found.difference.error == pytest.approx(expected.error)
    # Bonferroni over ten slices: z of 1 - 0.025 / 10.
    assert found.high - found.low == pytest.approx(2 * 2.807 * expected.error, rel=1e-3)
    swapped = compare_slices(rows, [column], second, first).worse[0]
    assert (swapped.worse, swapped.difference.value) == ("second", pytest.approx(-expected.value))


def test_where_the_models_are_equal_hardly_any_comparison_finds_a_slice() -> None:
    reports = []
    for seed in range(200):
        rows, column, losses = drawn(seed, 4000)
        reports.append(compare_slices(rows, [column], *losses))
    assert all(report.looked_at == 10 for report in reports)
    assert sum(bool(report.worse) for report in reports) <= 20  # 10 expected


def test_slices_of_too_few_rows_positives_or_groups_are_counted_and_not_looked_at() -> None:
    sizes = [LEAST_ROWS - 1, LEAST_ROWS, LEAST_ROWS]
    code = np.repeat([0, 1, 2], sizes)
    label = np.tile([0.0, 1.0], len(code))[: len(code)]
    label[code == 2] = 0.0
    label[np.flatnonzero(code == 2)[: LEAST_OF_CLASS - 1]] = 1.0
    column, losses = SliceColumn("x", code, ["a", "b", "c"]), np.random.default_rng(0).random((2, len(code)))
    report = compare_slices(LabelledRows.of("binary", label), [column], *losses)
    assert (report.looked_at, report.too_small) == (1, 2)
    # A regression has no classes.
    assert compare_slices(LabelledRows.of("regression", label), [column], *losses).looked_at == 2
    for groups, looked_at in ((LEAST_GROUPS - 1, 0), (LEAST_GROUPS, 2)):
        group = (np.arange(len(code)) % groups).astype(np.uint64)
        rows = LabelledRows.of("regression", label, None, group)
        assert compare_slices(rows, [column], *losses).looked_at == looked_at


def test_the_error_of_a_slice_takes_a_groups_rows_together() -> None:
    draw = np.random.default_rng(2)
    difference, code, group = draw.normal(1, 1, 300), np.zeros(300, dtype=np.int64), np.arange(300).astype(np.uint64)
    alone = compare_slices(
        LabelledRows.of("regression", difference, None, group),
        [SliceColumn("x", code, ["a"])],
        difference,
        np.zeros(300),
    )
    repeated = compare_slices(
        LabelledRows.of("regression", np.repeat(difference, 5), None, np.repeat(group, 5)),
        [SliceColumn("x", np.repeat(code, 5), ["a"])],
        np.repeat(difference, 5),
        np.zeros(1500),
    )
    assert repeated.worse[0].difference.error == pytest.approx(alone.worse[0].difference.error)
    assert repeated.worse[0].rows == 1500


def test_a_weight_of_zero_is_no_row_and_one_of_two_is_two() -> None:
    draw = np.random.default_rng(3)
    difference, weight = draw.normal(0.5, 1, 900), draw.integers(0, 3, 900).astype(np.float32)
    column = SliceColumn("x", np.zeros(900, dtype=np.int64), ["a"])
    report = compare_slices(LabelledRows.of("regression", difference, weight), [column], difference, np.zeros(900))
    assert report.worse[0].rows == np.count_nonzero(weight)
    assert report.worse[0].difference.value == pytest.approx(np.average(difference, weights=weight))


def test_without_columns_there_is_nothing_to_look_at() -> None:
    rows, _, losses = drawn(0, 500)
    report = compare_slices(rows, [], *losses)
    assert (report.looked_at, report.too_small, report.worse) == (0, 0, ())
