"""Columns of codes that an additive model is made of, in chunks of consecutive rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widedeep.kernels import counts

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class CodeColumn:
    """One code in every row. Codes below `first` have no weight."""

    chunks: Sequence[NDArray[np.int32]]
    """Each [n]; their lengths sum to the rows."""
    size: int
    """Codes are below it."""
    first: int = 0

    def add_sums(
        self,
        used: Mask,
        residual: Floats,
        curvature: Floats,
        gradient: NDArray[np.float64],
        hessian: NDArray[np.float64],
    ) -> None:
        """Add the used rows' residuals and curvatures to `gradient` and `hessian` [size]."""
        for rows, codes in _parts(self.chunks):
            counts.add_sums(codes, self.first, used[rows], residual[rows], curvature[rows], gradient, hessian)

    def subtract_step(self, step: Floats, residual: Floats, curvature: Floats) -> None:
        """Take off what a step [size] of the weights does to the rows' residuals."""
        for rows, codes in _parts(self.chunks):
            counts.subtract_step(codes, self.first, step, residual[rows], curvature[rows])

    def add_weights(self, weights: Floats, logit: Floats) -> None:
        """Add the rows' weights to their logits."""
        for rows, codes in _parts(self.chunks):
            counts.add_weights(codes, self.first, weights, logit[rows])

    def support(self, used: Mask) -> NDArray[np.int64]:
        """Used rows of each code, [size]."""
        total = np.zeros(self.size, dtype=np.int64)
        for rows, codes in _parts(self.chunks):
            counts.count_rows(codes, self.first, used[rows], total)
        return total


@dataclass(frozen=True)
class ListChunk:
    """The lists of some consecutive rows."""

    codes: NDArray[np.int32]
    """[N], the rows' lists behind each other."""
    lengths: NDArray[np.int64]
    """[n]."""
    factors: Floats
    """[N] what each weight is multiplied by, or [0] where that is 1."""


@dataclass(frozen=True)
class ListColumn:
    """Several codes in a row, each with a factor; the row's logit gets the sum of factor times weight."""

    chunks: Sequence[ListChunk]
    size: int
    first: int = 0

    def add_sums(
        self,
        used: Mask,
        residual: Floats,
        curvature: Floats,
        gradient: NDArray[np.float64],
        hessian: NDArray[np.float64],
    ) -> None:
        """As of `CodeColumn`."""
        for rows, part in self._parts():
            codes, lengths, factors = part.codes, part.lengths, part.factors
            counts.add_list_sums(
                codes, lengths, factors, self.first, used[rows], residual[rows], curvature[rows], gradient, hessian
            )

    def subtract_step(self, step: Floats, residual: Floats, curvature: Floats) -> None:
        """As of `CodeColumn`."""
        for rows, part in self._parts():
            counts.subtract_list_step(
                part.codes, part.lengths, part.factors, self.first, step, residual[rows], curvature[rows]
            )

    def add_weights(self, weights: Floats, logit: Floats) -> None:
        """As of `CodeColumn`."""
        for rows, part in self._parts():
            counts.add_list_weights(part.codes, part.lengths, part.factors, self.first, weights, logit[rows])

    def support(self, used: Mask) -> NDArray[np.int64]:
        """As of `CodeColumn`; a row counts for each code of its list."""
        total = np.zeros(self.size, dtype=np.int64)
        for rows, part in self._parts():
            counts.count_list_rows(part.codes, part.lengths, self.first, used[rows], total)
        return total

    def _parts(self) -> list[tuple[slice, ListChunk]]:
        ends = np.cumsum([len(chunk.lengths) for chunk in self.chunks])
        return [(slice(end - len(chunk.lengths), end), chunk) for end, chunk in zip(ends, self.chunks, strict=True)]


Column = CodeColumn | ListColumn


def _parts(chunks: Sequence[NDArray[np.int32]]) -> list[tuple[slice, NDArray[np.int32]]]:
    ends = np.cumsum([len(chunk) for chunk in chunks])
    return [(slice(end - len(chunk), end), chunk) for end, chunk in zip(ends, chunks, strict=True)]
