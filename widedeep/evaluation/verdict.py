"""Differences between models in words: which model is better, by how much, and what the interval holds for."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from widedeep.evaluation.comparison import Change
from widedeep.evaluation.formulas import metric_direction, metric_title


def holds_for(*, grouped: bool, seeds: int = 1) -> str:
    """A sentence on what the intervals hold for: rows or groups of rows, and trained models or other seeds."""
    units = "groups of rows" if grouped else "rows"
    if seeds > 1:
        return f"95% intervals: on {units} drawn anew from where these came, and for the mean of {seeds} other seeds"
    return (
        f"95% intervals: for these trained models on {units} drawn anew from where these came; "
        "not for other seeds, whose spread `widedeep compare` shows"
    )


def better(name: str, change: Change) -> Literal["first", "second"] | None:
    """The better model by the change in the metric `name`, first minus second; None if its interval holds 0."""
    if change.low <= 0.0 <= change.high:
        return None
    return "first" if (change.value > 0.0) == (metric_direction(name) == "max") else "second"


def verdict(name: str, change: Change, first: str, second: str) -> str:
    """A sentence on the change, first minus second in the metric `name`."""
    title = metric_title(name)
    if change.value == 0.0 and change.error == 0.0:
        return f"{first} and {second} have the same {title} on these rows"
    if math.isinf(change.error):
        return f"these are too few rows, positives, negatives or groups to tell a difference in {title}"
    if better(name, change) is None:
        return f"no difference in {title} can be told on these rows: {first} - {second} is {told(change)}"
    winner, loser = (first, second) if better(name, change) == "first" else (second, first)
    how = "higher" if metric_direction(name) == "max" else "lower"
    size = change if change.value > 0.0 else Change(-change.value, change.error)
    return f"{winner} has a {how} {title} than {loser}, by {told(size).replace('+', '')}"


def told(change: Change) -> str:
    """The value and its interval: `+0.00512 (95%: +0.00410 to +0.00614)`."""
    return f"{signed(change.value)} (95%: {interval(change)})"


def interval(change: Change) -> str:
    """Both ends of the interval, or words for an unknown interval."""
    return "too few rows" if math.isinf(change.error) else f"{signed(change.low)} to {signed(change.high)}"


def signed(value: float) -> str:
    """A difference, with its sign."""
    return f"{value:+.5f}" if abs(value) < 10.0 else f"{value:+.4g}"


def verdict_on_parts(name: str, whole: str, differences: Mapping[str, Change]) -> str:
    """A sentence on the whole against its parts in the metric `name`; `differences`: part → part minus whole."""
    title, how = metric_title(name), ("higher", "lower") if metric_direction(name) == "max" else ("lower", "higher")
    parts: dict[str | None, list[str]] = {}
    for part, change in differences.items():
        parts.setdefault(better(name, change), []).append(part)
    clauses = []
    if worse := parts.get("second"):
        clauses.append(f"has a {how[0]} {title} than {_listed(worse)}")
    if ahead := parts.get("first"):
        clauses.append(f"has a {how[1]} {title} than {_listed(ahead)}")
    if alike := parts.get(None):
        clauses.append(f"cannot be told from {_listed(alike)} by {title}")
    return f"{whole} {', and '.join(clauses)}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
