"""A resolved recipe as YAML text, every default written out, which reads back as the same recipe."""

import re
from typing import Any

import yaml

from widedeep.recipe.resolve import left_out
from widedeep.recipe.schema import CrossSettings, Recipe
from widedeep.recipe.strict_yaml import FLOAT_PATTERN

_FLOW_WIDTH = 100
"""Lists of scalars up to this many characters stand on one line."""
_PLAIN_TEXT = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
"""Needs no quotes, unless YAML reads something else in it."""


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
    where a field is hashed, FTRL's where the optimizer is another, `experts` where there is no `rank`, and what belongs
    to parts of a step where there is one. Loading the text gives an equal recipe, and dumping that recipe gives the
    same text.
    """
    data = recipe.model_dump()
    if data["sweep"] is None:  # of most recipes, and of all runs
        del data["sweep"]
    if not data["training"]["track"]:  # likewise
        del data["training"]["track"]
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
    if data["training"]["parts"] == 1:
        del data["training"]["parts"], data["training"]["timeout"]
    dcn_v2 = data["model"].get("dcn_v2")
    if dcn_v2 is not None and dcn_v2["rank"] is None:
        del dcn_v2["experts"]
    return "".join(_section(name, value) for name, value in data.items())


def short_form(cross: CrossSettings) -> list[str] | dict[str, Any]:
    """A cross as plain data, as a person would write it: without defaults, a list of names where possible."""
    settings = cross.model_dump(mode="json", exclude_defaults=True)
    names: list[str] = settings["fields"]
    return names if len(settings) == 1 else settings


def cross_line(cross: CrossSettings) -> str:
    """The short form as YAML on one line, without a line break; what YAML would misread is quoted."""
    short = short_form(cross)
    return _yaml(_Line(short) if isinstance(short, dict) else _ListLine(short)).removesuffix("\n")


def _yaml(value: Any) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text


def _section(name: str, value: Any) -> str:
    """The YAML of `{name: value}`, in less time where `value` is a list of lines or holds such lists."""
    if isinstance(value, dict) and any(_is_of_lines(part) for part in value.values()):
        parts = "".join(_section(key, part) for key, part in value.items())
        return f"{name}:\n" + "".join(f"  {line}\n" for line in parts.split("\n")[:-1])
    if _is_of_lines(value):
        return f"{name}:\n" + "".join(f"- {_on_a_line(line)}\n" for line in value)
    return _yaml({name: value})


def _is_of_lines(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, _Line) for entry in value)


def _on_a_line(value: Any) -> str:
    """The YAML of a part of a line. Wide tables have thousands of lines, which YAML's emitter takes seconds for."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, _Line):
        return "{" + ", ".join(f"{key}: {_on_a_line(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_on_a_line, value)) + "]"
    if isinstance(value, int) or (isinstance(value, str) and _is_plain(value)):
        return str(value)
    return _yaml(_ListLine([value]))[1:-2]


def _is_plain(text: str) -> bool:
    if _PLAIN_TEXT.fullmatch(text) is None:
        return False
    readings = _Dumper.yaml_implicit_resolvers
    of_start = [*readings.get(text[0], ()), *readings.get(None, ())]
    return not any(pattern.match(text) for _, pattern in of_start)


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
