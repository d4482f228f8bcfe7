"""Random numbers that depend on a seed and a position only: SplitMix64 (Steele, Lea, Flood 2014)."""

import numpy as np
from numpy.typing import NDArray

MASK = (1 << 64) - 1
GOLDEN_GAMMA = 0x9E3779B97F4A7C15
FIRST_FACTOR, SECOND_FACTOR = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def random_draws(seed: int, first_position: int, num_rows: int) -> NDArray[np.float64]:
    """Uniform numbers on [0, 1), float64 [num_rows], for the positions from `first_position` on."""
    start = mix(np.array([seed & MASK], dtype=np.uint64))
    positions = np.arange(first_position, first_position + num_rows, dtype=np.uint64)
    return unit_interval(mix(start + (positions + np.uint64(1)) * np.uint64(GOLDEN_GAMMA)))


def mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finisher of SplitMix64: every bit of the result depends on every bit of the state."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(FIRST_FACTOR)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(SECOND_FACTOR)
    return state ^ (state >> np.uint64(31))


def unit_interval(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """64 random bits as a number on [0, 1), made of the 53 highest bits."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
