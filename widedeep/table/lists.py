"""Reads multi-valued columns (lists, or texts with separators) as lists of canonical texts and their weights."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import polars as pl

from widedeep.errors import DataError
from widedeep.recipe.schema import DataSettings, MultiValuedField
from widedeep.source.blocks import BLANKS, RawBlock
from widedeep.source.canonical import canonical_text, why_unusable
from widedeep.source.forms import NAN

if TYPE_CHECKING:
    from widedeep.table.list_texts import ListForm
    from widedeep.table.missing_values import MissingValues

_ROW, _ITEM, _WEIGHT = "row", "item", "weight"


@dataclass
class ListTally:
    """What was left out of lists, per source column."""

    empty_items: Counter[str] = field(default_factory=Counter)
    """Items without a text between two separators, or null in a list."""
    cut_rows: Counter[str] = field(default_factory=Counter)
    """Rows with more than `max_length` values."""
    long_rows: Counter[str] = field(default_factory=Counter)
    """Rows that are given more than `max_length` values, because it is not known yet whether a NaN is one."""
    bad_weights: Counter[str] = field(default_factory=Counter)
    """Items dropped with `bad_numbers: missing` because their weight is no number."""
    bad_lists: Counter[str] = field(default_factory=Counter)
    """Rows that count as missing with `bad_numbers: missing` because their text is not of the field's `form`."""

    def add(self, other: "ListTally") -> None:
        """Add the counts of some other rows."""
        for counts, more in zip(vars(self).values(), vars(other).values(), strict=True):
            counts.update(more)


def list_values(
    block: RawBlock,
    settings: MultiValuedField,
    data: DataSettings,
    tally: ListTally,
    missing: "Mapping[str, MissingValues]" = MappingProxyType({}),
    *,
    are_numbers: bool | None = False,
) -> tuple[pl.Series, pl.Series | None]:
    """The lists of a block: values List(String), and weights List(Float32) if the field has them; null for an empty
    list.

    `missing` maps side tables (`""`: the log) to values that are left out as empty items are: an item that is a number
    is missing where that number is listed, whatever its list holds besides, since `max_length` counts what is left. If
    `are_numbers`, a text NaN is left out too; None, if that is known of all lists only at the end, lets `max_length`
    count the other items, so that as many are left then.
    Raises DataError for text without a `separator`; and, unless `bad_numbers: missing`, for a text of another `form`
    and for a weight that is no finite number or is negative.
    """
    column = settings.column
    items = _items(block, settings, data, tally)
    if missing:
        from widedeep.table.missing_values import table_of  # not at the top: few recipes list values

        if (listed := missing.get(table_of(column, data))) is not None:
            items = items.with_columns(listed.without(items[_ITEM]))
    full = items.filter(pl.col(_ITEM).is_not_null())
    tally.empty_items[column] += len(items) - len(full)
    if settings.weight_separator is not None:
        full = _weighted(block, full, settings, data, tally)
    if are_numbers:
        numbers = full.filter(pl.col(_ITEM).str.to_lowercase() != NAN)
        tally.empty_items[column] += len(full) - len(numbers)
        full = numbers
    aggregated = [_ITEM] if settings.weight_separator is None else [_ITEM, _WEIGHT]
    if settings.max_length is not None:
        place = pl.int_range(pl.len()).over(_ROW)
        if are_numbers is None and full.select((pl.col(_ITEM).str.to_lowercase() == NAN).any()).item():
            counts = (pl.col(_ITEM).str.to_lowercase() != NAN).cast(pl.UInt32)
            before = counts.cum_sum().over(_ROW) - counts
            tally.cut_rows[column] += full.filter((before == settings.max_length) & (counts == 1)).height
            full = full.filter(before < settings.max_length)
            tally.long_rows[column] += full.filter(place == settings.max_length).height
        else:
            tally.cut_rows[column] += full.filter(place == settings.max_length).height
            full = full.filter(place < settings.max_length)
    packed = pack(full, block.frame.height, aggregated)
    return packed[_ITEM], packed[_WEIGHT] if settings.weight_separator is not None else None


def pack(flat: pl.DataFrame, num_rows: int, columns: list[str]) -> pl.DataFrame:
    """Gather the `columns` of a flat frame, sorted by its column `row` (UInt32), to a list per row."""
    rows = pl.DataFrame({_ROW: pl.int_range(num_rows, dtype=pl.UInt32, eager=True)})
    gathered = flat.group_by(_ROW, maintain_order=True).agg(columns)
    return rows.join(gathered, on=_ROW, how="left", maintain_order="left").select(columns)


def without_null_items(frame: pl.DataFrame, values: str, weights: str | None) -> pl.DataFrame:
    """The frame without the null items of its lists `values`, and without their `weights` if it has such lists.

    A list of no other items is null.
    """
    if not frame[values].drop_nulls().explode().null_count():
        return frame
    columns = [values] if weights is None else [values, weights]
    rows = frame.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias(_ROW), *columns)
    return frame.with_columns(pack(rows.explode(columns).drop_nulls(values), frame.height, columns))


def _items(block: RawBlock, settings: MultiValuedField, data: DataSettings, tally: ListTally) -> pl.DataFrame:
    """Every item: its row in the block and its canonical text (null if empty); rows without a value have none."""
    raw = block.frame[settings.column]
    if raw.dtype == pl.Null:
        raw = raw.cast(pl.List(pl.String))
    elif isinstance(raw.dtype, pl.Array):
        raw = raw.arr.to_list()
    dtype = raw.dtype
    frame = pl.DataFrame({_ROW: pl.int_range(len(raw), dtype=pl.UInt32, eager=True), _ITEM: raw})
    if isinstance(dtype, pl.List):
        inner = dtype.inner
        assert isinstance(inner, pl.DataType)
        if (reason := why_unusable(dtype)) is not None:
            raise DataError(f"{block.source_name}: column {settings.column!r} {reason}")
        exploded = frame.filter(pl.col(_ITEM).list.len() > 0).explode(_ITEM)
        item = canonical_text(pl.col(_ITEM), inner)
    else:
        if settings.separator is None and settings.form == "separated":
            raise DataError(
                f"{block.source_name}: column {settings.column!r} holds {dtype} values, not lists: "
                "set `separator`, what stands between two values, at its entry under features.multi_valued"
            )
        text = canonical_text(pl.col(_ITEM), dtype)
        texts = frame.with_columns(text).drop_nulls()
        if settings.form == "separated":
            assert settings.separator is not None
            lists = texts.with_columns(pl.col(_ITEM).str.split(settings.separator))
        else:
            lists = _parsed(block, texts, settings, settings.form, data, tally)
        exploded = lists.explode(_ITEM)
        item = pl.col(_ITEM)
    if data.format.trim:
        item = item.str.strip_chars(BLANKS)
    for missing in {*data.format.missing, ""}:
        item = pl.when(item != missing).then(item)
    return exploded.with_columns(item)


def _parsed(
    block: RawBlock,
    texts: pl.DataFrame,
    settings: MultiValuedField,
    form: "ListForm",
    data: DataSettings,
    tally: ListTally,
) -> pl.DataFrame:
    """The rows with a text, as lists. Each different text is read once."""
    distinct = texts[_ITEM].unique(maintain_order=True)
    from widedeep.table.list_texts import parse_lists  # not at the top: most lists are separated

    lists = parse_lists(distinct, form, settings.separator)
    read = pl.DataFrame({_ITEM: distinct, "list": pl.Series(lists, dtype=pl.List(pl.String))})
    parsed = texts.join(read, on=_ITEM, how="left", maintain_order="left")
    bad = parsed.filter(pl.col("list").is_null())
    if len(bad) and data.bad_numbers == "error":
        raise DataError(
            f"{block.place_of(bad[_ROW][0])}: column {settings.column!r}: {bad[_ITEM][0]!r} is no list of the form "
            f"{form}; mend the row, set another `form` at its entry under features.multi_valued, or set "
            "data.bad_numbers: missing to count it as missing"
        )
    tally.bad_lists[settings.column] += len(bad)
    # A list without items would explode to an item that is null.
    return parsed.filter(pl.col("list").list.len() > 0).select(_ROW, pl.col("list").alias(_ITEM))


def _weighted(
    block: RawBlock, items: pl.DataFrame, settings: MultiValuedField, data: DataSettings, tally: ListTally
) -> pl.DataFrame:
    """The items with their weight split off behind the last separator."""
    assert settings.weight_separator is not None
    separator = re.escape(settings.weight_separator)
    parts = pl.col(_ITEM).str.extract_groups(f"(?s)^(.*){separator}(.*)$").struct
    split = items.with_columns(
        pl.coalesce(parts.field("1"), pl.col(_ITEM)).str.strip_chars(BLANKS).alias("value"),
        parts.field("2").str.strip_chars(BLANKS).alias("text"),
    )
    number = pl.col("text").cast(pl.Float32, strict=False)
    weight = pl.when(pl.col("text").is_null()).then(1.0).when(number.is_finite() & (number >= 0)).then(number)
    split = split.with_columns(weight.cast(pl.Float32).alias(_WEIGHT))
    bad = split.filter(pl.col(_WEIGHT).is_null())
    if len(bad) and data.bad_numbers == "error":
        raise DataError(
            f"{block.place_of(bad[_ROW][0])}: column {settings.column!r}: {bad[_ITEM][0]!r}: the weight "
            f"{bad['text'][0]!r} is not a finite number that is not negative; mend the row, or set data.bad_numbers: "
            "missing to drop the value"
        )
    tally.bad_weights[settings.column] += len(bad)
    kept = split.filter(pl.col(_WEIGHT).is_not_null() & (pl.col("value") != ""))
    tally.empty_items[settings.column] += len(split) - len(bad) - len(kept)
    return kept.select(_ROW, pl.col("value").alias(_ITEM), _WEIGHT)
