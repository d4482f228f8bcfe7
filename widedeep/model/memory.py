"""Crosses from memory: values that counting has found, and the few learnt numbers that say how far to trust them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from widedeep.kernels.lookups import Bag
from widedeep.kernels.reference import pool

SUPPORT_BUCKETS, SIGNS = 8, 2


class CrossValues(nn.Module):
    """Per row and cross: scale[support, sign] * value + offset[support]; several values of a list are summed.

    `value` and `support` (buckets of the train rows behind a value) are given, not learnt (see widedeep/memory). While
    training, they are those of the model that was fitted without the row's fold. Crosses with lists stand behind the
    others, as in the layout.

    Shape: indices [C, B] int32 of the crosses with one value a row, a bag for each of the others, folds [B] int64 or
    None → logit [B].
    """

    value: Tensor
    support: Tensor
    offsets: Tensor
    positions: Tensor
    heard: Tensor
    fold_value: Tensor | None
    fold_support: Tensor | None

    def __init__(self, sizes: Sequence[int], num_dense: int) -> None:
        super().__init__()
        ends = torch.tensor([0, *sizes]).cumsum(0)
        self.starts: list[int] = ends[:-1].tolist()
        self.num_dense, self.num_rows = num_dense, int(ends[-1])
        self.register_buffer("offsets", ends[:num_dense].unsqueeze(1).clone(), persistent=False)
        self.register_buffer("positions", torch.arange(num_dense).unsqueeze(1), persistent=False)
        self.register_buffer("heard", torch.arange(num_dense), persistent=False)
        self.register_buffer("value", torch.zeros(self.num_rows), persistent=False)
        self.register_buffer("support", torch.zeros(self.num_rows, dtype=torch.uint8), persistent=False)
        # Buffers, so that they follow the module to its device.
        self.register_buffer("fold_value", None, persistent=False)
        self.register_buffer("fold_support", None, persistent=False)
        self.silent: list[int] = []
        """Crosses of which nothing is remembered."""
        self.scale = nn.Parameter(torch.ones(len(sizes) * SUPPORT_BUCKETS * SIGNS, 1))
        self.offset = nn.Parameter(torch.zeros(len(sizes) * SUPPORT_BUCKETS, 1))

    def remember(self, value: Tensor, support: Tensor) -> None:
        """Take the values and support buckets, both [R], of all crosses behind each other."""
        self.value.copy_(value)
        self.support.copy_(support)
        ends = [*self.starts[1:], self.num_rows]
        silent = [not support[start:end].any() for start, end in zip(self.starts, ends, strict=True)]
        self.silent = [position for position, is_silent in enumerate(silent) if is_silent]
        heard = [position for position in range(self.num_dense) if not silent[position]]
        self.heard = torch.tensor(heard, dtype=torch.int64, device=self.value.device)

    def start_from(self, scale: Tensor, offset: Tensor) -> None:
        """Take scales [C, SUPPORT_BUCKETS, SIGNS] and offsets [C, SUPPORT_BUCKETS] to start learning from."""
        with torch.no_grad():
            self.scale.copy_(scale.reshape(-1, 1))
            self.offset.copy_(offset.reshape(-1, 1))

    def train_on_folds(self, value: Tensor, support: Tensor) -> None:
        """Take what each fold's rows are trained with: [K, R] each."""
        device = self.value.device
        self.fold_value, self.fold_support = value.to(device).flatten(), support.to(device).flatten()

    def forward(self, indices: Tensor, bags: Sequence[Bag] = (), folds: Tensor | None = None) -> Tensor:
        rows = indices + self.offsets
        logit = self._contribution(self._heard(rows), self._heard(self.positions), folds).sum(dim=0)
        for position, bag in enumerate(bags, start=self.num_dense):
            if self.training and position in self.silent:
                continue
            in_fold = None if folds is None else folds[bag.rows]
            values = self._contribution(bag.values + self.starts[position], position, in_fold)
            logit = logit + pool(values.unsqueeze(1), bag, indices.shape[1], "sum").squeeze(1)
        return logit

    def _heard(self, of_dense: Tensor) -> Tensor:
        """The part [*, ...] of what is said of the crosses with one value a row [C, ...] that training listens to.

        Of a silent cross there is but one offset, for all rows: it would only be a second bias that learns along.
        """
        if not self.training or len(self.heard) == self.num_dense:
            return of_dense
        return of_dense.index_select(0, self.heard)

    def _contribution(self, rows: Tensor, cross: Tensor | int, folds: Tensor | None) -> Tensor:
        value, support = self.value, self.support
        if folds is not None:
            assert self.fold_value is not None
            assert self.fold_support is not None
            value, support = self.fold_value, self.fold_support
            first = folds * self.num_rows
            rows = rows + first
        known = value[rows]
        place = support[rows].to(torch.int64) + cross * SUPPORT_BUCKETS
        return _gathered(self.scale, place * SIGNS + (known < 0)) * known + _gathered(self.offset, place)


def _gathered(weights: Tensor, places: Tensor) -> Tensor:
    """weights [W, 1] at `places`, in their shape; a few weights read by all rows, whose gradient gather sums ten times as
    fast as an embedding does."""
    return weights.flatten().gather(0, places.flatten()).view(places.shape)
