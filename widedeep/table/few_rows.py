"""Types few raw rows without a Polars query: texts, numbers, booleans and lists of them, value by value.

Whatever is seldom (dates, weighted lists, texts that only a query can read) goes through `Typing` as ever; what either
makes of a value is the same (a contract test holds both).
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any

import polars as pl

from widedeep.errors import DataError
from widedeep.memo import Memo
from widedeep.recipe.schema import FormatSettings, MultiValuedField, Recipe
from widedeep.source.blocks import BLANKS, RawBlock, clean_texts
from widedeep.source.canonical import ValueKind, canonical_scalar
from widedeep.source.forms import WRITTEN, ColumnForm, Form, series_in_form
from widedeep.source.json_values import column_of
from widedeep.table.typed import Typing, rows_in_forms
from widedeep.table.typed_columns import TypedColumn

_KIND_OF_TYPE: list[tuple[set[type], ValueKind | None]] = [
    (set(), None),
    ({str}, "text"),
    ({bool}, "boolean"),
    ({int}, "number"),
    ({float}, "number"),
    ({int, float}, "number"),
    ({list}, "list"),
]
_KIND_OF_TYPES = {frozenset(types | none): kind for types, kind in _KIND_OF_TYPE for none in (set(), {type(None)})}
"""All types of a column's values → their kind; what is not there is of several kinds, or of none."""
_LARGEST_INTEGER = 1 << 63
_EXACT = 2**53
_DECIMAL = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?")
"""Numbers that Python and Polars read alike for certain."""
_IN_ONE_WRITING = {form: re.compile(pattern, re.ASCII) for form, pattern in WRITTEN.items()}

RawValues = Mapping[str, Sequence[Any]]
"""Source column → a value for each row: str, int, float, bool, a list of these, or None."""


class _Seldom(Exception):
    """A value that is left to `Typing`."""


class RowTyping:
    """Types few rows at a time, as a `Typing` does that scores new rows."""

    def __init__(self, typing: Typing, recipe: Recipe) -> None:
        """`typing` is the one that the stream's other rows go through: both share the kinds of its columns."""
        self._typing, self._settings = typing, recipe.data.format
        self._query = copy(typing)
        self._query.columns = tuple(column for column in typing.columns if not _is_plain(column))
        self._query.needed = tuple(dict.fromkeys(source for column in self._query.columns for source in column.sources))
        self._plain = [column for column in typing.columns if _is_plain(column)]
        forms = {} if typing.forms is None else typing.forms.of
        self._texts = {c.name: _Texts(recipe.data.format, forms.get(c.name), c.field) for c in self._plain}

    @classmethod
    def of(cls, typing: Typing, recipe: Recipe) -> "RowTyping | None":
        """None where the recipe lists numbers as missing, and for runs from before there were forms."""
        return None if typing.forms is None or typing.lists_missing else cls(typing, recipe)

    def accepts(self, kinds: Mapping[str, ValueKind | None]) -> bool:
        """Whether training saw these kinds in the columns."""
        return self._typing.accepts(kinds)

    def typed(self, raw: RawValues, num_rows: int) -> dict[str, list[Any]] | None:
        """Typed column → values, float, str or list of str, or None; None if `Typing.apply` has to read the rows.

        Then it is to read them whole, and to say what is wrong with them if something is.
        """
        try:
            kinds = {column: _kind_of(raw[column]) for column in self._typing.needed}
            if not self._typing.accepts(kinds):
                return None
            typed = {column.name: self._values(column, raw[column.column], kinds) for column in self._plain}
            if self._query.columns:
                typed |= self._by_query(raw, num_rows)
        except (_Seldom, UnicodeEncodeError, DataError):
            return None
        return typed

    def _values(self, column: TypedColumn, values: Sequence[Any], kinds: Mapping[str, ValueKind | None]) -> list[Any]:
        texts, kind = self._texts[column.name], kinds[column.column]
        if column.role == "number":
            if kind == "text":
                return list(map(texts.numbers.__getitem__, values))
            if kind == "list":
                raise _Seldom
            return [None if value is None else float(value) for value in values]
        if column.role == "values":
            assert isinstance(column.field, MultiValuedField)
            return _lists(column.field, values, kind, texts)
        if kind == "text":
            return list(map(texts.cleaned.__getitem__, values))
        if kind == "list":
            raise _Seldom
        if kind == "number" and float not in set(map(type, values)):
            return list(map(texts.integers.__getitem__, values))
        return [texts.written[_text_of(value)] for value in values]

    def _by_query(self, raw: RawValues, num_rows: int) -> dict[str, list[Any]]:
        frame = pl.DataFrame([column_of(name, list(raw[name])) for name in self._query.needed])
        block = RawBlock(clean_texts(frame, self._settings), "", 0, 0)
        assert self._query.forms is not None
        typed = rows_in_forms(self._query.convert(block), self._query.forms).decoded()
        assert typed.height == num_rows
        return typed.to_dict(as_series=False)


def _lists(settings: MultiValuedField, values: Sequence[Any], kind: ValueKind | None, texts: "_Texts") -> list[Any]:
    if kind is None:
        return list(values)
    if kind == "text" and settings.separator is not None:
        return list(map(texts.lists.__getitem__, values))
    if kind != "list":
        raise _Seldom
    _refuse_mixed_items(values)
    return [None if items is None else texts.listed(map(_text_of, items)) for items in values]


class _Texts:
    """What becomes of the texts of one column, each different one worked out once."""

    def __init__(self, settings: FormatSettings, form: ColumnForm | None, field: object) -> None:
        self._field = field if isinstance(field, MultiValuedField) else None
        self._missing, self._trim = frozenset(settings.missing), settings.trim
        self._form: Form | None = "number" if form == "numbers" else form
        self._are_numbers = form == "numbers"
        self.written: Memo[str | None, str | None] = Memo(self._written)
        """Text → the text in its column's one writing."""
        self.cleaned: Memo[str | None, str | None] = Memo(lambda text: self.written[self._trimmed(text)])
        """Text as it was read → the typed text."""
        self._items: Memo[str | None, str | None] = Memo(self._item)
        self.lists: Memo[str | None, list[str] | None] = Memo(self._split)
        """Text of a list as it was read → the typed list, which is nobody's to change."""
        self.integers: Memo[int | None, str | None] = Memo(lambda number: self.written[_text_of(number)])
        """Integer → the typed text. No boolean may be asked for: it would find the text of 0 or 1."""
        self.numbers: Memo[str | None, float | None] = Memo(self._number)
        """Text as it was read → the number."""

    def _trimmed(self, text: str | None) -> str | None:
        if text is None:
            return None
        text.encode()  # half a character is refused
        text = text.strip(BLANKS) if self._trim else text
        return None if text in self._missing else text

    def listed(self, items: Iterable[str | None]) -> list[str] | None:
        """The typed list of a row's items; None where none is left."""
        kept = [item for item in map(self._items.__getitem__, items) if item is not None]
        most = None if self._field is None else self._field.max_length
        return kept[:most] or None

    def _split(self, text: str | None) -> list[str] | None:
        text = self._trimmed(text)
        assert self._field is not None
        return None if text is None else self.listed(text.split(self._field.separator))

    def _item(self, text: str | None) -> str | None:
        item = self._trimmed(text) or None
        # A NaN is no number. To runs from before lists had the form `numbers` it is an item as it stands.
        return self.written[item] if self._are_numbers else self.written[item] or item

    def _written(self, text: str | None) -> str | None:
        if text is None or self._form is None or _IN_ONE_WRITING[self._form].fullmatch(text):
            return text
        written: str | None = series_in_form(pl.Series([text]), self._form).item()
        return written

    def _number(self, text: str | None) -> float | None:
        text = self._trimmed(text)
        if text is None:
            return None
        if not _DECIMAL.fullmatch(text):
            raise _Seldom
        return float(text)


_FRACTIONS: Memo[float, str] = Memo(canonical_scalar)


def _text_of(value: Any) -> str | None:
    """The canonical text of a plain value."""
    if value is None or type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is float and (not value.is_integer() or abs(value) > _EXACT):
        return _FRACTIONS[value]
    return str(int(value))


def _is_plain(column: TypedColumn) -> bool:
    """Whether each value of the column is read by itself, from one value of a plain type."""
    if column.role == "values":
        assert isinstance(column.field, MultiValuedField)
        return column.field.weight_separator is None and column.field.form == "separated"
    return column.role in ("number", "text")


def _kind_of(values: Sequence[Any]) -> ValueKind | None:
    """The kind of all values of a column; None where all are missing.

    Raises _Seldom for values of several kinds, numbers that are not finite, and integers that are not exact.
    """
    types = frozenset(map(type, values))
    try:
        kind = _KIND_OF_TYPES[types]
    except KeyError:
        raise _Seldom from None
    if kind == "number":
        _refuse_odd_numbers(values, types)
    return kind


def _refuse_odd_numbers(values: Sequence[Any], types: frozenset[type]) -> None:
    most = math.inf if int not in types else _EXACT if float in types else _LARGEST_INTEGER - 1
    known = list(filter(None, values))  # without zeros too
    try:
        # A sum is finite only if all numbers are; large ones whose sum is not are seldom.
        if math.isfinite(sum(known)) and (
            most == math.inf or -most <= min(known, default=0) <= max(known, default=0) <= most
        ):
            return
    except OverflowError:
        pass
    raise _Seldom


def _refuse_mixed_items(lists: Sequence[Any]) -> None:
    """Raise _Seldom unless the items of all lists are of one plain kind."""
    if _kind_of([item for items in lists if items for item in items]) == "list":
        raise _Seldom
