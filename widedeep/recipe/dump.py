"""A resolved recipe as YAML text, every default written out, which reads back as the same recipe."""

from typing import Any

import yaml

from widedeep.recipe.resolve import left_out
from widedeep.recipe.schema import CrossSettings, Recipe
from widedeep.recipe.strict_yaml import FLOAT_PATTERN

_FLOW_WIDTH = 100
"""Lists of scalars up to this many characters stand on one line."""


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or the strict reader would take for anything but text; writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        # Variables are expanded in values only: a key's `${` stands for itself.
        node = super().represent_mapping(tag, mapping, flow_style)
        for key, _ in node.value:
            key.value = key.value.replace("$${", "${")
        return node


class _Line(dict[str, Any]):
    """A mapping that is written on one line."""


class _ListLine(list[Any]):
    """A list that is written on one line, however long."""


def dump_recipe(recipe: Recipe) -> str:
    """YAML text of a resolved recipe, in the order of the schema.

    Left out are the parts that `model.kind` lacks, and settings that another setting rules out: those of a vocabulary
    where a field is hashed, FTRL's where the optimizer is another, `experts` where there is no `rank`. Loading the text
    gives an equal recipe, and dumping that recipe gives the same text.
    """
    data = recipe.model_dump()
    for path in left_out(recipe):
        parent = data
        for key in path[:-1]:
            parent = parent[key]
        del parent[path[-1]]
    split = data["data"]["split"]
    data["data"]["split"] = split and {"kind": split["kind"], **split}
    for part, fields in data["features"].items():
        data["features"][part] = [_entry(field) for field in fields]
    if "crosses" in data:
        data["crosses"] = [_entry(cross) for cross in data["crosses"]]
    wide = data["training"].get("wide")
    if wide is not None and wide["optimizer"] != "ftrl":
        del wide["beta"], wide["l1"]
    dcn_v2 = data["model"].get("dcn_v2")
    if dcn_v2 is not None and dcn_v2["rank"] is None:
        del dcn_v2["experts"]
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text


def short_form(cross: CrossSettings) -> list[str] | dict[str, Any]:
    """A cross as plain data, as a person would write it: without defaults, a list of names where possible."""
    settings = cross.model_dump(mode="json", exclude_defaults=True)
    names: list[str] = settings["fields"]
    return names if len(settings) == 1 else settings


def cross_line(cross: CrossSettings) -> str:
    """The short form as YAML on one line, without a line break; what YAML would misread is quoted."""
    short = short_form(cross)
    line = _Line(short) if isinstance(short, dict) else _ListLine(short)
    text: str = yaml.dump(line, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n")


def _entry(settings: dict[str, Any]) -> _Line:
    hashed = "min_count" in settings and settings["buckets"] is not None
    settings = {key: settings[key] for key in ("column", "name") if key in settings} | settings
    return _Line({key: value for key, value in settings.items() if not (hashed and key in {"min_count", "max_size"})})


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # Text that a plain scalar cannot hold goes in double quotes, the only style that can escape every character.
    style = None if text.isprintable() and text.isascii() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text.replace("${", "$${"), style)


def _represent_list(dumper: yaml.SafeDumper, entries: list[Any] | tuple[Any, ...]) -> yaml.Node:
    scalars = not any(isinstance(entry, dict | list | tuple) for entry in entries)
    short = sum(len(str(entry)) + 2 for entry in entries) <= _FLOW_WIDTH
    return dumper.represent_sequence("tag:yaml.org,2002:seq", entries, flow_style=scalars and short)


def _represent_list_line(dumper: yaml.SafeDumper, entries: _ListLine) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", entries, flow_style=True)


def _represent_line(dumper: yaml.SafeDumper, settings: _Line) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", settings.items(), flow_style=True)


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT_PATTERN, list("-+0123456789."))
_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(tuple, _represent_list)
_Dumper.add_representer(_Line, _represent_line)
_Dumper.add_representer(_ListLine, _represent_list_line)
