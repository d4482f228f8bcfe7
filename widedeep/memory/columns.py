"""The columns of codes that an additive model is made of, in chunks of consecutive rows."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from widedeep.lists import Lists
from widedeep.memory import counts

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Codes = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int32]
_NO_WEIGHTS: Floats = np.empty(0, dtype=np.float32)
Chunk = TypeVar("Chunk")
_REACH_OF_ONE: Floats = np.ones(1, dtype=np.float32)


class Rows:
    """The rows of an additive model at its present logits, with the derivatives of their log likelihood."""

    def __init__(self, logistic: bool, label: Floats, weight: Floats, logit: Floats) -> None:
        """`label` and `logit` [n], `weight` [n], or [0] if all weights are 1."""
        self.logistic, self.label, self.weight = logistic, label, weight
        self.residual, self.curvature = np.empty_like(logit), np.empty_like(logit)
        """[n]: first derivative, and negative second derivative, of the rows' log likelihood in their logit."""
        self.odds = np.empty(len(logit) if logistic else 0, dtype=np.float32)
        """[n] if the loss is logistic, else [0]."""
        if logistic:
            counts.odds_of(logit, self.odds)
            counts.logistic_gradients(label, weight, self.odds, self.residual, self.curvature)
        else:
            counts.squared_gradients(label, weight, logit, self.residual, self.curvature)


@dataclass(frozen=True)
class Sums:
    """Sums over the used rows for each code of a column."""

    gradient: NDArray[np.float64]
    """[size]."""
    hessian: NDArray[np.float64]
    """[size]: curvature if all codes of the column step at the same time."""
    information: NDArray[np.float64]
    """[size]: curvature if a code steps alone."""
    reach: Floats
    """[size], or [1] if equal for all codes: the most that a row's logit moves when the column's weights move by 1."""

    def steps(self, weights: Floats, penalty: float, *, logistic: bool) -> Floats:
        """Steps [size] of the weights that are certain to lower the penalised loss, see `counts.certain_steps`."""
        steps: Floats = counts.certain_steps(self.gradient, self.hessian, self.reach, weights, penalty, logistic)
        return steps

    def variance_and_z(self, weights: Floats, noise: float, kurtosis: float) -> tuple[float, float]:
        """The variance of the column's true weights by the method of moments, and its distance from 0 in deviations.

        With the other columns fixed, g + h w of a code has mean 0 and variance noise h + h^2 v, with v the variance of
        the weights. If v is 0, the square of g + h w has variance 2 (noise h)^2 + kurtosis noise^2 h, where `kurtosis`
        is the fourth cumulant of a row's label over its variance. If clicks are rare, that is most of the variance of
        codes with few rows.
        """
        spread = noise * self.information
        excess = float((np.square(self.gradient + self.information * weights) - spread).sum())
        deviation = math.sqrt(float((2.0 * np.square(spread) + kurtosis * noise * spread).sum()))
        known = float(np.square(self.information).sum())
        return (excess / known, excess / deviation) if known > 0.0 else (0.0, 0.0)

    def joined(self, stored: "StoredSums", weights: Floats) -> "Sums":
        """These sums and stored ones, at the column's weights [size]."""
        return Sums(
            self.gradient + stored.gradient - stored.information * weights,
            self.hessian + stored.information,
            self.information + stored.information,
            self.reach,
        )

    def stored(self, weights: Floats) -> "StoredSums":
        """What is kept of the rows, once the column's weights [size] are fitted."""
        return StoredSums(self.gradient + self.information * weights, self.information)


@dataclass(frozen=True)
class StoredSums:
    """What is kept of rows that are gone, for each code of a column: their log likelihood to the second order.

    A weight w changes it by gradient * w - information * w^2 / 2.
    """

    gradient: NDArray[np.float64]
    """[size]."""
    information: NDArray[np.float64]
    """[size]."""

    def grown(self, size: int) -> "StoredSums":
        """The sums of a column that has more codes by now; nothing is stored of the new ones."""
        more = (0, size - len(self.gradient))
        return StoredSums(np.pad(self.gradient, more), np.pad(self.information, more))

    def of_codes(self, codes: NDArray[np.int64]) -> "StoredSums":
        """The sums of these codes alone, in their order."""
        return StoredSums(self.gradient[codes], self.information[codes])

    def faded(self, factor: float) -> "StoredSums":
        """The sums as if the rows counted less, by a factor from 0 to 1."""
        return StoredSums(self.gradient * factor, self.information * factor)


@dataclass(frozen=True)
class CodeColumn:
    """One code in every row. Codes below `first` have no weight."""

    chunks: Sequence[Codes]
    """Each [n]; their lengths sum to the number of rows."""
    size: int
    """Codes are below this number."""
    first: int = 0

    @property
    def covers_all_rows(self) -> bool:
        """Whether every row has a code with a weight."""
        return all(int(codes.min(initial=self.first)) >= self.first for codes in self.chunks)

    def sums(self, used: Mask, state: Rows) -> Sums:
        """Sums over the rows where `used` [n] holds."""
        gradient, hessian = np.zeros(self.size), np.zeros(self.size)
        for rows, codes in _parts(self.chunks, used):
            residual, curvature = state.residual[rows], state.curvature[rows]
            counts.add_sums(codes, self.first, used[rows], residual, curvature, gradient, hessian)
        return Sums(gradient, hessian, hessian, _REACH_OF_ONE)

    def move(self, step: Floats, state: Rows, used: Mask) -> None:
        """Update the rows after a step [size] of the weights; chunks without a row where `used` [n] holds are left."""
        factor = np.exp(step) if state.logistic else step
        for rows, codes in _parts(self.chunks, used):
            residual, curvature = state.residual[rows], state.curvature[rows]
            if state.logistic:
                label, weight, odds = state.label[rows], state.weight[rows], state.odds[rows]
                counts.multiply_odds(codes, self.first, factor, label, weight, odds, residual, curvature)
            else:
                counts.subtract_step(codes, self.first, step, residual, curvature)

    def add_weights(self, weights: Floats, logit: Floats, used: Mask | None = None) -> None:
        """Add the rows' weights to their logits; with `used` [n], chunks without such a row are left."""
        for rows, codes in _parts(self.chunks, used):
            counts.add_weights(codes, self.first, weights, logit[rows])

    def support(self, used: Mask) -> NDArray[np.int64]:
        """The number of used rows of each code, [size]."""
        total = np.zeros(self.size, dtype=np.int64)
        for rows, codes in _parts(self.chunks):
            counts.count_rows(codes, self.first, used[rows], total)
        return total


@dataclass(frozen=True)
class NarrowLists:
    """Lists of codes in the fewest bytes, as those of all columns and rows are held together."""

    codes: Codes
    """[N]: the codes of all rows, one row after the other."""
    lengths: Codes | NDArray[np.int64]
    """[rows]; they sum to N."""
    weights: Floats | None = None
    """[N], where the codes have weights."""

    def lists(self) -> Lists:
        """The lists as the loops take them."""
        return Lists(self.codes.astype(np.int32, copy=False), self.lengths.astype(np.int64, copy=False), self.weights)


@dataclass(frozen=True)
class ListColumn:
    """A list of codes in every row. A row's logit gets the sum over its codes of list weight times model weight."""

    chunks: Sequence[Lists | NarrowLists]
    size: int
    first: int = 0

    @property
    def covers_all_rows(self) -> bool:
        """False: rows may have several codes, or none."""
        return False

    def sums(self, used: Mask, state: Rows) -> Sums:
        """As in `CodeColumn`."""
        gradient, hessian, information = np.zeros((3, self.size))
        sums = Sums(gradient, hessian, information, np.zeros(self.size, dtype=np.float32))
        for rows, part in self._parts(used):
            counts.add_list_sums(
                *(*_arrays(part), self.first),
                *(used[rows], state.residual[rows], state.curvature[rows]),
                *(sums.gradient, sums.hessian, sums.information, sums.reach),
            )
        return sums

    def move(self, step: Floats, state: Rows, used: Mask) -> None:
        """As in `CodeColumn`."""
        for rows, part in self._parts(used):
            lists = *_arrays(part), self.first
            derivatives = state.residual[rows], state.curvature[rows]
            if state.logistic:
                label, weight, odds = state.label[rows], state.weight[rows], state.odds[rows]
                counts.multiply_list_odds(*lists, step, label, weight, odds, *derivatives)
            else:
                counts.subtract_list_step(*lists, step, *derivatives)

    def add_weights(self, weights: Floats, logit: Floats, used: Mask | None = None) -> None:
        """As in `CodeColumn`."""
        for rows, part in self._parts(used):
            counts.add_list_weights(*_arrays(part), self.first, weights, logit[rows])

    def support(self, used: Mask) -> NDArray[np.int64]:
        """As in `CodeColumn`; a row counts for each code of its list."""
        total = np.zeros(self.size, dtype=np.int64)
        for rows, part in self._parts():
            counts.count_list_rows(part.values, part.lengths, self.first, used[rows], total)
        return total

    def _parts(self, used: Mask | None = None) -> Iterator[tuple[slice, Lists]]:
        for rows, chunk in _rows_of(self.chunks, [len(chunk.lengths) for chunk in self.chunks], used):
            yield rows, _plain(chunk)


Column = CodeColumn | ListColumn


def plain_chunks(column: Column) -> list[Codes | Lists]:
    """The column's chunks, lists as the loops take them."""
    return [chunk if isinstance(chunk, np.ndarray) else _plain(chunk) for chunk in column.chunks]


def narrow(codes: NDArray[Any], size: int) -> Codes:
    """Codes below `size` in the fewest bytes: those of all columns and rows are held together."""
    if size <= 1 << 8:
        return codes.astype(np.uint8)
    return codes.astype(np.uint16) if size <= 1 << 16 else codes.astype(np.int32, copy=False)


def narrow_lists(lists: Lists, size: int) -> NarrowLists:
    """Lists of codes below `size` in the fewest bytes."""
    longest = int(lists.lengths.max(initial=0))
    return NarrowLists(narrow(lists.values, size), narrow(lists.lengths, longest + 1), lists.weights)


def split(column: Column, bounds: Sequence[int]) -> Column:
    """The column of one chunk with a chunk of the rows from each bound to before the next."""
    (chunk,) = column.chunks
    pairs = list(pairwise(bounds))
    if isinstance(column, CodeColumn):
        assert isinstance(chunk, np.ndarray)
        return replace(column, chunks=[chunk[first:last] for first, last in pairs])
    assert isinstance(chunk, Lists)
    return replace(column, chunks=[chunk.slice(first, last) for first, last in pairs])


def _plain(lists: Lists | NarrowLists) -> Lists:
    return lists if isinstance(lists, Lists) else lists.lists()


def _arrays(lists: Lists) -> tuple[NDArray[np.int32], NDArray[np.int64], Floats]:
    """Values, lengths and weights as the loops take them; weights are [0] if all are 1."""
    return lists.values, lists.lengths, _NO_WEIGHTS if lists.weights is None else lists.weights


def _parts(chunks: Sequence[Codes], used: Mask | None = None) -> list[tuple[slice, Codes]]:
    return _rows_of(chunks, [len(chunk) for chunk in chunks], used)


def _rows_of(chunks: Sequence[Chunk], lengths: Sequence[int], used: Mask | None) -> list[tuple[slice, Chunk]]:
    """Each chunk with its rows; with `used`, only those that have such a row."""
    ends = np.cumsum(lengths)
    parts = [(slice(end - length, end), chunk) for end, length, chunk in zip(ends, lengths, chunks, strict=True)]
    return parts if used is None else [part for part in parts if used[part[0]].any()]
