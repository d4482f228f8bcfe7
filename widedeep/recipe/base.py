"""What all sections of a recipe share: an airtight base, and the types of their settings."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Settings(BaseModel):
    """Base of every section: immutable, airtight; a docstring stands under every setting."""

    # A section alone is validated in tests only: built with the recipe, all of them cost half the time.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _as_scalar_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) or value is None else (value,)


Paths = Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)]
Scalar = bool | int | float | str
Scalars = Annotated[tuple[Scalar, ...], BeforeValidator(_as_scalar_list), Field(min_length=1)]
ColumnName = Annotated[str, Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
