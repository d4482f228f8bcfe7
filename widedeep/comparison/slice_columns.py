"""Which columns of a run's typed table rows can be sliced by. No torch."""

from collections.abc import Sequence

from widedeep.errors import UsageError
from widedeep.features.plan import FeaturePlan
from widedeep.recipe.schema import Recipe
from widedeep.table.typed import typed_columns

SLICED_VALUES = 50
"""A categorical field of at most so many values is looked at value by value where no columns are named."""


def slice_columns(recipe: Recipe, plan: FeaturePlan, asked: Sequence[str]) -> dict[str, str]:
    """Name → typed column to slice by: those that are asked for, else the categorical fields of few values.

    Raises UsageError for one that the recipe does not read as single values.
    """
    if not asked:
        fields = plan.categoricals
        return {f.name: f.column for f in fields if f.buckets is None and f.cardinality <= SLICED_VALUES}
    names = columns_of_single_values(recipe)
    for name in asked:
        if name not in names:
            raise UsageError(
                f"--slice {name}: the first run's recipe reads no such column of single values; it reads {', '.join(names)}"
            )
    return {name: names[name] for name in asked}


def columns_of_single_values(recipe: Recipe) -> dict[str, str]:
    """Name → typed column of all that rows can be sliced by."""
    # A column that is both a number and a text goes by its text, which comes later.
    plain = [column for column in typed_columns(recipe) if column.role in ("number", "text", "part")]
    return {column.name if column.role == "part" else column.column: column.name for column in plain}
