"""The training loop: reads batches, writes checkpoints and events; it can be interrupted and resumed at every step."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from widedeep.artefacts import require_shape
from widedeep.encoded.batches import BatchStream
from widedeep.encoded.store import EncodedStore
from widedeep.encoded.unknown_draws import UnknownDraws
from widedeep.errors import ArtefactError, Interrupted, TrainingError
from widedeep.evaluation.formulas import metric_direction, metric_title
from widedeep.figures import figure
from widedeep.kernels import reference
from widedeep.kernels.choose import kernels_for
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network
from widedeep.recipe.schema import Recipe
from widedeep.reporting import Meter, Reporter
from widedeep.runs import RunDirectory
from widedeep.training import checkpoints
from widedeep.training.device import Precision, layers_in
from widedeep.training.events import EventLog
from widedeep.training.feed import DeviceBatch, Feed, feed_for, placed_alike
from widedeep.training.graph import CapturedStep
from widedeep.training.inference import evaluate_store
from widedeep.training.interrupts import InterruptWatch
from widedeep.training.objective import distillation_loss, mean_loss
from widedeep.training.optimizers import Optimizers
from widedeep.training.schedule import Schedule, misfits

LOG_STEPS = 50
"""Steps between two logged steps. On cuda the loss is looked at only then, because a look waits for the device."""
READ_ROWS = 1 << 20
"""Rows read at a time when a whole set goes to the device."""
METER_SECONDS = 0.2
"""Seconds between two updates of the live line."""


@dataclass
class Progress:
    """The progress of training; with the tensors it is all that a resumed run needs."""

    epoch: int = 0
    """Finished epochs."""
    batch: int = 0
    """Batches of the current epoch that are done."""
    step: int = 0
    """Steps since the start."""
    loss_sum: float = 0.0
    """Sum of batch loss times batch weight over the current epoch."""
    weight_sum: float = 0.0
    """Sum of batch weights over the current epoch."""
    schedule: Schedule = field(default_factory=Schedule)


_SHAPE = {
    "optimizers": Any,
    "progress": {
        "epoch": int,
        "batch": int,
        "step": int,
        "loss_sum": float,
        "weight_sum": float,
        "schedule": {
            "best_value": (float, None),
            "best_epoch": int,
            "epochs_since_best": int,
            "plateau_scale": float,
            "stalled_epochs": int,
        },
    },
}
"""The state beside the tensors of a checkpoint to resume from."""


@dataclass(frozen=True)
class Outcome:
    """The result of training."""

    best_epoch: int
    epochs: int
    steps: int
    stopped: str
    """The reason why training ended, in words."""
    rows_per_second: float
    """Rows trained on per second of training steps, without evaluation and checkpoints; 0 if no step was left to do."""


class Trainer:
    """Trains a network on one store, chooses the best epoch by another, writes checkpoints and events on the way."""

    def __init__(
        self,
        recipe: Recipe,
        network: Network,
        layout: InputLayout,
        train: EncodedStore,
        valid: EncodedStore | None,
        run: RunDirectory,
        device: torch.device,
        reporter: Reporter,
        *,
        precision: Precision = "float32",
        unknown: UnknownDraws | None = None,
        followed: Sequence[float | None] | None = None,
        as_it_was: Callable[[], AbstractContextManager[object]] | None = None,
        at_epoch_end: Callable[[], None] | None = None,
    ) -> None:
        """The layers multiply in `precision`; all else is float32.

        `unknown` draws the known values that are shown as unknown. `followed` holds another training's valid metric of
        each epoch, by which learning rates then fall. If the network is trained already, `as_it_was` gives a context in
        which it scores as it did: this counts as epoch 0, which may be the best. `at_epoch_end` is called once the log
        and the checkpoint have an epoch.
        """
        self.recipe, self.settings, self.kind = recipe, recipe.training, recipe.data.label.kind
        self.network, self.layout, self.device = network.to(device), layout, device
        self.train_store, self.valid_store = train, valid
        self.run_dir, self.reporter, self.precision = run, reporter, precision
        self._unknown = unknown
        self._followed, self._as_it_was, self._at_epoch_end = followed, as_it_was, at_epoch_end
        self.optimizers = Optimizers(network, recipe.training)
        self.progress = Progress()
        self._index_names = [column.name for column in layout.index_columns]
        self._normalises = any(isinstance(module, nn.BatchNorm1d) for module in network.modules())
        self._batches = math.ceil(train.rows / recipe.training.batch_size)
        self._trained_rows, self._training_seconds = 0, 0.0
        self._saved_at = self._shown_at = time.monotonic()
        # Sums of loss and weight since the last look at the loss. They are on the device, so that no step waits for it.
        self._recent = torch.zeros(2, dtype=torch.float64, device=device)
        self._feed: Feed | None = None
        self.learn: Callable[[DeviceBatch, float], None] = self._learn_from
        """Updates the model by a batch at a scale of the learning rates; on cuda captured in a graph if possible."""
        if device.type == "cuda" and kernels_for(device) is not reference:  # the reference waits for the device
            self.learn = CapturedStep(self._learn_from, self.optimizers.forget, recipe.training.batch_size, reporter)

    def run(self, *, resume: bool) -> Outcome:
        """Train to the end, or to the first interrupt.

        Raises TrainingError for a loss that is not finite, Interrupted after SIGINT or SIGTERM (once a checkpoint is
        written), and ArtefactError if the checkpoint to resume from belongs to another model.
        """
        for message in misfits(
            self.settings, self.train_store.rows, normalises=self._normalises, has_valid=self.valid_store is not None
        ):
            self.reporter.warn(message)
        resumed = resume and self.run_dir.last_path.exists()
        if resumed:
            self._restore()
        progress = self.progress
        kept = progress.step if resumed else -1
        events = self._open_events(kept)
        try:
            if self._as_it_was is not None and self.valid_store is not None and not resumed:
                with self._as_it_was():
                    self._judge_start(events)
            with InterruptWatch() as watch:
                self._epochs(watch, events)
        finally:
            events.close()
        rate = self._trained_rows / self._training_seconds if self._training_seconds else 0.0
        return Outcome(progress.schedule.best_epoch, progress.epoch, progress.step, self._why_stopped(), rate)

    def _open_events(self, kept: int) -> EventLog:
        return EventLog(self.run_dir.events_path, keep_until_step=kept, keep_until_epoch=self.progress.epoch)

    def _why_stopped(self) -> str:
        epochs = self.progress.epoch
        if epochs >= self.settings.epochs:
            return f"all {epochs} epochs done" if epochs > 1 else "its one epoch done"
        metric, waited = self.settings.early_stopping.metric, self.progress.schedule.epochs_since_best
        assert metric is not None, "the resolved recipe names the metric"
        return f"stopped: no better valid {metric_title(metric)} for {waited} epoch{'s' * (waited != 1)}"

    def _epochs(self, watch: InterruptWatch, events: EventLog) -> None:
        with self.reporter.work("prepare", None, "steps"):  # compiling takes seconds unless machine code was kept
            self.optimizers.rehearse()
        total = self.settings.epochs * self.train_store.rows
        with self.reporter.work("train", total, "rows") as meter:
            self._expect_end(meter)
            while self.progress.epoch < self.settings.epochs and not self.progress.schedule.should_stop(self.settings):
                started = time.monotonic()
                self._train_epoch(watch, events, meter)
                self._finish_epoch(events, time.monotonic() - started)
                if self._at_epoch_end is not None:
                    self._at_epoch_end()
                self._expect_end(meter)
                if (received := self._received(watch)) is not None:
                    self._leave(received)

    def _received(self, watch: InterruptWatch) -> int | None:
        return watch.received

    def _judge_start(self, events: EventLog) -> None:
        metrics, metric = self._valid_metrics(), self.recipe.training.early_stopping.metric
        self._record(0, metrics)
        self.reporter.note(f"before its first step: valid {metric_title(metric)} {figure(metrics.get(metric))}")
        events.append({"event": "start", "step": 0, "valid": metrics})

    def _expect_end(self, meter: Meter) -> None:
        """Tell the meter how many rows to expect: those of all epochs, or of fewer once the valid metric stalls."""
        patience, epochs = self.settings.early_stopping.patience, self.settings.epochs
        if patience is None or self.valid_store is None:
            return
        waited = self.progress.schedule.epochs_since_best
        end = min(epochs, self.progress.epoch + max(patience - waited, 0)) if waited else epochs
        meter.expect(end * self.train_store.rows, "likely" if waited else "at most")

    def _train_epoch(self, watch: InterruptWatch, events: EventLog, meter: Meter) -> None:
        progress, size = self.progress, self.settings.batch_size
        stream = self._stream(size, seed=self.recipe.seed, epoch=progress.epoch, start_batch=progress.batch)
        if self._feed is None:
            self._feed = feed_for(self.device, self.train_store, lambda: self._stream(READ_ROWS, seed=None))
        done_before = progress.epoch * self.train_store.rows
        look_every = 1 if self.device.type == "cpu" else LOG_STEPS
        self.network.train()
        for batch in self._feed.batches(stream):
            if watch.received is not None:
                self._leave(watch.received)
            started = time.perf_counter()
            self._step(batch)
            if progress.step % look_every == 0 or progress.batch == self._batches:
                self._look_at_loss(batch)
            self._training_seconds += time.perf_counter() - started
            self._trained_rows += len(batch)
            if progress.step % LOG_STEPS == 0:
                self._log_step(events)
            if time.monotonic() - self._shown_at >= METER_SECONDS:
                self._show(meter, done_before + min(progress.batch * size, self.train_store.rows))
            if time.monotonic() - self._saved_at >= self.settings.checkpoint_seconds:
                self._save()
        if watch.received is not None:
            self._leave(watch.received)

    def _stream(self, batch_size: int, *, seed: int | None, epoch: int = 0, start_batch: int = 0) -> BatchStream:
        return BatchStream(
            self.train_store,
            self._index_names,
            self.layout.numeric_columns,
            batch_size,
            list_columns=self.layout.list_names,
            num_folds=None if self.network.cross_memory is None else self.recipe.model.wide.folds,
            seed=seed,
            epoch=epoch,
            start_batch=start_batch,
            unknown=None if seed is None else self._unknown,
        )

    def _step(self, batch: DeviceBatch) -> None:
        progress = self.progress
        scale = progress.schedule.scale(self.settings, progress.step)
        progress.step += 1
        progress.batch += 1
        if self._normalises and len(batch) == 1:
            return  # a batch of one has no variance to normalise by
        if batch.weight_sum == 0.0:
            return  # rows of weight 0 teach nothing, and their mean loss is 0/0
        self.learn(batch, scale)

    def _learn_from(self, batch: DeviceBatch, scale: float) -> None:
        """The part of a step that runs on the device; it waits for nothing."""
        numerics = placed_alike(batch.numerics) if self.device.type == "cpu" else batch.numerics
        with layers_in(self.precision, self.device):
            logit = self.network(batch.indices, numerics, batch.bags, batch.folds).float()
        loss = objective = mean_loss(self.kind, logit, batch.label, batch.weight)
        if self.network.branches:
            objective = loss + distillation_loss(self.kind, logit, self.network.branches, batch.weight)
        objective.backward()  # type: ignore[no-untyped-call]
        self.optimizers.step(scale, batch.weight_sum)
        self._recent[0] += loss.detach().double() * batch.weight_sum
        self._recent[1] += batch.weight_sum

    def _look_at_loss(self, batch: DeviceBatch) -> None:
        if not math.isfinite(float(self._recent[0])):
            raise TrainingError(self._non_finite_message(batch))
        self._absorb_recent()

    def _absorb_recent(self) -> None:
        loss_sum, weight_sum = self._recent.tolist()
        self._recent.zero_()
        self.progress.loss_sum += loss_sum
        self.progress.weight_sum += weight_sum

    def _non_finite_message(self, batch: DeviceBatch) -> str:
        progress = self.progress
        first = (progress.batch - 1) * self.settings.batch_size
        hint = ""
        if batch.numerics.numel():
            largest = batch.numerics.abs().amax(dim=1)
            column, value = int(largest.argmax()), float(largest.max())
            hint = f" The batch's largest numeric input is {value:g}, in {self.layout.numeric_columns[column]}."
        return (
            f"the loss is not finite at step {progress.step} (epoch {progress.epoch + 1}, rows {first:,} to "
            f"{first + len(batch) - 1:,} of its shuffled order).{hint} Try a smaller "
            "training.deep.learning_rate or training.wide.learning_rate, training.warmup_steps, or `transform: cdf` "
            "for numerics"
        )

    def _train_loss(self) -> float | None:
        return self.progress.loss_sum / self.progress.weight_sum if self.progress.weight_sum else None

    def _rows_per_second(self) -> float:
        return self._trained_rows / self._training_seconds if self._training_seconds else 0.0

    def _show(self, meter: Meter, rows_done: int) -> None:
        loss = self._train_loss()
        meter.update(rows_done, **({} if loss is None else {"loss": loss}))
        self._shown_at = time.monotonic()

    def _log_step(self, events: EventLog) -> None:
        events.append(
            {
                "event": "step",
                "step": self.progress.step,
                "epoch": self.progress.epoch + 1,
                "loss": self._train_loss(),
                "rows_per_second": round(self._rows_per_second(), 1),
                "learning_rate_scale": self.progress.schedule.scale(self.settings, self.progress.step - 1),
            }
        )

    def _finish_epoch(self, events: EventLog, seconds: float) -> None:
        progress, metric = self.progress, self.recipe.training.early_stopping.metric
        self.optimizers.settle()
        metrics = self._valid_metrics()
        scale = progress.schedule.scale(self.settings, progress.step)
        progress.epoch += 1
        is_best = self._record(progress.epoch, metrics)
        figures: dict[str, Any] = {"epoch": progress.epoch, "train_loss": self._train_loss()}
        events.append(
            {
                "event": "epoch",
                "step": progress.step,
                **figures,
                "valid": metrics,
                "seconds": round(seconds, 3),
                "rows_per_second": round(self._rows_per_second(), 1),
                "learning_rate_scale": scale,
                "best": is_best,
            }
        )
        # The metric that decides about the best epoch comes first, in case that there is room for few.
        deciding = {metric: metrics[metric]} if metric in metrics else {}
        figures["epochs"] = self.settings.epochs
        self.reporter.epoch(
            {
                **figures,
                **deciding,
                **metrics,
                "rows_per_second": self._rows_per_second(),
                "scale": scale,
                "best": is_best,
            }
        )
        progress.batch, progress.loss_sum, progress.weight_sum = 0, 0.0, 0.0
        self._save()

    def _valid_metrics(self) -> dict[str, float | None]:
        if self.valid_store is None:
            return {}
        cutoffs = self.recipe.evaluation.cutoffs
        return evaluate_store(self.network, self.valid_store, self.layout, self.kind, self.device, cutoffs=cutoffs)

    def _record(self, epoch: int, metrics: Mapping[str, float | None]) -> bool:
        """Tell the schedule of an epoch's valid metrics; the best so far is saved with the state of its optimizers."""
        metric = self.recipe.training.early_stopping.metric
        direction = metric_direction(metric)
        assert direction is not None, "the recipe's checks allow only metrics that have a direction"
        value = metrics.get(metric) if self._followed is None else self._followed[epoch - 1]
        is_best = self.progress.schedule.record(self.settings, epoch, value, direction)
        if is_best:
            self._write(
                self.run_dir.best_state_path, self._optimizer_tensors(), {"optimizers": self.optimizers.numbers()}
            )
            self._write(self.run_dir.best_path, checkpoints.model_tensors(self.network), {"epoch": epoch})
        return is_best

    def _write(self, path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        checkpoints.save_checkpoint(path, tensors, state)

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        return {f"optimizer.{name}": tensor for name, tensor in self.optimizers.tensors().items()}

    def _leave(self, signal_number: int) -> None:
        self._save()
        raise Interrupted(
            signal_number,
            f"interrupted at step {self.progress.step} of epoch {self.progress.epoch + 1}; a checkpoint is written: "
            "go on with `widedeep train … --resume`",
        )

    def _save(self) -> None:
        if not math.isfinite(float(self._recent[0])):
            raise TrainingError(
                f"the loss is not finite at or before step {self.progress.step}; no checkpoint is written"
            )
        self._absorb_recent()
        tensors: dict[str, Tensor] = checkpoints.model_tensors(self.network)
        tensors |= self._optimizer_tensors()
        tensors |= self._random_state()
        state = {"progress": asdict(self.progress), "optimizers": self.optimizers.numbers()}
        self._write(self.run_dir.last_path, tensors, state)
        self._saved_at = time.monotonic()

    def _random_state(self) -> dict[str, Tensor]:
        return checkpoints.random_state(self.device)

    def _restore(self) -> None:
        path = self.run_dir.last_path
        tensors, state = self._read(path)
        require_shape(state, _SHAPE, path)
        checkpoints.restore_model(self.network, tensors, path)
        try:
            restore_optimizers(self.optimizers, tensors, state)
            if self._random_state():
                checkpoints.restore_random_state(tensors, self.device)
            saved = state["progress"]
            self.progress = Progress(**{**saved, "schedule": Schedule(**saved["schedule"])})
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ArtefactError(f"{path}: checkpoint of another model or version ({error}); train again") from error

    def _read(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return checkpoints.load_checkpoint(path)


def restore_optimizers(optimizers: Optimizers, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Restore what a checkpoint holds of the optimizers. Raises KeyError or ValueError for those of another model."""
    named = {name.removeprefix("optimizer."): t for name, t in tensors.items() if name.startswith("optimizer.")}
    optimizers.restore(named, state["optimizers"])
