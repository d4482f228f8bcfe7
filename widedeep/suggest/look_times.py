"""Columns that say when something happened, however people wrote it: the format that the pipeline reads them with."""

import itertools
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import DataError
from widedeep.recipe.schema import TimeSettings
from widedeep.source.blocks import RawBlock
from widedeep.source.canonical import canonical_text
from widedeep.table.times import moment_values

_TRIED_FIRST = 200
_EARLIEST, _LATEST = 631_152_000.0, 2_208_988_800.0  # 1990 and 2040
_CENTURY_START, _CENTURY_END = -2_208_988_800.0, 4_102_444_800.0  # 1900 and 2100
_YEAR = 365.25 * 86400.0

_DATES = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y"),
    *("%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y", "%d.%m.%y"),
    *("%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y"),
    *("%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y"),
    *("%a %d %b %Y", "%a, %d %b %Y", "%a %b %d %Y", "%d%b%Y"),
)
_CLOCKS = ("%H", "%H:%M", "%H:%M:%S", "%H:%M:%S%.f", "%H:%M:%S,%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p", "%I:%M:%S%p")
_BETWEEN = (" ", "T", ":", ", ")
_ZONES = ("", "%#z", " %#z", "Z", " UTC", " GMT")
_WHOLE_FORMS = (
    *("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%Y%m%d %H:%M:%S"),
    *("%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ", "%Y%m%dT%H%M", "%Y%m%dT%H"),
)
_DIGIT_FORMS = {
    8: ("%Y%m%d", "%y%m%d%H"),
    10: ("%Y%m%d%H",),
    12: ("%Y%m%d%H%M",),
    14: ("%Y%m%d%H%M%S",),
    6: ("%y%m%d",),
}
_DIRECTIVE = re.compile(r"%\.f|%#z|%[A-Za-z]")
_FRACTION = re.compile(r"(:\d\d)\.\d{1,9}")
_OFFSET = re.compile(r"(:\d\d ?)[+-]\d\d(?::?\d\d)?")
_NO_MARK = re.compile(r"[A-Za-z0-9]")
_LONG_EPOCH = r"^\d{15,16}$|^\d{18,19}$"
"""Micro- and nanoseconds of our time."""
_EPOCHS = (("epoch", 1.0), ("epoch_ms", 1e3), ("epoch_us", 1e6), ("epoch_ns", 1e9))
_NAMED_TIME = re.compile(
    r"(?i)(^|[^a-z])(time|timestamp|ts|date|datetime|dt|day|hour|epoch|created|updated|at|when)([^a-z]|$)|(?:time|date|At|_at|_ts)$"
)
_PAST_DAYS = re.compile(
    r"(?i)birth|dob|regist|signup|sign_up|joined|member|release|expir|valid_|founded|opened|since|install"
)


@dataclass(frozen=True)
class TimeLook:
    """A column of moments."""

    format: str | None
    """What a recipe must say to read it; None for a type of its own, ISO 8601 and seconds since 1970."""
    moments: NDArray[np.float64]
    """Seconds since 1970 UTC per sampled row, NaN where missing."""
    is_text: bool
    note: str = ""
    """What a reader of the recipe should check."""

    @property
    def span(self) -> float:
        """Seconds from the first to the last moment."""
        known = self.moments[np.isfinite(self.moments)]
        return float(known.max() - known.min()) if len(known) else 0.0

    @property
    def has_clock(self) -> bool:
        """Whether the hours differ."""
        return len(self._parts(86400.0, 3600.0)) > 1

    @property
    def has_weekdays(self) -> bool:
        """Whether the days of the week differ."""
        return len(self._parts(7 * 86400.0, 86400.0)) > 1

    def _parts(self, period: float, unit: float) -> NDArray[np.float64]:
        known = self.moments[np.isfinite(self.moments)]
        return np.unique(np.floor(np.mod(known, period) / unit))


def is_named_like_a_time(name: str) -> bool:
    """Whether the column's name speaks of a time."""
    return bool(_NAMED_TIME.search(name))


def is_named_like_the_past(name: str) -> bool:
    """Whether the column's name speaks of a time that is not the row's own, such as a birth or a registration."""
    return bool(_PAST_DAYS.search(name))


def look_for_time(
    column: pl.Series, values: pl.Series, numbers: NDArray[np.float64] | None, *, is_time: bool = False
) -> TimeLook | None:
    """How to read the column as moments, or None. `values` are its distinct values, `numbers` the same as numbers.

    `is_time`: numbers need neither name nor span to be believed, since somebody said that the column is a time.
    """
    dtype = column.dtype
    if dtype.is_temporal():
        return None if dtype == pl.Time or dtype == pl.Duration else _read(column, None)
    values = values.drop_nulls()
    if not len(values):
        return None
    if numbers is not None:
        return _digits(column, values, numbers[np.isfinite(numbers)], is_time=is_time)
    if dtype.is_integer():  # beyond what a float holds exactly
        return _digits(column, values, values.cast(pl.Float64).to_numpy(), is_time=is_time)
    if dtype != pl.String or not _may_be_dates(values):
        return None
    if values.str.contains(_LONG_EPOCH).all():  # so long that in any other column they would be codes
        return _digits(column, values, values.cast(pl.Float64).to_numpy(), is_time=is_time)
    return _written(column, values)


def _may_be_dates(values: pl.Series) -> bool:
    text = values[0]
    if not 6 <= len(text) <= 40 or sum(character.isdecimal() for character in text) < 3:
        return False  # as most texts are: the others need not be looked at
    first = values.head(_TRIED_FIRST)
    fits = first.str.contains(r"\d") & first.str.len_chars().is_between(6, 40)
    return bool((fits & (first.str.count_matches(r"\d") >= 3)).all())


def _read(column: pl.Series, form: str | None, note: str = "") -> TimeLook | None:
    moments = _moments(column, form)
    if moments is None:
        return None
    known = moments[np.isfinite(moments)]
    if not len(known) or known.min() < _CENTURY_START or known.max() > _CENTURY_END:
        return None
    return TimeLook(form, moments, column.dtype == pl.String, note)


def _moments(column: pl.Series, form: str | None) -> NDArray[np.float64] | None:
    """What the pipeline reads; None where it refuses a value."""
    block = RawBlock(column.alias("t").to_frame(), "", 0, 0)
    try:
        moments, _ = moment_values(block, TimeSettings(column="t", format=form), bad_is_missing=False, where="")
    except DataError:
        return None
    return moments.cast(pl.Float64).fill_null(float("nan")).to_numpy()


# ---------------------------------------------------------------------------------------------------- written as text


def _written(column: pl.Series, values: pl.Series) -> TimeLook | None:
    if (iso := _read_both(column, values, None)) is not None:
        return iso
    first, some = values.head(1), values.head(_TRIED_FIRST)
    likely = _forms_like(first[0])
    fitting = [form for form in likely if _plausible(first, form) and _plausible(some, form)]
    fitting = [form for form in fitting if _plausible(values, form)]
    looks = [look for form in fitting if (look := _read(column, form)) is not None]
    if len(looks) < 2:
        return looks[0] if looks else None
    return _unambiguous(looks, values)


def _read_both(column: pl.Series, values: pl.Series, form: str | None) -> TimeLook | None:
    if not _plausible(values.head(_TRIED_FIRST), form) or not _plausible(values, form):
        return None
    return _read(column, form)


def _plausible(values: pl.Series, form: str | None) -> bool:
    moments = _moments(values, form)
    return moments is not None and bool(((moments > _CENTURY_START) & (moments < _CENTURY_END)).all())


def _forms_like(text: str) -> list[str]:
    """The forms with the text's own punctuation; seconds' fractions and zones may add to it."""
    marks = _NO_MARK.sub("", text)
    bare = _NO_MARK.sub("", _OFFSET.sub(r"\1", _FRACTION.sub(r"\1", text)))
    return [
        form
        for form, skeleton in _forms().items()
        if skeleton == marks
        or (("%.f" in form or "%#z" in form) and marks.startswith(skeleton))
        or (("%.f" in form or "z" in form) and skeleton == bare)
    ]


@lru_cache(maxsize=1)
def _forms() -> dict[str, str]:
    """Every form that is tried, and its punctuation."""
    clocks = itertools.product(_DATES, _BETWEEN, _CLOCKS, _ZONES)
    forms = [*_DATES, *("".join(parts) for parts in clocks), *_WHOLE_FORMS]
    return {form: _NO_MARK.sub("", _DIRECTIVE.sub("", form)) for form in forms}


def _unambiguous(looks: list[TimeLook], values: pl.Series) -> TimeLook:
    """The reading whose rows rise most, else whose days lie closest together. A note says if day and month may swap."""
    best = min(looks, key=lambda look: (_descents(look.moments), look.span))
    first = best.format or ""
    swapped = [look for look in looks if {first[:2], (look.format or "")[:2]} == {"%d", "%m"}]
    if not swapped:
        return best
    which = "day first" if first.startswith("%d") else "month first"
    ties = _descents(best.moments) == min(_descents(look.moments) for look in swapped)
    other = swapped[0]
    if ties and best.span == other.span and "/" in first and not first.startswith("%m"):
        best, which = other, "month first"
    return TimeLook(best.format, best.moments, best.is_text, f"day and month never tell apart; read {which}: check")


def _descents(moments: NDArray[np.float64]) -> int:
    known = moments[np.isfinite(moments)]
    return int((np.diff(known) < 0).sum())


# ------------------------------------------------------------------------------------------------- written as numbers


def _digits(column: pl.Series, values: pl.Series, numbers: NDArray[np.float64], *, is_time: bool) -> TimeLook | None:
    """A date in digits such as 20171107, or seconds since 1970, or their thousandths, millionths or billionths."""
    if len(numbers) < 2:
        return None
    named = is_time or is_named_like_a_time(column.name)
    # First: what is a date in its digits is no number of seconds before 2033.
    if (dated := _dated(column, values, numbers, named=named)) is not None:
        return dated
    for form, unit in _EPOCHS:
        seconds = numbers / unit
        if seconds.min() < _EARLIEST or seconds.max() > _LATEST:
            continue
        # Ids lie in this range too: without a name, a log is believed to span some years at most.
        if named or seconds.max() - seconds.min() <= 5 * _YEAR:
            return _read(column, None if form == "epoch" else form)
    return None


def _dated(column: pl.Series, values: pl.Series, numbers: NDArray[np.float64], *, named: bool) -> TimeLook | None:
    if (numbers != np.floor(numbers)).any():
        return None
    texts = values.to_frame("v").select(canonical_text(pl.col("v"), values.dtype)).to_series()
    widths = texts.str.len_chars().unique().to_list()
    if len(widths) != 1:
        return None
    for form in _DIGIT_FORMS.get(widths[0], ()):
        look = _read_both(column, values, form)
        # Eight digits or fewer are often a number or a code that happens to be a date.
        sure = named or (len(values) >= 3 and not form.startswith("%y"))
        if look is None or not sure:
            continue
        known = look.moments[np.isfinite(look.moments)]
        if known.min() >= _EARLIEST and known.max() <= _LATEST:
            return look
    return None
