"""Crosses from memory: values that were found by counting, and a few learnt numbers that tell how far to trust them."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from widedeep.kernels.lookups import Bag
from widedeep.kernels.reference import pool

SUPPORT_BUCKETS, SIGNS = 8, 2


class CrossValues(nn.Module):
    """Per row and cross: scale[support, sign] * value + offset[support], summed over the values of a list.

    `value` and `support` (the bucket of the number of train rows that have the value) are given, not learnt (see
    widedeep/memory). In training they come from the additive model that was fitted without the row's fold. Crosses with
    lists come after the others, as in the layout.

    Shape: indices [C, B] int32 of the crosses with one value a row, a bag for each of the others, folds [B] int64 or
    None → logit [B].
    """

    value: Tensor
    support: Tensor
    offsets: Tensor
    positions: Tensor
    active: Tensor
    fold_value: Tensor | None
    fold_support: Tensor | None

    def __init__(self, sizes: Sequence[int], num_dense: int) -> None:
        super().__init__()
        *starts, self.num_rows = accumulate(sizes, initial=0)
        self.starts: list[int] = starts
        self.num_dense = num_dense
        offsets = torch.tensor(starts[:num_dense], dtype=torch.int64).unsqueeze(1)
        self.register_buffer("offsets", offsets, persistent=False)
        # Not by `torch.arange`: on the meta device, where loading a run checks shapes, it imports sympy.
        positions = torch.tensor(range(num_dense), dtype=torch.int64)
        self.register_buffer("positions", positions.unsqueeze(1), persistent=False)
        self.register_buffer("active", positions, persistent=False)
        self.register_buffer("value", torch.zeros(self.num_rows), persistent=False)
        self.register_buffer("support", torch.zeros(self.num_rows, dtype=torch.uint8), persistent=False)
        # Buffers, so that they follow the module to its device.
        self.register_buffer("fold_value", None, persistent=False)
        self.register_buffer("fold_support", None, persistent=False)
        self.silent: list[int] = []
        """Positions of the crosses that have no value in the memory."""
        self.scale = nn.Parameter(torch.ones(len(sizes) * SUPPORT_BUCKETS * SIGNS, 1))
        self.offset = nn.Parameter(torch.zeros(len(sizes) * SUPPORT_BUCKETS, 1))

    def remember(self, value: Tensor, support: Tensor) -> None:
        """Set the values and support buckets, both [R], of all crosses, one cross after the other."""
        self.value.copy_(value)
        self.support.copy_(support)
        ends = [*self.starts[1:], self.num_rows]
        silent = [not support[start:end].any() for start, end in zip(self.starts, ends, strict=True)]
        self.silent = [position for position, is_silent in enumerate(silent) if is_silent]
        active = [position for position in range(self.num_dense) if not silent[position]]
        self.active = torch.tensor(active, dtype=torch.int64, device=self.value.device)

    def start_from(self, scale: Tensor, offset: Tensor) -> None:
        """Set the scales [C, SUPPORT_BUCKETS, SIGNS] and offsets [C, SUPPORT_BUCKETS] that learning starts from."""
        with torch.no_grad():
            self.scale.copy_(scale.reshape(-1, 1))
            self.offset.copy_(offset.reshape(-1, 1))

    def train_on_folds(self, value: Tensor, support: Tensor) -> None:
        """Set the values and support buckets that the rows of each of K folds are trained with: [K, R] each."""
        device = self.value.device
        self.fold_value, self.fold_support = value.to(device).flatten(), support.to(device).flatten()

    def forward(self, indices: Tensor, bags: Sequence[Bag] = (), folds: Tensor | None = None) -> Tensor:
        if self.num_dense or self.training:
            rows = self._without_silent(indices + self.offsets)
            logit = self._contribution(rows, self._without_silent(self.positions), folds).sum(dim=0)
        else:  # ONNX cannot reshape a tensor of no numbers
            logit = torch.zeros(indices.shape[1], device=self.value.device)
        for position, bag in enumerate(bags, start=self.num_dense):
            if self.training and position in self.silent:
                continue
            value_folds = None if folds is None else folds[bag.rows]
            values = self._contribution(bag.values + self.starts[position], position, value_folds)
            logit = logit + pool(values.unsqueeze(1), bag, indices.shape[1], "sum").squeeze(1)
        return logit

    def _without_silent(self, per_cross: Tensor) -> Tensor:
        """A tensor [C, ...] of the crosses with one value a row, in training without silent crosses.

        A silent cross has the same offset for all rows: it would only be a second bias that is learnt too.
        """
        if not self.training or len(self.active) == self.num_dense:
            return per_cross
        return per_cross.index_select(0, self.active)

    def _contribution(self, rows: Tensor, cross: Tensor | int, folds: Tensor | None) -> Tensor:
        value, support = self.value, self.support
        if folds is not None:
            assert self.fold_value is not None
            assert self.fold_support is not None
            value, support = self.fold_value, self.fold_support
            rows = rows + folds * self.num_rows
        values = value[rows]
        bucket = support[rows].to(torch.int64) + cross * SUPPORT_BUCKETS
        return _gathered(self.scale, bucket * SIGNS + (values < 0)) * values + _gathered(self.offset, bucket)


def _gathered(weights: Tensor, positions: Tensor) -> Tensor:
    """The weights [W, 1] at `positions`, in the shape of these.

    All rows read the same few weights. The backward pass of gather sums their gradients ten times as fast as that of an
    embedding.
    """
    return weights.flatten().gather(0, positions.flatten()).view(positions.shape)
