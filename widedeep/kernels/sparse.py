"""The hot loops that sum each table row's gradients over a batch's look-ups, and that pay decay. Rules: updates.py.

Each call does one part of the work: whole ranges of the table, or the rows whose hash belongs to `part` of `parts`. A
row's gradients are summed in the order of the batch, so the sums do not depend on `parts`.

Shapes as in reading.py.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from widedeep.compiled import compiled
from widedeep.kernels.reading import Floats, Ints, Longs

WHOLE_GROUPS = 4
"""With more groups per part than this, each group is the work of one part, which then skips the others' groups."""


class Entries(NamedTuple):
    """All look-ups of a batch in a table with their gradients. Each range of the table is a group."""

    indices: Ints
    stride: int
    num_rows: int
    columns: Longs
    starts: Longs
    places: Longs
    column_bounds: Longs
    """[G + 1]: the position where each group's columns start, and their number."""
    range_starts: Longs
    """[G + 1]: the first table row of each group, and the number of table rows."""
    gradient: Floats
    bag_rows: Longs
    """[N]: table rows of the bags' values."""
    bag_gradients: Floats
    """[N, D]."""
    bag_bounds: Longs
    """[G + 1]: the position where each group's values of bags start, and N."""


class Scratch(NamedTuple):
    """Room for one part's work on one group."""

    keys: Longs
    """[H]: table rows by hash. H is a power of two, at least twice the number of the group's look-ups."""
    slots: Ints
    """[S], with S >= H: positions in `rows`, or -1; all -1 between groups. Ranges of up to S rows need no hash."""
    rows: Longs
    """[M]: the group's distinct table rows."""
    sums: Floats
    """[M, D]: the sums of their gradients."""


@compiled
def scrambled(row: int) -> np.uint64:
    """A row's number with its bits mixed, for a hash."""
    return np.uint64(row) * np.uint64(0x9E3779B97F4A7C15)


@compiled
def _part_of(scrambled: np.uint64, parts: int) -> int:
    # The upper bits, scaled to the number of parts: a division would take longer than everything else here.
    part: int = np.int64(((scrambled >> np.uint64(32)) * np.uint64(parts)) >> np.uint64(32))  # type: ignore[assignment]
    return part


@compiled
def _slot_of(row: int, first_row: int, direct: bool, mask: np.uint64, keys: Longs, slots: Ints) -> np.uint64:
    if direct:
        return np.uint64(row - first_row)
    slot: np.uint64 = (scrambled(row) >> np.uint64(16)) & mask
    while slots[slot] >= 0 and keys[slot] != row:
        slot = (slot + np.uint64(1)) & mask
    return slot


@compiled
def _sum_numbers(
    indices: Ints,
    start: int,
    first_row: int,
    gradient: Floats,
    place: int,
    slots: Ints,
    rows: Longs,
    sums: Floats,
    count: int,
) -> int:
    """sum_group for one column of a table of width 1 whose range needs no hash: three times as fast."""
    slopes, stride, first = gradient.ravel(), np.uint64(gradient.shape[1]), np.uint64(place)
    shift = start - first_row
    for i in range(len(indices)):
        b = np.uint64(i)
        row = np.int64(indices[b])
        slot = np.uint64(row + shift)
        known = slots[slot]
        if known < 0:
            known = count
            slots[slot], rows[np.uint64(count)], sums[np.uint64(count)] = count, start + row, np.float32(0.0)
            count += 1
        sums[np.uint64(known)] += slopes[b * stride + first]
    return count


@compiled
def sum_group(part: int, parts: int, group: int, entries: Entries, scratch: Scratch) -> int:
    """Sum the gradients of the part's rows of one group into `scratch`; returns the number of these rows."""
    if len(entries.column_bounds) > WHOLE_GROUPS * parts:
        if group % parts != part:
            return 0
        part, parts = 0, 1
    keys, slots, rows, sums = scratch
    first_row = entries.range_starts[group]
    direct = entries.range_starts[group + 1] - first_row <= len(slots)
    mask = np.uint64(len(keys) - 1)
    width = sums.shape[1]
    count = 0
    for c in range(entries.column_bounds[group], entries.column_bounds[group + 1]):
        base, start = entries.columns[c] * entries.stride, entries.starts[c]
        place = np.uint64(entries.places[c])
        if width == 1 and direct and parts == 1:
            column = entries.indices[base : base + entries.num_rows]
            count = _sum_numbers(column, start, first_row, entries.gradient, place, slots, rows, sums.ravel(), count)
            continue
        for b in range(entries.num_rows):
            row = start + np.int64(entries.indices[base + b])
            if parts > 1 and _part_of(scrambled(row), parts) != part:
                continue
            slot = _slot_of(row, first_row, direct, mask, keys, slots)
            if slots[slot] < 0:
                slots[slot], rows[count] = count, row
                if not direct:
                    keys[slot] = row
                for d in range(width):
                    sums[np.uint64(count), np.uint64(d)] = entries.gradient[np.uint64(b), place + np.uint64(d)]
                count += 1
            else:
                known = np.uint64(slots[slot])
                for d in range(width):
                    sums[known, np.uint64(d)] += entries.gradient[np.uint64(b), place + np.uint64(d)]
    for j in range(entries.bag_bounds[group], entries.bag_bounds[group + 1]):
        row = entries.bag_rows[j]
        if parts > 1 and _part_of(scrambled(row), parts) != part:
            continue
        slot = _slot_of(row, first_row, direct, mask, keys, slots)
        if slots[slot] < 0:
            slots[slot], rows[count] = count, row
            if not direct:
                keys[slot] = row
            for d in range(width):
                sums[count, d] = entries.bag_gradients[j, d]
            count += 1
        else:
            for d in range(width):
                sums[slots[slot], d] += entries.bag_gradients[j, d]
    if direct:
        for u in range(count):
            slots[rows[u] - first_row] = -1
    else:
        slots[: len(keys)] = -1
    return count


@compiled
def collect(entries: Entries, scratch: Scratch, rows: Longs, sums: Floats) -> int:
    """Fill `rows` [E] and `sums` [E, D] with the rows that the batch touched and the sums of their gradients; gives
    their number.

    A sum of -0.0 becomes 0.0: whatever then adds up sums of parts may begin at 0.0 or at the first of them.
    """
    width = sums.shape[1]
    total = 0
    for group in range(len(entries.column_bounds) - 1):
        count = sum_group(0, 1, group, entries, scratch)
        for u in range(count):
            rows[total + u] = scratch.rows[u]
            for d in range(width):
                sums[total + u, d] = scratch.sums[u, d] + np.float32(0.0)
        total += count
    return total


@compiled
def add_gradients(part: int, parts: int, entries: Entries, scratch: Scratch, dense: Floats) -> None:
    """Set the rows of `dense` [R, D] that the batch touched to the sums of their gradients; others stay as they are."""
    width = dense.shape[1]
    for group in range(len(entries.column_bounds) - 1):
        for u in range(sum_group(part, parts, group, entries, scratch)):
            for d in range(width):
                dense[scratch.rows[u], d] = scratch.sums[u, d]


@compiled
def pay(
    part: int,
    parts: int,
    indices: Ints,
    stride: int,
    num_rows: int,
    columns: Longs,
    starts: Longs,
    bag_rows: Longs,
    table: Floats,
    received: NDArray[np.float64],
    decay: float,
) -> None:
    """Multiply the rows that the batch reads by exp(decay - received), both logarithms; `received` [R]."""
    for c in range(len(columns)):
        for b in range(num_rows):
            _pay_row(part, parts, starts[c] + np.int64(indices[columns[c] * stride + b]), table, received, decay)
    for j in range(len(bag_rows)):
        _pay_row(part, parts, bag_rows[j], table, received, decay)


@compiled
def _pay_row(part: int, parts: int, row: int, table: Floats, received: NDArray[np.float64], decay: float) -> None:
    if _part_of(scrambled(row), parts) == part and received[row] != decay:
        owed = np.float32(math.exp(decay - received[row]))
        received[row] = decay
        for d in range(table.shape[1]):
            table[row, d] *= owed
