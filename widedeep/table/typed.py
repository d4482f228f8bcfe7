"""Raw blocks → typed rows: each column of the typed table made from its source column."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from widedeep.errors import DataError
from widedeep.recipe.schema import DateTimeField, MultiValuedField, Recipe, TimeSettings
from widedeep.source.blocks import RawBlock
from widedeep.source.canonical import ValueKind, as_decimals, canonical_text, kind_of
from widedeep.source.coded import CodedColumn, CodedRows
from widedeep.source.forms import Forms, boolean_text, columns_in_forms
from widedeep.table.typed_columns import (
    GROUP,
    LABEL,
    TARGETS,
    TIME,
    WEIGHT,
    TypedColumn,
    typed_columns,
    weights_beside,
    weights_name,
)

if TYPE_CHECKING:
    from widedeep.table.listed import ListedValues
    from widedeep.table.lists import ListTally
    from widedeep.table.missing_values import MissingValues

_NO_FORMS = Forms()


def check_kinds(trained: Mapping[str, ValueKind], seen: Mapping[str, ValueKind], name: str) -> None:
    """Raise DataError if a column of the source `name` holds another kind of value than it did in training.

    Text may stand for any kind: in delimited text everything is text.
    """
    for column, kind in seen.items():
        before = trained.get(column, kind)
        if kind != before and "text" not in (kind, before):
            raise DataError(
                f"{name}: column {column!r} holds {kind} values where training saw {before}: "
                f"write it as {before}, or as text, or train anew on the changed table"
            )


def rows_in_forms(rows: CodedRows, forms: Forms) -> CodedRows:
    """Typed rows with the texts, and the texts in lists, of the columns in `forms` in their one writing.

    Texts that are missing there are null, and items that are missing there are left out with their weights.
    """

    def written(columns: Mapping[str, pl.Series]) -> dict[str, pl.Series]:
        in_forms, missing = columns_in_forms(columns, forms.of), forms.missing or {}
        return {
            name: texts.set(texts.is_in(missing[name]), None) if missing.get(name) else texts
            for name, texts in in_forms.items()
        }

    values = written(rows.values)
    plain = [name for name in rows.columns if name in forms.of and name not in values]
    frame = rows.frame.with_columns(written({name: rows.frame[name] for name in plain}).values())
    for name in plain:
        if forms.of[name] == "numbers":
            from widedeep.table.lists import without_null_items  # not at the top: most recipes have no lists

            frame = without_null_items(frame, name, weights_beside(name, frame.schema))
    return CodedRows(frame, values)


class Typing:
    """Turns raw blocks of one table into typed ones; counts what was bad on the way."""

    def __init__(
        self,
        recipe: Recipe,
        *,
        require_label: bool = True,
        trained_kinds: Mapping[str, ValueKind] | None = None,
        forms: Forms | None = _NO_FORMS,
        decides_forms: bool = False,
    ) -> None:
        """Without `require_label` (scoring), label, weight, time and group are left out and may be absent.

        `forms` are those that a run was trained with, None for a run from before there were any. If the rows decide
        them (`decides_forms`), some lists are given longer than `max_length`, see `ListTally.long_rows`.
        """
        self._data, self._features, self._decides_forms = recipe.data, recipe.features, decides_forms
        self.forms = forms
        self.columns = tuple(column for column in typed_columns(recipe) if require_label or column.role not in TARGETS)
        self.needed = tuple(dict.fromkeys(source for column in self.columns for source in column.sources))
        """The source columns to read."""
        self.kinds: dict[str, ValueKind] = dict(trained_kinds or {})
        """Source column → kind of its values, as in training if `trained_kinds` has it, else as first seen."""
        self.seen_kinds: dict[str, set[ValueKind]] = {}
        """Source column → all kinds of its values so far: files of one table may hold it as texts and as numbers."""
        self.bad_numbers: Counter[str] = Counter()
        """Texts, NaN and infinities counted as missing, per typed column."""
        self.listed_labels: tuple[ListedValues | None, ListedValues | None] = (None, None)
        """What the recipe lists as positive and as negative labels."""
        if require_label:
            from widedeep.table.label import listed_labels  # not at the top: scoring does without

            self.listed_labels = listed_labels(recipe.data.label)
        self._missing: Mapping[str, MissingValues] = {}
        """Side table (`""`: the log) → the values that its format lists as missing."""
        if forms is not None and forms.missing is not None:
            from widedeep.table.missing_values import missing_values  # not at the top: few recipes list values

            self._missing = missing_values(recipe.data)
        self._lock = threading.Lock()
        """Held while the counters change."""

    @cached_property
    def lists(self) -> "ListTally":
        """What was left out of lists."""
        from widedeep.table.lists import ListTally  # not at the top: most recipes have no lists

        return ListTally()

    def apply(self, block: RawBlock) -> pl.DataFrame:
        """The block's rows, typed; same order. Raises DataError with the row's place for a value that is refused."""
        self.note_kinds(block)
        return rows_in_forms(self.convert(block), self.forms or _NO_FORMS).decoded()

    def convert(self, block: RawBlock) -> CodedRows:
        """Like `apply`, for a block whose kinds are noted. Columns that came as codes stay codes.

        Several threads may convert blocks at the same time.
        """
        if self.forms is not None:
            block = replace(block, frame=as_decimals(block.frame))
        if self._missing:
            from widedeep.table.missing_values import without_missing

            block = without_missing(block, self.columns, self._data, self._missing)
        series = dict(self._made(block))
        plain = [column for column in self.columns if column.name not in series]
        coded = [column for column in plain if column.column in block.coded]
        values = {column.name: _typed_values(block.coded[column.column], column) for column in coded}
        codes = [block.coded[column.column].codes.alias(column.name) for column in coded]
        dtypes = block.frame.schema  # made anew, for all columns, each time that it is asked for
        features = block.frame.select(
            self._feature(block, column, dtypes[column.column]) for column in plain if column.column not in block.coded
        )
        frame = pl.DataFrame([*series.values(), *codes, *features]).select(column.name for column in self.columns)
        typed = CodedRows(frame, values)
        if self.forms is not None:
            typed = self._with_booleans(block, typed)
        for column in self.columns:
            if column.role == "number":
                self._check_numbers(block, column, typed)
        return typed

    def _with_booleans(self, block: RawBlock, typed: CodedRows) -> CodedRows:
        """The typed rows with the texts `true` and `false`, in any case, as the numbers that booleans are."""
        values, columns = dict(typed.values), []
        for column in self.columns:
            coded = block.coded.get(column.column)
            raw = coded.values if coded is not None else block.frame.get_column(column.column, default=None)
            if column.role != "number" or raw is None or raw.dtype != pl.String:
                continue
            numbers = values.get(column.name, typed.frame[column.name])
            if numbers.null_count() == raw.null_count():
                continue
            flags = raw.to_frame("text").select(boolean_text(pl.col("text")) == "true").to_series().cast(pl.Float64)
            numbers = pl.select(pl.coalesce(numbers, flags)).to_series().alias(column.name)
            if coded is not None:
                values[column.name] = numbers
            else:
                columns.append(numbers)
        return CodedRows(typed.frame.with_columns(columns), values)

    def note_kinds(self, block: RawBlock) -> dict[str, ValueKind]:
        """Note the kinds of the columns' values, blocks in order. Raises DataError if a kind has changed."""
        seen: dict[str, ValueKind] = {}
        dtypes = block.frame.schema
        for column in self.needed:
            try:
                kind = "text" if column in block.coded else kind_of(dtypes[column])
            except DataError as error:
                raise DataError(f"{block.source_name}: column {column!r}: {error}") from None
            if kind is not None:
                seen[column] = kind
        self.note_seen(seen, block.source_name)
        return seen

    def note_seen(self, seen: Mapping[str, ValueKind], name: str) -> None:
        """Note the kinds of values that some rows of the source `name` have, as `note_kinds` does."""
        check_kinds(self.kinds, seen, name)
        for column, kind in seen.items():
            self.seen_kinds.setdefault(column, set()).add(kind)
        self.kinds = {**seen, **self.kinds}

    def accepts(self, kinds: Mapping[str, ValueKind | None]) -> bool:
        """Note the kinds of some rows' values, None for a column without any; whether `note_kinds` would take them."""
        for column, kind in kinds.items():
            before = self.kinds.get(column)
            if kind is not None and before is not None and kind != before and "text" not in (kind, before):
                return False
        self.kinds |= {column: kind for column, kind in kinds.items() if kind is not None and column not in self.kinds}
        return True

    @property
    def lists_missing(self) -> bool:
        """Whether numbers, booleans or times are among the missing values that the recipe lists."""
        return bool(self._missing)

    def _targets(self, block: RawBlock) -> Iterator[tuple[str, pl.Series]]:
        targets = [column for column in self.columns if column.role in TARGETS]
        if not targets:
            return
        from widedeep.table.label import group_values, label_values, weight_values

        for column in targets:
            match column.role:
                case "label":
                    yield LABEL, label_values(block, self._data.label, *self.listed_labels).alias(LABEL)
                case "weight":
                    yield WEIGHT, weight_values(block, column.column).alias(WEIGHT)
                case "time":
                    from widedeep.table.times import time_values  # not at the top: new rows seldom need times

                    assert self._data.time is not None
                    yield TIME, time_values(block, self._data.time).alias(TIME)
                case "group":
                    yield GROUP, group_values(block, column.column).alias(GROUP)

    def _made(self, block: RawBlock) -> Iterator[tuple[str, pl.Series]]:
        """The typed columns that take more than an expression over their source column."""
        yield from self._targets(block)
        moments: dict[tuple[str, str | None], pl.Series] = {}
        for column in self.columns:
            match column.role:
                case "values":
                    from widedeep.table.lists import ListTally, list_values  # not at the top: see `lists`

                    assert isinstance(column.field, MultiValuedField)
                    tally = ListTally()
                    form = None if self.forms is None else self.forms.of.get(column.name)
                    are_numbers = None if self._decides_forms else form == "numbers"
                    values, weights = list_values(
                        block, column.field, self._data, tally, self._missing, are_numbers=are_numbers
                    )
                    with self._lock:
                        self.lists.add(tally)
                    yield column.name, values.alias(column.name)
                    if weights is not None:
                        name = weights_name(column.field, self._features)
                        yield name, weights.alias(name)
                case "part":
                    from widedeep.table.times import part_of  # not at the top: new rows seldom need times

                    assert column.part is not None
                    moment = self._moment(block, column, moments)
                    yield (
                        column.name,
                        moment.to_frame("m").select(part_of(pl.col("m"), column.part)).to_series().alias(column.name),
                    )
                case "age":
                    assert isinstance(column.field, DateTimeField)
                    assert column.field.since is not None
                    since = self._moment(block, column, moments, column.field.since)
                    yield column.name, ((self._moment(block, column, moments) - since) / 86400.0).alias(column.name)

    def _moment(
        self,
        block: RawBlock,
        column: TypedColumn,
        known: dict[tuple[str, str | None], pl.Series],
        settings: TimeSettings | None = None,
    ) -> pl.Series:
        """The column's time in seconds (or the time that `settings` names), read once per block."""
        from widedeep.table.times import moment_values  # not at the top: new rows seldom need times

        assert isinstance(column.field, DateTimeField)
        where = "its `format` under features.date_time"
        if settings is None:
            settings = TimeSettings(column=column.column, format=column.field.format)
        key = (settings.column, settings.format)
        if key not in known:
            bad_is_missing = self._data.bad_numbers == "missing"
            known[key], bad = moment_values(block, settings, bad_is_missing=bad_is_missing, where=where)
            with self._lock:
                self.bad_numbers[column.name] += bad
        return known[key]

    def _feature(self, block: RawBlock, column: TypedColumn, dtype: pl.DataType) -> pl.Expr:
        if column.role == "text":
            try:
                return canonical_text(pl.col(column.column), dtype).alias(column.name)
            except DataError as error:
                raise DataError(f"{block.source_name}: column {column.column!r}: {error}") from None
        return finite_number(column.column, dtype, block.source_name).alias(column.name)

    def _check_numbers(self, block: RawBlock, column: TypedColumn, typed: CodedRows) -> None:
        coded = block.coded.get(column.column)
        raw = block.frame[column.column] if coded is None else coded.values
        numbers = typed.values.get(column.name, typed.frame[column.name])
        if numbers.null_count() == raw.null_count():
            return
        if coded is not None:
            raw, numbers = coded.of_rows(), typed.column(column.name)
        bad = numbers.is_null() & raw.is_not_null()
        if raw.dtype == pl.String:
            bad &= (raw != "").fill_null(False)
        with self._lock:
            self.bad_numbers[column.name] += int(bad.sum())
        if bad.any() and self._data.bad_numbers == "error":
            row = bad.arg_true()[0]
            raise DataError(
                f"{block.place_of(row)}: column {column.column!r}: {raw[row]!r} is not a finite number; "
                "list it in data.format.missing, or set data.bad_numbers: missing"
            )


def _typed_values(texts: CodedColumn, column: TypedColumn) -> pl.Series:
    """The typed values of a coded column's texts: the texts themselves, or numbers."""
    if column.role == "text":
        return texts.values
    values = texts.values.to_frame(column.column)
    return values.select(finite_number(column.column, pl.String(), "")).to_series()


def finite_number(column: str, dtype: pl.DataType, source_name: str) -> pl.Expr:
    """The column as Float64, null where it holds no finite number. Raises DataError for dates, times and lists."""
    kind = kind_of(dtype)
    if kind in ("temporal", "list"):
        use = "features.multi_valued" if kind == "list" else "a categorical field, features.date_time or data.time"
        raise DataError(f"{source_name}: column {column!r} holds {dtype} values, not numbers; use it as {use}")
    number = pl.col(column).cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)
