"""What differs between recipes, setting by setting."""

import json
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


def setting_text(value: Any) -> str:
    """A setting's value as people read it: `0.05`, `[color x shape, price x color (buckets 100)]`."""
    if isinstance(value, list):
        return f"[{', '.join(_entry(entry) for entry in value)}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _entry(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    name = " x ".join(entry["fields"]) if "fields" in entry else str(entry.get("name") or entry["column"])
    # Entries of one name differ by their settings.
    rest = {key: value for key, value in entry.items() if key not in ("fields", "column", "name", "promised")}
    told = ", ".join(f"{key} {value}" for key, value in rest.items() if value is not None)
    return f"{name} ({told})" if told else name
