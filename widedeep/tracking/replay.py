"""What a run tells a tracker, whichever it is: series, figures, settings, files. No library of a tracker."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import yaml

from widedeep.artefacts import DAMAGED, read_json_lines, require_shape
from widedeep.errors import ArtefactError
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.load import load_run_recipe
from widedeep.runs import RunDirectory
from widedeep.training.events import whole_events

FINAL = "final"
"""Begins the names of figures that a run has once, so that none is named as a series is."""

_BY_EPOCH = ("epoch", "start")
"""The events that are counted in epochs; others are counted in steps."""
_NO_SERIES = ("event", "step", "epoch", "best", "valid")
_MOST_STEPS = 2**63


@dataclass(frozen=True)
class Point:
    """One point of a series."""

    series: str
    step: int
    """The step, or the epoch, 0 before the first."""
    value: float
    time: float
    """Seconds since 1970, reckoned from when the run began and the seconds of its epochs."""
    axis: Literal["epoch", "step"]
    """What `step` counts."""


@dataclass(frozen=True)
class Replay:
    """One run, finished or under way."""

    path: Path
    recipe: str
    """The recipe's name."""
    name: str
    """The run's own name, that of its directory."""
    key: str
    """Of the training: equal for equal recipes on equal rows."""
    started: float
    """Seconds since 1970."""
    ended: float
    best_epoch: int
    points: Sequence[Point]
    """Of all series, in the order in which training logged them; none is there twice."""
    figures: Mapping[str, float]
    """`final/…`: what `metrics.json` has of metrics and counts."""
    settings: Mapping[str, bool | int | float | str]
    """Dotted path of a setting → its value, a list as YAML on one line."""
    recipe_text: str
    files: Mapping[str, Path]
    """Name → file of the run, to be kept as it is."""
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """Name → PNG."""
    finished: bool = True
    """Else it has what it knew when its last epoch ended: no figures, and of the files the recipe alone."""

    def series(self) -> dict[str, list[Point]]:
        """The points by their series, in order."""
        by_name: dict[str, list[Point]] = {}
        for point in self.points:
            by_name.setdefault(point.series, []).append(point)
        return by_name


def read_replay(path: Path, *, though_unfinished: bool = False) -> Replay:
    """Read a finished run; `though_unfinished` also one that is trained at this moment, as of its last epoch.

    Raises ArtefactError for one that is missing, damaged, or unfinished without `though_unfinished`.
    """
    run = RunDirectory(path)
    finished = run.is_done or not though_unfinished
    manifest = run.require_done() if finished else run.manifest()
    recipe = load_run_recipe(run, manifest).recipe
    facts: Mapping[str, Any] = run.facts() if finished else {"metrics": {}}
    started = _began(manifest, run)
    points, seconds = _points(_events(run) if finished else _events_so_far(run), started)
    recipe_text = dump_recipe(recipe)
    kept = (run.recipe_path, run.metrics_path, run.events_path) if finished else (run.recipe_path,)
    return Replay(
        path=path,
        recipe=recipe.name,
        name=path.name,
        key=manifest["keys"]["run"],
        started=started,
        ended=started + max(seconds, facts.get("seconds", 0.0)),
        best_epoch=facts.get("best_epoch", 0),
        points=points,
        figures=dict(_figures(facts)),
        settings=dict(_settings(yaml.safe_load(recipe_text), "")),
        recipe_text=recipe_text,
        files={file.name: run.checked(file) for file in kept if file.exists()},
        finished=finished,
    )


def _began(manifest: Mapping[str, Any], run: RunDirectory) -> float:
    """When the run began, in seconds since 1970: as it notes, else as its name says, else 0."""
    try:
        return datetime.fromisoformat(manifest["started"]).timestamp()
    except (KeyError, TypeError, ValueError):
        try:
            return datetime.strptime(run.path.name.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        except ValueError:
            return 0.0


def _events(run: RunDirectory) -> list[dict[str, Any]]:
    """What training logged, each event once: of two for the same step or epoch, the later one counts."""
    path = run.checked(run.events_path)
    logged = read_json_lines(path, "cannot read what training logged: the run is damaged")
    require_shape(logged, [{"event": str, "step": int, "epoch?": int, "valid?": {str: (float, None)}}], path)
    events: dict[tuple[str, int], dict[str, Any]] = {}
    for event in logged:
        if event["event"] == "epoch":
            require_shape(event, {"epoch": int, "seconds?": float}, path)
        counts = event["step"], event.get("epoch", 0)
        if not all(0 <= count < _MOST_STEPS for count in counts):
            raise ArtefactError(f"{path}: an event has the step or epoch {max(counts, key=abs)}: {DAMAGED}")
        events[event["event"], event["epoch" if event["event"] == "epoch" else "step"]] = event
    return list(events.values())


def _events_so_far(run: RunDirectory) -> list[dict[str, Any]]:
    """What training has logged up to its last whole epoch: only then is it known when the steps of an epoch were."""
    events = whole_events(run.checked(run.events_path))
    epochs = [position for position, event in enumerate(events) if event["event"] == "epoch"]
    return events[: epochs[-1] + 1] if epochs else []


def _points(events: Sequence[Mapping[str, Any]], started: float) -> tuple[list[Point], float]:
    """All points, and the seconds of all epochs."""
    # Events have no time of their own: the steps of an epoch are taken to be equally long.
    ends = [(0, 0.0)]
    for event in events:
        if event["event"] == "epoch":
            ends.append((event["step"], ends[-1][1] + max(float(event.get("seconds", 0.0)), 0.0)))
    points = []
    for event in events:
        axis: Literal["epoch", "step"] = "epoch" if event["event"] in _BY_EPOCH else "step"
        count = event.get("epoch", 0) if axis == "epoch" else event["step"]
        time = started + _seconds_at(event["step"], ends)
        points += [Point(series, count, value, time, axis) for series, value in _values(event)]
    return list({(point.series, point.step): point for point in points}.values()), ends[-1][1]


def _seconds_at(step: int, ends: Sequence[tuple[int, float]]) -> float:
    for (first, begun), (last, ended) in pairwise(ends):
        if step <= last:
            return begun + (ended - begun) * (max(step - first, 0) / (last - first) if last > first else 1.0)
    return ends[-1][1]


def _values(event: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Series → value; a metric that has none there, such as the AUC of rows of one class, is left out."""
    for name, value in event.items():
        if name not in _NO_SERIES and _is_number(value):
            yield f"{event['event']}/{name}", float(value)
    for metric, value in event.get("valid", {}).items():
        if value is not None:
            yield f"valid/{metric}", float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2.0**1023


def _figures(facts: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for split, metrics in facts["metrics"].items():
        for metric, value in metrics.items():
            if value is not None:
                yield f"{FINAL}/{split}/{metric}", float(value)
    for name, value in facts.items():
        if _is_number(value):
            yield f"{FINAL}/{name}", float(value)


def _settings(value: Any, path: str) -> Iterator[tuple[str, bool | int | float | str]]:
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from _settings(below, f"{path}.{key}" if path else str(key))
    elif isinstance(value, bool | int | float | str):
        yield path, value
    else:
        text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf"))
        yield path, text.removesuffix("\n").removesuffix("\n...")
