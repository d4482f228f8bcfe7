"""Turns pydantic's complaints into plain English: where, the rule, the value, did you mean."""

import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from widedeep.recipe.places import Finding, KeyPath, did_you_mean, dotted, told
from widedeep.recipe.schema import Recipe

_MUST_BE = {
    "bool_type": "true or false",
    "dict_type": "a section of names and values",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "hash_buckets": "a whole number from 1 to {most}, or auto",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_long": "text of length {max_length} or less",
    "string_too_short": "text of length {min_length} or more",
    "string_type": "text",
    "string_unicode": "valid Unicode text",
    "tuple_type": "a list",
}


def findings_of(error: ValidationError) -> list[Finding]:
    """One finding per setting: the complaints of all members of a union about a value become one."""
    by_path: dict[KeyPath, list[ErrorDetails]] = {}
    findings = []
    for details in error.errors(include_url=False):
        path, section = _follow(details["loc"])
        match details["type"]:
            case "extra_forbidden":
                findings.append(Finding(path, _unknown_setting(path, section)))
            case "missing":
                findings.append(Finding(path, "required, but missing"))
            case "value_error":
                findings.append(Finding(path, str(details["ctx"]["error"])))
            case "model_type" | "model_attributes_type":
                takes = f"settings ({', '.join(section.model_fields)})" if section else "settings"
                findings.append(Finding(path, f"must be a section of {takes}, is {told(details['input'])}"))
            case "union_tag_invalid":
                findings.append(Finding((*path, "kind"), _not_among(_choices(details, "expected_tags"), details)))
            case "too_short":
                # pydantic counts the valid entries only; the invalid ones have their own finding
                if len(details["input"]) < details["ctx"]["min_length"]:
                    findings.append(Finding(path, _too_few(details)))
            case "too_long":
                message = f"must have at most {details['ctx']['max_length']} entries, has {len(details['input'])}"
                findings.append(Finding(path, message))
            case _:
                by_path.setdefault(path, []).append(details)
    return findings + [Finding(path, _must_be(complaints)) for path, complaints in by_path.items()]


def section_at(path: KeyPath) -> type[BaseModel] | None:
    """The section that a recipe has at `path`; None where it has a value, or one of several sections."""
    annotation: Any = Recipe
    for element in path:
        members = list(_members(annotation))
        annotation = _below(members[0], element) if len(members) == 1 else None
    members = list(_members(annotation))
    return members[0] if len(members) == 1 and _is_section(members[0]) else None


def _unknown_setting(path: KeyPath, section: type[BaseModel] | None) -> str:
    known = list(section.model_fields) if section else []
    parent = dotted(path[:-1]) or "a recipe"
    hint = did_you_mean(str(path[-1]), known) or f"; {parent} takes {', '.join(known)}"
    return f"unknown setting '{path[-1]}'{hint}"


def _too_few(details: ErrorDetails) -> str:
    needed = details["ctx"]["min_length"]
    return f"must have at least {needed} {'entry' if needed == 1 else 'entries'}, has {len(details['input'])}"


def _must_be(complaints: list[ErrorDetails]) -> str:
    choices = [choice for details in complaints for choice in _choices(details, "expected")]
    if choices and len(complaints) == 1:
        return _not_among(choices, complaints[0])
    rules = [f"'{choice}'" for choice in choices]
    for details in complaints:
        if details["type"] != "literal_error":
            bounds = {name: _bound(bound) for name, bound in details.get("ctx", {}).items()}
            rule = _MUST_BE.get(details["type"])
            rules.append(rule.format(**bounds) if rule else f"valid ({details['msg']})")
    value = complaints[0]["input"]
    return f"must be {_listed(rules)}, is {told(value)}{did_you_mean(str(value), choices)}"


def _bound(bound: Any) -> Any:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _not_among(choices: list[str], details: ErrorDetails) -> str:
    value = details["ctx"].get("tag", details["input"])
    shown = repr(value) if isinstance(value, str) else told(value)
    rules = [f"'{choice}'" for choice in choices]
    return f"must be {_listed(rules)}, is {shown}{did_you_mean(str(value), choices)}"


def _choices(details: ErrorDetails, key: str) -> list[str]:
    return re.findall(r"'([^']*)'", details.get("ctx", {}).get(key, ""))


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _follow(location: tuple[int | str, ...]) -> tuple[KeyPath, type[BaseModel] | None]:
    """The path of a pydantic location without the tags of unions, and the section that it lies in (or is)."""
    annotation: Any = Recipe
    section: type[BaseModel] | None = Recipe
    path: list[str | int] = []
    for element in location:
        members = list(_members(annotation))
        if len(members) > 1:
            annotation = next((member for member in members if element in _tags(member)), None)
        else:
            path.append(element)
            annotation = _below(members[0], element) if members else None
        models = [member for member in _members(annotation) if _is_section(member)]
        if models:
            section = models[0] if len(models) == 1 else None
    return tuple(path), section


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _below(annotation: Any, element: int | str) -> Any:
    if _is_section(annotation):
        field = annotation.model_fields.get(str(element))
        return field.annotation if field else None
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    return get_args(annotation)[0] if get_origin(annotation) is tuple else None


def _members(annotation: Any) -> Iterator[Any]:
    """The members of a union without None; of anything else, itself."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    elif annotation not in (None, NoneType):
        yield annotation


def _tags(annotation: Any) -> tuple[Any, ...]:
    """What selects this member of a union of sections: the values of its `kind`."""
    if _is_section(annotation) and "kind" in annotation.model_fields:
        kind = annotation.model_fields["kind"].annotation
        return get_args(kind) if get_origin(kind) is Literal else ()
    return ()
