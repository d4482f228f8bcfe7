"""What differs between recipes, setting by setting."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.places import dotted
from widedeep.recipe.resolve import left_out
from widedeep.recipe.schema import Recipe
from widedeep.recipe.strict_yaml import read_yaml


def differing_settings(recipes: Sequence[Recipe], without: Sequence[str] = ("name", "seed")) -> list[dict[str, Any]]:
    """For each resolved recipe: dotted setting → value, for the settings that are not the same in all recipes.

    A recipe whose kind lacks a setting's part does not count in that comparison. `without` names settings at the top of
    the recipe that are ignored. Settings come by name, so that the order of the recipes does not show.
    """
    flat = [_flat(read_yaml(dump_recipe(recipe), {}).data, without) for recipe in recipes]
    result: list[dict[str, Any]] = [{} for _ in recipes]
    for name in sorted({name for settings in flat for name in settings}):
        having = [settings[name] for settings in flat if name in settings]
        lacking = [recipe for recipe, settings in zip(recipes, flat, strict=True) if name not in settings]
        if all(value == having[0] for value in having) and all(_lacks_part(recipe, name) for recipe in lacking):
            continue
        for settings, different in zip(flat, result, strict=True):
            if name in settings:
                different[name] = settings[name]
    return result


def setting_texts(differs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The result of `differing_settings` as people read it: `0.05`, `[color x shape, price x color (buckets 100)]`.

    In a list of fields or crosses, one `…` stands for the entries that the lists of all recipes have, unless all are
    the same but for their order.
    """
    having: dict[str, list[Any]] = {}
    for settings in differs:
        for name, value in settings.items():
            having.setdefault(name, []).append(value)
    return [{name: _text(value, having[name]) for name, value in settings.items()} for settings in differs]


def _lacks_part(recipe: Recipe, name: str) -> bool:
    return any(f"{name}.".startswith(f"{dotted(part)}.") for part in left_out(recipe))


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


def _text(value: Any, values: Sequence[Any]) -> str:
    if isinstance(value, list):
        differing = [entry for entry in value if not _is_shared(entry, values)]
        if value and not differing and all(isinstance(other, list) and len(other) == len(value) for other in values):
            return f"[{', '.join(map(_name, value))}]"  # they differ in their order
        entries = [_entry(entry) for entry in differing]
        return f"[{', '.join(['…', *entries] if len(differing) < len(value) else entries)}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_shared(entry: Any, values: Sequence[Any]) -> bool:
    """Whether all lists hold this field or cross. Plain values, such as the widths of layers, mean something only by
    their position: they are never shared.
    """
    return isinstance(entry, Mapping) and all(isinstance(entries, list) and entry in entries for entries in values)


def _entry(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    name = _name(entry)
    # Two entries may have the same name and differ in their settings.
    rest = {key: value for key, value in entry.items() if key not in ("fields", "column", "name", "promised")}
    told = ", ".join(f"{key} {_inline(value)}" for key, value in rest.items() if value is not None)
    return f"{name} ({told})" if told else name


def _name(entry: Mapping[str, Any]) -> str:
    return " x ".join(entry["fields"]) if "fields" in entry else str(entry.get("name") or entry["column"])


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {setting}' for key, setting in value.items())}}}"
    return str(value)
