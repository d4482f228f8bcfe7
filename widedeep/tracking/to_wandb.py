"""Runs as Weights & Biases keeps them offline: nothing leaves the machine until `wandb sync` is asked to."""

import hashlib
import os
import shutil
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from widedeep.errors import WriteError
from widedeep.files import replacing_directory
from widedeep.tracking.replay import Replay

# Read when wandb is imported: by default it reports its errors to its makers.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

FOLDER = "wandb"
"""Where wandb's own command looks for offline runs, in the folder that is named."""

_LONGEST = 128
"""What wandb takes as the name of a project."""


def write_wandb(replay: Replay, folder: Path) -> Path:
    """Write the run as an offline run, which replaces the one of an earlier time, and give its folder.

    Raises WriteError.
    """
    of_run = folder / FOLDER / f"offline-run-{_moment(replay):%Y%m%d_%H%M%S}-{run_id(replay)}"
    with TemporaryDirectory() as temporary, replacing_directory(of_run) as target:
        try:
            made = _written(replay, temporary)
        except Exception as error:  # of its own, or of the process that writes for it
            raise WriteError(f"{of_run}: wandb cannot write: {' '.join(str(error).split())[:300]}") from error
        for file in sorted(made.rglob("*")):
            part = file.relative_to(made)
            if part.parts[0] in ("logs", "tmp") or not file.is_file():
                continue  # its logs tell of this process only
            (target / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target / part)
    return of_run


def run_id(replay: Replay) -> str:
    """The run's id at Weights & Biases: equal for the same run, so that what is uploaded twice is there once."""
    return hashlib.blake2b(f"{replay.recipe}/{replay.name}/{replay.key}".encode(), digest_size=8).hexdigest()


def _moment(replay: Replay) -> datetime:
    return datetime.fromtimestamp(replay.started, UTC)


def _written(replay: Replay, root: str) -> Path:
    """The folder of an offline run that is made in `root`."""
    os.environ.update({name: os.path.join(root, "cache") for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR")})
    settings = wandb.Settings(
        mode="offline",
        root_dir=root,
        run_id=run_id(replay),
        run_name=replay.name,
        run_group=replay.recipe[:_LONGEST],
        project=replay.recipe[:_LONGEST],
        settings_system=os.path.join(root, "settings"),
        console="off",
        silent=True,
        save_code=False,
        disable_git=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        x_start_time=replay.started,
    )
    run = wandb.init(settings=settings, config=dict(replay.settings))
    run.define_metric("training_step")
    run.define_metric("training_epoch")
    for name, points in replay.series().items():
        run.define_metric(name, step_metric=f"training_{points[0].axis}")
    for (axis, count, time), points_there in groupby(
        replay.points, key=lambda point: (point.axis, point.step, point.time)
    ):
        values = {point.series: point.value for point in points_there}
        run.log({**values, f"training_{axis}": count, "_timestamp": time})
    images = {}
    for name, png in replay.pictures.items():
        file = Path(root) / f"{name}.png"
        file.write_bytes(png)
        images[f"pictures/{name}"] = wandb.Image(str(file))
    if images:
        run.log({**images, "_timestamp": replay.ended})
    run.summary.update(dict(replay.figures))
    for name, file in replay.files.items():
        shutil.copyfile(file, os.path.join(run.dir, name))
    made = Path(run.dir).parent
    run.finish()
    wandb.teardown()
    return made
