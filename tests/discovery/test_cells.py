"""The gain of leave-one-out values of a cross's cells, against a loop that does leave each row out."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from widedeep.discovery.cells import in_order, joined, leave_one_out, sorted_by_code

PENALTIES = np.array([0.5, 4.0, 64.0])
NO_LISTS = np.empty(0, dtype=np.int64)


def kernel(
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    residual: NDArray[np.float32],
    curvature: NDArray[np.float32],
    lists: NDArray[np.int64] = NO_LISTS,
    rows: NDArray[np.int32] | None = None,
) -> NDArray[np.float64]:
    places = np.arange(len(left), dtype=np.int32) if rows is None else rows
    ordered, starts = sorted_by_code(left, places, int(left.max(initial=-1)) + 1)
    size = int(right.max(initial=-1)) + 1
    derivatives = in_order(ordered, residual), in_order(ordered, curvature)
    return leave_one_out(ordered, starts, right, lists, size, *derivatives, PENALTIES)


def plainly(
    cells: list[list[int]], residual: NDArray[np.float32], curvature: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The same of cells, lists of rows, one row at a time."""
    result = np.zeros((len(PENALTIES), 5))
    r, h = residual.astype(np.float64), curvature.astype(np.float64)
    for cell in cells:
        mean = float(np.mean(h[cell]))
        for place, row in enumerate(cell):
            others = cell[:place] + cell[place + 1 :]
            if not others:
                continue
            values = r[others].sum() / (mean * len(others) + PENALTIES)
            result[:, 0] += r[row] * values - mean * values**2 / 2
            result[:, 1] += r[row] * values
            # Of a pair of rows: (2 r_i r_j / D)^2, where E r^2 = h; a row has its part of half the pairs that it is in.
            spread = 2 * mean**2 * len(others) / (mean * len(others) + PENALTIES) ** 2
            result[:, 2] += spread
            if len(cell) == 2:
                result[:, 3] += r[row] * values
                result[:, 4] += spread
    return result


def cells_of(pairs: list[tuple[int, int, int]]) -> list[list[int]]:
    """The rows of each combination out of (left, right, row), without those that have a negative code."""
    cells: dict[tuple[int, int], list[int]] = defaultdict(list)
    for left, right, row in pairs:
        if left >= 0 and right >= 0:
            cells[left, right].append(row)
    return list(cells.values())


def drawn(seed: int, rows: int) -> tuple[np.random.Generator, NDArray[np.float32], NDArray[np.float32]]:
    draw = np.random.default_rng(seed)
    return draw, draw.normal(0, 0.5, rows).astype(np.float32), draw.uniform(0.01, 0.25, rows).astype(np.float32)


@given(seed=st.integers(0, 2**32), rows=st.integers(0, 120), left=st.integers(1, 9), right=st.integers(1, 30))
@settings(max_examples=80)
def test_the_sums_are_those_of_a_loop_that_leaves_each_row_out(seed: int, rows: int, left: int, right: int) -> None:
    draw, residual, curvature = drawn(seed, rows)
    first, second = (draw.integers(-1, size, rows, dtype=np.int32) for size in (left, right))
    pairs = [(int(a), int(b), row) for row, (a, b) in enumerate(zip(first, second, strict=True))]
    expected = plainly(cells_of(pairs), residual, curvature)
    assert kernel(first, second, residual, curvature) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 60), both=st.booleans())
@settings(max_examples=60)
def test_a_row_stands_once_in_the_cell_of_each_value_of_its_list(seed: int, rows: int, both: bool) -> None:
    draw, residual, curvature = drawn(seed, rows)
    lists = [draw.permutation(8)[: draw.integers(0, 4)] - 1 for _ in range(rows)]
    lengths = np.array([len(one) for one in lists])
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = np.concatenate(lists).astype(np.int32)
    lefts = [draw.permutation(4)[: draw.integers(0, 3) if both else 1] - 1 for _ in range(rows)]
    places = np.repeat(np.arange(rows), [len(one) for one in lefts]).astype(np.int32)
    pairs = [(int(a), int(b), row) for row in range(rows) for a in lefts[row] for b in lists[row]]
    expected = plainly(cells_of(pairs), residual, curvature)
    result = kernel(np.concatenate(lefts).astype(np.int32), values, residual, curvature, starts, places)
    assert result == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_cell_of_one_row_says_nothing() -> None:
    _, residual, curvature = drawn(0, 6)
    alone = np.arange(6, dtype=np.int32)
    assert not kernel(alone, np.zeros(6, dtype=np.int32), residual, curvature).any()
    assert not kernel(np.zeros(6, dtype=np.int32), alone, residual, curvature).any()
    assert kernel(np.zeros(6, dtype=np.int32), np.zeros(6, dtype=np.int32), residual, curvature).all(axis=0)[:3].all()


def test_the_score_of_cells_without_an_effect_has_mean_0_and_the_variance_that_is_told() -> None:
    draw = np.random.default_rng(3)
    z = []
    for _ in range(300):
        left, right = draw.integers(0, 12, (2, 1500), dtype=np.int32)
        rate = draw.uniform(0.1, 0.5, 1500)
        residual = ((draw.random(1500) < rate) - rate).astype(np.float32)
        result = kernel(left, right, residual, (rate * (1 - rate)).astype(np.float32))
        z.append(result[:, 1] / np.sqrt(result[:, 2]))
    assert np.abs(np.mean(z, axis=0)).max() < 0.25
    assert np.std(z, axis=0) == pytest.approx(1.0, abs=0.2)


def test_rows_are_sorted_by_code_and_those_of_negative_codes_are_left_out() -> None:
    rows, starts = sorted_by_code(np.array([2, -1, 0, 2, -5, 0], np.int32), np.array([7, 8, 9, 3, 2, 1], np.int32), 4)
    assert (rows.tolist(), starts.tolist()) == ([9, 1, 7, 3], [0, 2, 2, 4, 4])


@given(seed=st.integers(0, 2**32), rows=st.integers(0, 80), left=st.integers(1, 9), right=st.integers(1, 9))
def test_pairs_of_codes_are_numbered_in_their_order(seed: int, rows: int, left: int, right: int) -> None:
    draw = np.random.default_rng(seed)
    first, second = (draw.integers(-1, size, rows, dtype=np.int32) for size in (left, right))
    codes, size = joined(first, left, second, right)
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    known = sorted({pair for pair in pairs if min(pair) >= 0})
    assert codes.tolist() == [known.index(pair) if pair in known else -1 for pair in pairs]
    assert size == len(known)
