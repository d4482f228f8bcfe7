"""Mean and standard deviation from sums without rounding, the same for every order and chunking of the rows."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

_MANTISSA_BITS = 53
_LIMB_BITS = 27
_LIMB_MASK = (1 << _LIMB_BITS) - 1
# The least positive float64 is 2**-1074. In this unit every float64 is an integer, and its square in the unit's square.
_UNIT_BITS = 1074
# A limb is below 2**27; up to 2**26 of them sum below 2**53, where float64 (the arithmetic of bincount) is exact.
_MOST_ROWS = 1 << 26


@dataclass
class Moments:
    """Count, sum and sum of squares of float64 values as exact integers; merging in any order gives the same."""

    count: int = 0
    total: int = 0
    """Sum of the values in units of 2**-1074."""
    squares: int = 0
    """Sum of the squares in units of 2**-2148."""

    def add(self, values: NDArray[np.float64]) -> None:
        """Add finite values, shape [N]."""
        for start in range(0, len(values), _MOST_ROWS):
            self._add(values[start : start + _MOST_ROWS])

    def _add(self, values: NDArray[np.float64]) -> None:
        if len(values) == 0:
            return
        fraction, exponent = np.frexp(values)
        mantissa = np.ldexp(fraction, _MANTISSA_BITS).astype(np.int64)
        # value = mantissa * 2**(exponent - 53); for subnormal values the mantissa ends in zeros, so no bit is lost.
        magnitude, sign = np.abs(mantissa), np.sign(mantissa)
        high, low = magnitude >> _LIMB_BITS, magnitude & _LIMB_MASK
        least = int(exponent.min())
        group = exponent - least
        shift = least - _MANTISSA_BITS
        self.count += len(values)
        self.total += _sum(group, sign * low, shift + _UNIT_BITS, 1)
        self.total += _sum(group, sign * high, shift + _UNIT_BITS + _LIMB_BITS, 1)
        shift = 2 * shift + 2 * _UNIT_BITS
        for product, place in ((low * low, 0), (2 * high * low, _LIMB_BITS), (high * high, 2 * _LIMB_BITS)):
            self.squares += _sum(group, product & _LIMB_MASK, shift + place, 2)
            self.squares += _sum(group, product >> _LIMB_BITS, shift + place + _LIMB_BITS, 2)

    def merge(self, other: "Moments") -> None:
        """Add the values that `other` has seen."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares

    def mean(self) -> float:
        """The mean, correctly rounded; 0 without values."""
        return float(Fraction(self.total, self.count << _UNIT_BITS)) if self.count else 0.0

    def deviation(self) -> float:
        """The population standard deviation, exact but for the last bit or two; 0 for a constant or without values."""
        if not self.count:
            return 0.0
        # count^2 * variance is an integer in units of 2**-2148: nothing cancels, however far the mean is from 0.
        scaled = self.count * self.squares - self.total * self.total
        # An integer root drops its fraction. The shift keeps 64 bits of it.
        root = math.isqrt(scaled << 128)
        return float(Fraction(root, self.count << (_UNIT_BITS + 64)))


def _sum(group: NDArray[np.int32], limbs: NDArray[np.int64], shift: int, step: int) -> int:
    """Exact sum of limbs[i] * 2**(shift + step * group[i])."""
    sums = np.bincount(group, weights=limbs)
    total = 0
    for number in np.flatnonzero(sums):
        # A negative shift drops zero bits only, because values are integers in their unit.
        bits = shift + step * int(number)
        total += int(sums[number]) << bits if bits >= 0 else int(sums[number]) >> -bits
    return total
