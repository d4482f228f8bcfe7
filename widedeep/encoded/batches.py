"""Reads batches from an encoded store: shuffled in a bounded window, resumable, read ahead on a thread."""

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from widedeep.encoded.folds import row_folds
from widedeep.encoded.store import EncodedStore
from widedeep.features.targets import GROUP_COLUMN, LABEL_COLUMN, WEIGHT_COLUMN
from widedeep.lists import Lists, joined_lists
from widedeep.ordered import in_threads

if TYPE_CHECKING:  # at run time the import would load Numba for every reader of batches
    from widedeep.encoded.unknown_draws import UnknownDraws

CHUNK_ROWS = 1 << 14
"""Consecutive rows that are read together. Shuffling first puts the chunks of the whole store in random order."""
WINDOW_CHUNKS = 32
"""Chunks whose rows are then shuffled together: about half a million rows."""
IN_ORDER_CHUNKS = 8
"""Chunks that are held together, at least a batch, where nothing is shuffled."""
SLAB_ROWS = 1 << 14
"""Rows that are put in order at a time (at least a batch). So many are still in a cache when a step reads them."""
SLABS_AHEAD = 4
"""Slabs that are being made or wait for the consumer."""
_LINE = 16
"""32-bit numbers in a line of the cache."""


@dataclass(frozen=True)
class Batch:
    """Rows ready for the model."""

    indices: NDArray[np.int32]
    """[F, B]; each column's indices are contiguous."""
    numerics: NDArray[np.float32]
    """[D, B]; each column's numbers are contiguous."""
    label: NDArray[np.float32]
    """[B]."""
    weight: NDArray[np.float32] | None
    """[B]; None where the store has no row weights."""
    lists: tuple[Lists, ...] = ()
    """The columns that have a list of indices in every row."""
    group: NDArray[np.uint64] | None = None
    """[B], if the stream was asked for groups and the store has them."""
    folds: NDArray[np.uint8] | None = None
    """[B], if the stream was asked for folds."""

    def __len__(self) -> int:
        return len(self.label)


class _Window(NamedTuple):
    """Rows that are put in order together, in the store's order within each chunk."""

    batch: Batch
    """Without indices and numerics if the rows are to be shuffled."""
    inputs: NDArray[np.int32] | None
    """[N, F + D], if the rows are to be shuffled: the bits of indices and numerics, a row as one piece of memory."""
    order: NDArray[np.int64] | None
    """[N]: the order of the rows; None is the store's order."""


class BatchStream:
    """Iterates over the store's rows once, in batches; all but the last are full."""

    def __init__(
        self,
        store: EncodedStore,
        index_columns: Sequence[str],
        numeric_columns: Sequence[str],
        batch_size: int,
        *,
        list_columns: Sequence[tuple[str, str | None]] = (),
        with_group: bool = False,
        num_folds: int | None = None,
        seed: int | None,
        epoch: int = 0,
        start_batch: int = 0,
        unknown: "UnknownDraws | None" = None,
        rows: range | None = None,
        chunk_rows: int = CHUNK_ROWS,
        window_chunks: int = WINDOW_CHUNKS,
    ) -> None:
        """`seed` orders the rows at random, None keeps the store's order.

        A stream that starts at `start_batch` gives the batches that a whole stream gives from there on. `list_columns`
        holds pairs: a column of lists, and the column of its weights or None. With `num_folds` the batches hold the
        rows' folds. With `unknown`, known values drawn for the epoch are shown as unknown. With `rows` (of step 1), the
        stream gives these rows of the store alone, in an order of their own.
        """
        self._store, self._batch_size, self._start_batch = store, batch_size, start_batch
        self._first, self._num_rows = (0, store.rows) if rows is None else (rows.start, len(rows))
        self._part = () if rows is None else (rows.start,)
        self._index_columns, self._numeric_columns = list(index_columns), list(numeric_columns)
        self._list_columns = list(list_columns)
        self._weighted = WEIGHT_COLUMN in store.columns
        self._grouped = with_group and GROUP_COLUMN in store.columns
        self._num_folds = num_folds
        self._seed, self.epoch, self.unknown = seed, epoch, unknown
        self._chunk_rows = chunk_rows
        chunks = np.arange(math.ceil(self._num_rows / chunk_rows))
        if seed is not None:
            chunks = self._generator(0).permutation(chunks)
        else:
            window_chunks = min(window_chunks, max(IN_ORDER_CHUNKS, math.ceil(batch_size / chunk_rows)))
        self._windows = [chunks[start : start + window_chunks] for start in range(0, len(chunks), window_chunks)]

    def __len__(self) -> int:
        return math.ceil(self._num_rows / self._batch_size) - self._start_batch

    def __iter__(self) -> Iterator[Batch]:
        slabs = self._slabs()
        rest: Batch | None = None
        with closing(slabs), ThreadPoolExecutor(1, thread_name_prefix="widedeep-batches") as reader:
            upcoming = deque(reader.submit(next, slabs, None) for _ in range(SLABS_AHEAD))
            while (slab := upcoming.popleft().result()) is not None:
                upcoming.append(reader.submit(next, slabs, None))
                start = 0
                if rest is not None:
                    start = min(self._batch_size - len(rest), len(slab))
                    rest = _joined(rest, _part(slab, 0, start))
                    if len(rest) < self._batch_size:
                        continue
                    yield rest
                    rest = None
                while start + self._batch_size <= len(slab):
                    yield _part(slab, start, start + self._batch_size)
                    start += self._batch_size
                if start < len(slab):
                    rest = _part(slab, start, len(slab))
        if rest is not None:
            yield rest

    def _slabs(self) -> Generator[Batch]:
        """The rows in their final order, a few batches at a time."""
        skipped, first = self._start_batch * self._batch_size, 0
        while first < len(self._windows) and skipped >= (size := self._rows_of(first)):
            skipped, first = skipped - size, first + 1
        slab_rows = self._batch_size * max(1, SLAB_ROWS // self._batch_size)
        with closing(self._loaded_windows(first)) as windows:
            for number, window in windows:
                rows = len(window.batch)
                numbers = None if self.unknown is None else self._row_numbers(number, window.order)
                for start in range(skipped, rows, slab_rows):
                    stop = min(start + slab_rows, rows)
                    slab = self._cut(window, start, stop)
                    if self.unknown is not None and numbers is not None:
                        self._show_as_unknown(self.unknown, slab, numbers[start:stop])
                    yield slab
                skipped = 0
                del window  # its memory is given back before the one after the next is loaded

    def _loaded_windows(self, first: int) -> Generator[tuple[int, _Window]]:
        """(number, window) from the window `first` on.

        While rows of a shuffled window are taken, the next window is loaded. They are copies, so that two windows are
        held at most. In the store's order they are views, which keep their window.
        """
        numbers = range(first, len(self._windows))
        if self._seed is None:
            yield from ((number, self._load(number)) for number in numbers)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="widedeep-window") as loader:
            upcoming = loader.submit(self._load, first) if numbers else None
            for number in numbers:
                assert upcoming is not None
                window = upcoming.result()
                upcoming = loader.submit(self._load, number + 1) if number + 1 in numbers else None
                yield number, window

    def _show_as_unknown(self, unknown: "UnknownDraws", slab: Batch, rows: NDArray[np.int64]) -> None:
        draws = unknown.draw(self.epoch, rows, [part.lengths for part in slab.lists])
        unknown.apply(draws, slab.indices, [part.values for part in slab.lists], np.putmask)

    def row_numbers(self) -> Iterator[NDArray[np.int64]]:
        """The row numbers in the store, [B], of each batch that iterating gives; nothing is read."""
        skipped = self._start_batch * self._batch_size
        rest = np.empty(0, dtype=np.int64)
        for window in range(len(self._windows)):
            if skipped >= (size := self._rows_of(window)):
                skipped -= size
                continue
            rest = np.concatenate([rest, self._row_numbers(window, self._order(window))[skipped:]])
            skipped = 0
            full = len(rest) - len(rest) % self._batch_size
            yield from rest[:full].reshape(-1, self._batch_size)
            rest = rest[full:]
        if len(rest):
            yield rest

    def _row_numbers(self, window: int, order: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """The row numbers in the store of a window's rows, in their final order."""
        rows = np.concatenate([np.arange(start, start + size) for start, size in self._chunks_of(window)])
        return rows if order is None else rows[order]

    def _generator(self, purpose: int) -> np.random.Generator:
        # Purpose 0 orders the chunks, w + 1 the rows of window w: no draw depends on how far a stream was read.
        assert self._seed is not None
        return np.random.Generator(
            np.random.Philox(np.random.SeedSequence([self._seed, self.epoch, purpose, *self._part]))
        )

    def _rows_of(self, window: int) -> int:
        return sum(self._rows_of_chunk(int(chunk)) for chunk in self._windows[window])

    def _rows_of_chunk(self, chunk: int) -> int:
        return min(self._chunk_rows, self._num_rows - chunk * self._chunk_rows)

    def _chunks_of(self, window: int) -> list[tuple[int, int]]:
        """(first row, number of rows) of each chunk of the window."""
        return [(self._start_of(int(chunk)), self._rows_of_chunk(int(chunk))) for chunk in self._windows[window]]

    def _start_of(self, chunk: int) -> int:
        return self._first + chunk * self._chunk_rows

    def _order(self, window: int) -> NDArray[np.int64] | None:
        """The order of the window's rows; None is the store's order."""
        return None if self._seed is None else self._generator(window + 1).permutation(self._rows_of(window))

    def _load(self, window: int) -> _Window:
        chunks, rows = self._chunks_of(window), self._rows_of(window)
        names = [*self._index_columns, *self._numeric_columns]
        shuffled = self._seed is not None
        inputs = np.empty((rows, len(names)), dtype=np.int32) if shuffled else None
        indices, numerics = self._split(_columns(len(names), 0 if shuffled else rows))
        label = np.empty(rows, dtype=np.float32)
        weight = np.empty(rows, dtype=np.float32) if self._weighted else None
        group = np.empty(rows, dtype=np.uint64) if self._grouped else None
        single = {LABEL_COLUMN: label, WEIGHT_COLUMN: weight, GROUP_COLUMN: group}
        targets: dict[str, NDArray[Any]] = {name: target for name, target in single.items() if target is not None}
        if not shuffled:
            targets |= dict(zip(names, [*indices, *numerics], strict=True))

        places = np.cumsum([0, *(size for _, size in chunks)])

        def read(number: int) -> None:
            (start, size), place = chunks[number], places[number]
            chunk = {name: target[place : place + size] for name, target in targets.items()}
            if inputs is None:
                self._store.read_into(start, size, chunk)
            else:
                self._read_rows(start, chunk, names, inputs[place : place + size])

        in_threads(read, np.argsort(self._windows[window]).tolist())  # in the order of the files
        folds = [row_folds(start, size, self._num_folds) for start, size in chunks] if self._num_folds else None
        batch = Batch(
            indices,
            numerics,
            label,
            weight,
            self._load_lists(window),
            group,
            None if folds is None else np.concatenate(folds),
        )
        return _Window(batch, inputs, self._order(window))

    def _read_rows(
        self, start: int, targets: dict[str, NDArray[Any]], names: Sequence[str], rows: NDArray[np.int32]
    ) -> None:
        """Read a chunk's targets, and its columns called `names` [C] to rows [N, C]."""
        from widedeep.encoded.moves import to_rows  # not at the top: few who read batches shuffle them

        columns = _columns(len(names), len(rows))
        indices, numerics = self._split(columns)
        inputs = dict(zip(names, [*indices, *numerics], strict=True))
        self._store.read_into(start, len(rows), targets | inputs)
        to_rows(columns, rows)

    def _cut(self, window: _Window, start: int, stop: int) -> Batch:
        """The rows from `start` to before `stop` of a window, in its order."""
        batch, inputs = window.batch, window.inputs
        if window.order is None or inputs is None:
            return _part(batch, start, stop)
        from widedeep.encoded.moves import to_columns  # not at the top: see _write_rows

        order = window.order[start:stop]
        columns = _columns(inputs.shape[1], len(order))
        to_columns(inputs, order, columns)
        return Batch(
            *self._split(columns),
            batch.label[order],
            None if batch.weight is None else batch.weight[order],
            tuple(part.gather(order) for part in batch.lists),
            None if batch.group is None else batch.group[order],
            None if batch.folds is None else batch.folds[order],
        )

    def _split(self, columns: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The indices [F, N] and the numerics [D, N] of columns [F + D, N] of bits."""
        num_indices = len(self._index_columns)
        return columns[:num_indices], columns[num_indices:].view(np.float32)

    def _load_lists(self, window: int) -> tuple[Lists, ...]:
        chunks = [self._store.read_lists(start, rows, self._list_columns) for start, rows in self._chunks_of(window)]
        return tuple(joined_lists(parts) for parts in zip(*chunks, strict=True))


def _columns(number: int, rows: int) -> NDArray[np.int32]:
    """Room for columns [number, rows].

    The distance between two columns is never a power of two, which would make all of them collide in the same few cache
    sets.
    """
    return np.empty((number, rows + _LINE), dtype=np.int32)[:, :rows]


def _part(batch: Batch, start: int, stop: int) -> Batch:
    return Batch(
        batch.indices[:, start:stop],
        batch.numerics[:, start:stop],
        batch.label[start:stop],
        None if batch.weight is None else batch.weight[start:stop],
        tuple(part.slice(start, stop) for part in batch.lists),
        None if batch.group is None else batch.group[start:stop],
        None if batch.folds is None else batch.folds[start:stop],
    )


def _joined(first: Batch, second: Batch) -> Batch:
    return Batch(
        np.concatenate([first.indices, second.indices], axis=1),
        np.concatenate([first.numerics, second.numerics], axis=1),
        np.concatenate([first.label, second.label]),
        _both(first.weight, second.weight),
        tuple(joined_lists(both) for both in zip(first.lists, second.lists, strict=True)),
        _both(first.group, second.group),
        _both(first.folds, second.folds),
    )


def _both(first: NDArray[Any] | None, second: NDArray[Any] | None) -> NDArray[Any] | None:
    return None if first is None or second is None else np.concatenate([first, second])
