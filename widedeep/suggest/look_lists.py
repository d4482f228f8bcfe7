"""Texts that hold several values at once, such as `Comedy|Drama`: what stands between the values."""

import re
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from widedeep.table.list_texts import ListForm, parse_lists

_MARKS = ("|", ";", ",", "^", "\x01", "\x02", "\x03", "\x1c", "\x1d", "\x1e", "\x1f", " ")
_ANY_MARK = "[" + re.escape("".join(_MARKS)) + "]"
_FORMS: tuple[tuple[ListForm, str | None], ...] = (
    ("json", None),
    ("python", None),
    ("bracketed", None),
    ("bracketed", ";"),
    ("bracketed", "|"),
    ("bracketed", " "),
)
"""How lists are written within brackets, and what stands between two values."""
_IN_BRACKETS = r"^\s*(?:\[.*\]|\(.*\)|\{.*\})\s*$"
_FRACTION = r"^-?\d*\.\d+(?:[eE][-+]?\d+)?$"
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
    form: ListForm | None = None
    """How a text in brackets holds the values; None without brackets."""
    are_fractions: bool = False
    """Whether the values are fractions: a vector, not a list of values."""


def look_for_lists(column: pl.Series, values: pl.Series, counts: pl.Series) -> ListLook | None:
    """How the column's lists are written, or None; `values` are its distinct texts, `counts` their rows."""
    if isinstance(column.dtype, pl.List):
        return _of_lists(column)
    if column.dtype != pl.String:
        return None
    texts = pl.DataFrame({"text": values, "rows": counts}).drop_nulls().head(_MOST_TEXTS)
    if not texts.height:
        return None
    in_brackets, thousands, marked = texts.select(_signs()).row(0)
    if in_brackets:
        return _in_brackets(texts)
    if texts.height < 5 or thousands > 0.5 or not marked:
        return None
    found = [look for mark in _marks_in(texts) if (look := _cut_by(texts, mark)) is not None]
    return min(found, key=lambda look: look.num_values) if found else None


@cache
def _signs() -> tuple[pl.Expr, ...]:
    """Whether all texts stand in brackets, the share that looks like numbers with commas, whether any holds a mark."""
    text = pl.col("text").str
    brackets, thousands, marked = (
        text.contains(pattern).alias(name)
        for name, pattern in {"b": f"(?s){_IN_BRACKETS}", "t": _THOUSANDS, "m": _ANY_MARK}.items()
    )
    return brackets.all(), thousands.mean(), marked.any()


def _of_lists(column: pl.Series) -> ListLook | None:
    lengths = column.list.len().drop_nulls()
    items = column.drop_nulls().explode().drop_nulls()
    if not len(items):
        return None
    return ListLook(None, None, items.n_unique(), float(lengths.mean() or 0.0), int(lengths.max() or 0))  # type: ignore[arg-type]


def _in_brackets(texts: pl.DataFrame) -> ListLook | None:
    """Texts that all are lists of one form; None if they are of none, or each of one value without a sign of a list."""
    for form, separator in _FORMS:
        lists = parse_lists(texts["text"], form, separator)
        if any(items is None for items in lists):
            continue
        rows = texts.with_columns(pl.Series("item", lists, dtype=pl.List(pl.String)))
        lengths = rows["item"].list.len().to_numpy()
        if form == "bracketed" and lengths.max() < 2:
            continue
        items = rows.select("rows", "item").filter(pl.col("item").list.len() > 0).explode("item").drop_nulls()
        items = items.filter(pl.col("item") != "")
        if not items.height:
            return None
        weighted = float(items["item"].str.contains(_WEIGHTED).mean() or 0.0) > 0.9  # type: ignore[arg-type]
        values = items["item"].str.replace(r":[^:]*$", "") if weighted else items["item"]
        fractions = float(values.str.contains(_FRACTION).mean() or 0.0)  # type: ignore[arg-type]
        return ListLook(
            separator,
            ":" if weighted else None,
            values.n_unique(),
            float(np.average(lengths, weights=rows["rows"].to_numpy())),
            int(lengths.max()),
            form,
            are_fractions=fractions > 0.5,
        )
    return None


def _marks_in(texts: pl.DataFrame) -> list[str]:
    """The marks that stand in three texts or more, and in a fiftieth of the rows: one question for all of them."""
    rows, text = pl.col("rows"), pl.col("text")
    held = [text.str.contains(mark, literal=True) for mark in _MARKS]
    counts = texts.select(
        *(has.sum().alias(f"texts{number}") for number, has in enumerate(held)),
        *((has * rows).sum().alias(f"rows{number}") for number, has in enumerate(held)),
        rows=rows.sum(),
    ).row(0, named=True)
    enough = 0.02 * float(counts["rows"])
    return [
        mark
        for number, mark in enumerate(_MARKS)
        if counts[f"texts{number}"] >= 3 and float(counts[f"rows{number}"]) >= enough
    ]


def _cut_by(texts: pl.DataFrame, mark: str) -> ListLook | None:
    """Lists have few items that come again and again, now first, now last; a phrase has not, nor has `City, State`."""
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
