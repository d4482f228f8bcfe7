"""Texts that hold several values at once, such as `Comedy|Drama`: what stands between the values."""

from dataclasses import dataclass

import numpy as np
import polars as pl

_MARKS = ("|", ";", ",", "^", " ")
_MOST_TEXTS = 20_000
"""Distinct texts that the judgement rests on."""
_LONGEST = 100
_WEIGHTED = r"^[^:]+:\s*\d*\.?\d+(?:[eE][-+]?\d+)?$"
_THOUSANDS = r"^[-+]?[$€£]?\d{1,3}(?:,\d{3})+(?:\.\d+)?$|^[-+]?\d+,\d+$"


@dataclass(frozen=True)
class ListLook:
    """A column of lists."""

    separator: str | None
    """What stands between two values; None where the file has lists."""
    weight_separator: str | None
    num_values: int
    """Distinct values in the rows looked at."""
    mean_length: float
    longest: int


def look_for_lists(column: pl.Series, values: pl.Series, counts: pl.Series) -> ListLook | None:
    """How the column's lists are written, or None; `values` are its distinct texts, `counts` their rows."""
    if isinstance(column.dtype, pl.List):
        return _of_lists(column)
    if column.dtype != pl.String:
        return None
    texts = pl.DataFrame({"text": values, "rows": counts}).drop_nulls().head(_MOST_TEXTS)
    if texts.height < 5 or float(texts["text"].str.contains(_THOUSANDS).mean() or 0.0) > 0.5:  # type: ignore[arg-type]
        return None
    found = [look for mark in _MARKS if (look := _cut_by(texts, mark)) is not None]
    return min(found, key=lambda look: look.num_values) if found else None


def _of_lists(column: pl.Series) -> ListLook | None:
    lengths = column.list.len().drop_nulls()
    items = column.drop_nulls().explode().drop_nulls()
    if not len(items):
        return None
    return ListLook(None, None, items.n_unique(), float(lengths.mean() or 0.0), int(lengths.max() or 0))  # type: ignore[arg-type]


def _cut_by(texts: pl.DataFrame, mark: str) -> ListLook | None:
    """Lists have few items that come again and again, now first, now last; a phrase has not, nor has `City, State`."""
    with_mark = texts["text"].str.contains(mark, literal=True)
    rows = texts["rows"]
    if float((with_mark * rows).sum()) < 0.02 * float(rows.sum()) or int(with_mark.sum()) < 3:
        return None
    items = (
        texts.with_row_index("id")
        .with_columns(pl.col("text").str.split(mark).alias("item"))
        .explode("item")
        .with_columns(pl.col("item").str.strip_chars(" \t"))
        .with_columns(pl.int_range(pl.len()).over("id").alias("place"))
    )
    items = items.filter(pl.col("item") != "")
    weighted = float(items["item"].str.contains(_WEIGHTED).mean() or 0.0) > 0.9  # type: ignore[arg-type]
    if weighted:
        items = items.with_columns(pl.col("item").str.replace(r":[^:]*$", ""))
    per_item = items.group_by("item").agg(pl.len().alias("texts"), pl.col("place").n_unique().alias("places"))
    lengths = items.group_by("id").agg(pl.len().alias("length"), pl.col("rows").first())
    num_values, num_items = per_item.height, items.height
    again = per_item.filter(pl.col("texts") >= 2)
    wandering = float((again["places"] > 1).mean() or 0.0)  # type: ignore[arg-type]
    longest = int(lengths["length"].max())  # type: ignore[arg-type]
    long_items = float(items["item"].str.len_chars().mean() or 0.0) > 40  # type: ignore[arg-type]
    mean_length = float(np.average(lengths["length"].to_numpy(), weights=lengths["rows"].to_numpy()))
    if mark == " " and not weighted:
        # Phrases are cut by blanks too: only short ones of a small vocabulary are believed to be lists.
        possible = num_values * 4 <= texts.height and num_values * 10 <= num_items and mean_length <= 10
    else:
        possible = num_values * 3 <= num_items and num_values < texts.height
    if not possible or long_items or wandering < 0.25 or longest > 10 * _LONGEST:
        return None
    return ListLook(mark, ":" if weighted else None, num_values, mean_length, longest)
