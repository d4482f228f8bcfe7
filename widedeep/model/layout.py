"""The sizes that a model is built from: its inputs, and the width of an embedding for a cardinality."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from widedeep.features.plan import IndexColumn


@dataclass(frozen=True)
class InputLayout:
    """The columns of a batch, in order.

    `index_columns` are those of the int32 matrix [F, B], `numeric_columns` those of the float32 matrix [D, B], and
    `list_columns` those of the bags.
    """

    index_columns: tuple[IndexColumn, ...]
    numeric_columns: tuple[str, ...]
    list_columns: tuple[IndexColumn, ...] = ()

    @classmethod
    def of(cls, columns: Sequence[IndexColumn], numeric_columns: Sequence[str]) -> "InputLayout":
        """The layout of a plan's columns."""
        single = tuple(column for column in columns if column.pooling is None)
        lists = tuple(column for column in columns if column.pooling is not None)
        return cls(single, tuple(numeric_columns), lists)

    @property
    def list_names(self) -> tuple[tuple[str, str | None], ...]:
        """(encoded column of lists, encoded column of their weights or None) of each list column."""
        return tuple((column.name, column.weights) for column in self.list_columns)

    @property
    def crosses(self) -> tuple[IndexColumn, ...]:
        """The crosses: those with one value a row, then those with several."""
        return tuple(column for column in (*self.index_columns, *self.list_columns) if column.kind == "cross")


@dataclass(frozen=True)
class DeepInput:
    """The columns of the deep input [B, dim]: the fields' vectors in order, then the numerics."""

    vectors: Mapping[str, tuple[int, int]]
    """Field → the first column of its vector, and the vector's width."""
    num_numerics: int

    @property
    def vectors_dim(self) -> int:
        """Width of all vectors together."""
        return sum(width for _, width in self.vectors.values())

    @property
    def dim(self) -> int:
        """Width of the deep input."""
        return self.vectors_dim + self.num_numerics

    def columns_of(self, fields: Sequence[str]) -> list[int]:
        """The columns of these fields' vectors."""
        return [
            place for name in fields for start, width in [self.vectors[name]] for place in range(start, start + width)
        ]


def automatic_dim(cardinality: int) -> int:
    """4, 8, 16 or 32, whichever is nearest (in logarithms) to twice the fourth root of the cardinality.

    The fourth root is the rule of thumb of the TensorFlow feature-column guide. The factor and the four widths are
    ours: few widths make few tables.
    """
    wanted = 2.0 * max(1, cardinality) ** 0.25
    return min(32, max(4, int(2 ** round(math.log2(wanted)))))
