"""Look-ups and sparse updates on the CPU: Numba's loops over torch tensors, on torch's number of threads."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from widedeep.kernels import reading, sparse, updates
from widedeep.kernels.lookups import Bag, Lookups
from widedeep.kernels.rules import Adagrad, Adam, Ftrl, RowwiseAdagrad, Rule, Sgd
from widedeep.kernels.threads import in_parts

_KERNELS: dict[type[Rule], Callable[..., None]] = {
    Ftrl: updates.ftrl,
    Adagrad: updates.adagrad,
    RowwiseAdagrad: updates.rowwise_adagrad,
    Adam: updates.adam,
    Sgd: updates.sgd,
}
_HOW = {"sum": reading.SUM, "mean": reading.MEAN, "max": reading.MAX}
_NO_WEIGHTS = np.empty(0, dtype=np.float32)
_DIRECT_ROWS = 1 << 16
"""Up to this size of a range, a row's slot is found by its number, without a hash: a fast cache holds all slots."""
_LEAST_ROWS = 256
"""Below this size of a batch, threads cost more time than they save."""


def look_up(table: Tensor, lookups: Lookups, out: Tensor) -> None:
    """As reference.look_up; `out` may be bfloat16 unless the columns are summed."""
    columns, (indices, stride) = lookups.columns, flat_indices(lookups.indices)
    weights, halved = table.numpy(), out.dtype == torch.bfloat16
    target = out.view(torch.uint16).numpy() if halved else out.numpy()
    assert not (halved and columns.summed), "sums are float32"

    def part(number: int, parts: int) -> None:
        first, last = (lookups.num_rows * (number + i) // parts for i in (0, 1))
        rows = (target, first, last)
        places = (indices, stride, columns.positions, columns.starts, columns.places)
        if columns.summed:
            reading.gather_sum(indices, stride, columns.positions, columns.starts, weights, *rows)
        elif halved:
            reading.gather_halved(*places, weights.view(np.uint32), *rows)
        else:
            reading.gather(*places, weights, *rows)
        for column in columns.bags:
            bag = (*_arrays(lookups.bags[column.position]), column.start, _HOW[column.pooling or "sum"], weights)
            if halved:
                reading.pool_halved(*bag, column.place, *rows)
            else:
                reading.pool(*bag, column.place, columns.summed, *rows)

    in_parts(part, _parts(lookups))


def update(
    rule: Rule,
    table: Tensor,
    states: list[Tensor],
    lookups: Lookups,
    gradient: Tensor,
    *,
    factor: float = 1.0,
) -> None:
    """As reference.update. Sums of gradients do not depend on the number of threads."""
    weights, state = table.numpy(), [tensor.numpy() for tensor in states]
    kernel, settings = _KERNELS[type(rule)], [np.float32(number) for number in rule.numbers()]
    _on_rows(
        lookups,
        _entries(lookups, table, gradient, factor),
        table.shape[1],
        lambda part, parts, entries, scratch: kernel(part, parts, entries, scratch, weights, *state, *settings),
    )


def update_numbers(rule: Ftrl, weights: Tensor, z: Tensor, n: Tensor, gradients: Tensor) -> None:
    """As reference.update_numbers."""
    numbers = [np.float32(number) for number in rule.numbers()]
    updates.follow_ftrl(gradients.numpy(), weights.numpy(), z.numpy(), n.numpy(), *numbers)


def add_gradients(dense: Tensor, table: Tensor, lookups: Lookups, gradient: Tensor) -> None:
    """As reference.add_gradients."""
    target = dense.numpy()
    _on_rows(
        lookups,
        _entries(lookups, table, gradient, 1.0),
        table.shape[1],
        lambda part, parts, entries, scratch: sparse.add_gradients(part, parts, entries, scratch, target),
    )


def gradient_sums(table: Tensor, lookups: Lookups, gradient: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The rows [U] of the table that the look-ups read, and their summed gradients [U, D]; on one thread."""
    entries = _entries(lookups, table, gradient, 1.0)
    look_ups = entries.num_rows * len(entries.columns) + len(entries.bag_rows)
    rows = np.empty(look_ups, dtype=np.int64)
    sums = np.empty((look_ups, table.shape[1]), dtype=np.float32)
    count = sparse.collect(entries, _scratch(_most(entries), table.shape[1]), rows, sums)
    return rows[:count], sums[:count]


def pay(table: Tensor, received: Tensor, lookups: Lookups, decay: float) -> None:
    """As reference.pay."""
    weights, paid, columns = table.numpy(), received.numpy(), lookups.columns
    indices, stride = flat_indices(lookups.indices)
    rows = [lookups.bags[bag.position].values.numpy().astype(np.int64) + bag.start for bag in columns.bags]
    bag_rows = np.concatenate([np.empty(0, dtype=np.int64), *rows])

    def part(number: int, parts: int) -> None:
        sparse.pay(
            number,
            parts,
            indices,
            stride,
            lookups.num_rows,
            columns.positions,
            columns.starts,
            bag_rows,
            weights,
            paid,
            decay,
        )

    in_parts(part, _parts(lookups))


def _entries(lookups: Lookups, table: Tensor, gradient: Tensor, factor: float) -> sparse.Entries:
    columns, (indices, stride) = lookups.columns, flat_indices(lookups.indices)
    gradient = gradient.to(torch.float32)  # it may be bfloat16, where sums would be rounded again
    slopes = (gradient if factor == 1.0 else gradient * factor).contiguous().numpy()
    sizes = [len(lookups.bags[column.position].values) for column in columns.bags]
    ends = np.cumsum([0, *sizes], dtype=np.int64)
    bag_rows = np.empty(ends[-1], dtype=np.int64)
    bag_gradients = np.empty((ends[-1], table.shape[1]), dtype=np.float32)
    for column, first_value in zip(columns.bags, ends[:-1], strict=True):
        values, bounds, factors = _arrays(lookups.bags[column.position])
        fixed = (values, bounds, factors, column.start, _HOW[column.pooling or "sum"], table.numpy(), column.place)
        target = (slopes, int(first_value), bag_rows, bag_gradients)

        def part(number: int, parts: int, fixed: Any = fixed, target: Any = target) -> None:
            first, last = (lookups.num_rows * (number + i) // parts for i in (0, 1))
            reading.spread(*fixed, *target, first, last)

        in_parts(part, _parts(lookups))
    return sparse.Entries(
        indices,
        stride,
        lookups.num_rows,
        columns.positions,
        columns.starts,
        columns.places,
        columns.bounds,
        np.append(columns.range_starts, len(table)),
        slopes,
        bag_rows,
        bag_gradients,
        ends[columns.bag_bounds],
    )


def _on_rows(
    lookups: Lookups,
    entries: sparse.Entries,
    width: int,
    kernel: Callable[[int, int, sparse.Entries, sparse.Scratch], object],
) -> None:
    most = _most(entries)

    def part(number: int, parts: int) -> None:
        kernel(number, parts, entries, _scratch(most, width))

    in_parts(part, _parts(lookups))


def _most(entries: sparse.Entries) -> int:
    """The most look-ups of a group."""
    columns = np.diff(entries.column_bounds) * entries.num_rows
    return int((columns + np.diff(entries.bag_bounds)).max(initial=1))


def _scratch(most: int, width: int) -> sparse.Scratch:
    scratch = _kept.by_width.get(width)
    if scratch is None or len(scratch.rows) < most:
        size = 1 << (2 * most - 1).bit_length()
        scratch = _kept.by_width[width] = sparse.Scratch(
            np.empty(size, dtype=np.int64),
            np.full(max(size, _DIRECT_ROWS), -1, dtype=np.int32),
            np.empty(most, dtype=np.int64),
            np.empty((most, width), dtype=np.float32),
        )
    return scratch


class _Kept(threading.local):
    """Scratch that each thread keeps: allocating it takes as long as summing a batch's gradients in it."""

    def __init__(self) -> None:
        self.by_width: dict[int, sparse.Scratch] = {}


_kept = _Kept()


def _parts(lookups: Lookups) -> int:
    return torch.get_num_threads() if lookups.num_rows >= _LEAST_ROWS else 1


def flat_indices(indices: Tensor) -> tuple[NDArray[np.int32], int]:
    """The index matrix [F, B] as a flat array, and the distance in it from one column to the next."""
    if indices.stride(1) != 1:
        indices = indices.contiguous()
    num_columns, num_rows = indices.shape
    stride = indices.stride(0) if num_columns > 1 else num_rows
    length = max(0, (num_columns - 1) * stride + num_rows) if num_columns else 0
    return indices.as_strided((length,), (1,)).numpy(), stride


def _arrays(bag: Bag) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float32]]:
    return bag.values.numpy(), bag.bounds.numpy(), _NO_WEIGHTS if bag.weights is None else bag.weights.numpy()
