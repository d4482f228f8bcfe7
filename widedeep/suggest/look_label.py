"""What a label column holds: two classes, and which is the positive one, or a number to predict."""

import re
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import DataError, UsageError
from widedeep.recipe.data import LabelKind
from widedeep.recipe.schema import Scalar
from widedeep.source.canonical import canonical_text
from widedeep.source.forms import boolean_text, number_text
from widedeep.suggest.look_numbers import why_no_number

_PAIRS = {"y": "n", "t": "f", "p": "n", "+": "-", "j": "n", "s": "n", "o": "n"}
"""Single letters mean yes and no only beside each other: `F` beside `M` is no false."""
_YES = re.compile(
    r"yes|true|1|\+1|pos|positive|click(ed)?|conver(t|ted|sion)|buy|bought|purchased?|churn(ed)?|win|won|success|"
    r"defaulted|fraud|spam|lead|open(ed)?|accept(ed)?|install(ed)?|present|on|ja|oui|s[ií]|sim|>.*|≥.*"
)
_NO = re.compile(
    r"no|false|0|-1|neg|negative|none|(no|non|not)[ _-].*|noclick|nonclick|unclicked|lost|fail(ed|ure)?|ham|absent|"
    r"ignored?|reject(ed)?|skip(ped)?|off|nein|nee|non|n[aã]o|<.*|≤.*"
)
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


@dataclass(frozen=True)
class LabelLook:
    """The label of the rows looked at."""

    column: str
    kind: LabelKind
    values: NDArray[np.float64]
    """0 and 1, or the numbers."""
    positive: tuple[Scalar, ...] | None
    """What a recipe must say; None where 0/1 and true/false do."""
    negative: tuple[Scalar, ...] | None
    note: str
    """What a reader should know of the choice."""

    @property
    def positive_share(self) -> float:
        """Share of positives, or the mean."""
        return float(self.values.mean())


def look_at_label(column: pl.Series, file_name: str, *, whole: bool) -> LabelLook:
    """What the label is. Raises DataError where it is missing or constant, UsageError where it is no label at all."""
    name = column.name
    where = f"{file_name}: column {name!r}"
    if column.null_count():
        row = int(column.is_null().arg_true()[0]) + 1
        at = f", first in row {row:,}" if whole else ""
        raise DataError(
            f"{where}: the label is missing in {column.null_count():,} of the {len(column):,} rows looked at{at}; "
            "every row needs one: fill it or drop the rows"
        )
    try:
        texts = column.to_frame("t").select(canonical_text(pl.col("t"), column.dtype)).to_series()
    except DataError as error:
        raise UsageError(f"{where} cannot be a label: {error}") from None
    if column.dtype.is_temporal() or column.dtype.is_nested():
        raise UsageError(f"{where} holds {column.dtype} values, which cannot be a label: name another column")
    if column.dtype == pl.String:
        texts = _as_values(texts)
    counts = texts.value_counts(sort=True)
    values = counts["t"].to_list()
    if len(values) == 1:
        raise DataError(
            f"{where}: the label is {values[0]!r} in all {len(column):,} rows looked at: there is nothing to learn"
        )
    numbers = texts.cast(pl.Float64, strict=False)
    known = {value.lower() for value in values}
    if known <= {"0", "1", "true", "false"} and len({value in ("1", "true") for value in known}) == 2:
        return _binary(name, texts, tuple(v for v in values if v.lower() in ("1", "true")), None, "")
    if len(values) == 2 or len({_spelling(value) for value in values}) == 2:
        return _two_classes(name, texts, values)
    if bool(numbers.is_finite().fill_null(False).all()):
        few = f": {', '.join(sorted(values, key=float)[:12])}" if len(values) <= 12 else ""
        return LabelLook(name, "regression", numbers.to_numpy(), None, None, f"{len(values):,} values{few}")
    if why := why_no_number(texts):
        raise UsageError(f"{where}: the label holds {why}")
    shown = ", ".join(repr(value) for value in values[:6]) + (", …" if len(values) > 6 else "")
    raise UsageError(
        f"{where} has {len(values):,} values ({shown}): a label has two, or is a number everywhere; name another "
        "column, or make a column with two values of it"
    )


def _as_values(texts: pl.Series) -> pl.Series:
    """The texts in their one writing where all are numbers or booleans: `1.0` is 1, and `True` true."""
    plain = pl.coalesce(number_text(pl.col("t")), boolean_text(pl.col("t")))
    values = texts.unique().to_frame("t").select("t", value=plain)
    return texts if values["value"].null_count() else texts.replace(values["t"], values["value"])


def _spelling(value: str) -> str:
    """What is left when letter case, blanks and a full stop behind make no difference."""
    return value.lower().strip(" .")


def _two_classes(name: str, texts: pl.Series, values: list[str]) -> LabelLook:
    """`values` come with the more frequent first."""
    classes = list(dict.fromkeys(_spelling(value) for value in values))
    if len(classes) == 1:  # `a` and `A`
        positive, why = values[-1:], "the rarer of the two"
    else:
        chosen, why = _positive_class(classes)
        positive = [value for value in values if _spelling(value) == chosen]
    return _binary(name, texts, tuple(positive), tuple(value for value in values if value not in positive), why)


def _positive_class(classes: list[str]) -> tuple[str, str]:
    numbers = [_number(_with_point(value)) for value in classes]
    if numbers[0] is not None and numbers[1] is not None:
        return classes[int(numbers[1] > numbers[0])], "the larger of the two"
    for first, second in (classes, classes[::-1]):
        if _PAIRS.get(first) == second:
            return first, "reads as a yes"
    yes = [value for value in classes if _YES.fullmatch(value)]
    no = [value for value in classes if _NO.fullmatch(value) and value not in yes]
    if len(yes) == 1:
        return yes[0], "reads as a yes"
    if len(no) == 1:
        return next(value for value in classes if value != no[0]), "the other reads as a no"
    return classes[-1], "the rarer of the two"


def _with_point(text: str) -> str:
    """A number with a decimal comma, such as `1,0`, with a point in its place; any other text as it is."""
    return text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _binary(
    name: str, texts: pl.Series, positive: tuple[str, ...], negative: tuple[str, ...] | None, note: str
) -> LabelLook:
    values = texts.is_in(list(positive)).cast(pl.Float64).to_numpy()
    if negative is None:
        return LabelLook(name, "binary", values, None, None, note)
    return LabelLook(name, "binary", values, _scalars(positive, negative), _scalars(negative, positive), note)


def _scalars(values: tuple[str, ...], others: tuple[str, ...]) -> tuple[Scalar, ...]:
    """The values of a class as a recipe lists them: numbers, which mean any writing of them, where all values are."""
    if any(_number(value) is None or not value.isascii() for value in (*values, *others)):
        return values
    return tuple(int(value) if value.lstrip("-").isdecimal() else float(value) for value in values)
