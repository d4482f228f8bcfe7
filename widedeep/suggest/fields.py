"""From what a column is to its field in a recipe, and why a column is left out of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from widedeep.profile.id_like import is_id_like, most_distinct_in_part
from widedeep.suggest.look import ColumnLook, Look, shown
from widedeep.suggest.look_names import is_session_name
from widedeep.suggest.split import TimeChoice, recurs_over_time

_HASHED = 5_000_000
_HASH_BUCKETS = 1 << 21
_LONGEST_LIST = 100
_WIDE_BUCKETS = 5
"""So few in very wide tables, where a bucket must stand out from the chance of thousands."""
_DAY = 86400.0
_LONGEST_LOG = 20 * 365 * _DAY


@dataclass(frozen=True)
class Entry:
    """One field of the recipe."""

    settings: dict[str, Any]
    """`column` and what differs from the defaults."""
    comment: str = ""


@dataclass(frozen=True)
class Split:
    """What the fields must know of the split."""

    time: TimeChoice | None
    by_time: bool
    group: str | None
    by_group: bool
    train_rows: int
    is_wide: bool = False
    """Whether the fields are very many for the rows."""


@dataclass(frozen=True)
class Fields:
    """The fields by part of `features`, and the columns that are none, with the reason."""

    numeric: list[Entry]
    categorical: list[Entry]
    multi_valued: list[Entry]
    date_time: list[Entry]
    left_out: list[tuple[str, str]]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.numeric) + len(self.categorical) + len(self.multi_valued) + len(self.date_time)


def choose_fields(look: Look, split: Split) -> Fields:
    """Every column becomes a field or is left out."""
    fields = Fields([], [], [], [], [])
    taken = {column.name for column in look.columns}
    for column in look.columns:
        reason = _reason_against(column, look, split)
        entry = None
        if not reason:
            match column.nature:
                case "number":
                    fields.numeric.append(_numeric(column, split))
                case "category":
                    fields.categorical.append(_categorical(column, look, split))
                case "list":
                    fields.multi_valued.append(_multi_valued(column, split))
                case "time":
                    entry, reason = _date_time(column, split, taken)
        if entry is not None:
            fields.date_time.append(entry)
        if reason:
            fields.left_out.append((column.name, reason))
    return fields


def min_count(train_rows: int) -> int:
    """Rows that a value needs to be told apart: more where there are more to learn from."""
    return 2 if train_rows < 100_000 else 5 if train_rows < 500_000 else 10


def _reason_against(column: ColumnLook, look: Look, split: Split) -> str:
    if column.nature == "left_out":
        return column.why
    if split.time is not None and column.name == split.time.column and not split.time.is_date:
        return "orders the rows (data.time); new rows lie beyond all of them"
    if column.name == split.group and split.by_group:
        return "the group: those of valid and test are never seen in train"
    if column.nature == "category" and _names_rows(column, look, split):
        return f"names single rows: {_values(column, look)} in {look.sample.rows_told} rows, hardly any comes again"
    if column.nature != "category" or column.distinct <= 50:
        return ""
    if split.by_time and split.time is not None and not recurs_over_time(look, column.name, split.time):
        return f"{column.distinct:,} values that do not come again at a later time"
    if not split.by_time and is_session_name(column.name) and _is_local(look, column.name):
        return (
            f"names sessions: neighbouring rows share it; to keep a session on one side: --group {shown(column.name)}"
        )
    return ""


def _names_rows(column: ColumnLook, look: Look, split: Split) -> bool:
    """Whether `ingest` might say so of the train rows."""
    rows, share = look.sample.num_rows * (1.0 - column.missing), split.train_rows / look.sample.num_rows
    return is_id_like(most_distinct_in_part(column.estimated_values, rows, share), share * rows)


def _is_local(look: Look, column: str) -> bool:
    """Whether equal values stand close together, a few rows each."""
    values = look.sample.frame[column]
    runs = int((values != values.shift(1)).fill_null(True).sum())
    distinct = values.n_unique()
    return runs <= 1.5 * distinct and len(values) <= 50 * distinct


def _numeric(column: ColumnLook, split: Split) -> Entry:
    numbers = column.numbers
    assert numbers is not None
    most = 10 if split.train_rows < 2_000 else 20 if split.train_rows < 20_000 else 50
    most = _WIDE_BUCKETS if split.is_wide else most
    buckets = min(most, int(numbers.known.sum()))
    comment = f"{_number(numbers.low)} to {_number(numbers.high)}{_missing(column)}"
    return Entry({"column": column.name, "buckets": max(buckets, 2)}, comment)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == np.floor(value) and abs(value) < 1e15 else f"{value:.4g}"


def _missing(column: ColumnLook) -> str:
    return f", {column.missing:.0%} missing" if column.missing >= 0.005 else ""


def _categorical(column: ColumnLook, look: Look, split: Split) -> Entry:
    settings: dict[str, Any] = {"column": column.name}
    least = min_count(split.train_rows)
    if column.estimated_values > _HASHED:
        settings["buckets"] = _HASH_BUCKETS
    elif column.rare_rows > 0 and least > 2:
        settings["min_count"] = least
    return Entry(settings, f"{_values(column, look)}{_missing(column)}")


def _values(column: ColumnLook, look: Look) -> str:
    if column.estimated_values <= column.distinct * 1.05:
        return f"{column.distinct:,} value{'s' * (column.distinct != 1)}"
    return f"about {float(f'{column.estimated_values:.2g}'):,.0f} values"


def _multi_valued(column: ColumnLook, split: Split) -> Entry:
    lists = column.lists
    assert lists is not None
    settings: dict[str, Any] = {"column": column.name}
    if lists.form is not None:
        settings["form"] = lists.form
    if lists.separator is not None:
        settings["separator"] = lists.separator
    if lists.weight_separator is not None:
        settings["weight_separator"] = lists.weight_separator
    if lists.longest > _LONGEST_LIST:
        settings["max_length"] = _LONGEST_LIST
    least = min_count(split.train_rows)
    if lists.num_values > 200 and least > 2:
        settings["min_count"] = least
    comment = f"{lists.num_values:,} values, {lists.mean_length:.1f} in a row{_missing(column)}"
    return Entry(settings, comment)


def _date_time(column: ColumnLook, split: Split, taken: set[str]) -> tuple[Entry | None, str]:
    time = column.time
    assert time is not None
    settings: dict[str, Any] = {"column": column.name}
    if time.format is not None:
        settings["format"] = time.format
    main = split.time if split.time is not None and split.time.is_date else None
    if main is not None and main.column != column.name:
        return _age(column, main, taken)
    # A part that train has not seen all of yet says nothing about later rows.
    is_whole_day = not split.by_time or time.span >= 2 * _DAY
    is_whole_week = not split.by_time or time.span >= 10 * _DAY
    used = {"hour": time.has_clock and is_whole_day, "weekday": time.has_weekdays and is_whole_week}
    parts = [part for part, is_used in used.items() if is_used and f"{column.name}.{part}" not in taken]
    if main is None and time.span > _LONGEST_LOG:
        return None, "a date without the time of the row beside it, which says how long ago it was"
    if not parts:
        return None, "its hours and weekdays do not differ, or not over enough days"
    if parts != ["hour", "weekday"]:
        settings["parts"] = parts
    return Entry(settings, "; ".join(part for part in (time.note, _missing(column).strip(", ")) if part)), ""


def _age(column: ColumnLook, main: TimeChoice, taken: set[str]) -> tuple[Entry | None, str]:
    """How long ago, at the row's own time, the column's date was."""
    time = column.time
    assert time is not None
    ages = (main.moments - time.moments) / _DAY
    known = ages[np.isfinite(ages)]
    if not len(known) or np.quantile(np.abs(known), 0.95) < 1.0 or f"{column.name}.age" in taken:
        return None, f"says about the same as {shown(main.column)}"
    if len(np.unique(known)) < 2:
        return None, f"always as long before {shown(main.column)}"
    settings: dict[str, Any] = {"column": main.column, "name": column.name}
    if main.format is not None:
        settings["format"] = main.format
    since: Any = column.name if time.format is None else {"column": column.name, "format": time.format}
    settings |= {"parts": [], "since": since, "buckets": 20}
    comment = f"days from {shown(column.name)} to {shown(main.column)}"
    return Entry(settings, f"{comment}; {time.note}" if time.note else comment), ""
