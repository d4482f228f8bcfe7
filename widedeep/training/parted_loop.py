"""The training loop for steps in parts, in one process or in several that take the same steps (see parts.py).

Rank 0 decides when to save, to leave and to stop, measures the model and writes the run; all ranks follow.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from widedeep.encoded.batches import WINDOW_CHUNKS, BatchStream
from widedeep.encoded.store import EncodedStore
from widedeep.model.table import Table
from widedeep.reporting import Meter
from widedeep.training.device import BATCH_ROWS, layers_in
from widedeep.training.events import EventLog
from widedeep.training.feed import DeviceBatch, HostFeed, placed_alike
from widedeep.training.inference import evaluate_store
from widedeep.training.interrupts import InterruptWatch
from widedeep.training.loop import LOG_STEPS, METER_SECONDS, Trainer
from widedeep.training.objective import distillation_loss, mean_loss
from widedeep.training.parts import DenseParts, TableParts, own_parts, part_ranges, part_sizes, seed_part, together
from widedeep.training.ranks import AgreedError, Ranks, Words
from widedeep.training.split_checkpoints import read_split, remove_shards, write_split, write_whole


class _NoEvents(EventLog):
    """What a process logs that leaves the log to rank 0."""

    def __init__(self) -> None:
        pass

    def append(self, event: dict[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


class _Agreed(NamedTuple):
    """What all ranks know as they begin a step."""

    received: int
    """Number of the signal that one of them has received; else 0."""
    save: bool
    weights: list[float]
    """The weight of each part."""


class PartedTrainer(Trainer):
    """Trains as Trainer does, by steps of `training.parts` parts."""

    def __init__(self, *arguments: Any, ranks: Ranks, **settings: Any) -> None:
        """Arguments as for Trainer; the network holds the rows of `ranks`'s process. The device is the CPU."""
        super().__init__(*arguments, **settings)
        assert self.device.type == "cpu", "parts are computed on the CPU"
        self.ranks = ranks
        self._own = own_parts(self.settings.parts, ranks.rank, ranks.world)
        self._ranges = part_ranges(self.train_store.rows, self.settings.batch_size, self.settings.parts)
        self._tables, self._dense = TableParts(self.network, ranks), DenseParts(self.network)

    def _open_events(self, kept: int) -> EventLog:
        return super()._open_events(kept) if self.ranks.rank == 0 else _NoEvents()

    def _random_state(self) -> dict[str, Tensor]:
        return {}  # a part seeds its own

    def begin(self) -> None:
        """Measure the model as it is, as epoch 0, and write the checkpoint that training begins with."""
        events = self._open_events(-1)
        try:
            if self._as_it_was is not None and self.valid_store is not None:
                with self._as_it_was():
                    self._judge_start(events)
        finally:
            events.close()
        self._save()

    # ------------------------------------------------------------------------------------------------- steps

    def _train_epoch(self, watch: InterruptWatch, events: EventLog, meter: Meter) -> None:
        progress, settings = self.progress, self.settings
        done_before = progress.epoch * self.train_store.rows
        streams = [HostFeed().batches(self._stream_of(part)) for part in self._own]
        self.network.train()
        first_step, sent_before = progress.step, self.ranks.bytes_sent
        batches = (self._active(parts) for parts in together(streams, self._batches - progress.batch))
        coming = next(batches, None)
        told = [] if coming is None else self.ranks.exchange(self._ask_for(coming, watch), kind="requests")
        while coming is not None:
            active, coming = coming, next(batches, None)
            started = time.perf_counter()
            agreed = self._begin_step(told)
            if agreed.received:
                self._leave(agreed.received)
            if agreed.save:
                written_before = self.ranks.bytes_sent
                self._save()
                sent_before += self.ranks.bytes_sent - written_before
            rows = self._rows_of_step()
            numbers = self._gradients_of(active, sum(agreed.weights))
            told = self._learn_by_parts(numbers, sum(agreed.weights), self._ask_for(coming, watch))
            self._training_seconds += time.perf_counter() - started
            self._trained_rows += rows
            if progress.step % LOG_STEPS == 0:
                self._log_step(events)
            if time.monotonic() - self._shown_at >= METER_SECONDS:
                self._show(meter, done_before + min(progress.batch * settings.batch_size, self.train_store.rows))
        if self.ranks.world > 1 and progress.step > first_step:
            sent = (self.ranks.bytes_sent - sent_before) // (progress.step - first_step)
            events.append({"event": "exchange", "step": progress.step, "bytes_sent_a_step": sent})

    def _stream_of(self, part: int) -> BatchStream:
        return BatchStream(
            self.train_store,
            self._index_names,
            self.layout.numeric_columns,
            part_sizes(self.settings.batch_size, self.settings.parts)[part],
            list_columns=self.layout.list_names,
            num_folds=None if self.network.cross_memory is None else self.recipe.model.wide.folds,
            seed=self.recipe.seed,
            epoch=self.progress.epoch,
            start_batch=self.progress.batch,
            unknown=self._unknown,
            rows=self._ranges[part],
            window_chunks=max(1, WINDOW_CHUNKS // self.settings.parts),
        )

    def _rows_of_step(self) -> int:
        return min(self.settings.batch_size, self.train_store.rows - self.progress.batch * self.settings.batch_size)

    def _active(self, parts: Sequence[DeviceBatch | None]) -> dict[int, DeviceBatch]:
        """Those parts of a step that teach something, by their numbers."""
        return {
            part: batch
            for part, batch in zip(self._own, parts, strict=True)
            if batch is not None and batch.weight_sum > 0.0 and not (self._normalises and len(batch) == 1)
        }

    def _ask_for(self, active: Mapping[int, DeviceBatch] | None, watch: InterruptWatch) -> list[Words]:
        """To each rank: what all must know to begin a step, and the rows of tables that this process needs of it.

        None ends an epoch.
        """
        if active is None:
            return [np.empty(0, dtype=np.int32)] * self.ranks.world
        save = time.monotonic() - self._saved_at >= self.settings.checkpoint_seconds
        weights = np.zeros(math.ceil(self.settings.parts / self.ranks.world))
        for part, batch in active.items():
            weights[part - self._own.start] = batch.weight_sum
        flags = [np.array([watch.received or 0, save], dtype=np.int32), weights.view(np.int32)]
        return [np.concatenate([*flags, request]) for request in self._tables.requests(list(active.values()))]

    def _begin_step(self, told: Sequence[Words]) -> _Agreed:
        """Read the rows of tables that this process needs; gives what all have agreed on, by what the ranks ask for."""
        parts, world = self.settings.parts, self.ranks.world
        end = 2 + 2 * math.ceil(parts / world)
        weights: list[float] = []
        for rank, words in enumerate(told):
            weights += words[2:end].copy().view(np.float64)[: len(own_parts(parts, rank, world))].tolist()
        agreed = _Agreed(max(int(words[0]) for words in told), bool(told[0][1]), weights)
        self._tables.answer([words[end:] for words in told])
        return agreed

    def _gradients_of(self, active: Mapping[int, DeviceBatch], total: float) -> list[Tensor]:
        """What the layers learn from each part of this process, of a step whose rows weigh `total`; the tables collect
        the rest.
        """
        self._dense.begin()
        numbers = []
        for place, (part, batch) in enumerate(active.items()):
            seed_part(self.recipe.seed, self.progress.epoch, self.progress.batch, part)
            self._tables.give(place)
            numbers.append(self._learn_part(batch, batch.weight_sum / total))
            self._tables.collect()
        return numbers

    def _learn_by_parts(self, numbers: Sequence[Tensor], total: float, notes: Sequence[Words]) -> list[Words]:
        """Learn from all parts of a step, and exchange the ranks' `notes` along with them."""
        progress = self.progress
        scale = progress.schedule.scale(self.settings, progress.step)
        progress.step += 1
        progress.batch += 1
        if total == 0.0:
            return self.ranks.exchange(notes, kind="requests")
        shared, told = self._tables.share(numbers, self._dense.size, notes)
        loss = self._dense.add_up(shared)
        self.optimizers.step(scale, total)
        self._recent += torch.tensor([loss * total, total], dtype=torch.float64)
        if not math.isfinite(loss):
            raise AgreedError(
                f"the loss is not finite at step {progress.step} (epoch {progress.epoch + 1}). Try a smaller "
                "training.deep.learning_rate or training.wide.learning_rate, training.warmup_steps, or `transform: "
                "cdf` for numerics"
            )
        self._absorb_recent()
        return told

    def _learn_part(self, batch: DeviceBatch, share: float) -> Tensor:
        """The gradients and the loss of a part, as its `share` of the step's."""
        with layers_in(self.precision, self.device):
            logit = self.network(batch.indices, placed_alike(batch.numerics), batch.bags, batch.folds).float()
        loss = objective = mean_loss(self.kind, logit, batch.label, batch.weight)
        if self.network.branches:
            objective = loss + distillation_loss(self.kind, logit, self.network.branches, batch.weight)
        (objective * share).backward()  # type: ignore[no-untyped-call]
        return self._dense.collect(loss * share)

    def _received(self, watch: InterruptWatch) -> int | None:
        words = np.array([watch.received or 0], dtype=np.int32)
        return max(int(message[0]) for message in self.ranks.exchange([words] * self.ranks.world)) or None

    # ------------------------------------------------------------------------------------------- evaluation

    def _valid_metrics(self) -> dict[str, float | None]:
        if self.valid_store is None:
            return {}
        store, cutoffs = self.valid_store, self.recipe.evaluation.cutoffs
        logits = self._shared_logits(store)

        def measured() -> dict[str, float | None]:
            arguments = (self.network, store, self.layout, self.kind, self.device)
            return evaluate_store(*arguments, cutoffs=cutoffs, logits=logits)

        metrics: dict[str, float | None] = self.ranks.told(measured)
        return metrics

    def _shared_logits(self, store: EncodedStore) -> NDArray[np.float32]:
        """In rank 0: the logits of all rows of the store, of which each rank has computed some batches; else none."""
        rank, world = self.ranks.rank, self.ranks.world
        batches = math.ceil(store.rows / BATCH_ROWS)
        own = own_parts(batches, rank, world)
        stream = BatchStream(
            store,
            self._index_names,
            self.layout.numeric_columns,
            BATCH_ROWS,
            list_columns=self.layout.list_names,
            seed=None,
            rows=range(own.start * BATCH_ROWS, min(own.stop * BATCH_ROWS, store.rows)),
        )
        self.network.eval()
        logits = [np.empty(0, dtype=np.float32)]
        nothing = np.empty(0, dtype=np.int32)
        with torch.inference_mode():
            for (batch,) in together([HostFeed().batches(stream)], math.ceil(batches / world)):
                self._tables.read([] if batch is None else [batch])
                if batch is not None:
                    self._tables.give(0)
                    logits.append(self.network(batch.indices, placed_alike(batch.numerics), batch.bags).numpy())
        words = np.concatenate(logits).view(np.int32)
        received = self.ranks.exchange([words, *[nothing] * (world - 1)])
        return np.concatenate(received).view(np.float32)

    # ------------------------------------------------------------------------------------------ checkpoints

    def _held(self) -> dict[str, range]:
        """The rows of the tables, and of the states of their optimizers, that this process holds."""
        tables = {f"model.{name}.weight": m.held for name, m in self.network.named_modules() if isinstance(m, Table)}
        lazy = self.optimizers.lazy.items()
        return tables | {f"optimizer.{name}.{key}": o.table.held for name, o in lazy for key in o.states}

    def _split(self) -> dict[str, int]:
        """Name → number of rows of those tensors of which this process holds a share."""
        tables = {f"model.{name}.weight": m for name, m in self.network.named_modules() if isinstance(m, Table)}
        for name, lazy in self.optimizers.lazy.items():
            tables |= {f"optimizer.{name}.{key}": lazy.table for key in lazy.states}
        return {name: table.num_rows for name, table in tables.items() if table.is_split}

    def _write(self, path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        if self.ranks.world == 1:
            super()._write(path, tensors, state)
            remove_shards(path)
            return
        split = {name: rows for name, rows in self._split().items() if name in tensors}
        if path == self.run_dir.last_path and not self._ended():
            write_split(path, tensors, state, split, self.ranks)
            return
        write_whole(path, tensors, state, split, self.ranks)
        if self.ranks.rank == 0:
            remove_shards(path)

    def _ended(self) -> bool:
        """Whether no step is left, after which the last checkpoint is as one process writes it."""
        progress = self.progress
        at_end = progress.epoch >= self.settings.epochs or progress.schedule.should_stop(self.settings)
        return at_end and progress.batch == 0

    def _read(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return read_split(path, self._held())
