"""Finite float64 numbers as unsigned integers in the same order, for what cuts numbers by their bits."""

import numpy as np
from numpy.typing import NDArray

_SIGN = np.uint64(1 << 63)


def ordered_bits(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Unsigned integers in the order of the finite floats; both zeros are one value."""
    # + 0.0 turns -0.0 into 0.0. Negative floats order backwards by their bits, hence the complement.
    bits = np.ascontiguousarray(values + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def float_of_bits(key: int) -> float:
    """The float that `ordered_bits` made the integer of."""
    bits = key ^ (1 << 63) if key >> 63 else key ^ ((1 << 64) - 1)
    return float(np.array([bits], dtype=np.uint64).view(np.float64)[0]) + 0.0
