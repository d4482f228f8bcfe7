"""The columns of the typed table that a recipe needs: their names, roles and source columns."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from widedeep.errors import ColumnError
from widedeep.recipe.base import OURS
from widedeep.recipe.schema import DatePart, DateTimeField, FeatureSettings, MultiValuedField, Recipe

Role = Literal["label", "weight", "time", "group", "number", "text", "values", "weights", "part", "age"]

LABEL = f"{OURS}label"
"""Float32: 0 or 1, or the number that regression predicts."""
WEIGHT = f"{OURS}weight"
"""Float32, finite, not negative; only where the recipe names a weight."""
TIME = f"{OURS}time"
"""Float64: the number as it is, or seconds since 1970 UTC of a date or time; only where the recipe names a time."""
GROUP = f"{OURS}group"
"""String: the canonical text of the group; only where the recipe names one."""
_WEIGHTS = pl.List(pl.Float32)
TARGETS: tuple[Role, ...] = ("label", "weight", "time", "group")
"""Roles of columns that are no input of the model."""


@dataclass(frozen=True)
class TypedColumn:
    """One column of the typed table."""

    name: str
    """Its name there."""
    column: str
    """The source column that it is made from."""
    role: Role
    field: MultiValuedField | DateTimeField | None = None
    """The field whose settings say how values, weights, parts and ages are read."""
    part: DatePart | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """All source columns that it is made from."""
        if self.role == "age" and isinstance(self.field, DateTimeField) and self.field.since is not None:
            return (self.column, self.field.since.column)
        return (self.column,)

    def reading(self) -> list[Any]:
        """The settings that its content depends on, as plain values for a stage key."""
        rule: dict[str, Any] = {}
        if isinstance(self.field, MultiValuedField):
            rule = self.field.model_dump(include={"separator", "weight_separator", "max_length"})
            if self.field.form != "separated":
                rule["form"] = self.field.form
        elif self.field is not None:
            rule = self.field.model_dump(include={"format", "since"} if self.role == "age" else {"format"})
        return [self.name, self.column, self.role, sorted(rule.items())]


def text_name(column: str, features: FeatureSettings) -> str:
    """Name of a column's canonical text in the typed table: the plain name, unless its numbers have that."""
    if not any(field.column == column for field in features.numeric):
        return column
    return _untaken(f"{column}@text", features)


def values_name(field: MultiValuedField, features: FeatureSettings) -> str:
    """Name of a multi-valued field's lists in the typed table."""
    return _untaken(f"{field.name or field.column}@values", features)


def weights_name(field: MultiValuedField, features: FeatureSettings) -> str:
    """Name of the weights that belong to the lists."""
    return _untaken(f"{field.name or field.column}@weights", features)


def weights_beside(values: str, schema: Mapping[str, pl.DataType]) -> str | None:
    """The column of the typed table with this `schema` that holds the weights of its lists `values`; None if none does.

    `values` is what `values_name` gave. A source column may be called as weights are, but holds no lists.
    """
    name = values.removesuffix(OURS).removesuffix("@values") + "@weights"
    return next((weights for weights in (f"{name}{OURS}", name) if schema.get(weights) == _WEIGHTS), None)


def _untaken(name: str, features: FeatureSettings) -> str:
    # Plans on disk have the plain name: only one that a source column has too, as `tags@values` may, is changed.
    plain = [*(field.column for field in features.numeric), *(field.column for field in features.categorical)]
    return f"{name}{OURS}" if name in plain else name


def typed_columns(recipe: Recipe) -> tuple[TypedColumn, ...]:
    """The typed table's columns in order: label, weight, time, group, numbers (Float64), texts (String), lists and
    their weights (List of String and of Float32), parts of times (String), ages in days (Float64).

    Raises ColumnError if a part or an age of a time would have the name of a source column.
    """
    columns = tuple(_columns(recipe))
    names = Counter(column.name for column in columns)
    for column in columns:
        if names[column.name] > 1:
            raise ColumnError(
                f"features.date_time: {column.name!r}, which is made of a time, is the name of a column that another "
                "field reads: give the time another `name`"
            )
    return columns


def _columns(recipe: Recipe) -> Iterator[TypedColumn]:
    data, features = recipe.data, recipe.features
    yield TypedColumn(LABEL, data.label.column, "label")
    if data.weight is not None:
        yield TypedColumn(WEIGHT, data.weight, "weight")
    if data.time is not None:
        yield TypedColumn(TIME, data.time.column, "time")
    if data.group is not None:
        yield TypedColumn(GROUP, data.group, "group")
    for column in dict.fromkeys(field.column for field in features.numeric):
        yield TypedColumn(column, column, "number")
    for column in dict.fromkeys(field.column for field in features.categorical):
        yield TypedColumn(text_name(column, features), column, "text")
    for field in features.multi_valued:
        yield TypedColumn(values_name(field, features), field.column, "values", field)
        if field.weight_separator is not None:
            yield TypedColumn(weights_name(field, features), field.column, "weights", field)
    for moment in features.date_time:
        for part, made in zip(moment.parts, moment.part_fields(), strict=True):
            yield TypedColumn(made.column, moment.column, "part", moment, part)
        age = moment.age_field()
        if age is not None:
            yield TypedColumn(age.column, moment.column, "age", moment)
