"""Equal values with equal texts: one writing for the numbers, booleans, or dates and times of a column of texts.

A CSV file says `True`, `4.0` or `2024-01-05 00:00:00` where the Parquet file of the same rows holds a boolean, a number
or a moment, whose canonical texts are `true`, `4` and `2024-01-05`. Which form a column has is decided by all its texts
in the train rows and kept: zip codes `007` and `7` stay two values, because a number has no leading zeros.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import polars as pl

from widedeep.source.canonical import ValueKind, canonical_text

Form = Literal["number", "boolean", "time"]
ColumnForm = Literal[Form, "numbers"]
"""`numbers` are lists of numbers, in which a NaN is no item. Runs from before there was this form have `number` for
such lists, and score a NaN of a text as the word that it was to them."""
FORMS: tuple[Form, ...] = ("number", "boolean", "time")
FORM_OF_KIND: Mapping[ValueKind, Form] = {"number": "number", "boolean": "boolean", "temporal": "time"}
"""Kind of values → the form that their canonical texts have; texts and lists have any."""
NAN = "nan"


@dataclass(frozen=True)
class Forms:
    """How the columns of a typed table are written."""

    of: Mapping[str, ColumnForm] = field(default_factory=dict)
    """Typed column → the form of its texts; a column of any other texts is not in it."""
    missing: Mapping[str, Sequence[str]] | None = field(default_factory=dict)
    """Typed column → texts in its form that are missing values, because the recipe lists these. None in a run from
    before a listed number stood for more than its own text."""


_NUMBER = r"^-?(?:0|[1-9]\d*)?(?:\.\d*)?(?:[eE][+-]?\d{1,4})?$"
_PRINTED = r"^(?:[^eE]*|-?\d(?:\.\d*)?[eE].*)$"
"""With an exponent, programs print one digit before the point: `10e4` is an id of hexadecimal digits, not 100000."""
_ANY_NUMBER = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?$"
"""With leading zeros and a plus: what a number in a recipe may be compared with."""
_INFINITE = r"^[+-]?inf(?:inity)?$"
_INTEGRAL = r"^(-?\d+)(?:\.0*)?$"
WRITTEN: dict[Form, str] = {
    "number": r"^(?:0|-?[1-9]\d*)$",
    "boolean": r"^(?:true|false)$",
    "time": r"^\d{4}-\d{2}-\d{2}$",
}
"""Texts that stand in their one writing for certain."""
_EXACT_DIGITS = 17
"""Decimal digits up to which the shortest decimal of a float64 is the number that was written."""
_SHORT = 1 << 10
"""Texts of a column up to which a query over them costs more for itself than for them."""
_TIME = (
    r"^(?:(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(Z|[+-]\d{2}(?::?\d{2})?)?)?"
    r"|(\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?)$"
)


# ---------------------------------------------------------------------------------------------------------- one writing


def in_form(text: pl.Expr, form: Form) -> pl.Expr:
    """Texts of a column of that form in their one writing; a text that is no such value stays as it is.

    Among numbers a NaN is missing, as it is where it is stored as a number.
    """
    match form:
        case "number":
            lower = text.str.to_lowercase()
            infinite = pl.when(text.str.contains("^-")).then(pl.lit("-inf")).otherwise(pl.lit("inf"))
            return (
                pl.when(_is_number(text))
                .then(number_text(text))
                .when(lower.str.contains(_INFINITE))
                .then(infinite)
                .when(lower != NAN)
                .then(text)
            )
        case "boolean":
            return pl.coalesce(boolean_text(text), text)
        case "time":
            return pl.coalesce(_time_text(text), text)


def number_text(text: pl.Expr) -> pl.Expr:
    """The canonical text of the number that a text is (see `canonical_text`), null for any other text.

    Integers are kept to the last digit, whatever their length.
    """
    plain = pl.when(text.str.contains(_ANY_NUMBER)).then(text.str.strip_prefix("+"))
    integer = plain.str.extract(_INTEGRAL, 1).str.replace(r"^(-?)0+(\d)", "${1}${2}").replace("-0", "0")
    number = plain.cast(pl.Float64, strict=False)
    as_float = pl.when(number.is_finite()).then(canonical_text(number, pl.Float64()))
    digits = plain.str.replace(r"[eE].*$", "").str.replace(r"^-?0*\.?0*", "").str.count_matches(r"\d")
    is_float = (digits <= _EXACT_DIGITS) | plain.str.contains("[eE]")
    exact = pl.when(is_float).then(as_float).otherwise(plain.str.strip_chars_end("0"))
    return pl.coalesce(integer, exact, plain)


def boolean_text(text: pl.Expr) -> pl.Expr:
    """`true` or `false` for a text that is one of them in any case, null for any other."""
    lower = text.str.to_lowercase()
    return pl.when(lower.is_in(["true", "false"])).then(lower)


def value_text(text: pl.Expr) -> pl.Expr:
    """The text of the number, boolean, date or time that a text is, whatever its column holds; else the text itself."""
    return pl.coalesce(number_text(text), boolean_text(text), _time_text(text), text)


def is_of(text: pl.Expr, form: Form) -> pl.Expr:
    """Whether a text may stand in a column of that form."""
    match form:
        case "number":
            lower = text.str.to_lowercase()
            return (_is_number(text) & text.str.contains(_PRINTED)) | lower.str.contains(_INFINITE) | (lower == NAN)
        case "boolean":
            return boolean_text(text).is_not_null()
        case "time":
            return text.str.contains(_TIME)


def _is_number(text: pl.Expr) -> pl.Expr:
    return text.str.contains(_NUMBER) & text.str.contains(r"^-?\.?\d")


def _time_text(text: pl.Expr) -> pl.Expr:
    """A midnight without a zone is its date, whether or not the text says so; moments with an offset are in UTC."""
    parts = text.str.extract_groups(_TIME).struct
    date, minute, second, fraction, zone = (parts.field(str(number)) for number in range(1, 6))
    clock = pl.concat_str(minute, pl.lit(":"), second.fill_null("00"))
    naive = (
        pl.when(minute.is_null() | ((clock == "00:00:00") & (_fraction(fraction) == "")))
        .then(date)
        .otherwise(pl.concat_str(date, pl.lit("T"), clock, _fraction(fraction)))
    )
    offset = pl.when(zone == "Z").then(pl.lit("+0000")).otherwise(zone.str.replace(":", "").str.pad_end(5, "0"))
    # The fraction is the same in UTC. It is kept apart, because 64 bits of nanoseconds reach from 1677 to 2262 only.
    whole = pl.concat_str(date, pl.lit("T"), clock, offset)
    instant = whole.str.to_datetime("%Y-%m-%dT%H:%M:%S%z", time_unit="us", time_zone="UTC", strict=False)
    in_utc = pl.concat_str(instant.dt.strftime("%Y-%m-%dT%H:%M:%S"), _fraction(fraction), pl.lit("Z"))
    of_day = pl.concat_str(parts.field("6"), _fraction(parts.field("7")))
    return pl.when(zone.is_not_null()).then(in_utc).otherwise(pl.coalesce(naive, of_day))


def _fraction(digits: pl.Expr) -> pl.Expr:
    """`.ffffff`, nine digits where nanoseconds count, nothing where all are 0."""
    full = digits.fill_null("").str.pad_end(9, "0")
    short = pl.when(full.str.ends_with("000")).then(full.str.head(6)).otherwise(full)
    return pl.when(full == "000000000").then(pl.lit("")).otherwise(pl.concat_str(pl.lit("."), short))


def series_in_form(texts: pl.Series, form: ColumnForm | None) -> pl.Series:
    """A column's texts, or its lists of them, in their one writing; None leaves them as they are.

    A NaN of lists in the form `numbers` is a null item.
    """
    if form is None:
        return texts
    if form == "numbers":
        return texts.list.eval(in_form(pl.element(), "number"))
    if isinstance(texts.dtype, pl.List):
        return texts.list.eval(pl.coalesce(in_form(pl.element(), form), pl.element()))
    # Few texts are written in another way: finding them takes a tenth of the time of rewriting all.
    other = texts.to_frame("text").select(~pl.col("text").str.contains(WRITTEN[form])).to_series().arg_true()
    if not len(other):
        return texts
    rewritten = texts[other].to_frame("text").select(in_form(pl.col("text"), form)).to_series()
    return texts.scatter(other, rewritten) if len(other) < len(texts) else rewritten.alias(texts.name)


def columns_in_forms(columns: Mapping[str, pl.Series], of: Mapping[str, ColumnForm]) -> dict[str, pl.Series]:
    """`series_in_form` for each column. Short ones of a form are rewritten together: a query takes longer than they."""
    together: dict[ColumnForm, list[str]] = {}
    written: dict[str, pl.Series] = {}
    for name, texts in columns.items():
        form = of.get(name)
        if form is not None and texts.dtype == pl.String and len(texts) <= _SHORT:
            together.setdefault(form, []).append(name)
        else:
            written[name] = series_in_form(texts, form)
    for form, names in together.items():
        joined = series_in_form(pl.concat([columns[name] for name in names]).rechunk(), form)
        start = 0
        for name in names:
            written[name] = joined.slice(start, len(columns[name])).alias(columns[name].name)
            start += len(columns[name])
    return {name: written[name] for name in columns}


# ------------------------------------------------------------------------------------------------------------- deciding


class FormTally:
    """What all texts of a column have in common; blocks may come in any order, and in any cut."""

    def __init__(self) -> None:
        self._possible: set[Form] = {"number", "boolean", "time"}
        self._decimals: set[int] = set()
        """How many digits stand behind the point, of the numbers that have one."""
        self._has_padding = False
        """Whether a fraction ends in a zero that is not all of it, such as 1.10 and 5.00."""
        self._any = False
        self._has_numbers = False
        """Whether a text is a finite number: `inf` and `nan` stand among such, and are words alone."""

    def add(self, texts: pl.Series) -> None:
        """Note the texts of some rows, or each different one once; of lists, the texts in them."""
        if not self._possible:
            return
        if isinstance(texts.dtype, pl.List):
            texts = texts.explode()
        texts = texts.drop_nulls()
        if not len(texts):
            return
        if texts.str.contains(WRITTEN["number"]).all():  # ids in digits, which most numbers among texts are
            self.add_kind("number")
            return
        # Where the recipe's missing texts lack the empty one it is a value, and yet how a number is left out.
        texts = texts.filter(texts != "")
        if not len(texts):
            return
        self._any = True
        # Most columns of other texts show it in their first rows.
        for part in (texts.head(100), texts) if len(texts) > 100 else (texts,):
            self._possible &= _forms_of_all(part)
        if "number" in self._possible:
            self._has_numbers |= bool(texts.to_frame("text").select(_is_number(pl.col("text")).any()).item())
            self._note_decimals(texts)

    def add_kind(self, kind: Form) -> None:
        """Note rows whose values were of that kind, not texts: their canonical texts have its form."""
        self._any = True
        self._possible &= {kind}
        self._has_numbers |= kind == "number"

    def merge(self, other: "FormTally") -> None:
        """Note what `other` has noted, of other rows."""
        self._possible &= other._possible
        self._decimals |= other._decimals
        self._has_padding |= other._has_padding
        self._any |= other._any
        self._has_numbers |= other._has_numbers

    @property
    def form(self) -> Form | None:
        """The form of all texts so far; None where there is none, or no text.

        `1.10` and `1.9` are versions rather than numbers: padded fractions are of one length where they are prices.
        """
        if not self._any:
            return None
        if "number" in self._possible and (not self._has_numbers or (self._has_padding and len(self._decimals) > 1)):
            return None
        return next((form for form in ("number", "boolean", "time") if form in self._possible), None)

    @property
    def is_undecided(self) -> bool:
        """Whether more texts may say something of the form."""
        return bool(self._possible)

    def add_word(self) -> None:
        """Note a text that may stand in a column of no form."""
        self._any, self._possible = True, set()

    def _note_decimals(self, texts: pl.Series) -> None:
        fractions = texts.to_frame("text").select(pl.col("text").str.extract(r"\.(\d+)$", 1)).to_series().drop_nulls()
        # A float that is integral is written 4.0 by some and 4 by others: it says nothing of a column's decimals.
        fractions = fractions.filter(fractions != "0")
        if len(fractions):
            self._has_padding |= bool(fractions.str.ends_with("0").any())
            self._decimals |= set(fractions.str.len_bytes().unique().to_list())


@cache
def _is_of_each() -> dict[Form, pl.Expr]:
    return {form: is_of(pl.col("text"), form).alias(form) for form in FORMS}


def _forms_of_all(texts: pl.Series) -> set[Form]:
    """The forms that all of the texts may have."""
    are_all = texts.to_frame("text").select(is_form.all() for is_form in _is_of_each().values()).row(0)
    return {form for form, are_of_it in zip(FORMS, are_all, strict=True) if are_of_it}


def add_columns(columns: Iterable[tuple[FormTally, pl.Series]]) -> None:
    """`FormTally.add` for each column of a block.

    A text of each is looked at first, all in one query: it tells most columns, of which a table may have thousands.
    """
    undecided = [(tally, texts) for tally, texts in columns if tally.is_undecided]
    firsts = pl.Series("text", [_first_text(texts) for _, texts in undecided], dtype=pl.String)
    are_words = firsts.to_frame().select(~pl.any_horizontal(_is_of_each().values())).to_series().to_list()
    for (tally, texts), is_word in zip(undecided, are_words, strict=True):
        if is_word:  # None where there is no text among the first values
            tally.add_word()
        else:
            tally.add(texts)


def _first_text(texts: pl.Series) -> str | None:
    """A text that stands among the first two values: the values of a coded column begin with null. An empty one says
    nothing, see `FormTally.add`."""
    if texts.dtype != pl.String:
        return None
    return next((text for text in map(texts.__getitem__, range(min(len(texts), 2))) if text), None)
