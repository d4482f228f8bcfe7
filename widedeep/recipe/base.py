"""What all sections of a recipe share: an airtight base, and the types of their settings."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

OURS = "\x01"
"""Stands in the names of the columns that we add to frames. No column of a user can have it: see `ColumnName`."""


class Settings(BaseModel):
    """Base of every section: immutable, airtight; a docstring stands under every setting."""

    # Validators are built with the recipe's, in half the time: only tests validate a section by itself.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class ShortSettings(Settings):
    """Base of the sections that have a short form, which recipes may use and overrides reach into."""

    @classmethod
    def long_form(cls, value: Any) -> Any:
        """The long form of a value in short form; any other value unchanged.

        Raises ValueError for a value that only looks like a short form.
        """
        raise NotImplementedError

    @model_validator(mode="before")
    @classmethod
    def _may_be_short(cls, value: Any) -> Any:
        return cls.long_form(value)


class ColumnSettings(ShortSettings):
    """Base of the sections about a column: its name alone takes every default."""

    @classmethod
    def long_form(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _as_scalar_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) or value is None else (value,)


def is_pattern(name: str) -> bool:
    """Whether Polars reads a column's name as a pattern: `*` for all columns, `^…$` for those that match."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))


def why_no_name(name: str) -> str | None:
    """Why a column of this name cannot be used, in the words after "it"; None for every other name."""
    if is_pattern(name):
        return "reads as a pattern of names"
    # Polars hands names to C, where U+0000 ends a text.
    if "\0" in name or OURS in name:
        return "holds the control character U+0000 or U+0001"
    return None


def _usable(name: str) -> str:
    if (reason := why_no_name(name)) is not None:
        raise ValueError(f"{name!r} cannot be a column's name here (it {reason}): rename the column")
    return name


MOST_NAME = 200
"""Letters of a recipe's name: a folder's has 255 at most, and temporary ones are longer than the name."""
MOST_COUNT = 2**53
"""The largest count that a recipe takes: beyond it a float, as other programs read numbers in JSON, is not exact."""
_MOST_LISTED = 2**127
"""Polars knows no larger whole numbers."""


def _can_be_listed(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value in values:
        if isinstance(value, int) and abs(value) >= _MOST_LISTED:
            raise ValueError(f"a whole number has at most 127 bits, is {str(value)[:30]}…: put a long text in quotes")
    return values


Paths = Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)]
Scalar = bool | int | float | str
Scalars = Annotated[
    tuple[Scalar, ...], BeforeValidator(_as_scalar_list), AfterValidator(_can_be_listed), Field(min_length=1)
]
COLUMN_NAME = "column-name"
"""Marks in pydantic's JSON Schema what is the name of a column."""
ColumnName = Annotated[str, Field(min_length=1, json_schema_extra={"format": COLUMN_NAME}), AfterValidator(_usable)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
