"""The distinct rows that some parts of a batch read in a table, and look-ups in a small table of these rows."""

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from widedeep.compiled import compiled
from widedeep.kernels.cpu import flat_indices
from widedeep.kernels.lookups import Bag, Column, Columns, Lookups
from widedeep.kernels.reading import Ints, Longs
from widedeep.kernels.sparse import scrambled

ONE_COLUMN = Columns([Column(0, 0, 0)])
"""Of look-ups by the numbers of table rows themselves."""


@compiled
def _number(row: int, count: int, keys: Longs, slots: Ints, rows: Longs) -> int:
    """The number of a row among `rows`, where it is added if it is new."""
    mask = np.uint64(len(keys) - 1)
    slot = (scrambled(row) >> np.uint64(16)) & mask
    while slots[slot] >= 0:
        if keys[slot] == row:
            return np.int64(slots[slot])  # type: ignore[return-value]
        slot = (slot + np.uint64(1)) & mask
    keys[slot], slots[slot], rows[count] = row, count, row
    return count


@compiled
def _number_columns(
    indices: Ints,
    stride: int,
    num_rows: int,
    columns: Longs,
    starts: Longs,
    count: int,
    keys: Longs,
    slots: Ints,
    rows: Longs,
    numbers: Ints,
) -> int:
    """Fill `numbers` [C * B] for columns with one value a row; gives the count of distinct rows so far."""
    for c in range(len(columns)):
        for b in range(num_rows):
            row = starts[c] + np.int64(indices[columns[c] * stride + b])
            number = _number(row, count, keys, slots, rows)
            if number == count:
                count += 1
            numbers[c * num_rows + b] = number
    return count


@compiled
def _number_values(values: Ints, start: int, count: int, keys: Longs, slots: Ints, rows: Longs, numbers: Ints) -> int:
    """Likewise for the values [N] of a column of lists."""
    for j in range(len(values)):
        number = _number(start + np.int64(values[j]), count, keys, slots, rows)
        if number == count:
            count += 1
        numbers[j] = number
    return count


def distinct_rows(parts: Sequence[Lookups]) -> tuple[NDArray[np.int64], list[Lookups]]:
    """The distinct table rows [U] that the parts read, in order of their first look-up, and each part's look-ups in a
    table of these rows.

    All parts have the same columns.
    """
    entries = 0
    for part in parts:
        entries += len(part.columns.positions) * part.num_rows
        entries += sum(len(part.bags[bag.position].values) for bag in part.columns.bags)
    keys, slots = _hash_of(1 << max(4, (2 * entries).bit_length()))
    rows, count = np.empty(entries + 1, dtype=np.int64), 0
    renumbered: list[Lookups] = []
    for part in parts:
        columns, num_rows = part.columns, part.num_rows
        indices, stride = flat_indices(part.indices)
        numbers = np.empty((len(columns.positions), num_rows), dtype=np.int32)
        places = (columns.positions, columns.starts)
        count = _number_columns(indices, stride, num_rows, *places, count, keys, slots, rows, numbers.reshape(-1))
        bags: list[Bag] = []
        for column in columns.bags:
            bag = part.bags[column.position]
            values = np.empty(len(bag.values), dtype=np.int32)
            count = _number_values(bag.values.numpy(), column.start, count, keys, slots, rows, values)
            bags.append(Bag(torch.from_numpy(values), bag.bounds, bag.weights))
        renumbered.append(Lookups(_renumbered(columns), torch.from_numpy(numbers), bags))
    return rows[:count], renumbered


class ByOwner(NamedTuple):
    """Table rows [U], of which row r belongs to owner r mod W, by owner; those of one owner are in their order."""

    order: Longs
    """[U]: the places of the rows."""
    ids: Ints
    """[U]: r div W of each row, in that order."""
    ends: Longs
    """[W + 1]: where each owner's rows begin, and U."""

    def slice_of(self, owner: int) -> slice:
        """The part of `order` and `ids` that is an owner's."""
        return slice(self.ends[owner], self.ends[owner + 1])

    def places_of(self, owner: int) -> Longs:
        """The places of an owner's rows."""
        return self.order[self.slice_of(owner)]

    def ids_of(self, owner: int) -> Ints:
        """r div W of an owner's rows."""
        return self.ids[self.slice_of(owner)]


@compiled
def _fill_by_owner(rows: Longs, owners: int, order: Longs, ids: Ints, ends: Longs) -> None:
    """`ends` [W + 1] is zero at first."""
    divisor = np.uint64(owners)
    for u in range(len(rows)):
        ends[np.uint64(rows[u]) % divisor + np.uint64(1)] += 1
    for w in range(owners):
        ends[w + 1] += ends[w]
    at = ends[:-1].copy()
    for u in range(len(rows)):
        row = np.uint64(rows[u])
        number = row // divisor
        owner = row - number * divisor
        order[at[owner]], ids[at[owner]] = u, number
        at[owner] += 1


def by_owner(rows: Longs, owners: int) -> ByOwner:
    """Group distinct rows by owner."""
    grouped = ByOwner(
        np.empty(len(rows), dtype=np.int64),
        np.empty(len(rows), dtype=np.int32),
        np.zeros(owners + 1, dtype=np.int64),
    )
    _fill_by_owner(rows, owners, *grouped)
    return grouped


class _Kept(threading.local):
    """The hash of each thread: allocating it takes as long as filling it."""

    def __init__(self) -> None:
        self.keys, self.slots = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)


_kept = _Kept()


def _hash_of(size: int) -> tuple[Longs, Ints]:
    """An empty hash of this many places, a power of two."""
    if len(_kept.keys) < size:
        _kept.keys, _kept.slots = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int32)
    _kept.slots[:size] = -1
    return _kept.keys[:size], _kept.slots[:size]


def _renumbered(columns: Columns) -> Columns:
    dense = [Column(number, 0, int(place)) for number, place in enumerate(columns.places)]
    bags = [Column(number, 0, bag.place, bag.pooling) for number, bag in enumerate(columns.bags)]
    return Columns([*dense, *bags], summed=columns.summed)
