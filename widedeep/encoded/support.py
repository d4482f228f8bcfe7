"""Counts the rows that hold each index and sums their labels, exactly, block by block over encoded rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.encoded.store import RECORD_ROWS, EncodedStore
from widedeep.features.plan import FeaturePlan, IndexColumn
from widedeep.features.targets import LABEL_COLUMN, stored_targets
from widedeep.lists import Lists
from widedeep.table.typed_columns import LABEL

EncodedBlock = tuple[Mapping[str, NDArray[np.int32] | Lists], NDArray[np.float32]]
"""Per column the indices [rows] or the lists of indices, and the labels [rows]."""
_BLOCK_ROWS = 16 * RECORD_ROWS


class Support:
    """The number of rows and the sum of labels of every index of some columns.

    Row weights are ignored. An index that a row's list holds twice counts once.
    """

    def __init__(self, columns: Sequence[IndexColumn], blocks: Iterable[EncodedBlock]) -> None:
        self.rows: dict[str, NDArray[np.int64]] = {c.name: np.zeros(c.size, dtype=np.int64) for c in columns}
        """Column → [size]: the number of rows that hold each index."""
        self.label_sums: dict[str, NDArray[np.float64]] = {c.name: np.zeros(c.size) for c in columns}
        """Column → [size]: the sum of those rows' labels; for a binary label the number of positives."""
        self.num_rows, self.label_sum = 0, 0.0
        for indices, labels in blocks:
            self.num_rows += len(labels)
            self.label_sum += float(labels.sum(dtype=np.float64))
            for column in columns:
                self._count(column, indices[column.name], labels)

    def _count(self, column: IndexColumn, indices: NDArray[np.int32] | Lists, labels: NDArray[np.float32]) -> None:
        if isinstance(indices, Lists):
            rows, indices = np.divmod(np.unique(indices.row_of_values() * column.size + indices.values), column.size)
            labels = labels[rows]
        counts = np.bincount(indices)
        self.rows[column.name][: len(counts)] += counts
        self.label_sums[column.name][: len(counts)] += np.bincount(indices, weights=labels)


def stored_blocks(store: EncodedStore, columns: Sequence[IndexColumn]) -> Iterator[EncodedBlock]:
    """The store's rows as blocks, in order. Raises ArtefactError for a shard that cannot be read."""
    single_columns = [column.name for column in columns if column.pooling is None]
    list_columns = [column.name for column in columns if column.pooling is not None]
    for start in range(0, store.rows, _BLOCK_ROWS):
        rows = min(_BLOCK_ROWS, store.rows - start)
        single = store.read(start, rows, [*single_columns, LABEL_COLUMN])
        labels = single.pop(LABEL_COLUMN)
        lists = store.read_lists(start, rows, [(name, None) for name in list_columns])
        yield {**single, **dict(zip(list_columns, lists, strict=True))}, labels


def encoded_blocks(
    plan: FeaturePlan, columns: Sequence[IndexColumn], typed: Iterable[pl.DataFrame]
) -> Iterator[EncodedBlock]:
    """The blocks of typed rows with their label, encoded by the plan, in order."""
    for block in typed:
        encoded = plan.encode(block)
        indices = {
            c.name: encoded[c.name].to_numpy() if c.pooling is None else Lists.of(encoded[c.name]) for c in columns
        }
        yield indices, stored_targets(block.select(LABEL))[LABEL_COLUMN].to_numpy()
