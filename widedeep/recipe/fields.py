"""The `features` and `crosses` sections: the model's inputs, one class per field kind."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from widedeep.recipe.base import MOST_COUNT, ColumnName, ColumnSettings, Settings, ShortSettings
from widedeep.recipe.data import TimeSettings

MOST_KNOWN = 2**31 - 3
"""Most buckets, or values with an index of their own, of a field: with two reserved indices they fill an int32."""


def _told_as_one_rule(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError as error:
        raise PydanticCustomError("hash_buckets", "not from 1 to {most}, or auto", {"most": MOST_KNOWN}) from error


HashBuckets = Annotated[Annotated[int, Field(ge=1, le=MOST_KNOWN)] | Literal["auto"], WrapValidator(_told_as_one_rule)]
"""How many buckets values are hashed into."""


class NumericField(ColumnSettings):
    """A number, scaled into the deep part and the wide part."""

    column: ColumnName
    """The column that holds the number."""
    name: ColumnName | None = None
    """The field's name; by default the column's."""
    transform: Literal["standard", "log1p", "cdf", "minmax", "none"] = "cdf"
    """`standard`: (x - mean) / deviation. `log1p`: sign(x)*log(1+|x|), then standard. `cdf`: quantile number /
    (quantiles - 1), as in the Wide & Deep paper. `minmax`: (x - min) / (max - min) of the train rows, at
    least 0 and at most 1."""
    clip: tuple[float | None, float | None] | None = None
    """Smallest and largest value; either may be null. Numbers beyond are moved there before anything else."""
    quantiles: Annotated[int, Field(ge=2, le=10_000)] = 100
    """How many quantiles `cdf` uses."""
    missing_flag: bool = True
    """Whether a second input tells that the value is missing (only if it is in some train rows)."""
    buckets: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """Cut into this many quantile buckets for the wide part and for crosses."""

    @model_validator(mode="after")
    def _clip_is_an_interval(self) -> "NumericField":
        if self.clip is not None:
            low, high = self.clip
            if low is not None and high is not None and low >= high:
                raise ValueError(f"`clip` needs the smaller number first: {low:g} >= {high:g}")
        return self


class _VocabularySettings(ColumnSettings):
    """How values become indices, shared by the kinds of field that have many values."""

    min_count: Annotated[int, Field(ge=1, le=MOST_COUNT)] = 2
    """Values seen less often in train share the unknown row."""
    max_size: Annotated[int, Field(ge=1, le=MOST_KNOWN)] | None = None
    """Keep only this many of the most frequent values."""
    buckets: HashBuckets | None = None
    """Hash into this many buckets instead of keeping a vocabulary; `auto` takes the least power of two with which fewer
    than 1% of the train rows have a value that shares its bucket."""
    vocabulary: ColumnName | None = None
    """Fields that name the same vocabulary share indices and embedding rows (each keeps wide weights of its own)."""
    embedding_dim: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Width of this field's embedding; by default `model.embeddings.dim` decides."""

    @model_validator(mode="after")
    def _one_way_to_index(self) -> Self:
        if self.buckets is not None and {"min_count", "max_size"} & self.model_fields_set:
            raise ValueError("`buckets` hashes; `min_count` and `max_size` belong to a vocabulary: keep one way")
        return self


class CategoricalField(_VocabularySettings):
    """A value out of many: one wide weight and one embedding row each."""

    column: ColumnName
    """The column that holds the value."""
    name: ColumnName | None = None
    """The field's name; by default the column's."""


class MultiValuedField(_VocabularySettings):
    """Several values at once, such as tags: their embeddings are pooled, their wide weights summed (a multi-hot)."""

    column: ColumnName
    """The column that holds a list, or text with a separator between the values."""
    name: ColumnName | None = None
    """The field's name; by default the column's."""
    separator: Annotated[str, Field(min_length=1)] | None = None
    """What stands between two values of a text; null for a list column."""
    form: Literal["separated", "json", "python", "bracketed"] = "separated"
    """How a text holds its values: `separated` by `separator`; `json` as in `["a", "b"]`; `python` as in `['a', 'b']`
    or `('a', 'b')`; `bracketed` as in `{a,b}` or `[a b]`, with `separator` between them, by default a comma. A text of
    another form is refused (see `data.bad_numbers`). A list column needs none."""
    weight_separator: Annotated[str, Field(min_length=1)] | None = None
    """What stands between a value and its weight, as `:` in `tag:0.5`; a value without a weight counts 1."""
    max_length: Annotated[int, Field(ge=1, le=MOST_COUNT)] | None = None
    """At most this many values of a row are used, the first ones."""
    pooling: Literal["sum", "mean", "max"] = "mean"
    """How the embeddings of a row's values become one; `sum` and `mean` are weighted, `max` is taken of weight times
    embedding."""

    @model_validator(mode="after")
    def _separators_differ(self) -> "MultiValuedField":
        if self.separator is not None and self.separator == self.weight_separator:
            raise ValueError(f"`separator` and `weight_separator` are both {self.separator!r}: they must differ")
        if self.separator is not None and self.form in ("json", "python"):
            raise ValueError(f"`form: {self.form}` says what stands between two values: it takes no `separator`")
        return self


DatePart = Literal["hour", "weekday", "day", "part_of_day"]


class DateTimeField(ColumnSettings):
    """A date or time, split into categorical fields `NAME.hour`, … and, with `since`, the number `NAME.age`. All in
    UTC.
    """

    column: ColumnName
    """The column that holds the time."""
    name: ColumnName | None = None
    """What the names of the fields begin with; by default the column's name."""
    format: str | None = None
    """As in `data.time`; without it a plain number is seconds since 1970 UTC and lies in the years 1990 to 2099."""
    parts: tuple[DatePart, ...] = ("hour", "weekday")
    """`hour` 0 to 23, `weekday` Mon to Sun, `day` of the month, `part_of_day` (night until 6, morning, afternoon from
    12, evening from 18)."""
    since: TimeSettings | None = None
    """Another time: `NAME.age` is the days from there to this one, a number scaled by its quantiles (cdf)."""
    buckets: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """Cut the age into this many quantile buckets for the wide part and for crosses."""

    @model_validator(mode="after")
    def _says_something(self) -> "DateTimeField":
        if len(set(self.parts)) != len(self.parts):
            raise ValueError(f"`parts` names a part twice: {', '.join(self.parts)}")
        if not self.parts and self.since is None:
            raise ValueError("names neither `parts` nor `since`: nothing is made of the column")
        if self.buckets is not None and self.since is None:
            raise ValueError("`buckets` cuts the age, which needs `since`, the time to count from")
        return self

    def part_fields(self) -> tuple[CategoricalField, ...]:
        """The categorical fields made of it; each reads the typed column that has its name."""
        names = (f"{self.name or self.column}.{part}" for part in self.parts)
        return tuple(CategoricalField(column=name, min_count=1) for name in names)

    def age_field(self) -> NumericField | None:
        """The numeric field made of it, if any; it reads the typed column that has its name."""
        return (
            None if self.since is None else NumericField(column=f"{self.name or self.column}.age", buckets=self.buckets)
        )


class FeatureSettings(Settings):
    """The model's inputs."""

    numeric: tuple[NumericField, ...] = ()
    """Fields that are numbers; a column's name alone takes every default."""
    categorical: tuple[CategoricalField, ...] = ()
    """Fields with a value out of many; a column's name alone takes every default."""
    multi_valued: tuple[MultiValuedField, ...] = ()
    """Fields with several values at once; a list column's name alone takes every default."""
    date_time: tuple[DateTimeField, ...] = ()
    """Dates and times that are split into parts; a column's name alone takes every default."""

    def num_fields(self) -> dict[str, int]:
        """Kind of field, such as `multi_valued` → how many are listed."""
        return {part: len(getattr(self, part)) for part in type(self).model_fields}

    def all_numeric(self) -> tuple[NumericField, ...]:
        """The numeric fields, with those made of dates and times last."""
        return (*self.numeric, *(age for field in self.date_time if (age := field.age_field()) is not None))

    def all_categorical(self) -> tuple[CategoricalField, ...]:
        """The categorical fields, with those made of dates and times last."""
        return (*self.categorical, *(part for field in self.date_time for part in field.part_fields()))

    def with_vocabulary(self) -> tuple[CategoricalField | MultiValuedField, ...]:
        """The fields that are looked up by vocabulary or by hash: a value a row, then several values a row."""
        return (*self.all_categorical(), *self.multi_valued)

    def all_fields(self) -> tuple[NumericField | CategoricalField | MultiValuedField, ...]:
        """Every field that the model sees, those made of dates and times included."""
        return (*self.all_numeric(), *self.with_vocabulary())


def _is_empty(value: Any) -> bool:
    """Whether a setting is left out of the dump: recipes from before the setting existed then look as they did."""
    return not value


class CrossSettings(ShortSettings):
    """A cross: an AND of two or more fields in the wide part."""

    fields: Annotated[tuple[ColumnName, ...], Field(min_length=2)]
    """Names of categorical, multi-valued or date-time fields (`time.hour`), or of numeric fields with `buckets` or a
    `granularity`; in any order."""
    granularity: dict[str, Annotated[int, Field(ge=2, le=10_000)]] = Field(default_factory=dict, exclude_if=_is_empty)
    """Numeric member → how many quantile buckets it is cut into here, in place of the field's own `buckets`."""
    buckets: HashBuckets | None = None
    """Hash into this many buckets instead of keeping a vocabulary; `auto` takes the least power of two with which fewer
    than 1% of the train rows have a value that shares its bucket."""
    min_count: Annotated[int, Field(ge=1, le=MOST_COUNT)] = 2
    """Combinations seen less often in train share the unknown row."""
    max_size: Annotated[int, Field(ge=1, le=MOST_KNOWN)] | None = None
    """Keep only this many of the most frequent combinations."""
    promised: tuple[float, float, float] | None = Field(default=None, exclude_if=_is_empty)
    """Fall of the log loss per row that `crosses --discover` promised for this cross, and its 95% interval; `train`
    sets the realised one beside it."""

    @classmethod
    def long_form(cls, value: Any) -> Any:
        """A list of names alone takes every default. Raises ValueError for a name alone, as in `crosses: [a, b]`."""
        if isinstance(value, str):
            raise ValueError(f"a cross is a list of two or more names, such as [a, b], is the text {value!r}")
        return {"fields": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _fields_differ(self) -> "CrossSettings":
        if len(set(self.fields)) != len(self.fields):
            twice = next(name for name in self.fields if self.fields.count(name) > 1)
            raise ValueError(f"names the field '{twice}' twice: a cross is of different fields, keep one")
        if self.buckets is not None and {"min_count", "max_size"} & self.model_fields_set:
            raise ValueError("`buckets` hashes; `min_count` and `max_size` belong to a vocabulary: keep one way")
        return self
