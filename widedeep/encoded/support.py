"""How many rows hold each index, and the sum of their labels: exact counts over encoded rows, block by block."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.encoded.store import RECORD_ROWS, EncodedStore
from widedeep.features.plan import FeaturePlan, IndexColumn
from widedeep.features.targets import LABEL_COLUMN, stored_targets
from widedeep.lists import Lists
from widedeep.table.typed import LABEL

EncodedBlock = tuple[Mapping[str, NDArray[np.int32] | Lists], NDArray[np.float32]]
"""Indices [rows] or lists of them per column, and the labels [rows]."""
_BLOCK_ROWS = 16 * RECORD_ROWS


class Support:
    """Rows and labels behind every index of some columns. Row weights play no part; a row's list counts a value once."""

    def __init__(self, columns: Sequence[IndexColumn], blocks: Iterable[EncodedBlock]) -> None:
        self.rows: dict[str, NDArray[np.int64]] = {c.name: np.zeros(c.size, dtype=np.int64) for c in columns}
        """Column → [size]: rows that hold each index."""
        self.label_sums: dict[str, NDArray[np.float64]] = {c.name: np.zeros(c.size) for c in columns}
        """Column → [size]: the sum of those rows' labels; for a binary label the positives."""
        self.num_rows, self.label_sum = 0, 0.0
        for indices, labels in blocks:
            self.num_rows += len(labels)
            self.label_sum += float(labels.sum(dtype=np.float64))
            for column in columns:
                self._count(column, indices[column.name], labels)

    def _count(self, column: IndexColumn, indices: NDArray[np.int32] | Lists, labels: NDArray[np.float32]) -> None:
        held = indices
        if isinstance(held, Lists):
            rows, held = np.divmod(np.unique(held.row_of_values() * column.size + held.values), column.size)
            labels = labels[rows]
        counts = np.bincount(held)
        self.rows[column.name][: len(counts)] += counts
        self.label_sums[column.name][: len(counts)] += np.bincount(held, weights=labels)


def stored_blocks(store: EncodedStore, columns: Sequence[IndexColumn]) -> Iterator[EncodedBlock]:
    """The store's rows, in order. Raises ArtefactError for a shard that cannot be read."""
    dense = [column.name for column in columns if column.pooling is None]
    lists = [column.name for column in columns if column.pooling is not None]
    for start in range(0, store.rows, _BLOCK_ROWS):
        rows = min(_BLOCK_ROWS, store.rows - start)
        read = store.read(start, rows, [*dense, LABEL_COLUMN])
        labels = read.pop(LABEL_COLUMN)
        held = store.read_lists(start, rows, [(name, None) for name in lists])
        yield {**read, **dict(zip(lists, held, strict=True))}, labels


def encoded_blocks(
    plan: FeaturePlan, columns: Sequence[IndexColumn], typed: Iterable[pl.DataFrame]
) -> Iterator[EncodedBlock]:
    """Typed rows with their label, encoded, in order."""
    for block in typed:
        encoded = plan.encode(block)
        indices = {
            c.name: encoded[c.name].to_numpy() if c.pooling is None else Lists.of(encoded[c.name]) for c in columns
        }
        yield indices, stored_targets(block.select(LABEL))[LABEL_COLUMN].to_numpy()
