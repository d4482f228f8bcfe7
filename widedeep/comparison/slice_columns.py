"""The columns of a run's typed table that rows can be sliced by. No torch."""

from collections.abc import Sequence

from widedeep.errors import UsageError
from widedeep.features.plan import FeaturePlan
from widedeep.recipe.schema import Recipe
from widedeep.table.typed_columns import typed_columns

SLICED_VALUES = 50
"""If no columns are named, rows are sliced by categorical fields with at most this many values."""


def slice_columns(recipe: Recipe, plan: FeaturePlan, asked: Sequence[str]) -> dict[str, str]:
    """Name → typed column to slice by: those in `asked`, or by default the categorical fields with few values.

    Raises UsageError for a column that the recipe does not read as single values.
    """
    if not asked:
        fields = plan.categoricals
        return {f.name: f.column for f in fields if f.buckets is None and f.cardinality <= SLICED_VALUES}
    names = columns_of_single_values(recipe)
    for name in asked:
        if name not in names:
            raise UsageError(
                f"--slice {name}: the recipe of the (first) run reads no such column of single values; it reads "
                f"{', '.join(names)}"
            )
    return {name: names[name] for name in asked}


def columns_of_single_values(recipe: Recipe) -> dict[str, str]:
    """Name → typed column, for all columns that rows can be sliced by."""
    # Texts come after numbers, so a column that is used as both is sliced by its text.
    single = [column for column in typed_columns(recipe) if column.role in ("number", "text", "part")]
    return {column.name if column.role == "part" else column.column: column.name for column in single}
