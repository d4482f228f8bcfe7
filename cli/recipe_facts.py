"""What a recipe holds, in a few words."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from widedeep.recipe.schema import Recipe


def fields_told(recipe: "Recipe") -> list[str]:
    """Such as `5 numeric`, for each kind of field that the recipe has."""
    return [f"{number:,} {part.replace('_', '-')}" for part, number in recipe.features.num_fields().items() if number]


def crosses_told(recipe: "Recipe") -> str | list[str]:
    """The crosses, as `a x b`; of more than eight, how many there are."""
    if not recipe.crosses or len(recipe.crosses) > 8:
        return f"{len(recipe.crosses):,}"
    return [" x ".join(cross.fields) for cross in recipe.crosses]
