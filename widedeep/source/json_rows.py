"""Reads a few lines of NDJSON by Python alone: their values by column, for whoever types few rows."""

import json
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

_BLANKS = " \t\r\n"
_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def columns_of_lines(lines: Sequence[bytes], columns: Sequence[str]) -> dict[str, Sequence[Any]] | None:
    """Column → the value of each line, None for a key that a line lacks.

    None for lines that the reader of NDJSON is to look at, each of which may be at fault: no JSON object in UTF-8, or
    one that may have a key twice.
    """
    try:
        texts = [line.decode().strip(_BLANKS) for line in lines]
        objects = [_object(text) for text in texts]
    except (ValueError, RecursionError, StopIteration):
        return None
    if _num_plain_keys(texts) != sum(map(len, objects)):
        # A key may stand there twice, of which the first counts; or a text holds what looks like the end of a key.
        for text, values in zip(texts, objects, strict=True):
            if _num_keys(text) != len(values):
                return None
    try:
        if len(columns) > 1:
            return dict(zip(columns, zip(*map(itemgetter(*columns), objects), strict=True), strict=True))
    except KeyError:
        pass
    return {column: [values.get(column) for values in objects] for column in columns}


def _object(text: str) -> dict[str, Any]:
    value, end = _scan(text, 0)
    if end != len(text) or type(value) is not dict:
        raise ValueError(text)
    return value


def _num_plain_keys(texts: Sequence[str]) -> int:
    """At least as many as there are keys; -1 where a blank may stand between a key and its colon."""
    whole = "\n".join(texts)
    is_plain = " :" not in whole and "\t" not in whole and "\r" not in whole
    return whole.count('":') if is_plain else -1


def _num_keys(text: str) -> int:
    """How many keys the object has, the same one counted as often as it stands there; nested keys do not count."""
    counted: list[int] = json.loads(text, object_pairs_hook=lambda pairs: [len(pairs)])
    return counted[0]
