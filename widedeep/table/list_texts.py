"""Lists that were written as texts by JSON, Python or a database: `["a", "b"]`, `('a', 'b')`, `{a,b}`, `[a b]`."""

import ast
import io
import itertools
import json
import re
import tokenize
import warnings
from typing import Any, Literal

import polars as pl

from widedeep.source.canonical import canonical_scalar

ListForm = Literal["json", "python", "bracketed"]

_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_BLANK = " "
_NEIGHBOURS = re.compile(r"""["']\s*["']""")


def parse_lists(texts: pl.Series, form: ListForm, separator: str | None = None) -> list[list[str | None] | None]:
    """For each text its items as canonical texts, None for one that is null; None for a text that is not of the form.

    `json` and `python` are lists as these write them (of Python tuples and sets too), of plain values. `bracketed` is
    anything in a pair of brackets, braces or parentheses; between two items stands `separator` (None: a comma; a blank
    stands for several), and an item may be in quotes.
    """
    if form == "bracketed":
        pattern = _items_pattern("," if separator is None else separator)
        return [_bracketed(text, pattern) for text in texts]
    read = _json if form == "json" else _python
    return [_plain_items(read(text)) for text in texts]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _python(text: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an odd escape in a text
            values = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    if _NEIGHBOURS.search(text) and _joins_texts(text.strip()):
        return None
    # The order of a set is not the text's, so that a run would not come out as another.
    return sorted(values, key=str) if isinstance(values, set) else values


def _joins_texts(text: str) -> bool:
    """Whether two texts stand side by side without a comma, as NumPy prints them: Python would make one of both."""
    kinds = [token.type for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type != tokenize.NL]
    return any(pair == (tokenize.STRING, tokenize.STRING) for pair in itertools.pairwise(kinds))


def _plain_items(values: Any) -> list[str | None] | None:
    if not isinstance(values, list | tuple):
        return None
    if not all(value is None or isinstance(value, bool | int | float | str) for value in values):
        return None
    return [_text(value) for value in values]


def _text(value: bool | int | float | str | None) -> str | None:
    if value is None or value != value:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return canonical_scalar(value)


def _items_pattern(separator: str) -> re.Pattern[str]:
    """An item, in quotes or not, and what ends it."""
    end = r"\s+" if separator == _BLANK else rf"\s*{re.escape(separator)}"
    plain = rf"(?:(?!{end}).)*?"
    quoted = r'"(?:[^"\\]|\\.|"")*"' + r"|'(?:[^'\\]|\\.|'')*'"
    return re.compile(rf"\s*({quoted}|{plain})\s*?({end}|$)", re.DOTALL)


def _bracketed(text: str, pattern: re.Pattern[str]) -> list[str | None] | None:
    text = text.strip()
    if len(text) < 2 or _BRACKETS.get(text[0]) != text[-1]:
        return None
    inner = text[1:-1].strip()
    items: list[str | None] = []
    position = 0
    while position < len(inner):
        match = pattern.match(inner, position)
        if match is None:
            return None
        items.append(_unquoted(match[1]))
        position = match.end()
        if position == len(inner) and match[2].strip():  # (a,) ends with a separator
            break
    return None if any(item is not None and set(item) & set("[]{}") for item in items) else items


def _unquoted(item: str) -> str | None:
    if item == "NULL":
        return None
    quote = item[:1]
    if len(item) < 2 or quote not in "\"'" or item[-1] != quote:
        return item
    return re.sub(r"\\(.)", r"\1", item[1:-1].replace(quote * 2, quote), flags=re.DOTALL)
