"""Look-ups and sparse updates on a CUDA device: torch sorts a batch's rows, Triton's kernels (tiles.py) do the rest.

No call waits for the device, and all shapes follow from the inputs' shapes, so a step can be captured in a CUDA graph.
Gradients of one row are summed without atomics: equal inputs give equal bytes on one kind of device.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import triton
from torch import Tensor

from widedeep.kernels import tiles
from widedeep.kernels.lookups import Bag, Column, Lookups
from widedeep.kernels.reference import update_numbers as update_numbers  # never waits for the device
from widedeep.kernels.rules import Adagrad, Adam, Ftrl, RowwiseAdagrad, Rule, Sgd

_KINDS: dict[type[Rule], object] = {
    Ftrl: tiles.FTRL,
    Adagrad: tiles.ADAGRAD,
    RowwiseAdagrad: tiles.ROWWISE_ADAGRAD,
    Adam: tiles.ADAM,
    Sgd: tiles.SGD,
}
_HOW = {"sum": tiles.SUM, "mean": tiles.MEAN, "max": tiles.MAX}
_TILE, _BAG_TILE = 4_096, 1_024
"""Numbers in the tile of one program: few enough for the compiler to keep them in registers."""


def look_up(table: Tensor, lookups: Lookups, out: Tensor) -> None:
    """As reference.look_up; `out` may be bfloat16."""
    columns, width = lookups.columns.on(table.device), table.shape[1]
    indices, stride = _indices(lookups)
    block_d = _padded(width)
    block_b, bag_rows = max(1, _TILE // block_d), max(1, _BAG_TILE // block_d)
    if lookups.columns.summed:
        tiles.gather_sum[(triton.cdiv(lookups.num_rows, 256),)](
            indices, stride, columns.positions, columns.starts, len(columns.positions), table, table.stride(0), out,
            lookups.num_rows, BLOCK_B=256,
        )  # fmt: skip
    elif len(columns.positions):
        tiles.gather[(triton.cdiv(lookups.num_rows, block_b), len(columns.positions))](
            indices, stride, columns.positions, columns.starts, columns.places, table, table.stride(0), out,
            out.stride(0), lookups.num_rows, width, BLOCK_B=block_b, BLOCK_D=block_d,
        )  # fmt: skip
    for column in lookups.columns.bags:
        bag = lookups.bags[column.position]
        tiles.pool[(triton.cdiv(lookups.num_rows, bag_rows),)](
            bag.values, bag.bounds, _weights(bag), column.start, table, table.stride(0), out, out.stride(0),
            column.place, lookups.num_rows, width, HOW=_how(column), WEIGHTED=bag.weights is not None,
            ADDED=lookups.columns.summed, BLOCK_B=bag_rows, BLOCK_D=block_d,
        )  # fmt: skip


def update(
    rule: Rule,
    table: Tensor,
    states: list[Tensor],
    lookups: Lookups,
    gradient: Tensor,
    *,
    factor: float | Tensor = 1.0,
) -> None:
    """As reference.update; the gradient may be bfloat16, and sums are float32."""
    _sum(_KINDS[type(rule)], [factor, *rule.numbers()], table, states, table, lookups, gradient)


def add_gradients(dense: Tensor, table: Tensor, lookups: Lookups, gradient: Tensor) -> None:
    """As reference.add_gradients."""
    _sum(tiles.SET, [1.0], dense, [], table, lookups, gradient)


def pay(table: Tensor, received: Tensor, lookups: Lookups, decay: float | Tensor) -> None:
    """As reference.pay."""
    rows, _ = lookups.sorted_rows
    if not len(rows):
        return
    block_d = _padded(table.shape[1])
    block = max(1, _BAG_TILE // block_d)
    tiles.pay[(triton.cdiv(len(rows), block),)](
        rows, len(rows), table, received, _vector([decay], torch.float64, table.device), table.shape[1],
        BLOCK=block, BLOCK_D=block_d,
    )  # fmt: skip


def _sum(
    kind: object,
    numbers: Sequence[float | Tensor],
    target: Tensor,
    states: list[Tensor],
    table: Tensor,
    lookups: Lookups,
    gradient: Tensor,
) -> None:
    """Sum the gradients of each row of `table` that was read, and apply the rule to that row of `target`."""
    rows, order = lookups.sorted_rows
    if not len(rows):
        return
    assert target.is_contiguous()
    assert all(state.is_contiguous() for state in states)
    if gradient.stride(1) != 1:
        gradient = gradient.contiguous()
    width = table.shape[1]
    block_d = _padded(width)
    chunk = 32 if block_d <= 32 else 16
    chunks = triton.cdiv(len(rows), chunk)
    num_dense = len(lookups.columns.positions) * lookups.num_rows
    partial_sums = torch.empty(chunks, 2, block_d, device=table.device)
    first, second = [*states, target, target][:2]
    settings = _vector(numbers, torch.float32, table.device)
    tiles.sum_chunk[(chunks,)](
        rows, order, len(rows), gradient, gradient.stride(0), lookups.columns.on(table.device).places,
        lookups.num_rows, num_dense, _spread(table, lookups, gradient), target, first, second, partial_sums,
        settings, width, RULE=kind, CHUNK=chunk, BLOCK_D=block_d,
    )  # fmt: skip
    tiles.finish[(chunks,)](
        rows, len(rows), target, first, second, partial_sums, settings, width, RULE=kind, CHUNK=chunk, BLOCK_D=block_d,
    )  # fmt: skip


def _spread(table: Tensor, lookups: Lookups, gradient: Tensor) -> Tensor:
    """The gradients [N, D] of the bags' values, one column after the other."""
    width = table.shape[1]
    sizes = [len(lookups.bags[column.position].values) for column in lookups.columns.bags]
    gradients = torch.empty(sum(sizes), width, device=table.device)
    block_d = _padded(width)
    block_b = max(1, _BAG_TILE // block_d)
    for column, bag_gradients in zip(lookups.columns.bags, torch.split(gradients, sizes), strict=True):
        bag = lookups.bags[column.position]
        tiles.spread[(triton.cdiv(lookups.num_rows, block_b),)](
            bag.values, bag.bounds, _weights(bag), column.start, table, table.stride(0), gradient, gradient.stride(0),
            column.place, bag_gradients, lookups.num_rows, width, HOW=_how(column),
            WEIGHTED=bag.weights is not None, BLOCK_B=block_b, BLOCK_D=block_d,
        )  # fmt: skip
    return gradients


def _vector(numbers: Sequence[float | Tensor], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The numbers in one tensor on the device. Numbers that are tensors there are not copied from the host."""
    fixed = tuple(0.0 if isinstance(number, Tensor) else number for number in numbers)
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        # A graph cannot copy from the host, and may not use a cached tensor, which the cache could drop.
        vector = torch.empty(len(fixed), dtype=dtype, device=device)
        for position, number in enumerate(fixed):
            vector[position].fill_(number)
    else:
        vector = _constants(fixed, dtype, device)
    tensors = [(position, number) for position, number in enumerate(numbers) if isinstance(number, Tensor)]
    vector = vector.clone() if tensors else vector
    for position, tensor in tensors:
        vector[position].copy_(tensor)
    return vector


@lru_cache(maxsize=64)
def _constants(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(numbers, dtype=dtype).to(device, non_blocking=True)


def _indices(lookups: Lookups) -> tuple[Tensor, int]:
    """The index matrix [F, B] with contiguous columns, and the distance between two columns."""
    indices = lookups.indices if lookups.indices.stride(1) == 1 else lookups.indices.contiguous()
    return indices, indices.stride(0)


def _weights(bag: Bag) -> Tensor:
    return bag.bounds if bag.weights is None else bag.weights


def _how(column: Column) -> object:
    return _HOW[column.pooling or "sum"]


def _padded(width: int) -> int:
    return max(16, 1 << (width - 1).bit_length())
