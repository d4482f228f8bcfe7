"""How the rows of an unknown table are best split: by time, by group or at random, and in which shares."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import DataError, UsageError
from widedeep.suggest.look import ColumnLook, Look, shown
from widedeep.suggest.look_times import TimeLook, is_named_like_a_time, is_named_like_the_past

_YEAR = 365.25 * 86400.0
_FIRST_EVENT, _LAST_EVENT = 631_152_000.0, 2_208_988_800.0  # 1990 and 2040
_SHARE = 0.1
_MOST = 0.2
_SOME_POSITIVES = 100
"""Positives that a held-out part should have; it takes a larger share to get them."""
_TOO_FEW = 20
_FEW_ROWS = 500
_SOME_GROUPS = 50


@dataclass(frozen=True)
class TimeChoice:
    """The column that the rows are ordered by."""

    column: str
    format: str | None
    moments: NDArray[np.float64]
    """Per sampled row: seconds since 1970, or a number of another kind that rises with time."""
    is_date: bool
    why: str


@dataclass(frozen=True)
class SplitChoice:
    """The split and why."""

    settings: dict[str, Any]
    why: str
    train_rows: int
    """About so many."""
    notes: tuple[str, ...] = ()


# -------------------------------------------------------------------------------------------------------------- time


def choose_time(look: Look, wanted: str | None) -> TimeChoice | None:
    """The time that `--time` names, or the one that the log itself shows. Raises DataError for a time that is none."""
    if wanted is not None:
        return _wanted_time(look, look.column(wanted))
    ranked = [(rank, column) for column in look.columns if (rank := _rank(column, look)) is not None]
    if not ranked:
        return None
    (is_ordered, *_), best = max(ranked, key=lambda pair: pair[0])
    assert best.time is not None
    how = "the rows are in its order" if is_ordered else "its name and values read as the time of a row"
    return TimeChoice(best.name, best.time.format, best.time.moments, True, how)


def _wanted_time(look: Look, column: ColumnLook) -> TimeChoice:
    raw = look.sample.frame[column.name]
    if raw.null_count():
        raise DataError(
            f"--time {column.name}: missing in {raw.null_count():,} of the {len(raw):,} rows looked at: "
            "every row needs a time to be split by; fill it, drop the rows, or choose another column"
        )
    if column.time is not None:
        return TimeChoice(column.name, column.time.format, column.time.moments, True, "--time")
    numbers = raw.cast(pl.Float64, strict=False) if raw.dtype.is_numeric() or raw.dtype == pl.String else None
    if numbers is not None and numbers.is_finite().fill_null(False).all():
        return TimeChoice(column.name, None, numbers.to_numpy(), False, "--time; its numbers rise with time")
    examples = ", ".join(repr(shown(value)) for value in raw.unique(maintain_order=True).head(3))
    raise DataError(
        f"--time {column.name}: the column's values, such as {examples}, do not read as times: dates, numbers, or "
        "texts of one and the same form are needed"
    )


def _rank(column: ColumnLook, look: Look) -> tuple[bool, bool, bool] | None:
    """What speaks for the column as the time of a row; None where it cannot be."""
    time = column.time
    if column.nature != "time" or time is None or not np.isfinite(time.moments).all():
        return None
    low, high = float(time.moments.min()), float(time.moments.max())
    _, counts = np.unique(time.moments, return_counts=True)
    if low < _FIRST_EVENT or high > _LAST_EVENT or not 0 < high - low <= 20 * _YEAR:
        return None
    if len(counts) < 5 or counts.max() > 0.5 * counts.sum():
        return None
    is_ordered, is_named = _is_ordered(time, look), is_named_like_a_time(column.name)
    if not is_ordered and (is_named_like_the_past(column.name) or not (time.has_clock or is_named)):
        return None
    return is_ordered, is_named, time.has_clock


def _is_ordered(time: TimeLook, look: Look) -> bool:
    steps = np.diff(time.moments)[np.diff(look.sample.pieces) == 0]
    return bool((steps >= 0).mean() >= 0.95 and (steps > 0).any()) if len(steps) else False


def recurs_over_time(look: Look, column: str, time: TimeChoice) -> bool:
    """Whether the values of the column in the last fifth of the time were seen before it."""
    cut = np.quantile(time.moments, 0.8)
    early = pl.Series(time.moments < cut)
    values = look.sample.frame[column]
    before = values.filter(early).drop_nulls().value_counts(name="early")
    after = values.filter(~early).drop_nulls().value_counts(name="late")
    if not len(before) or not len(after):
        return True
    both = after.join(before, on=column, how="left").fill_null(0)
    late, earlier = both["late"].to_numpy().astype(float), both["early"].to_numpy().astype(float)
    seen = float(late[earlier > 0].sum() / late.sum())
    # In a sample many a value is not met again that the whole table does hold again.
    expected = float((late * earlier).sum() / (late.sum() * before["early"].sum())) * look.sample.num_rows
    return seen >= 0.05 or (not look.sample.whole and expected >= 2.0)


# ------------------------------------------------------------------------------------------------------------- split


def choose_split(look: Look, time: TimeChoice | None, group: str | None, parts: tuple[str, ...]) -> SplitChoice:
    """How to hold out `parts` (valid, test, or one of them)."""
    shares = _shares(look, parts)
    train = round(look.sample.num_rows * (1.0 - sum(shares.values())))
    if not parts:
        return SplitChoice({}, "", train)
    notes = _rough(look, shares)
    if time is not None:
        fault = _time_fault(look, time, shares)
        if fault is None:
            why = "the past predicts the future, as it will be used"
            return SplitChoice({"kind": "time", **shares}, why, train, notes)
        notes = (*notes, f"not split by {shown(time.column)}: {fault}")
    if group is not None:
        distinct = look.sample.frame[group].n_unique()
        if distinct >= _SOME_GROUPS:
            why = f"rows of one {shown(group)} stay together, so that none is on both sides"
            return SplitChoice({"kind": "key", "key": group, **shares}, why, train, notes)
        notes = (*notes, f"not split by {shown(group)}: it has {distinct} values only")
    return SplitChoice({"kind": "random", **shares}, "rows drawn at random", train, notes)


def _shares(look: Look, parts: tuple[str, ...]) -> dict[str, float]:
    share = _SHARE
    rows = look.sample.num_rows
    if rows < _FEW_ROWS:
        share = _MOST
    elif look.label.kind == "binary":
        rarer = rows * min(look.label.positive_share, 1.0 - look.label.positive_share)
        share = min(max(_SHARE, np.ceil(_SOME_POSITIVES / max(rarer, 1.0) * 20) / 20), _MOST)
    return dict.fromkeys(parts, float(share))


def _rough(look: Look, shares: dict[str, float]) -> tuple[str, ...]:
    if look.label.kind != "binary" or not shares:
        return ()
    positives = look.sample.num_rows * look.label.positive_share
    rarer, which = min((positives, "positives"), (look.sample.num_rows - positives, "negatives"))
    held_out = rarer * min(shares.values())
    if held_out >= _TOO_FEW:
        return ()
    return (f"a held-out part has about {held_out:.0f} {which}: too few for a figure to trust",)


def _time_fault(look: Look, time: TimeChoice, shares: dict[str, float]) -> str | None:
    """Why a split by this time would leave a part without rows or without one of the classes."""
    test_cut = np.quantile(time.moments, 1.0 - shares["test"], method="lower") if "test" in shares else np.inf
    left = time.moments < test_cut
    if not left.any():
        return "its last moment holds too many of the rows"
    valid_cut = np.inf
    if "valid" in shares:
        share = shares["valid"] * len(left) / left.sum()
        valid_cut = np.quantile(time.moments[left], max(1.0 - share, 0.0), method="lower")
    train = left & (time.moments < valid_cut)
    held_out = {"test": ~left, "valid": left & ~train}
    if train.mean() < 0.5:
        return "few moments hold most of the rows"
    if any(not held_out[part].any() for part in shares):
        return "its last moment holds too many of the rows"
    if look.label.kind == "binary":
        for part, rows in {**{part: held_out[part] for part in shares}, "train": train}.items():
            if len(np.unique(look.label.values[rows])) < 2:
                return f"{part} would have one class only"
    return None


def check_group(look: Look, group: str) -> None:
    """Raise DataError, UsageError for a group that rows cannot be ranked by."""
    if group not in look.sample.frame.columns:
        raise UsageError(f"--group {group}: the column {look.column(group).why}")
    missing = look.sample.frame[group].null_count()
    if missing:
        raise DataError(
            f"--group {group}: missing in {missing:,} of the {look.sample.frame.height:,} rows looked at: "
            "every row needs a group; fill it or drop the rows"
        )
    if look.sample.frame[group].dtype.is_nested():
        raise UsageError(f"--group {group}: the column holds lists, and a group is one value")
