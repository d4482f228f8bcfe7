"""Reads a few lines of NDJSON by Python alone: their values by column, for whoever types few rows."""

import json
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from pydantic_core import from_json

_BLANKS = b" \t\r\n"


def columns_of_lines(lines: Sequence[bytes], columns: Sequence[str]) -> dict[str, Sequence[Any]] | None:
    """Column → the value of each line, None for a key that a line lacks.

    None for lines that the reader of NDJSON is to look at, each of which may be at fault: no JSON object in UTF-8, or
    one that may have a key twice.
    """
    texts = [line.strip(_BLANKS) for line in lines]
    try:
        objects = [_object(text) for text in texts]
    except ValueError:
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


def _object(text: bytes) -> dict[str, Any]:
    value = from_json(text, cache_strings="keys")  # in half the time of the standard library
    if type(value) is not dict:
        raise ValueError(text)
    return value


def _num_plain_keys(texts: Sequence[bytes]) -> int:
    """At least as many as there are keys; -1 where a blank may stand between a key and its colon."""
    whole = b"\n".join(texts)
    # Looking for one byte is 80 times as fast as for two, and many writers put no blank anywhere.
    is_plain = (b" " not in whole or b" :" not in whole) and b"\t" not in whole and b"\r" not in whole
    return whole.count(b'":') if is_plain else -1


def _num_keys(text: bytes) -> int:
    """How many keys the object has, the same one counted as often as it stands there; nested keys do not count."""
    counted: list[int] = json.loads(text.decode(), object_pairs_hook=lambda pairs: [len(pairs)])
    return counted[0]
