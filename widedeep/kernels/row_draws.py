"""Draws fresh rows of a table, each from a seed and its number: whoever holds some rows needs none of the others."""

import math

import numpy as np
from numpy.typing import NDArray

from widedeep.compiled import compiled
from widedeep.draws import GOLDEN_GAMMA, MASK, mix

_GAMMA, _ONE = np.uint64(GOLDEN_GAMMA), np.uint64(1)
_HALF, _TURN = np.float32(2.0**-24), np.float32(2.0 * math.pi)
_mix = compiled(mix)


@compiled
def _draw(start: np.uint64, first: int, stride: int, deviation: np.float32, rows: NDArray[np.float32]) -> None:
    """Fill `rows` [R, D], which are first, first + stride, … of a table, with normal numbers (Box and Muller, 1958)."""
    width = rows.shape[1]
    pairs = (width + 1) // 2
    for i in range(len(rows)):
        number = np.uint64(first + i * stride) * np.uint64(pairs)
        for pair in range(pairs):
            bits = _mix(start + (number + np.uint64(pair) + _ONE) * _GAMMA)
            # Two uniform numbers of 24 bits each, the first above 0 for the sake of its logarithm.
            radius_draw = np.float32((bits >> np.uint64(40)) + _ONE) * _HALF
            angle = np.float32((bits >> np.uint64(8)) & np.uint64(0xFFFFFF)) * _HALF * _TURN
            radius = deviation * math.sqrt(np.float32(-2.0) * math.log(radius_draw))
            rows[i, 2 * pair] = radius * math.cos(angle)
            if 2 * pair + 1 < width:
                rows[i, 2 * pair + 1] = radius * math.sin(angle)


def draw_rows(weights: NDArray[np.float32], rows: range, seed: int, deviation: float) -> None:
    """Fill `weights` [R, D] with N(0, deviation²) for these rows of a table. Tables of another D have other numbers."""
    start = mix(mix(np.array([seed & MASK], dtype=np.uint64)) ^ np.uint64(weights.shape[1]))[0]
    _draw(start, rows.start, rows.step, np.float32(deviation), weights)
