"""Brings batches to the device. Every feed gives the batches of a stream in the stream's order.

On the CPU batches are views of host memory. On cuda they are cut from a whole set on the device, or copied while the
previous step runs.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from widedeep.encoded.batches import Batch, BatchStream
from widedeep.encoded.store import EncodedStore
from widedeep.encoded.unknown_draws import UnknownDraws
from widedeep.kernels.lookups import Bag
from widedeep.lists import Lists, joined_lists

SHARE_OF_FREE_MEMORY = 0.5
"""Share of the device's free memory that an encoded set may take; the rest is for activations and scratch."""


@dataclass(frozen=True)
class DeviceBatch:
    """A batch on the device, in the form that the model reads."""

    indices: Tensor
    """[F, B] int32."""
    numerics: Tensor
    """[D, B] float32."""
    label: Tensor
    """[B] float32."""
    weight: Tensor | None
    """[B] float32; None where the store has no row weights."""
    weight_sum: float
    """Sum of the weights, or B without weights. The host knows it, so that no step waits for the device."""
    bags: tuple[Bag, ...] = ()
    """The columns that have a list of indices in every row."""
    folds: Tensor | None = None
    """[B] int64, if the stream was asked for folds."""

    def __len__(self) -> int:
        return len(self.label)

    def tensors(self) -> list[Tensor]:
        """All tensors of the batch."""
        parts = [self.indices, self.numerics, self.label, self.weight, self.folds]
        parts += [part for bag in self.bags for part in (bag.values, bag.bounds, bag.weights)]
        return [part for part in parts if part is not None]


_ALIGNED = 4
"""Numbers of float32 that are read at once: 16 bytes."""


def placed_alike(numerics: Tensor) -> Tensor:
    """Numerics [D, B] of the CPU whose place in memory is the same wherever reading began; copied where need be.

    A batch is a view of a buffer, and MKL sums a product in an order that depends on whether its rows are aligned.
    """
    is_aligned = numerics.data_ptr() % (4 * _ALIGNED) == 0 and numerics.stride(0) % _ALIGNED == 0
    if numerics.shape[1] % _ALIGNED == 0 and is_aligned:
        return numerics
    return numerics.clone(memory_format=torch.contiguous_format)


class Feed(Protocol):
    """Brings the batches of a stream to the device."""

    def batches(self, stream: BatchStream) -> Iterator[DeviceBatch]:
        """The batches that iterating over the stream gives, on the device."""
        ...


class HostFeed:
    """For the CPU: gives the stream's batches without copying."""

    def batches(self, stream: BatchStream) -> Iterator[DeviceBatch]:
        return (_batch(batch, torch.from_numpy) for batch in stream)


class CopyingFeed:
    """For cuda: copies the next batch from pinned memory, on a CUDA stream of its own, while a step runs."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._side = device, torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def batches(self, stream: BatchStream) -> Iterator[DeviceBatch]:
        with ThreadPoolExecutor(1, thread_name_prefix="widedeep-feed") as copier:
            batches = iter(stream)
            upcoming = copier.submit(self._next, batches)
            while (batch_and_event := upcoming.result()) is not None:
                upcoming = copier.submit(self._next, batches)
                batch, copied = batch_and_event
                current = torch.cuda.current_stream(self._device)
                current.wait_event(copied)
                for tensor in batch.tensors():
                    tensor.record_stream(current)
                yield batch

    def _next(self, batches: Iterator[Batch]) -> tuple[DeviceBatch, torch.cuda.Event] | None:
        batch = next(batches, None)
        if batch is None:
            return None
        with torch.cuda.stream(self._side):
            return _batch(batch, self._copied), self._side.record_event()

    def _copied(self, array: NDArray[Any]) -> Tensor:
        source = torch.from_numpy(array)
        pinned = torch.empty(source.shape, dtype=source.dtype, pin_memory=True).copy_(source)
        return pinned.to(self._device, non_blocking=True)


class ResidentFeed:
    """For cuda: holds the whole set on the device and cuts batches from it by row numbers."""

    def __init__(self, whole: BatchStream, rows: int, device: torch.device) -> None:
        """`whole` gives the set's rows in the store's order, in batches of any size."""
        self._device = device
        parts: list[Batch] = []
        done = 0
        for part in whole:
            if not parts:
                self._indices = torch.empty(len(part.indices), rows, dtype=torch.int32, device=device)
                self._numerics = torch.empty(len(part.numerics), rows, device=device)
            place = slice(done, done + len(part))
            self._indices[:, place] = torch.from_numpy(part.indices).to(device)
            self._numerics[:, place] = torch.from_numpy(part.numerics).to(device)
            done += len(part)
            # The host's copy of what is now on the device is freed. A view of it, even of no column, would keep it.
            parts.append(replace(part, indices=part.indices[:, :0].copy(), numerics=part.numerics[:, :0].copy()))
        weights = [part.weight for part in parts if part.weight is not None]
        folds = [part.folds for part in parts if part.folds is not None]
        self._label = _on(np.concatenate([part.label for part in parts]), device)
        self._host_weight = np.concatenate(weights) if weights else None
        self._weight = None if self._host_weight is None else _on(self._host_weight, device)
        self._folds = _on(np.concatenate(folds), device) if folds else None
        self._lists = [
            _ResidentList(joined_lists(lists), device) for lists in zip(*(part.lists for part in parts), strict=True)
        ]

    def batches(self, stream: BatchStream) -> Iterator[DeviceBatch]:
        numbers = stream.row_numbers()
        with ThreadPoolExecutor(1, thread_name_prefix="widedeep-feed") as reader:
            upcoming = reader.submit(next, numbers, None)
            while (rows := upcoming.result()) is not None:
                upcoming = reader.submit(next, numbers, None)
                batch = self._cut(rows)
                if stream.unknown is not None:
                    self._show_as_unknown(stream.unknown, stream.epoch, batch, rows)
                yield batch

    def _show_as_unknown(self, unknown: UnknownDraws, epoch: int, batch: DeviceBatch, rows: NDArray[np.int64]) -> None:
        """Draw on the host by the rows' numbers, and overwrite the batch's own copy of the values on the device."""
        draws = unknown.draw(epoch, rows, [column.lengths_of(rows) for column in self._lists])
        put = partial(_on, device=self._device)
        unknown.apply(draws.put(put), batch.indices, [bag.values for bag in batch.bags], Tensor.masked_fill_)

    def _cut(self, rows: NDArray[np.int64]) -> DeviceBatch:
        places = _on(rows, self._device)
        return DeviceBatch(
            self._indices.index_select(1, places),
            self._numerics.index_select(1, places),
            self._label[places],
            None if self._weight is None else self._weight[places],
            float(len(rows)) if self._host_weight is None else float(self._host_weight[rows].sum()),
            tuple(column.cut(rows, places) for column in self._lists),
            None if self._folds is None else self._folds[places].long(),
        )


class _ResidentList:
    """A column of lists on the device."""

    def __init__(self, lists: Lists, device: torch.device) -> None:
        self._host_lengths = lists.lengths
        self._values, self._lengths = _on(lists.values, device), _on(lists.lengths, device)
        self._starts = self._lengths.cumsum(0) - self._lengths
        self._weights = None if lists.weights is None else _on(lists.weights, device)

    def lengths_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The lengths of the rows' lists, known to the host."""
        return self._host_lengths[rows]

    def cut(self, rows: NDArray[np.int64], places: Tensor) -> Bag:
        # The number of values is summed on the host, which would otherwise wait for the device to tell it.
        total = int(self._host_lengths[rows].sum())
        lengths = self._lengths[places]
        ends = lengths.cumsum(0)
        shifts = self._starts[places] - (ends - lengths)
        taken = torch.repeat_interleave(shifts, lengths, output_size=total)
        taken += torch.arange(total, device=taken.device)
        bounds = torch.cat([ends.new_zeros(1), ends])
        return Bag(self._values[taken], bounds, None if self._weights is None else self._weights[taken])


def feed_for(device: torch.device, store: EncodedStore, whole: Callable[[], BatchStream]) -> Feed:
    """The feed for a device: on cuda the whole set stays on the device if it fits a share of the free memory.

    `whole` gives the stream of the store's rows in the store's order.
    """
    if device.type == "cpu":
        return HostFeed()
    free = torch.cuda.mem_get_info(device)[0]
    # The shards are uncompressed: their columns take about as much memory as the shards take on disk.
    fits = sum(shard.bytes for shard in store.shards) <= SHARE_OF_FREE_MEMORY * free
    return ResidentFeed(whole(), store.rows, device) if fits else CopyingFeed(device)


def _batch(batch: Batch, put: Callable[[NDArray[Any]], Tensor]) -> DeviceBatch:
    return DeviceBatch(
        put(batch.indices),
        put(batch.numerics),
        put(batch.label),
        None if batch.weight is None else put(batch.weight),
        float(len(batch)) if batch.weight is None else float(batch.weight.sum()),
        tuple(Bag.of(lists, put) for lists in batch.lists),
        None if batch.folds is None else put(batch.folds).long(),
    )


def _on(array: NDArray[Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
