"""Chooses what writes to a tracker, whose library is imported here first."""

from collections.abc import Callable
from pathlib import Path

from widedeep.recipe.schema import Tracker
from widedeep.tracking.replay import Replay


def writer_to(tracker: Tracker, place: str) -> Callable[[Replay], str]:
    """What writes a run to `place`, as `check_place` gives it, and says where it is there. Raises WriteError."""
    if tracker == "tensorboard":
        from widedeep.tracking.to_tensorboard import write_tensorboard

        return lambda replay: str(write_tensorboard(replay, Path(place)))
    if tracker == "mlflow":
        from widedeep.tracking.to_mlflow import MlflowTracker

        return MlflowTracker(place).write
    from widedeep.tracking.to_wandb import write_wandb

    return lambda replay: str(write_wandb(replay, Path(place)))
