"""The label, the row weight and the group: checked row by row, and label and weight over a whole split."""

import math
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from widedeep.errors import DataError
from widedeep.recipe.schema import LabelSettings
from widedeep.source.blocks import RawBlock
from widedeep.source.forms import boolean_text
from widedeep.table.listed import ListedValues


def listed_labels(settings: LabelSettings) -> tuple[ListedValues | None, ListedValues | None]:
    """The values that count as positive and as negative, where the recipe lists them."""
    named = (("positive", settings.positive), ("negative", settings.negative))
    positive, negative = (
        None if values is None else ListedValues(f"data.label.{name}", values) for name, values in named
    )
    return positive, negative


def label_values(
    block: RawBlock, settings: LabelSettings, positive: ListedValues | None, negative: ListedValues | None
) -> pl.Series:
    """Labels, Float32, one per row. Raises DataError for a label that is missing, a third value, or not finite."""
    coded = block.coded.get(settings.column)
    if coded is not None:
        with suppress(DataError):  # which would not tell the row
            of_values = replace(block, frame=coded.values.to_frame(settings.column), coded={})
            return coded.spread(label_values(of_values, settings, positive, negative))
        block = replace(block, frame=coded.of_rows().to_frame(settings.column), coded={})
    raw = block.frame[settings.column]
    if settings.kind == "regression":
        return _finite(block, raw, "the label of a regression", "").cast(pl.Float32)
    text = block.text_of(settings.column)
    _refuse_missing(block, text, "the label")
    if positive is None:
        values = text.str.to_lowercase().replace({"true": "1", "false": "0"}).cast(pl.Float64, strict=False)
        known = values.is_in([0.0, 1.0])
        rule = "0/1 and true/false are understood; name the values that count as positive in data.label.positive"
    else:
        is_positive = positive.held(text)
        values = pl.Series(text.name, is_positive.astype(np.float64))
        if negative is None:
            return values.cast(pl.Float32)
        known = pl.Series(is_positive | negative.held(text))
        rule = "name it in data.label.positive or data.label.negative, or drop the row"
    unknown = (~known.fill_null(False)).arg_true()
    if len(unknown):
        row = unknown[0]
        raise DataError(
            f"{block.place_of(row)}: column {settings.column!r}: the label {text[row]!r} is neither positive nor "
            f"negative: {rule}"
        )
    return values.cast(pl.Float32)


def weight_values(block: RawBlock, column: str) -> pl.Series:
    """Row weights, Float32, one per row. Raises DataError for a weight that is missing, not finite or negative."""
    weights = _finite(block, block.frame[column], "a row weight", " that is not negative")
    negative = (weights < 0).arg_true()
    if len(negative):
        row = negative[0]
        raise DataError(f"{block.place_of(row)}: column {column!r}: the row weight {weights[row]!r} is negative")
    return weights.cast(pl.Float32)


def group_values(block: RawBlock, column: str) -> pl.Series:
    """Canonical texts of the groups, String, one per row. Raises DataError for a row without a group."""
    text = block.text_of(column)
    _refuse_missing(block, text, "the group")
    return text


def _finite(block: RawBlock, raw: pl.Series, what: str, more: str) -> pl.Series:
    _refuse_missing(block, raw, what)
    numbers = pl.Series(raw.name, [None] * len(raw), pl.Float64)
    if not (raw.dtype.is_temporal() or raw.dtype.is_nested()):
        numbers = raw.cast(pl.Float64, strict=False)
    if raw.dtype == pl.String and numbers.null_count():
        flags = raw.to_frame("text").select(boolean_text(pl.col("text")) == "true").to_series().cast(pl.Float64)
        numbers = pl.select(pl.coalesce(numbers, flags)).to_series().alias(raw.name)
    bad = (~numbers.cast(pl.Float32).is_finite().fill_null(False)).arg_true()
    if len(bad):
        row = bad[0]
        value = raw.slice(row, 1).to_list()[0]
        raise DataError(
            f"{block.place_of(row)}: column {raw.name!r}: {value!r} cannot be {what}: a finite number{more} is needed"
        )
    return numbers


def _refuse_missing(block: RawBlock, values: pl.Series, what: str) -> None:
    if values.null_count():
        row = values.is_null().arg_true()[0]
        raise DataError(
            f"{block.place_of(row)}: column {values.name!r}: {what} is missing; every row needs one: fill it or drop "
            "the row"
        )


@dataclass
class TargetTally:
    """Counts and sums of label and weight over the rows of a split."""

    rows: int = 0
    label_sums: list[float] = field(default_factory=list)
    """Of each block, in order."""
    weight_sum: float | None = None
    label_min: float = math.inf
    label_max: float = -math.inf

    def add(self, labels: pl.Series, weights: pl.Series | None) -> None:
        """Count the rows of one block."""
        self.rows += len(labels)
        if not len(labels):
            return
        self.label_sums.append(float(labels.cast(pl.Float64).sum()))
        self.label_min = min(self.label_min, float(labels.to_numpy().min()))
        self.label_max = max(self.label_max, float(labels.to_numpy().max()))
        if weights is not None:
            self.weight_sum = (self.weight_sum or 0.0) + float(weights.cast(pl.Float64).sum())

    def merge(self, other: "TargetTally") -> None:
        """Add the rows that `other` has counted."""
        self.rows += other.rows
        self.label_sums += other.label_sums
        if other.weight_sum is not None:
            self.weight_sum = (self.weight_sum or 0.0) + other.weight_sum
        self.label_min, self.label_max = min(self.label_min, other.label_min), max(self.label_max, other.label_max)

    @property
    def label_sum(self) -> float:
        """Of all labels: added up block by block, in which order its last digits depend."""
        return sum(self.label_sums, 0.0)

    def refuse_constant_label(self, settings: LabelSettings) -> None:
        """Raise DataError unless the label takes more than one value (checked on train rows)."""
        if self.label_min < self.label_max:
            return
        value = self.label_min
        if settings.kind == "regression":
            raise DataError(
                f"column {settings.column!r}: the label is {value:g} in all {self.rows} train rows: nothing to learn"
            )
        side = "positive" if value == 1.0 else "negative"
        named = f" ({', '.join(map(str, settings.positive))})" if settings.positive is not None else ""
        raise DataError(
            f"column {settings.column!r}: the label is {side} in all {self.rows} train rows; both classes are needed: "
            f"check data.label.positive{named}, the files and the split"
        )

    def refuse_zero_weights(self, split: str, column: str | None) -> None:
        """Raise DataError if every row of the split weighs nothing."""
        if self.weight_sum == 0.0:
            raise DataError(f"column {column!r}: all {self.rows} {split} rows have weight 0; at least one must count")
