"""The sums that an additive model is counted on from when its rows are gone, as one file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from widedeep.errors import ArtefactError
from widedeep.features.plan import FeaturePlan
from widedeep.files import replacing_file
from widedeep.memory.additive import Additive
from widedeep.memory.columns import Floats, StoredSums
from widedeep.memory.cross_memory import read_tensors


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

    def without_dropped(self, kept: Mapping[str, NDArray[np.int64]], plan: FeaturePlan) -> "MemorySums":
        """The sums of the codes that were kept, by columns of `plan`, of which these sums are.

        Of a column that is not in `kept` all are.
        """
        fields = [column.name for column in plan.index_columns if column.kind == "categorical"]
        crosses = [column.name for column in plan.cross_columns]
        names = [*fields, *(None for _ in self.cuts), *crosses]
        return replace(
            self,
            columns=tuple(
                column if name is None or name not in kept else column.of_codes(kept[name])
                for name, column in zip(names, self.columns, strict=True)
            ),
            support=tuple(
                rows[kept[name]] if name in kept else rows for name, rows in zip(crosses, self.support, strict=True)
            ),
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
            tensors[_name("column", number, "gradient")] = column.gradient
            tensors[_name("column", number, "information")] = column.information
        tensors |= {_name("support", number): rows for number, rows in enumerate(self.support)}
        tensors |= {_name("cuts", number): cuts for number, cuts in enumerate(self.cuts)}
        with replacing_file(path) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, path: Path, plan: FeaturePlan) -> "MemorySums":
        """Read what `save` wrote for the crosses of `plan`.

        Raises ArtefactError for a file that is missing or damaged, or of another plan.
        """
        tensors = read_tensors(path, "sums of a memory of crosses")
        cuts = tuple(tensors.pop(name) for name in sorted(tensors) if name.startswith("cuts."))
        crosses = [column.size for column in plan.cross_columns]
        sizes = [column.size for column in plan.index_columns if column.kind == "categorical"]
        sizes += [*(cut.size + 1 for cut in cuts), *crosses]
        shapes = {"bias": (1,), "shrinkage": (len(sizes),)}
        for number, size in enumerate(sizes):
            shapes |= {_name("column", number, of): (size,) for of in ("gradient", "information")}
        shapes |= {_name("support", number): (size,) for number, size in enumerate(crosses)}
        whole = all(tensor.dtype == np.float64 for tensor in tensors.values())
        whole &= all(cut.dtype == np.float32 and cut.ndim == 1 for cut in cuts)
        if not whole or len(cuts) != len(plan.numeric_columns) or shapes != {n: t.shape for n, t in tensors.items()}:
            raise ArtefactError(f"{path}: not the sums of the plan's crosses: the run is damaged, train it again")
        columns = (
            StoredSums(*(tensors[_name("column", number, of)] for of in ("gradient", "information")))
            for number in range(len(sizes))
        )
        return cls(
            float(tensors["bias"][0]),
            tuple(tensors["shrinkage"].tolist()),
            tuple(columns),
            tuple(tensors[_name("support", number)] for number in range(len(crosses))),
            cuts,
        )


def _name(kind: str, number: int, *of: str) -> str:
    return ".".join((kind, f"{number:05d}", *of))
