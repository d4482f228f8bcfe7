"""A column's profile as short texts, for the table that `ingest` prints."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_TITLES = {"label": "label", "weight": "weight", "time": "time", "group": "group"}
_FIRST_DATE, _LAST_DATE = 1e8, 4.2e9
"""A time column within these seconds since 1970 (March 1973 to 2103) is shown as dates; else it is a counter."""
_DISTINCT = {"exact": "", "at least": "≥", "about": "~"}
_MEASURES = {"alone_auc": "AUC", "alone_r2": "R²"}
_SHOWN_QUANTILES = ("min", "25%", "50%", "75%", "max")


_MOST_COLUMNS = 100


def columns_shown(columns: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The columns of an `ingest` report that a table shows, in order: all, or those that say most of the label."""
    if len(columns) <= _MOST_COLUMNS:
        return list(columns)
    ranked = sorted(range(len(columns)), key=lambda place: -_importance(columns[place]))
    return [columns[place] for place in sorted(ranked[:_MOST_COLUMNS])]


def _importance(column: Mapping[str, Any]) -> float:
    if column["role"] in _TITLES:
        return float("inf")
    return float(column[_strength_of(column)] or 0.0)


def _strength_of(column: Mapping[str, Any]) -> str:
    return "alone_auc" if column["alone_r2"] is None else "alone_r2"


def profile_cells(column: Mapping[str, Any], num_rows: int) -> dict[str, str]:
    """Column title → text, for a column of an `ingest` report that has a profile; `num_rows` is that of all splits."""
    title = _TITLES.get(column["role"])
    missing = sum(column["missing"].values())
    strength = _strength_of(column)
    return {
        "column": f"{column['column']} ({title})" if title else _feature_name(column),
        "type": column["type"],
        "missing": _share(missing / num_rows) if missing else "–",
        "distinct": f"{_DISTINCT[column['distinct_is']]}{column['distinct']:,}",
        "label rate": _rates(column["label_rates"] or {}),
        "alone": "–" if column[strength] is None else f"{_MEASURES[strength]} {column[strength]:.2f}",
        "top values, or quartiles": _values(column),
    }


def _feature_name(column: Mapping[str, Any]) -> str:
    # The typed table's `tags@values` and `age@text` are the columns `tags` and `age`; the type says which is which.
    return str(column["name"] if column["role"] in ("part", "age") else column["column"])


def _rates(rates: Mapping[str, float | None]) -> str:
    low, high = rates.get("lowest"), rates.get("highest")
    if low is None or high is None:
        return "–"
    return f"{short_number(low, 2)}–{short_number(high, 2)}" if low < high else short_number(low, 2)


def _values(column: Mapping[str, Any]) -> str:
    quantiles = column["quantiles"]
    if quantiles is None or (column["role"] == "label" and column["distinct"] == 2):
        return ", ".join(f"{_value(entry['value'])} {_share(entry['share'])}" for entry in column["top"])
    low, high = quantiles["min"], quantiles["max"]
    if column["role"] == "time" and low >= _FIRST_DATE and high <= _LAST_DATE:
        return " … ".join(datetime.fromtimestamp(second, UTC).date().isoformat() for second in (low, high))
    return " ".join(short_number(quantiles[name]) for name in _SHOWN_QUANTILES)


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else short_number(value)


def _share(share: float) -> str:
    return "<0.1%" if share < 0.001 else f"{share:.1%}" if share < 0.0995 or 0.995 < share < 1 else f"{share:.0%}"


def short_number(value: float, digits: int = 3) -> str:
    """A number in few characters: whole numbers below a million in full, others to `digits` digits."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.{digits}g}"
