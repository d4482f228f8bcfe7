"""The sums that an additive model is counted on from when its rows are gone, as one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from widedeep.errors import ArtefactError
from widedeep.files import check_readable, replacing_file
from widedeep.memory.additive import Additive
from widedeep.memory.columns import Floats, StoredSums


@dataclass(frozen=True)
class MemorySums:
    """What is kept of the rows that a memory of crosses was fitted on: main effects first, then the crosses."""

    bias: float
    """Of the fitted model."""
    shrinkage: tuple[float, ...]
    """For each column, as in `Additive`."""
    columns: tuple[StoredSums, ...]
    """For each column."""
    support: tuple[NDArray[np.float64], ...]
    """For each cross [size]: the number of rows of each value."""
    cuts: tuple[Floats, ...]
    """For each numeric main effect, the cut points between its codes."""

    def grown(self, sizes: Sequence[int], cross_sizes: Sequence[int]) -> "MemorySums":
        """The sums of columns that have more codes by now."""
        support = zip(self.support, cross_sizes, strict=True)
        return MemorySums(
            self.bias,
            self.shrinkage,
            tuple(column.grown(size) for column, size in zip(self.columns, sizes, strict=True)),
            tuple(np.pad(rows, (0, size - len(rows))) for rows, size in support),
            self.cuts,
        )

    def faded(self, factor: float) -> "MemorySums":
        """The sums as if the rows counted less, by a factor from 0 to 1."""
        return MemorySums(
            self.bias,
            self.shrinkage,
            tuple(column.faded(factor) for column in self.columns),
            tuple(rows * factor for rows in self.support),
            self.cuts,
        )

    def model(self) -> Additive:
        """The additive model that the sums alone give."""
        weights = (
            (sums.gradient / (sums.information + penalty)).astype(np.float32)
            for sums, penalty in zip(self.columns, self.shrinkage, strict=True)
        )
        return Additive(self.bias, tuple(weights), self.shrinkage)

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        tensors = {"bias": np.array([self.bias]), "shrinkage": np.array(self.shrinkage)}
        for number, column in enumerate(self.columns):
            tensors[f"column.{number:05d}.gradient"] = column.gradient
            tensors[f"column.{number:05d}.information"] = column.information
        tensors |= {f"support.{number:05d}": rows for number, rows in enumerate(self.support)}
        tensors |= {f"cuts.{number:05d}": cuts for number, cuts in enumerate(self.cuts)}
        with replacing_file(path) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, path: Path) -> "MemorySums":
        """Read what `save` wrote. Raises ArtefactError for a missing or damaged file."""
        check_readable(path)
        try:
            tensors = load_file(path)
            numbers = range(len(tensors["shrinkage"]))
            columns = (
                StoredSums(tensors[f"column.{number:05d}.gradient"], tensors[f"column.{number:05d}.information"])
                for number in numbers
            )
            support, cuts = (
                tuple(tensors[name] for name in sorted(tensors) if name.startswith(kind))
                for kind in ("support.", "cuts.")
            )
            shrinkage = tuple(tensors["shrinkage"].tolist())
            return cls(float(tensors["bias"][0]), shrinkage, tuple(columns), support, cuts)
        except (OSError, SafetensorError, KeyError, IndexError) as error:
            raise ArtefactError(
                f"{path}: no readable sums of a memory of crosses ({error}): the run is damaged, train it again"
            ) from error
