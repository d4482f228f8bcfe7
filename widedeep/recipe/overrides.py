"""Puts overrides from the command line, `part.field=value`, into a recipe's data before it is validated."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from widedeep.errors import Fault
from widedeep.recipe.base import ShortSettings
from widedeep.recipe.places import OVERRIDE_SOURCE, KeyPath, Places, dotted
from widedeep.recipe.strict_yaml import read_yaml
from widedeep.recipe.wording import section_at

_OVERRIDE = re.compile(r"\s*([^=.\s]+(?:\.[^=.\s]+)*)\s*=(.*)", re.DOTALL)


class _MalformedError(Exception):
    """An override does not fit the data; the text names the rule and the value."""


_FILES = (("data", "train"), ("data", "valid"), ("data", "test"), ("data", "tables", "*", "files"))
"""The settings that name files; `*` stands for any name."""


@dataclass(frozen=True)
class Folders:
    """Where relative paths start."""

    of_recipe: Path
    of_overrides: Path


def apply_overrides(
    data: dict[str, Any], overrides: Sequence[str], places: Places, folders: Folders | None = None
) -> list[Fault]:
    """Put each override into `data` (changed in place), in order; returns what is wrong with them.

    A list entry is addressed by its position from 0. Sections that are absent are made; an entry in its short form
    (a column's name alone, a cross as a list) becomes its long form first. With `folders`, a relative path that an
    override names starts from the overrides' folder, and is written as it is called from the recipe's.
    """
    faults = []
    for override in overrides:
        match = _OVERRIDE.fullmatch(override)
        if match is None:
            rule = f"an override reads part.field=value, is {override!r}"
            faults.append(Fault("", rule, source=OVERRIDE_SOURCE))
            continue
        path = match[1]
        value = read_yaml(match[2])
        messages = [f"{finding.message}; in doubt write '{path}=\"…\"'" for finding in value.findings]
        if value.data is None and match[2].lstrip().startswith("#"):
            messages.append(f"{match[2].strip()!r} reads as a comment: put it in quotes, '\"#\"'")
        if not messages:
            try:
                keys = tuple(path.split("."))
                given = value.data if folders is None else _moved(value.data, keys, folders)
                places.override(_put(data, keys, given))
            except _MalformedError as error:
                messages.append(str(error))
        faults += [Fault(path, message, source=OVERRIDE_SOURCE) for message in messages]
    return faults


def _moved(value: Any, path: tuple[str, ...], folders: Folders) -> Any:
    """The value of an override at `path`, in which paths of files start from the recipe's folder."""
    if isinstance(value, dict):
        return {key: _moved(entry, (*path, key), folders) for key, entry in value.items()}
    if isinstance(value, list):
        return [_moved(entry, path, folders) for entry in value]
    setting = path[:-1] if path[-1].isdecimal() else path  # an entry of a list of files
    names_files = any(
        len(place) == len(setting) and all(key in ("*", name) for key, name in zip(place, setting, strict=True))
        for place in _FILES
    )
    if not names_files or not isinstance(value, str) or not value or "://" in value or os.path.isabs(value):
        return value
    meant = folders.of_overrides / value
    called = os.path.relpath(meant, folders.of_recipe)
    if os.path.realpath(folders.of_recipe / called) != os.path.realpath(meant):
        called = os.path.abspath(meant)  # behind a link, `..` leads elsewhere than its name says
    return os.path.join(called, "") if value.endswith("/") else called


def _put(data: dict[str, Any], keys: Sequence[str], value: Any) -> KeyPath:
    """Set the value at `keys` and return its path, list positions as integers."""
    parent: Any = data
    path: KeyPath = ()
    for depth, key in enumerate(keys):
        position = _position(parent, key, path)
        path = (*path, position)
        if depth == len(keys) - 1:
            parent[position] = value
            break
        child = parent.get(position) if isinstance(parent, dict) else parent[position]
        child = {} if child is None else _long_form(child, path, keys[depth + 1])
        parent[position] = child
        parent = child
    return path


def _position(parent: Any, key: str, path: KeyPath) -> str | int:
    if isinstance(parent, dict):
        return key
    if not isinstance(parent, list):
        raise _MalformedError(f"{dotted(path)} is {parent!r}, which has no settings below it")
    if not re.fullmatch("[0-9]{1,9}", key) or int(key) >= len(parent):
        entries = f"entries 0 to {len(parent) - 1}" if parent else "no entries"
        raise _MalformedError(f"{dotted(path)} is a list with {entries}, has no {key!r}")
    return int(key)


def _long_form(entry: Any, path: KeyPath, next_key: str) -> Any:
    """What the schema makes of a short form, so that `crosses.0.buckets=100` fits `- [age, hours]` as well."""
    section = section_at(path)
    if section is None or not issubclass(section, ShortSettings) or (isinstance(entry, list) and next_key.isdecimal()):
        return entry
    # If the value only looks like a short form, the schema will say so.
    with suppress(ValueError):
        return section.long_form(entry)
    return entry
