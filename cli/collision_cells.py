"""The collisions of a hashed field or cross as short texts, for the table that `crosses` prints."""

from collections.abc import Iterator, Mapping
from typing import Any

from widedeep.figures import figure

_VALUE_WIDTH = 20
"""A longer value is cut."""


def collision_cells(entry: Mapping[str, Any]) -> dict[str, str]:
    """Column title → text, for an entry of a collision report."""
    enough = entry["buckets_for_limit"]
    return {
        "hashed": entry["name"],
        "distinct": figure(entry["distinct"]),
        "buckets": figure(entry["buckets"]),
        "load": _load(entry["load"]),
        "collided": figure(entry["observed_collisions"]),
        "expected": figure(round(entry["expected_collisions"])),
        "traffic": _share(entry["collided_traffic"]),
        "enough": "none" if enough is None else figure(enough),
    }


def worst_lines(entry: Mapping[str, Any]) -> Iterator[str]:
    """A line for each of an entry's worst buckets: share of the traffic, values and their rows."""
    for bucket in entry["worst"]:
        values = [f"{_value(value)} ({value['count']:,})" for value in bucket["values"]]
        more = bucket["distinct"] - len(values)
        yield f"{_share(bucket['share'])}  {', '.join([*values, *([f'{more:,} more'] if more else [])])}"


def _load(load: float) -> str:
    return f"{load:,.0f}" if load >= 100 else f"{load:.2g}"


def _value(value: Mapping[str, Any]) -> str:
    if "members" not in value:
        return _cut(value["value"])
    return " ".join(f"{name}={_cut(text)}" for name, text in value["members"].items())


def _cut(text: str | None) -> str:
    if text is None:
        return "–"
    shown = "".join(character if character.isprintable() else "·" for character in text)
    return shown if len(shown) <= _VALUE_WIDTH else shown[: _VALUE_WIDTH - 1] + "…"


def _share(share: float) -> str:
    return f"{share:.2%}" if share >= 0.0001 or share == 0 else "<0.01%"
