"""The model that draws a Criteo-shaped sample log: 13 counts, 26 hashed categorical columns, planted combinations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import exp, prod

import numpy as np
import polars as pl

from widedeep.errors import UsageError
from widedeep.synth.draws import BoolArray, Counter, Draws, FloatArray, IntArray, Scales, sigmoid
from widedeep.synth.heavy import HeavyValue, heavy_logit, heavy_values

Columns = tuple[str, ...]

LABEL_RATE = 0.38

CARDINALITIES = dict(
    zip(
        [f"C{number}" for number in range(1, 27)],
        (
            *(1_500, 600, 35_000, 15_000, 300, 24, 11_000, 600, 3, 50_000, 5_500, 15_000, 3_000),
            *(27, 13_000, 15_000, 10, 5_500, 2_200, 4, 170_000, 18, 15, 15_000, 100, 56_000),
        ),
        strict=True,
    )
)
"""About how many values each column has; the seed changes each number by up to a third."""

NUMERIC = [f"I{number}" for number in range(1, 14)]

CATEGORICAL_STRENGTH = 0.12
NUMERIC_STRENGTH = 0.12
CELL_STRENGTH = 0.32
LOW_RANK_STRENGTH = 0.63
"""Standard deviations, in logits, of the effects of a column, of a planted cross or triple, and of a low-rank pair."""

_JITTER = 0.3
_ZIPF = (1.05, 1.5)
_ZIPF_OFFSET = 0.9
_MAX_MISSING = 0.26

_CROSS_CELLS = (500, 150_000)
"""Combinations of a planted cross: many, and most rows in those with enough rows to learn a weight from."""
_TRIPLE_CELLS = (2_000, 30_000)
_LOW_RANK_CELLS = (500_000, 100_000_000)
_MAX_VALUES = 10_000
"""Columns with more values take part in no combination: most of their values have too few rows."""
_MIN_LOW_RANK_VALUES = 200
"""A low-rank pair needs this many values in both columns: with fewer it would be no more than a large cross."""


@dataclass(frozen=True)
class Planting:
    """How many combinations of columns have an effect of their own in a log."""

    crosses: int = 8
    """Pairs with a weight of its own for every combination of values."""
    low_rank: int = 4
    """Pairs with too many combinations to memorise, which add the dot product of two factors."""
    triples: int = 0
    """Three columns with a weight of its own for every combination of values."""


@dataclass(frozen=True)
class CriteoRows:
    """Drawn rows, N of them: value numbers by column, and numbers with NaN for missing."""

    codes: dict[str, IntArray]
    numbers: dict[str, FloatArray]


class CriteoWorld:
    """Everything that a seed decides: the columns, which of them interact, and how likely a row is to be positive.

    Columns are independent of each other. The logit is the sum of an effect of each column, an effect of each planted
    combination and, if `lift` is above 1, the effects of heavy values. The mean probability is `rate`. Raises
    UsageError if `planting` asks for more combinations than the seed's columns have.
    """

    def __init__(self, seed: int, planting: Planting, *, rate: float = LABEL_RATE, lift: float = 1.0) -> None:
        self._draws = Draws(seed)
        self.sizes = {name: self._jittered(name, size) for name, size in CARDINALITIES.items()}
        self._zipf = {name: self._between(f"zipf/{name}", *_ZIPF) for name in self.sizes}
        self._counts = {name: self._count(name) for name in NUMERIC}
        small = [name for name, size in self.sizes.items() if size <= _MAX_VALUES]
        middle = [name for name in small if self.sizes[name] >= _MIN_LOW_RANK_VALUES]
        self.crosses = self._planted("crosses", planting.crosses, 2, small, _CROSS_CELLS)
        self.low_rank = self._planted("low-rank", planting.low_rank, 2, middle, _LOW_RANK_CELLS)
        self.triples = self._planted("triples", planting.triples, 3, small, _TRIPLE_CELLS)
        self._weights = {
            columns: self._draws.normal(f"weight/{columns}", np.arange(prod(self.sizes[name] for name in columns)))
            for columns in (*((name,) for name in self.sizes), *self.crosses, *self.triples)
        }
        self._factors = {
            (pair, name): self._draws.factors(f"factor/{pair}/{name}", self.sizes[name])
            for pair in self.low_rank
            for name in pair
        }
        self._texts = {name: pl.Series(self._hex_texts(name, size)) for name, size in self.sizes.items()}
        self._scales = Scales.by_pilot(self._effects(self.draw(self._draws.pilot())), LABEL_RATE)
        shares = {name: _first_shares(size, self._zipf[name]) for name, size in self.sizes.items()}
        self.heavy = heavy_values(self._draws, shares, lift)
        if (rate, lift) != (LABEL_RATE, 1.0):
            pilot = (self.logit(self.draw(index)) for index in self._draws.long_pilot())
            self._scales = self._scales.at_rate(pilot, rate)

    # ------------------------------------------------------------------------------------------------- what a seed is

    def _between(self, name: str, low: float, high: float) -> float:
        return low + (high - low) * float(self._draws.uniform(name, np.zeros(1, dtype=np.int64))[0])

    def _jittered(self, name: str, size: int) -> int:
        return max(3, round(size * exp(self._between(f"size/{name}", -_JITTER, _JITTER))))

    def _count(self, name: str) -> "_Count":
        return _Count(
            location=self._between(f"location/{name}", 0.8, 4.6),
            spread=self._between(f"spread/{name}", 1.0, 1.3),
            missing=self._between(f"missing/{name}", 0.0, _MAX_MISSING),
            missing_quantile=self._between(f"missing quantile/{name}", 0.0, 1.0),
            center=self._between(f"center/{name}", 0.3, 0.7) if self._between(f"curve/{name}", 0, 1) < 0.5 else None,
            sign=-1.0 if self._between(f"sign/{name}", 0, 1) < 0.5 else 1.0,
        )

    def _planted(
        self, option: str, count: int, size: int, names: Sequence[str], cells: tuple[int, int]
    ) -> list[Columns]:
        """Choose `count` sets of `size` columns, each with a number of combinations of values within the range `cells`.

        A smaller `count` gives the first of the sets that a larger one gives. The ranges of crosses and of low-rank
        pairs do not overlap, so that no pair is both.
        """
        fitting = [
            columns
            for columns in combinations(names, size)
            if cells[0] <= prod(self.sizes[name] for name in columns) <= cells[1]
        ]
        if not 0 <= count <= len(fitting):
            raise UsageError(
                f"--{option} must be from 0 to {len(fitting)}, not {count}: so many sets of {size} columns have from "
                f"{cells[0]:,} to {cells[1]:,} combinations of values with --seed {self._draws.seed}"
            )
        order = np.argsort(self._draws.uniform(f"planted/{option}", np.arange(len(fitting))), kind="stable")
        return [fitting[place] for place in order[:count]]

    def _hex_texts(self, name: str, size: int) -> list[str]:
        # Steps of an odd number modulo 2^32 give no value twice.
        start = int(self._between(f"text/{name}", 0, 2**32))
        return [f"{(start + number * 0x9E3779B1) % 2**32:08x}" for number in range(size)]

    # --------------------------------------------------------------------------------------------------------- its rows

    def draw(self, index: Counter) -> CriteoRows:
        """The rows with the numbers `index`; they do not depend on the length of the log."""
        codes = {
            name: _zipf_ranks(self._draws.uniform(name, index), size, self._zipf[name])
            for name, size in self.sizes.items()
        }
        numbers = {}
        for name, count in self._counts.items():
            numbers[name] = np.floor(np.exp(count.location + count.spread * self._draws.normal(name, index)))
            numbers[name][self._draws.uniform(f"{name}/missing", index) < count.missing] = np.nan
        return CriteoRows(codes, numbers)

    def labelled(self, index: Counter) -> tuple[pl.DataFrame, FloatArray, BoolArray]:
        """The rows with the numbers `index`, label first; their probabilities of a positive label; their labels."""
        drawn = self.draw(index)
        probability = sigmoid(self.logit(drawn))
        label = self._draws.uniform("label", index) < probability
        columns = {"label": pl.Series(label.astype(np.int8))}
        for name, values in drawn.numbers.items():
            columns[name] = pl.Series(values).fill_nan(None).cast(pl.Int64)
        for name, codes in drawn.codes.items():
            columns[name] = self._texts[name].gather(codes)
        return pl.DataFrame(columns), probability, label

    def text_of(self, value: HeavyValue) -> str:
        """The text of a heavy value."""
        return str(self._texts[value.column][value.code])

    def logit(self, rows: CriteoRows) -> FloatArray:
        """Logits of a positive label, [N]."""
        return self._scales.logit(self._effects(rows)) + heavy_logit(self.heavy, rows.codes)

    def planted_terms(self, rows: CriteoRows) -> Iterator[tuple[Columns, FloatArray]]:
        """Each planted combination with its effect on the rows' logits, [N]."""
        names = [*self._weights, *((name,) for name in self._counts), *self.low_rank]
        for columns, (_, raw), (mean, scale) in zip(names, self._effects(rows), self._scales.by_effect, strict=True):
            if len(columns) > 1:
                yield columns, (raw - mean) * scale

    def _effects(self, rows: CriteoRows) -> Iterator[tuple[float, FloatArray]]:
        for columns, weights in self._weights.items():
            cell = np.zeros(1, dtype=np.int64)
            for name in columns:
                cell = cell * self.sizes[name] + rows.codes[name]
            yield CATEGORICAL_STRENGTH if len(columns) == 1 else CELL_STRENGTH, weights[cell]
        for name, count in self._counts.items():
            yield NUMERIC_STRENGTH, count.effect(rows.numbers[name])
        for pair in self.low_rank:
            left, right = (self._factors[pair, name][rows.codes[name]] for name in pair)
            yield LOW_RANK_STRENGTH, np.einsum("nk,nk->n", left, right)


@dataclass(frozen=True)
class _Count:
    """A numeric column: a log-normal number, rounded down, whose quantile has a smooth effect."""

    location: float
    spread: float
    missing: float
    """Share of rows without a number."""
    missing_quantile: float
    """Rows without a number have the effect of this quantile."""
    center: float | None
    """The quantile at which the effect is largest or smallest; None if it only rises or only falls."""
    sign: float

    def effect(self, numbers: FloatArray) -> FloatArray:
        # The logistic function of 1.702 x is within 0.01 of the normal distribution's at x.
        quantile = sigmoid(1.702 * (np.log1p(numbers) - self.location) / self.spread)
        quantile = np.where(np.isnan(numbers), self.missing_quantile, quantile)
        return self.sign * (quantile if self.center is None else (quantile - self.center) ** 2)


def _first_shares(size: int, exponent: float) -> FloatArray:
    """Probabilities of a column's first values, at most a hundred: no other value can have 1% of the rows."""
    power = 1.0 - exponent
    edges = (np.append(np.arange(min(size, 100) + 1.0), size) + _ZIPF_OFFSET) ** power
    shares: FloatArray = np.diff(edges[:-1]) / (edges[-1] - edges[0])
    return shares


def _zipf_ranks(uniform: FloatArray, size: int, exponent: float) -> IntArray:
    """Value numbers from 0, drawn with a density proportional to (x + offset) ** -exponent on [0, size), rounded down.

    The inverse of a continuous power law has a closed form: a draw costs the same for 3 values and for 170,000.
    """
    power = 1.0 - exponent
    low, high = _ZIPF_OFFSET**power, (size + _ZIPF_OFFSET) ** power
    ranks = (low + uniform * (high - low)) ** (1.0 / power) - _ZIPF_OFFSET
    whole: IntArray = np.clip(ranks, 0, size - 1).astype(np.int64)
    return whole
