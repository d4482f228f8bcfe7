"""Whether numbers are amounts, whose order and distance mean something, or codes, each a value of its own."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.profile.value_table import ValueTable, numbers_of
from widedeep.suggest.look_names import is_named_amount, is_named_code

Floats = NDArray[np.float64]

_FEW = 20
"""So few whole numbers may each have a weight of their own."""
_SHORT = 100
_MOSTLY = 0.98
"""Share of different texts that must read as numbers to a person."""
_CURRENCY = r"(?:[$€£¥₹]|USD|EUR|GBP)?"
_BLANKS = r" \x{a0}\x{2009}\x{202f}"
"""Those that stand between groups of digits, in French and by ISO 31: narrow ones, and such as do not break."""
_WRITTEN_NUMBER = (
    rf"^[-+(\x{{2212}}]?\s*{_CURRENCY}\s*[-+\x{{2212}}]?(?:\d{{1,3}}(?:[,.'\x{{2019}}{_BLANKS}]\d{{3}})+|\d+)?(?:[.,]\d+)?"
    rf"\s*(?:%|{_CURRENCY})\)?$"
)
"""Digits, perhaps in groups of three, with a currency or a per cent sign; a minus may be the one of typesetters."""
_NUMBER_SIGNS = rf"\d.*[,'\x{{2019}}{_BLANKS}%$€£¥₹(UEG]|[$€£¥₹(UEG\x{{2212}}].*\d|\d\.\d{{3}}\."


@dataclass(frozen=True)
class NumberLook:
    """A column whose values are numbers."""

    values: Floats
    """Per distinct value (missing is one); NaN where it is no number."""
    counts: Floats
    """Rows per distinct value."""
    odd: float
    """Share of the rows with a value that hold no finite number."""
    example: str
    """Such a value, or nothing."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which values are finite numbers."""
        return np.isfinite(self.values)

    @property
    def is_whole(self) -> bool:
        """Whether practically all rows hold whole numbers."""
        values, counts = self.values[self.known], self.counts[self.known]
        return bool(counts[values == np.floor(values)].sum() >= 0.99 * counts.sum())

    @property
    def low(self) -> float:
        """The smallest number."""
        return float(self.values[self.known].min())

    @property
    def high(self) -> float:
        """The largest number."""
        return float(self.values[self.known].max())


def look_at_numbers(table: ValueTable) -> NumberLook | None:
    """The numbers of a column, or None where it holds anything else (see `numbers_of`)."""
    numbers = numbers_of(table)
    if numbers is None:
        return None
    present, counts = table.is_present, table.counts
    odd = present & np.isnan(numbers)
    share = float(counts[odd].sum() / max(counts[present].sum(), 1.0))
    example = str(table.values.filter(pl.Series(odd))[0]) if odd.any() else ""
    return NumberLook(numbers, counts, share, example)


def why_no_number(values: pl.Series) -> str:
    """Why texts that a person reads as numbers are none, and what to do; nothing if they are no such texts.

    A comma may group digits or divide them: which of both is left to the reader.
    """
    texts = values.drop_nulls()
    if texts.dtype != pl.String or not len(texts):
        return ""
    written = texts.str.contains(_WRITTEN_NUMBER)
    if float(written.mean() or 0.0) < _MOSTLY:  # type: ignore[arg-type]
        return ""
    signed = texts.filter(written & texts.str.contains(_NUMBER_SIGNS))
    if not len(signed):
        return ""
    return (
        f"numbers that are written as {signed[0]!r}, which are read as texts: write them with digits and a decimal "
        "point only, as in 1234.5"
    )


def is_quantity(name: str, look: NumberLook, by_value: float, by_bucket: float | None, noise: float) -> bool:
    """Whether the numbers are amounts.

    `by_value` and `by_bucket` say how well the column predicts the label when each value has a rate of its own and when
    neighbouring values share one; `noise` is what they may differ by for no reason.
    """
    values, counts = look.values[look.known], look.counts[look.known]
    distinct = len(values)
    if not look.is_whole:
        return distinct > 3
    if distinct <= 2 or is_named_code(name):
        return False
    if is_named_amount(name):
        return distinct > 10
    if distinct <= _FEW and not look.odd:
        return False
    if distinct > 64 and by_bucket is not None and abs(by_value - by_bucket) > 2 * noise:
        return by_value < by_bucket
    if _is_count(values, counts) or distinct > 0.3 * counts.sum():
        return True
    dense = distinct >= 0.5 * (look.high - look.low + 1)
    return dense and (distinct <= _SHORT or _is_smooth(values, counts))


def _is_count(values: Floats, counts: Floats) -> bool:
    """Small numbers are frequent and all there, large ones rare and with gaps between them."""
    order = np.argsort(values)
    values, counts = values[order], counts[order]
    median = values[np.searchsorted(np.cumsum(counts), counts.sum() / 2)]
    below = values <= median
    starts_small = -10 <= values[0] <= 2
    without_gaps = below.sum() >= 0.8 * (median - values[0] + 1)
    has_gaps = len(values) < 0.8 * (values[-1] - values[0] + 1)
    return bool(
        starts_small and has_gaps and (without_gaps or median > 100) and _rank_correlation(values, counts) < -0.4
    )


def _is_smooth(values: Floats, counts: Floats) -> bool:
    """Whether neighbouring values are about equally frequent, as ages are and ids are not."""
    logs = np.log(counts[np.argsort(values)])
    return _correlation(logs[:-1], logs[1:]) > 0.7 and _rank_correlation(values, counts) > -0.9


def _rank_correlation(first: Floats, second: Floats) -> float:
    return _correlation(np.argsort(np.argsort(first)).astype(float), np.argsort(np.argsort(second)).astype(float))


def _correlation(first: Floats, second: Floats) -> float:
    if len(first) < 3 or first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
