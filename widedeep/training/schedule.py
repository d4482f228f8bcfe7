"""Learning-rate scale and early stopping, which follow the valid metric."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from widedeep.recipe.schema import TrainingSettings


@dataclass
class Schedule:
    """Follows the valid metric from epoch to epoch. Its fields are its whole state, for a checkpoint to hold."""

    best_value: float | None = None
    best_epoch: int = 0
    epochs_since_best: int = 0
    plateau_scale: float = 1.0
    stalled_epochs: int = 0

    def scale(self, settings: TrainingSettings, step: int) -> float:
        """The factor of the learning rates at this step, counted from 0."""
        warm_up = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
        return warm_up * self.plateau_scale

    def record(self, settings: TrainingSettings, epoch: int, value: float | None, direction: str) -> bool:
        """Note the valid metric of a finished epoch (counted from 1) and return whether it is the best so far.

        Without a value (no valid rows, or rows of one class only) the latest epoch counts as the best.
        """
        signed = None if value is None or not math.isfinite(value) else (value if direction == "max" else -value)
        if signed is None or self.best_value is None or signed > self.best_value:
            self.best_value, self.best_epoch = signed, epoch
            self.epochs_since_best = self.stalled_epochs = 0
            return True
        self.epochs_since_best += 1
        self.stalled_epochs += 1
        if settings.plateau is not None and self.stalled_epochs > settings.plateau.patience:
            self.plateau_scale *= settings.plateau.factor
            self.stalled_epochs = 0
        return False

    def should_stop(self, settings: TrainingSettings) -> bool:
        """Whether patience has run out."""
        patience = settings.early_stopping.patience
        return patience is not None and self.epochs_since_best >= patience


def misfits(settings: TrainingSettings, rows: int, *, normalises: bool, has_valid: bool) -> Iterator[str]:
    """What cannot come to pass in a training on `rows` train rows, in words.

    `normalises` says whether a layer has batch norm, `has_valid` whether there are valid rows to stop by.
    """
    size, epochs = settings.batch_size, settings.epochs
    batches = math.ceil(rows / size)
    if rows < size:
        yield (
            f"training.batch_size: {size:,} rows a step, and there are {rows:,} train rows: an epoch is a single step; "
            "take a smaller batch_size"
        )
    if normalises and rows % size == 1:
        yield (
            f"training.batch_size: of {rows:,} train rows, batches of {size:,} leave a last one of a single row, which "
            "batch_norm cannot normalise: each epoch goes without it; take another batch_size"
        )
    if settings.warmup_steps > batches * epochs:
        yield (
            f"training.warmup_steps: the warm-up takes {settings.warmup_steps:,} steps, and training has "
            f"{batches * epochs:,} at most ({epochs:,} epochs of {batches:,}): the learning rates never reach their "
            "values; take fewer steps"
        )
    stopping = settings.early_stopping
    # A trial of one epoch leaves nothing to stop, and the default is nobody's mistake.
    if has_valid and "patience" in stopping.model_fields_set and (stopping.patience or 0) >= epochs > 1:
        yield (
            f"training.early_stopping.patience: with {stopping.patience:,} nothing can stop a training of {epochs:,} "
            "epochs early; take a smaller one, more epochs, or null"
        )
    # The first epoch is the best so far, and the last one's end lowers nothing any more.
    if settings.plateau is not None and settings.plateau.patience + 2 >= epochs:
        yield (
            f"training.plateau.patience: with {settings.plateau.patience} no rate can fall within {epochs:,} "
            f"epoch{'s' * (epochs != 1)}; take a smaller one, more epochs, or the plateau out"
        )
