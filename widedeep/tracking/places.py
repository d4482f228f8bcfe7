"""Where trackers keep runs, and what they need: told before anything is written."""

import os
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

from widedeep.errors import UsageError, WriteError
from widedeep.pipeline.live_tracking import why_absent
from widedeep.recipe.schema import Tracker


def check_tracker(name: str) -> Tracker:
    """The tracker of this name. Raises UsageError if there is none, or its library is not installed."""
    tracker: Tracker
    for tracker in get_args(Tracker):
        if name == tracker:
            if (absent := why_absent(tracker)) is not None:
                raise UsageError(f"`track --to {name}` {absent}")
            return tracker
    raise UsageError(f"--to {name}: is no tracker that is known: take {', '.join(get_args(Tracker))}")


def check_place(tracker: Tracker, place: str) -> str:
    """`place` as a URI, if it is one that the tracker takes, else the absolute path of a folder, which may be missing.

    Raises UsageError for a place that the tracker does not take, or within a run, and WriteError for one that cannot be
    a folder.
    """
    scheme, is_uri, rest = place.partition("://")
    if is_uri:
        if "@" in rest.partition("/")[0]:
            raise UsageError(
                f"--to {tracker}: the address holds a user or password, which other users would see: leave it out"
                + " and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" * (tracker == "mlflow")
            )
        if tracker == "mlflow" and scheme in ("http", "https") and rest:
            return place.rstrip("/")
        takes = "a folder, or http:// and https:// of a server" if tracker == "mlflow" else "a folder"
        raise UsageError(f"--to {tracker} {place}: must be {takes}")
    folder = Path(os.path.realpath(place))
    if tracker == "mlflow" and ("?" in str(folder) or unquote(str(folder)) != str(folder)):
        raise UsageError(
            f"--to {tracker} {place}: MLflow reads `?` and `%20` in a path as a URL does: name another folder"
        )
    for path in (folder, *folder.parents):
        if all((path / name).is_file() for name in ("recipe.yaml", "manifest.json")):
            raise UsageError(f"--to {tracker} {place}: lies in the run {path.name}: name a folder outside of runs")
    if not place or (folder.exists() and not folder.is_dir()):
        raise WriteError(f"--to {tracker} {place}: is no folder; name one to write into")
    return str(folder)


def make_place(tracker: Tracker, place: str) -> None:
    """Make the folder of `check_place`, if it is one and missing. Raises WriteError."""
    if "://" not in place:
        try:
            Path(place).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"--to {tracker} {place}: cannot make the folder: {error.strerror or error}") from error
