"""Texts that stand for a missing value, such as `?` or `NA`: which of them a table uses."""

from dataclasses import dataclass

import polars as pl

_CLEAR = (
    *("\\N", "NULL", "null", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN", "<NA>", "?", "(null)", "[NULL]"),
    *("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?"),  # faults of cells in Excel
    *("-1.#IND", "1.#IND", "1.#QNAN", "-1.#QNAN"),  # NaN as old programs for Windows print it
)
"""Nobody writes them to mean a value."""
_UNCLEAR = (
    *("NA", "na", "None", "none", "NONE", "NIL", "nil", "Null", "-", "--", "."),
    *("missing", "unknown", "Unknown", "UNKNOWN"),
)
"""Values in a column of texts (Namibia, no housing, …), no values among numbers and dates."""
_ZERO_DATES = ("0000-00-00", "0000-00-00 00:00:00", "0000-00-00T00:00:00")
_NUMERIC = 0.98
"""Share of a column's values that must be numbers (or dates) for an unclear text to be none."""
_DATE_LIKE = r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"


@dataclass(frozen=True)
class MissingMarkers:
    """The markers of a table."""

    texts: tuple[str, ...]

    def cleaned(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with the markers, and NaN, as nulls."""
        text = pl.col(pl.String)
        if self.texts:
            text = pl.when(~text.is_in(list(self.texts))).then(text)
        return frame.with_columns(text, pl.col(pl.Float32, pl.Float64).fill_nan(None))


def find_markers(frame: pl.DataFrame, label: str) -> MissingMarkers:
    """Which texts are no values. What the label holds as a value is never one."""
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    known = (*_CLEAR, *_UNCLEAR, *_ZERO_DATES)
    found: set[str] = set()
    with_some = frame.select(pl.col(texts).is_in(list(known)).any()) if texts else pl.DataFrame()
    for name in with_some.columns:
        if name == label or not with_some[name][0]:
            continue
        values = frame[name].drop_nulls()
        present = [text for text in known if (values == text).any()]
        found |= {text for text in present if text in _CLEAR or text in _ZERO_DATES}
        unclear = [text for text in present if text in _UNCLEAR]
        if unclear and _is_otherwise_numeric(values.filter(~values.is_in(present))):
            found |= set(unclear)
    if found and label in texts and (frame[label].n_unique() == 2):
        found -= set(frame[label].unique().to_list())
    return MissingMarkers(tuple(text for text in known if text in found))


def _is_otherwise_numeric(values: pl.Series) -> bool:
    if not len(values):
        return False
    fits = values.cast(pl.Float64, strict=False).is_finite().fill_null(False) | values.str.contains(_DATE_LIKE)
    return float(fits.mean() or 0.0) >= _NUMERIC  # type: ignore[arg-type]
