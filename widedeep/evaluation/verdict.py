"""Differences between two models in words: which one is better, by how much, and what the interval holds for."""

from typing import Literal

from widedeep.evaluation.comparison import Change
from widedeep.evaluation.metrics import metric_direction, metric_title

HOLDS_FOR_ROWS = (
    "95% intervals: for these trained models on rows drawn anew from where these came; "
    "not for other seeds, whose spread `widedeep compare` shows"
)
HOLDS_FOR_GROUPS = HOLDS_FOR_ROWS.replace("on rows drawn anew", "on groups of rows drawn anew")


def better(name: str, change: Change) -> Literal["first", "second"] | None:
    """Which model the change, first minus second in the metric `name`, says is better; None where its interval holds 0."""
    if change.low <= 0.0 <= change.high:
        return None
    return "first" if (change.value > 0.0) == (metric_direction(name) == "max") else "second"


def verdict(name: str, change: Change, first: str, second: str) -> str:
    """A sentence on the change, first minus second in the metric `name`."""
    title = metric_title(name)
    if change.value == 0.0 and change.error == 0.0:
        return f"{first} and {second} have the same {title} on these rows"
    if better(name, change) is None:
        return f"no difference in {title} can be told on these rows: {first} - {second} is {told(change)}"
    winner, loser = (first, second) if better(name, change) == "first" else (second, first)
    how = "higher" if metric_direction(name) == "max" else "lower"
    size = change if change.value > 0.0 else Change(-change.value, change.error)
    return f"{winner} has a {how} {title} than {loser}, by {told(size).replace('+', '')}"


def told(change: Change) -> str:
    """The value and its interval: `+0.00512 (95%: +0.00410 to +0.00614)`."""
    return f"{signed(change.value)} (95%: {signed(change.low)} to {signed(change.high)})"


def signed(value: float) -> str:
    """A difference, with its sign."""
    return f"{value:+.5f}" if abs(value) < 10.0 else f"{value:+.4g}"
