"""Writes recipe-reference.md, which lies beside this file, from the classes that say what a recipe may hold.

Run it after a change of `widedeep/recipe/`: python docs/write_recipe_reference.py
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from widedeep.recipe import schema
from widedeep.recipe.base import ColumnSettings
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.schema import Recipe, Settings

PAGE = Path(__file__).with_name("recipe-reference.md")

_HEAD = """\
# Recipe reference

Every setting that a recipe may hold: its type and rule, its default, its meaning. `recipe.md` shows a whole recipe.
This page is written from `widedeep/recipe/` by `python docs/write_recipe_reference.py`: change the docstrings there.

An unknown setting is refused. A single file, or a single value of a label or a split, stands for a list of one.
"""

JsonSchema = dict[str, Any]


def reference() -> str:
    """The whole page."""
    definitions = Recipe.model_json_schema()["$defs"]
    return "\n".join([_HEAD, *_Writer(definitions).section("", Recipe)])


def docstrings(section: type[Settings]) -> dict[str, str]:
    """Setting → the docstring that stands under it, in the section or in one of its bases."""
    texts: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if not issubclass(base, Settings):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for setting, below in pairwise(definition.body):
            if (
                isinstance(setting, ast.AnnAssign)
                and isinstance(setting.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                texts[setting.target.id] = " ".join(below.value.value.split())
    return texts


class _Writer:
    """Remembers where each section was described, so that a section used twice is described once."""

    def __init__(self, definitions: dict[str, JsonSchema]) -> None:
        self._definitions = definitions
        self._described_at: dict[str, str] = {}

    def section(self, path: str, section: type[Settings], title: str = "") -> Iterator[str]:
        """Lines about a section and, after it, about those below it."""
        if path:
            yield f"\n## {title or f'`{path}`'}\n"
            yield "\n\n".join(_paragraphs(path, section)) + "\n"
        texts = docstrings(section)
        below: list[tuple[str, str]] = []
        properties = section.model_json_schema()["properties"]
        for name, field in section.model_fields.items():
            rule = self._rule(f"{path}.{name}".lstrip("."), properties[name], below)
            line = f"- **`{name}`**: {rule}; {_default(section, name, field, properties[name])}."
            yield f"{line} {texts[name]}" if name in texts else line
        for below_path, definition in below:
            kinds = self._definitions[definition]["properties"].get("kind", {})
            title = f"`{below_path}` with `kind: {kinds['const']}`" if "const" in kinds else ""
            yield from self.section(below_path, getattr(schema, definition), title)

    def _rule(self, path: str, node: JsonSchema, below: list[tuple[str, str]]) -> str:
        """Type and bounds in words; sections that are met for the first time are added to `below`."""
        if not node:
            return "any value"
        if "$ref" in node:
            return f"the section {self._link(path, node, below)}"
        if "oneOf" in node:
            return f"one of the sections {_listed([self._link(path, member, below) for member in node['oneOf']])}"
        if "anyOf" in node:
            # That a setting may be null goes without saying where null is its default.
            members = node["anyOf"][:-1] if node.get("default", "") is None else node["anyOf"]
            rules = [self._rule(path, member, below) for member in members]
            return f"{_listed(rules[:-1])}, or `null`" if rules[-1] == "`null`" else _listed(rules)
        if "enum" in node or "const" in node:
            return _listed([f"`{value}`" for value in node.get("enum", [node.get("const")])])
        match node["type"]:
            case "array":
                return self._list_rule(path, node, below)
            case "object":
                (entry,) = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")][:1]
                return f"names, each with a value: {self._rule(f'{path}.NAME', entry, below)}"
            case "integer" | "number":
                return _number_rule(node)
            case "string":
                return _text_rule(node)
            case other:
                return {"boolean": "`true` or `false`", "null": "`null`"}[other]

    def _list_rule(self, path: str, node: JsonSchema, below: list[tuple[str, str]]) -> str:
        if "prefixItems" in node:
            entries = [self._rule(path, entry, below) for entry in node["prefixItems"]]
            return f"list of {len(entries)} entries, each {entries[0]}"
        least = node.get("minItems", node.get("minLength", 0))
        count = f" of at least {least}" if least else ""
        if "$ref" in node["items"]:
            return f"list{count} of sections {self._link(path, node['items'], below)}"
        return f"list{count}, each {self._rule(path, node['items'], below)}"

    def _link(self, path: str, node: JsonSchema, below: list[tuple[str, str]]) -> str:
        definition = node["$ref"].rsplit("/", 1)[-1]
        kind = self._definitions[definition]["properties"].get("kind", {}).get("const")
        if definition not in self._described_at:
            below.append((path, definition))
            self._described_at[definition] = path + (f"-with-kind-{kind}" if kind else "")
        place = self._described_at[definition]
        shown = f"kind: {kind}" if kind else place
        return f"[`{shown}`](#{place.replace('.', '').lower()})"


def _paragraphs(path: str, section: type[Settings]) -> Iterator[str]:
    yield inspect.cleandoc(section.__doc__ or "")
    if issubclass(section, ColumnSettings):
        yield "A column's name alone takes every default."
    kinds = [f"`{name}`" for name, kind in KINDS.items() if path in kind.sections(crosses=True)]
    if kinds and len(kinds) < len(KINDS):
        yield f"Taken by the kinds {', '.join(kinds)}."


def _default(section: type[Settings], name: str, field: FieldInfo, node: JsonSchema) -> str:
    if section is Recipe and name == "name":  # filled in when a recipe is loaded
        return "default: the recipe file's name without its ending"
    if field.is_required():
        return "required"
    if "$ref" in node:
        return "default: its defaults"
    value = node.get("default", {})
    shown = value if isinstance(value, str) and value.isidentifier() else json.dumps(value, ensure_ascii=False)
    return f"default `{shown}`"


def _number_rule(node: JsonSchema) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "greater than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
    }
    bounds = " and ".join(f"{word} {node[key]:,.10g}" for key, word in words.items() if key in node)
    return ("whole number" if node["type"] == "integer" else "number") + (f" {bounds}" if bounds else "")


def _text_rule(node: JsonSchema) -> str:
    if "pattern" in node:
        return f"text that matches `{node['pattern']}`"
    return "one character" if node.get("maxLength") == 1 else "text"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
