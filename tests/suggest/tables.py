"""Small tables in memory, as `init` looks at them."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from widedeep.suggest.fields import Entry
from widedeep.suggest.look import ColumnLook, Look, look
from widedeep.suggest.spread_sample import SpreadSample
from widedeep.suggest.suggestion import Suggestion, suggest

ROWS = 600
CITY = [random.Random(row).choice(["oslo", "rome", "lima"]) for row in range(ROWS)]
"""Says nothing of any label."""


def clicks(rows: int = ROWS, rate: float = 0.4, seed: int = 0) -> list[int]:
    """Labels drawn with this rate."""
    draw = random.Random(seed)
    return [int(draw.random() < rate) for _ in range(rows)]


def sample_of(
    columns: dict[str, Sequence[Any]] | pl.DataFrame,
    *,
    num_rows: int | None = None,
    exact: bool = True,
    pieces: Sequence[int] | None = None,
    left_out: dict[str, str] | None = None,
    form: dict[str, Any] | None = None,
) -> SpreadSample:
    """The rows as a sample of a table with `num_rows` rows; without it they are all."""
    frame = pl.DataFrame(columns, strict=False)
    return SpreadSample(
        frame=frame,
        pieces=np.array(pieces if pieces is not None else [0] * frame.height),
        num_rows=num_rows or frame.height,
        exact=exact,
        format=form or {},
        is_text=True,
        left_out=left_out or {},
    )


def looked(columns: dict[str, Sequence[Any]], label: str = "click", **sample: Any) -> Look:
    """What `init` sees in a table; without a label there is one that nothing tells anything of."""
    if label not in columns:
        columns = {**columns, label: clicks(len(next(iter(columns.values()))))}
    return look(sample_of(columns, **sample), label, "log.csv")


def look_at(name: str, values: Sequence[Any], **sample: Any) -> ColumnLook:
    """What `init` sees in one column."""
    return looked({name: values}, **sample).column(name)


def suggested(columns: dict[str, Sequence[Any]], label: str = "click", **options: Any) -> Suggestion:
    """What `init` suggests for a table; `time` and `group` are its options, the others say what the sample is."""
    named = {name: options.pop(name) for name in ("time", "group") if name in options}
    files, name = options.pop("files", {"train": ["log.csv"]}), options.pop("name", "log")
    return suggest(looked(columns, label, **options), files, name, **named)


def field_of(suggestion: Suggestion, column: str) -> tuple[str, Entry]:
    """The part of `features` that a column came to, and its entry; for what is left out, the reason as a comment."""
    for part, entries in suggestion.fields.items():
        for entry in entries:
            if entry.settings["column"] == column or entry.settings.get("name") == column:
                return part, entry
    return "left out", Entry({}, dict(suggestion.left_out)[column])


def setting(suggestion: Suggestion, section: str, key: str) -> Any:
    """The value of a setting of `data`, `model` or `training`; None where there is none."""
    return next((one.value for one in getattr(suggestion, section) if one.key == key), None)
