"""A suggested recipe as YAML with comments, which any column name and any path survive."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any

from widedeep.figures import visible
from widedeep.suggest.fields import Entry
from widedeep.suggest.settings import Setting
from widedeep.suggest.suggestion import Suggestion

_WIDTH = 120
_MANY_FIELDS = 60
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
_SPECIAL = re.compile(r"(?i)true|false|null|~|\.?nan|\.?inf")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def recipe_text(suggestion: Suggestion) -> str:
    """The whole recipe."""
    many = sum(map(len, suggestion.fields.values())) > _MANY_FIELDS
    lines = [comment for line in suggestion.title for comment in _comment(line)]
    lines += [f"name: {flow(suggestion.name)}", "", "data:", *_section(suggestion.data), "", "features:"]
    for part, entries in suggestion.fields.items():
        lines += _fields(part, entries, many)
    lines += ["", *_cross_example(suggestion)]
    lines += ["", "model:", *_section(suggestion.model), "", "training:", *_section(suggestion.training)]
    if suggestion.left_out:
        lines += ["", "# Left out; to bring one back, list it under features:", *_left_out(suggestion.left_out)]
    return "\n".join(map(visible, lines)) + "\n"


# -------------------------------------------------------------------------------------------------------- YAML values


def flow(value: Any) -> str:
    """Plain data on one line, as the strict reader reads it back."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _scalar(value)
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(one)}" for key, one in value.items()) + "}"
    return "[" + ", ".join(flow(one) for one in value) + "]"


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and not _SPECIAL.fullmatch(text):
        return text
    return '"' + "".join(_escaped(character) for character in text.replace("${", "$${")) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# --------------------------------------------------------------------------------------------------------------- lines


def _section(settings: Sequence[Setting]) -> list[str]:
    return [line for setting in settings for line in _setting(setting, "  ")]


def _setting(setting: Setting, indent: str) -> list[str]:
    line = f"{indent}{setting.key}: {flow(setting.value)}"
    if len(line) > _WIDTH and isinstance(setting.value, dict):
        inner = [
            below for key, value in setting.value.items() for below in _setting(Setting(key, value), indent + "  ")
        ]
        return _commented(f"{indent}{setting.key}:", setting.comment, indent) + inner
    if len(line) > _WIDTH and isinstance(setting.value, list):
        inner = _wrapped([flow(value) for value in setting.value], indent + "  ")
        return [*_commented(f"{indent}{setting.key}: [", setting.comment, indent), *inner, f"{indent}]"]
    return _commented(line, setting.comment, indent)


def _wrapped(items: Sequence[str], indent: str) -> list[str]:
    lines = [indent]
    for item in items:
        if len(lines[-1]) > len(indent) and len(lines[-1]) + len(item) + 2 > _WIDTH:
            lines.append(indent)
        lines[-1] += ("" if len(lines[-1]) == len(indent) else " ") + item + ","
    return lines


def _commented(line: str, comment: str, indent: str, column: int = 0) -> list[str]:
    """The line with its comment behind it, or above it where there is no room."""
    if not comment:
        return [line]
    padded = f"{line.ljust(column)}  # {comment}"
    return [padded] if len(padded) <= _WIDTH else [*(indent + text for text in _comment(comment)), line]


def _comment(text: str, more: str = "") -> list[str]:
    lead = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        text.strip(),
        _WIDTH - 4,
        initial_indent=f"# {lead}",
        subsequent_indent=f"# {more}",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _left_out(columns: Sequence[tuple[str, str]]) -> list[str]:
    """A comment for each column; of very many, one for each reason."""
    if len(columns) <= _MANY_FIELDS:
        return [line for column, reason in columns for line in _comment(f"  {flow(column)}: {reason}", more="      ")]
    by_reason: dict[str, list[str]] = {}
    for column, reason in columns:
        by_reason.setdefault(reason, []).append(flow(column))
    return [
        line
        for reason, names in by_reason.items()
        for line in _comment(f"  {', '.join(names)}: {reason}", more="      ")
    ]


_WHY = {
    "numeric": "scaled by quantiles for the deep part, cut into `buckets` for the wide part",
    "categorical": "a weight and an embedding per value; values below min_count share one",
    "multi_valued": "several values in a row",
    "date_time": "hour and weekday as categories",
}


def _fields(part: str, entries: Sequence[Entry], many: bool) -> list[str]:
    items = [_entry(entry) for entry in entries]
    if many:
        return [*_commented(f"  {part}: [", _WHY[part], "  "), *_wrapped(items, "    "), "  ]"]
    lines = [f"    - {item}" for item in items]
    column = min(max(map(len, lines)), 60)
    head = _commented(f"  {part}:", _WHY[part], "  ", column)
    commented = (_commented(line, entry.comment, "    ", column) for line, entry in zip(lines, entries, strict=True))
    return [*head, *(text for block in commented for text in block)]


def _entry(entry: Entry) -> str:
    return flow(entry.settings["column"]) if len(entry.settings) == 1 else flow(entry.settings)


def _cross_example(suggestion: Suggestion) -> list[str]:
    names = [entry.settings["column"] for entry in suggestion.fields.get("categorical", ())]
    names += [entry.settings["column"] for entry in suggestion.fields.get("numeric", ())]
    pair = flow(names[:2]) if len(names) > 1 else "[first, second]"
    return [
        "# crosses:  # a weight of its own for every pair of values that the wide part should know by heart",
        f"#   - {pair}",
    ]
