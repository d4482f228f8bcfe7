"""The hot loops that read a table: gather, pool, and the backward pass of pool for each value of a bag.

Each call does one part of the work: the batch rows from `first` to before `last`.

Shapes: `indices` [F * stride], with column f's index of batch row b at f * stride + b; `columns`, `starts`, `places`
[C] as in lookups.Column; `out` and `gradient` [B, W]; tables [R, D]. All floats are float32,
but that `halved` is the upper half of the bits of float32 numbers, which is bfloat16.
"""

import numpy as np
from numpy.typing import NDArray

from widedeep.compiled import compiled
from widedeep.prefetch import prefetch

Floats = NDArray[np.float32]
Longs = NDArray[np.int64]
Ints = NDArray[np.int32]
Bits = NDArray[np.uint32]
Halved = NDArray[np.uint16]

SUM, MEAN, MAX = 0, 1, 2
"""Numbers for the ways of pooling."""


@compiled
def _row_read(
    indices: Ints, stride: int, column: int, start: int, table: Floats | Bits, b: int, last: int
) -> np.uint64:
    """The row of the table that a column of batch row b reads; that of the next batch row is asked for ahead."""
    index = column * stride + b
    if b + 1 < last:
        prefetch(table, start + np.int64(indices[index + 1]))
    return np.uint64(start + indices[index])


@compiled
def gather(
    indices: Ints,
    stride: int,
    columns: Longs,
    starts: Longs,
    places: Longs,
    table: Floats,
    out: Floats,
    first: int,
    last: int,
) -> None:
    """Write each column's vector to its place."""
    width = table.shape[1]
    for b in range(first, last):
        for c in range(len(columns)):
            row = _row_read(indices, stride, columns[c], starts[c], table, b, last)
            place = np.uint64(places[c])
            for d in range(width):
                out[np.uint64(b), place + np.uint64(d)] = table[row, np.uint64(d)]


@compiled
def _rounded(bits: np.uint32) -> np.uint16:
    """A finite float32 number to the nearest bfloat16, halves to even, by their bits."""
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


@compiled
def gather_halved(
    indices: Ints,
    stride: int,
    columns: Longs,
    starts: Longs,
    places: Longs,
    table: Bits,
    halved: Halved,
    first: int,
    last: int,
) -> None:
    """As `gather`, in bfloat16 from the bits of the table."""
    width = table.shape[1]
    for b in range(first, last):
        for c in range(len(columns)):
            row = _row_read(indices, stride, columns[c], starts[c], table, b, last)
            place = np.uint64(places[c])
            for d in range(width):
                halved[np.uint64(b), place + np.uint64(d)] = _rounded(table[row, np.uint64(d)])


@compiled
def gather_sum(
    indices: Ints, stride: int, columns: Longs, starts: Longs, table: Floats, out: Floats, first: int, last: int
) -> None:
    """Write the sum of all columns' weights from a table [R, 1] to out [B, 1]."""
    sums = out.ravel()[first:last]
    sums[:] = np.float32(0.0)
    for c in range(len(columns)):
        # The compiler knows that no write moves a local slice: four times as fast as indexing the whole array.
        column, weights = indices[columns[c] * stride + first : columns[c] * stride + last], table.ravel()[starts[c] :]
        for b in range(last - first):
            sums[np.uint64(b)] += weights[np.uint64(column[np.uint64(b)])]


@compiled
def _pooled(
    values: Ints, first: int, end: int, weights: Floats, start: int, how: int, table: Floats, pooled: Floats
) -> None:
    width = table.shape[1]
    pooled[:] = np.float32(0.0)
    total = np.float32(0.0)
    for j in range(first, end):
        row = np.uint64(start + values[j])
        weight = weights[j] if len(weights) else np.float32(1.0)
        total += weight
        if how == MAX:
            for d in range(width):
                value = weight * table[row, d]
                if j == first or value > pooled[d]:
                    pooled[d] = value
        else:
            for d in range(width):
                pooled[d] += weight * table[row, d]
    if how == MEAN and total > 0:
        for d in range(width):
            pooled[d] /= total


@compiled
def pool(
    values: Ints,
    bounds: Longs,
    weights: Floats,
    start: int,
    how: int,
    table: Floats,
    place: int,
    added: bool,
    out: Floats,
    first: int,
    last: int,
) -> None:
    """Pool each row's vectors and write the result, or add it if `added`. A row without values gives zeros.

    `weights` is [N], or [0] without weights.
    """
    width = table.shape[1]
    pooled = np.empty(width, dtype=np.float32)
    for b in range(first, last):
        _pooled(values, bounds[b], bounds[b + 1], weights, start, how, table, pooled)
        for d in range(width):
            if added:
                out[b, place + d] += pooled[d]
            else:
                out[b, place + d] = pooled[d]


@compiled
def pool_halved(
    values: Ints,
    bounds: Longs,
    weights: Floats,
    start: int,
    how: int,
    table: Floats,
    place: int,
    halved: Halved,
    first: int,
    last: int,
) -> None:
    """As `pool`, in bfloat16; a vector is rounded once, after it is pooled."""
    width = table.shape[1]
    pooled = np.empty(width, dtype=np.float32)
    bits = pooled.view(np.uint32)
    for b in range(first, last):
        _pooled(values, bounds[b], bounds[b + 1], weights, start, how, table, pooled)
        for d in range(width):
            halved[b, place + d] = _rounded(bits[d])


@compiled
def spread(
    values: Ints,
    bounds: Longs,
    weights: Floats,
    start: int,
    how: int,
    table: Floats,
    place: int,
    gradient: Floats,
    first_value: int,
    rows: Longs,
    gradients: Floats,
    first: int,
    last: int,
) -> None:
    """The backward pass of `pool`: fill `rows` and `gradients` from `first_value` on, an entry for each value of the
    bag.

    With max pooling, values that are equally large share the gradient evenly, as in torch. The largest value is found
    again, because decay may have been paid since it was pooled.
    """
    width = table.shape[1]
    for b in range(first, last):
        total = np.float32(0.0)
        for j in range(bounds[b], bounds[b + 1]):
            total += weights[j] if len(weights) else np.float32(1.0)
        if total <= 0:
            total = np.float32(1.0)
        for j in range(bounds[b], bounds[b + 1]):
            weight = weights[j] if len(weights) else np.float32(1.0)
            row, entry = start + values[j], first_value + j
            rows[entry] = row
            for d in range(width):
                g = weight * gradient[b, place + d]
                if how == MEAN:
                    g /= total
                elif how == MAX:
                    value, ties = weight * table[row, d], 0
                    for k in range(bounds[b], bounds[b + 1]):
                        other = weights[k] if len(weights) else np.float32(1.0)
                        other *= table[start + values[k], d]
                        if other == value:
                            ties += 1
                        elif other > value:
                            g = np.float32(0.0)
                    g /= np.float32(ties)
                gradients[entry, d] = g
