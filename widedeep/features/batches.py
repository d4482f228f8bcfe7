"""Batches out of an encoded store: shuffled in a bounded window, resumable, the next window read ahead on a thread."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widedeep.features.store import LABEL_COLUMN, WEIGHT_COLUMN, EncodedStore

CHUNK_ROWS = 1 << 14
"""Consecutive rows that are read together; chunks are what is shuffled over the whole store."""
WINDOW_CHUNKS = 64
"""Chunks whose rows are shuffled together: about a million rows."""


@dataclass(frozen=True)
class Batch:
    """Rows ready for the model."""

    indices: NDArray[np.int32]
    """[B, F], C-contiguous."""
    numerics: NDArray[np.float32]
    """[B, D], C-contiguous."""
    label: NDArray[np.float32]
    """[B]."""
    weight: NDArray[np.float32] | None
    """[B], where the store has row weights."""

    def __len__(self) -> int:
        return len(self.label)


class BatchStream:
    """Iterates once over the store's rows in batches; all but the last are full."""

    def __init__(
        self,
        store: EncodedStore,
        index_columns: Sequence[str],
        numeric_columns: Sequence[str],
        batch_size: int,
        *,
        seed: int | None,
        epoch: int = 0,
        start_batch: int = 0,
        chunk_rows: int = CHUNK_ROWS,
        window_chunks: int = WINDOW_CHUNKS,
    ) -> None:
        """`seed` None keeps file order. From `start_batch` on, the batches are those of an undisturbed stream."""
        self._store, self._batch_size, self._start_batch = store, batch_size, start_batch
        self._index_columns, self._numeric_columns = list(index_columns), list(numeric_columns)
        self._weighted = WEIGHT_COLUMN in store.columns
        self._seed, self._epoch = seed, epoch
        self._chunk_rows = chunk_rows
        chunks = np.arange(math.ceil(store.rows / chunk_rows))
        if seed is not None:
            chunks = self._generator(0).permutation(chunks)
        self._windows = [chunks[start : start + window_chunks] for start in range(0, len(chunks), window_chunks)]

    def __len__(self) -> int:
        return math.ceil(self._store.rows / self._batch_size) - self._start_batch

    def __iter__(self) -> Iterator[Batch]:
        skipped = self._start_batch * self._batch_size
        first = 0
        while first < len(self._windows) and skipped >= (rows := self._rows_of(first)):
            skipped, first = skipped - rows, first + 1
        rest: Batch | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="widedeep-batches") as reader:
            upcoming: Future[Batch] | None = None
            for window in range(first, len(self._windows)):
                loaded = upcoming.result() if upcoming is not None else self._load(window)
                upcoming = reader.submit(self._load, window + 1) if window + 1 < len(self._windows) else None
                start = skipped
                skipped = 0
                if rest is not None:
                    start = min(self._batch_size - len(rest), len(loaded))
                    rest = _joined(rest, _part(loaded, 0, start))
                    if len(rest) < self._batch_size:
                        continue
                    yield rest
                    rest = None
                while start + self._batch_size <= len(loaded):
                    yield _part(loaded, start, start + self._batch_size)
                    start += self._batch_size
                if start < len(loaded):
                    rest = _part(loaded, start, len(loaded))
        if rest is not None:
            yield rest

    def _generator(self, purpose: int) -> np.random.Generator:
        # 0 orders the chunks, w + 1 orders the rows of window w: no draw depends on how far a stream was read.
        assert self._seed is not None
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self._seed, self._epoch, purpose])))

    def _rows_of(self, window: int) -> int:
        return sum(self._rows_of_chunk(int(chunk)) for chunk in self._windows[window])

    def _rows_of_chunk(self, chunk: int) -> int:
        return min(self._chunk_rows, self._store.rows - chunk * self._chunk_rows)

    def _load(self, window: int) -> Batch:
        rows = self._rows_of(window)
        indices = np.empty((rows, len(self._index_columns)), dtype=np.int32)
        numerics = np.empty((rows, len(self._numeric_columns)), dtype=np.float32)
        label = np.empty(rows, dtype=np.float32)
        weight = np.empty(rows, dtype=np.float32) if self._weighted else None
        names = [
            *self._index_columns,
            *self._numeric_columns,
            LABEL_COLUMN,
            *([WEIGHT_COLUMN] if self._weighted else []),
        ]
        done = 0
        for chunk in self._windows[window]:
            size = self._rows_of_chunk(int(chunk))
            columns = self._store.read(int(chunk) * self._chunk_rows, size, names)
            part = slice(done, done + size)
            for position, name in enumerate(self._index_columns):
                indices[part, position] = columns[name]
            for position, name in enumerate(self._numeric_columns):
                numerics[part, position] = columns[name]
            label[part] = columns[LABEL_COLUMN]
            if weight is not None:
                weight[part] = columns[WEIGHT_COLUMN]
            done += size
        loaded = Batch(indices, numerics, label, weight)
        if self._seed is None:
            return loaded
        order = self._generator(window + 1).permutation(rows)
        return Batch(indices[order], numerics[order], label[order], None if weight is None else weight[order])


def _part(batch: Batch, start: int, stop: int) -> Batch:
    weight = None if batch.weight is None else batch.weight[start:stop]
    return Batch(batch.indices[start:stop], batch.numerics[start:stop], batch.label[start:stop], weight)


def _joined(first: Batch, second: Batch) -> Batch:
    weight = None
    if first.weight is not None and second.weight is not None:
        weight = np.concatenate([first.weight, second.weight])
    return Batch(
        np.concatenate([first.indices, second.indices]),
        np.concatenate([first.numerics, second.numerics]),
        np.concatenate([first.label, second.label]),
        weight,
    )
