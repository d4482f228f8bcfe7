"""What every column of an unknown table is, judged by a sample: a number, a category, a list, a time, or nothing."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import DataError
from widedeep.profile.leaks import Judged, leaks
from widedeep.profile.single_column import Evidence, ListItems, Recurrence, evidence_of, evidence_of_list, recurrence
from widedeep.profile.value_table import Target, ValueTable, batches_of_columns, value_tables
from widedeep.recipe.data import DataSettings
from widedeep.recipe.fields import MultiValuedField
from widedeep.source.blocks import RawBlock
from widedeep.suggest.look_label import LabelLook, look_at_label
from widedeep.suggest.look_lists import ListLook, look_for_lists
from widedeep.suggest.look_markers import find_markers
from widedeep.suggest.look_names import is_named_code, is_named_fold
from widedeep.suggest.look_numbers import NumberLook, is_quantity, look_at_numbers, why_no_number
from widedeep.suggest.look_times import TimeLook, look_for_time
from widedeep.suggest.spread_sample import SpreadSample
from widedeep.table.lists import ListTally, list_values

Nature = Literal["number", "category", "list", "time", "left_out"]

_PANDAS_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+(?:_level_\d+)?(?:\.\d+)?")


@dataclass(frozen=True)
class ColumnLook:
    """One column: what it is and why."""

    name: str
    nature: Nature
    why: str = ""
    """Why it is left out."""
    is_leak: bool = False
    evidence: Evidence | None = None
    """What it alone says of the label; None for what is left out unseen."""
    missing: float = 0.0
    """Share of the rows looked at."""
    distinct: int = 0
    """Values in the rows looked at, missing not counted."""
    estimated_values: float = 0.0
    """Values in the whole table, about."""
    rare_rows: float = 0.0
    """Share of the rows looked at whose value stands in less than ten rows of the whole table."""
    numbers: NumberLook | None = None
    time: TimeLook | None = None
    lists: ListLook | None = None
    recurrence: Recurrence = field(default=Recurrence(1.0, float("inf")))
    is_sequence: bool = False
    """Whether it rises (or falls) from row to row."""


@dataclass(frozen=True)
class Look:
    """What a table holds."""

    sample: SpreadSample
    """With markers of missing values taken out."""
    label: LabelLook
    columns: tuple[ColumnLook, ...]
    """Every column but the label, in the table's order."""
    markers: tuple[str, ...]
    """Texts that stand for a missing value, the empty one not counted."""
    bad_numbers: tuple[str, ...]
    """Numeric columns with values that are no finite numbers."""

    def column(self, name: str) -> ColumnLook:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)


def look(sample: SpreadSample, label: str, file_name: str, time: str | None = None) -> Look:
    """Judge every column. `time`: the one that somebody said is the time of a row.

    Raises DataError and UsageError for a label that is none.
    """
    markers = find_markers(sample.frame, label)
    floats = [name for name, dtype in sample.frame.schema.items() if dtype.is_float()]
    with_nan = {name for name in floats if sample.frame[name].is_nan().any()}
    sample = replace(sample, frame=markers.cleaned(sample.frame))
    if not sample.frame.height:
        raise DataError(f"{file_name}: the table has no rows")
    seen_label = look_at_label(sample.frame[label], file_name, whole=sample.whole)
    target = Target.of(seen_label.values, is_binary=seen_label.kind == "binary")
    names = [name for name in sample.frame.columns if name != label]
    columns = _by_themselves([sample.frame[name] for name in names], target, sample, time)
    columns += [ColumnLook(name, "left_out", why) for name, why in sample.left_out.items()]
    columns = _without_leaks(columns)
    columns = _without_copies(columns, sample.frame)
    numbers = [column for column in columns if column.nature == "number" and column.numbers is not None]
    bad = tuple(c.name for c in numbers if c.name in with_nan or (c.numbers is not None and c.numbers.odd))
    return Look(sample, seen_label, tuple(columns), markers.texts, bad)


# ------------------------------------------------------------------------------------------------- one column by itself


def _by_themselves(
    columns: Sequence[pl.Series], target: Target, sample: SpreadSample, time: str | None
) -> list[ColumnLook]:
    of_name = {column.name: column for column in columns}
    looks: dict[str, ColumnLook] = {}
    for names in batches_of_columns(columns):
        batch = [of_name[name] for name in names]
        is_list = isinstance(batch[0].dtype, pl.List)
        tables: Iterable[ValueTable | None] = repeat(None, len(batch)) if is_list else value_tables(batch, target)
        for raw, table in zip(batch, tables, strict=True):
            looks[raw.name] = _one_column(raw, table, target, sample, is_time=raw.name == time)
    return [looks[column.name] for column in columns]


def _one_column(
    raw: pl.Series, table: ValueTable | None, target: Target, sample: SpreadSample, *, is_time: bool
) -> ColumnLook:
    """`table`: of what is no list; `is_time`: whether it is known to be a time."""
    name = raw.name
    if not name:
        return ColumnLook(name, "left_out", "a column without a name")
    if _PANDAS_INDEX.fullmatch(name):
        return ColumnLook(
            name, "left_out", "the index of a pandas frame, which numbers its rows: it says nothing of new ones"
        )
    missing = raw.null_count() / len(raw)
    if missing == 1.0:
        return ColumnLook(name, "left_out", _everywhere("missing", sample), missing=1.0)
    if table is None:
        return _list_column(raw, target, missing, sample)
    values = table.values
    distinct = values.drop_nulls().len()
    if distinct == 1 and not missing:
        always = _everywhere(f"always {shown(values[0])}", sample)
        return ColumnLook(name, "left_out", always, distinct=1)
    numbers = look_at_numbers(table)
    time = look_for_time(raw, values, numbers.values if numbers else None, is_time=is_time)
    why_text = "" if numbers or time else why_no_number(values)
    lists = None if numbers or time or why_text else look_for_lists(raw, values, pl.Series(table.counts))
    is_vector = lists is not None and lists.are_fractions
    if lists is None or is_vector:
        evidence = evidence_of(table, numbers.values if numbers else None, target)
    else:
        evidence = _list_evidence(raw, lists, target)
    seen = ColumnLook(
        name,
        "category",
        evidence=evidence,
        missing=missing,
        distinct=distinct,
        estimated_values=_estimated_values(table, sample),
        rare_rows=_rare_rows(table, sample),
        numbers=numbers,
        recurrence=recurrence(table, sample.num_rows),
        is_sequence=_is_sequence(raw, numbers, distinct, sample),
    )
    if time is not None:
        return replace(seen, nature="time", time=time)
    if seen.is_sequence:
        return replace(seen, nature="left_out", why="rises from row to row: a row number says nothing about new rows")
    if why_text:
        return replace(seen, nature="left_out", why=why_text)
    if is_vector:
        return replace(seen, nature="left_out", why=_VECTORS)
    if lists is not None:
        return replace(seen, nature="list", lists=lists)
    if is_named_fold(name) and distinct <= 20 and _says_nothing(evidence, target):
        return replace(seen, nature="left_out", why=_FOLD.format(name=shown(name)))
    hardly_again = seen.rare_rows > 0.8 and not is_named_code(name)
    if numbers is not None and (
        hardly_again or is_quantity(name, numbers, evidence.by_value or 0.0, evidence.by_bucket, target.noise)
    ):
        return replace(seen, nature="number")
    return _category(raw, table, seen, sample)


_VECTORS = "lists of fractions, which are no list of values"
_FOLD = "a division of the rows; to split by it: data.split: {{kind: column, column: {name}, valid: …, test: …}}"


def _says_nothing(evidence: Evidence, target: Target) -> bool:
    best = max(evidence.by_value or 0.0, evidence.by_bucket or 0.0, evidence.by_filled)
    return abs(best - 0.5 * target.is_binary) <= max(3 * target.noise, 0.02)


def _category(raw: pl.Series, table: ValueTable, seen: ColumnLook, sample: SpreadSample) -> ColumnLook:
    again = seen.recurrence
    recurs = again.seen >= 0.1 or (not sample.whole and again.others >= 2.0)
    if recurs or seen.distinct <= 10 or raw.dtype != pl.String:
        return seen
    if float(table.values.str.contains(r"\S\s+\S").mean() or 0.0) > 0.5:  # type: ignore[arg-type]
        return replace(seen, nature="left_out", why=f"free text: {seen.distinct:,} texts that hardly come again")
    return seen


def _list_column(raw: pl.Series, target: Target, missing: float, sample: SpreadSample) -> ColumnLook:
    assert isinstance(raw.dtype, pl.List)
    if raw.dtype.inner in (pl.Float32, pl.Float64):
        return ColumnLook(raw.name, "left_out", _VECTORS, missing=missing)
    lists = look_for_lists(raw, raw, raw)
    if lists is None:
        return ColumnLook(raw.name, "left_out", _everywhere("empty", sample), missing=missing)
    return ColumnLook(
        raw.name,
        "list",
        evidence=_list_evidence(raw, lists, target),
        missing=missing,
        distinct=lists.num_values,
        lists=lists,
    )


def _list_evidence(raw: pl.Series, lists: ListLook, target: Target) -> Evidence:
    """Of the lists as the typed table will hold them."""
    field = MultiValuedField(
        column="t",
        form=lists.form or "separated",
        separator=lists.separator,
        weight_separator=lists.weight_separator,
    )
    data = DataSettings.model_validate({"train": "-", "label": "-", "bad_numbers": "missing"})
    values, _ = list_values(RawBlock(raw.alias("t").to_frame(), "", 0, 0), field, data, ListTally())
    return evidence_of_list(ListItems.of(values, target), values, target)


def _everywhere(what: str, sample: SpreadSample) -> str:
    return what if sample.whole else f"{what} in the {sample.frame.height:,} rows looked at"


def shown(value: object) -> str:
    """A value as a comment shows it: on one line, not too long."""
    text = str(value)
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= 40 else text[:39] + "…"


def _rare_rows(table: ValueTable, sample: SpreadSample) -> float:
    known = table.counts[table.is_present]
    scale = sample.num_rows / sample.frame.height
    return float(known[known * scale < 10].sum() / max(known.sum(), 1.0))


def _estimated_values(table: ValueTable, sample: SpreadSample) -> float:
    """At least (Chao 1984), from how many values were met once and twice."""
    known = table.counts[table.is_present]
    if sample.whole:
        return float(len(known))
    once, twice = float((known == 1).sum()), float((known == 2).sum())
    return min(len(known) + once * (once - 1) / (2 * (twice + 1)), float(sample.num_rows))


def _is_sequence(raw: pl.Series, numbers: NumberLook | None, distinct: int, sample: SpreadSample) -> bool:
    if numbers is None or distinct < 20 or distinct < 0.999 * len(raw) or numbers.odd:
        return False
    steps = np.diff(raw.cast(pl.Float64, strict=False).to_numpy())[np.diff(sample.pieces) == 0]
    return bool(max((steps > 0).mean(), (steps < 0).mean()) >= 0.999)


# ------------------------------------------------------------------------------------------------------------- leaks


def _without_leaks(columns: list[ColumnLook]) -> list[ColumnLook]:
    judged = {c.name: Judged(c.name, c.evidence) for c in columns if c.evidence is not None}
    reasons = leaks(judged)
    return [
        replace(column, nature="left_out", why=f"gives the label away: {reasons[column.name]}", is_leak=True)
        if column.name in reasons
        else column
        for column in columns
    ]


# ------------------------------------------------------------------------------------------------------------- copies

_COPY_ROWS = 30


def _without_copies(columns: list[ColumnLook], frame: pl.DataFrame) -> list[ColumnLook]:
    """Of columns that say the same in other words, such as an id and a name, the first stays."""
    alike: dict[tuple[int, bytes], list[ColumnLook]] = {}
    for column in columns:
        if column.nature in ("category", "number", "time") and len(frame) >= _COPY_ROWS:
            new_values = frame[column.name].is_first_distinct().to_numpy()
            alike.setdefault((column.distinct, _digest(new_values)), []).append(column)
    # Where all values differ, all columns are alike so far: compared pair by pair, 3,000 of them would take minutes.
    first_with: dict[tuple[int, int, bytes], str] = {}
    copies: dict[str, str] = {}
    for column in (column for group in alike.values() if len(group) > 1 for column in group):
        raw = frame[column.name]
        first = first_with.setdefault(_coding(raw, column.distinct), column.name)
        if first != column.name and _same(frame[first], raw, column.distinct):
            copies[column.name] = first
    kept = []
    for column in columns:
        copied = copies.get(column.name)
        if copied is not None:
            column = replace(column, nature="left_out", why=f"says the same as {shown(copied)}, value by value")
        kept.append(column)
    return kept


def _digest(values: NDArray[np.generic]) -> bytes:
    return hashlib.blake2b(values.tobytes(), digest_size=16).digest()


def _coding(raw: pl.Series, distinct: int) -> tuple[int, int, bytes]:
    """Equal for columns that are the same by `_same`: which rows share a value, or all texts where few do."""
    if _hardly_recurs(raw, distinct):
        return distinct, raw.null_count(), _digest(raw.cast(pl.String).hash().to_numpy())
    _, firsts, values = np.unique(raw.hash().to_numpy(), return_index=True, return_inverse=True)
    return distinct, raw.null_count(), _digest(firsts[values])


def _hardly_recurs(raw: pl.Series, distinct: int) -> bool:
    return distinct > 0.9 * (len(raw) - raw.null_count())


def _same(first: pl.Series, second: pl.Series, distinct: int) -> bool:
    """Whether each value of one goes with one value of the other; where values hardly recur, whether they are equal."""
    if first.null_count() != second.null_count():
        return False
    if _hardly_recurs(first, distinct):
        return bool(first.cast(pl.String).eq_missing(second.cast(pl.String)).all())
    pairs = pl.DataFrame({"first": first, "second": second}).unique().height
    return pairs == distinct + (first.null_count() > 0)
