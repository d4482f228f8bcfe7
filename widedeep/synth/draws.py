"""What all sample logs share: random numbers that depend on seed, name and counter only, and effects on a logit."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from widedeep.draws import GOLDEN_GAMMA, mix

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Counter = NDArray[np.uint64]

Effects = Iterable[tuple[float, FloatArray]]
"""For each effect, in a fixed order: its strength (standard deviation in logits) and its unscaled values."""

RANK = 4
FACTOR_MEAN = 0.4
"""Mean of the factors. With 0, pairs would have no main effects, and gradient descent would start on a saddle."""

PILOT_ROWS = 50_000
PILOT_START = np.uint64(1 << 40)
"""The pilot's rows have numbers from here on, which no log reaches."""
LONG_PILOT_ROWS = 500_000
"""Rows of the long pilot, which measures the mean probability where labels are rare or effects are large."""


@dataclass(frozen=True)
class Draws:
    """The random numbers of a seed: equal (seed, name, counter) give equal numbers, whatever else was drawn."""

    seed: int

    def uniform(self, name: str, counter: Counter | IntArray) -> FloatArray:
        """Numbers in (0, 1) that depend on seed, name and counter only (SplitMix64, Steele et al. 2014)."""
        key = hashlib.blake2b(f"{self.seed}/{name}".encode(), digest_size=8).digest()
        state = mix(np.uint64(int.from_bytes(key, "little")) + counter.astype(np.uint64) * np.uint64(GOLDEN_GAMMA))
        return ((state >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def normal(self, name: str, counter: Counter | IntArray) -> FloatArray:
        """Standard normal numbers (Box and Muller 1958)."""
        radius = np.sqrt(-2.0 * np.log(self.uniform(f"{name}/radius", counter)))
        return radius * np.cos(2.0 * np.pi * self.uniform(f"{name}/angle", counter))

    def factors(self, name: str, size: int) -> FloatArray:
        """Factors [size, RANK] of the values of a column in a low-rank pair."""
        return FACTOR_MEAN + self.normal(name, np.arange(size * RANK)).reshape(-1, RANK)

    def pilot(self) -> Counter:
        """Row numbers of the pilot."""
        return np.arange(PILOT_ROWS, dtype=np.uint64) + PILOT_START

    def long_pilot(self) -> Iterator[Counter]:
        """Row numbers of the long pilot, block by block."""
        for start in range(0, LONG_PILOT_ROWS, PILOT_ROWS):
            yield self.pilot() + np.uint64(start)


@dataclass(frozen=True)
class Scales:
    """Scales every effect to its strength on pilot rows, so that the logs of all seeds are about equally hard."""

    by_effect: list[tuple[float, float]]
    """For each effect: its mean on the pilot, and the factor that scales it."""
    intercept: float

    @classmethod
    def by_pilot(cls, effects: Effects, rate: float) -> "Scales":
        """Scales that give each effect its strength, and the mean probability `rate`, on the pilot's rows."""
        raw = list(effects)
        scales = cls([(float(values.mean()), strength / float(values.std())) for strength, values in raw], 0.0)
        return cls(scales.by_effect, _intercept(scales.logit(raw), rate))

    def at_rate(self, logits: Iterable[FloatArray], rate: float) -> "Scales":
        """The same scales with the intercept that gives rows with these logits the mean probability `rate`."""
        return replace(self, intercept=self.intercept + _intercept(np.concatenate(list(logits)), rate))

    def logit(self, effects: Effects) -> FloatArray:
        """Sum of the scaled effects and the intercept."""
        total: FloatArray | float = self.intercept
        for (_, raw), (mean, scale) in zip(effects, self.by_effect, strict=True):
            total = total + (raw - mean) * scale
        return np.asarray(total)


def sigmoid(logit: FloatArray) -> FloatArray:
    """Probabilities of logits."""
    return 1.0 / (1.0 + np.exp(-logit))


def _intercept(logit: FloatArray, rate: float) -> float:
    """The constant that brings the mean probability to `rate`, by bisection."""
    low, high = -20.0, 20.0
    while sigmoid(logit + low).mean() > rate:
        low *= 2
    while sigmoid(logit + high).mean() < rate:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(logit + middle).mean() < rate else (low, middle)
    return (low + high) / 2
