"""What differs between recipes, setting by setting."""

from collections.abc import Mapping, Sequence
from typing import Any

from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.schema import Recipe
from widedeep.recipe.strict_yaml import read_yaml


def differing_settings(recipes: Sequence[Recipe], without: Sequence[str] = ("name", "seed")) -> list[dict[str, Any]]:
    """For each resolved recipe, dotted setting → its value, of those that are not the same in all recipes that have it.

    Of a list of fields or crosses only the entries that not all of those recipes have; parts that a recipe's kind lacks
    are left out. Settings at the top of the recipe are left out where `without` names them.
    """
    flat = [_flat(read_yaml(dump_recipe(recipe), {}).data, without) for recipe in recipes]
    result: list[dict[str, Any]] = [{} for _ in recipes]
    for name in dict.fromkeys(name for settings in flat for name in settings):
        having = [settings[name] for settings in flat if name in settings]
        if all(value == having[0] for value in having):
            continue
        for settings, different in zip(flat, result, strict=True):
            if name in settings:
                different[name] = _own(settings[name], having)
    return result


def _flat(data: Mapping[str, Any], without: Sequence[str] = (), prefix: str = "") -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for key, value in data.items():
        if key in without:
            continue
        if isinstance(value, Mapping):
            settings |= _flat(value, prefix=f"{prefix}{key}.")
        else:
            settings[f"{prefix}{key}"] = value
    return settings


def _own(value: Any, values: Sequence[Any]) -> Any:
    """A list of entries without those that all have; any other value as it is."""
    entries = all(isinstance(one, list) and all(isinstance(e, Mapping) for e in one) for one in values)
    return [entry for entry in value if not all(entry in one for one in values)] if entries else value
