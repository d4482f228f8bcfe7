"""Writes results to stdout, other than tables: a JSON object, lines of facts, raw bytes."""

import json
import math
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

from widedeep.figures import visible

_GAP = "  "
_WIDTH = 80


def print_json(value: Mapping[str, Any]) -> None:
    """Write the command's one JSON object to stdout; NaN and infinities, which JSON lacks, become null."""
    open_stdout().write(json.dumps(_plain(value), allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_facts(facts: Mapping[str, str | Sequence[str]]) -> None:
    """Print lines of `name  text`. No text is cut, so that paths can be copied; a long list takes several lines."""
    width = max(len(name) for name in facts) + len(_GAP)
    lines = []
    for name, value in facts.items():
        texts = [visible(value)] if isinstance(value, str) else _packed([*map(visible, value)], _WIDTH - width)
        lines += [f"{title:<{width}}{text}\n" for title, text in zip([name, *[""] * len(texts)], texts, strict=False)]
    open_stdout().write("".join(lines))


def print_sentences(sentences: Sequence[str]) -> None:
    """Print each sentence as a paragraph that fits the width."""
    lines = [
        textwrap.fill(visible(sentence), _WIDTH, subsequent_indent="  ", break_long_words=False)
        for sentence in sentences
    ]
    open_stdout().write("".join(f"{line}\n" for line in lines))


def _packed(items: Sequence[str], width: int) -> list[str]:
    """The items, separated by commas, on lines of at most `width` characters (longer only for a long item)."""
    lines: list[str] = []
    for position, item in enumerate(items):
        text = item if position == len(items) - 1 else f"{item},"
        if lines and len(lines[-1]) + 1 + len(text) <= width:
            lines[-1] += f" {text}"
        else:
            lines.append(text)
    return lines


def stdout_bytes() -> BinaryIO:
    """Stdout for bytes. Raises BrokenPipeError if it is closed."""
    return open_stdout().buffer  # type: ignore[attr-defined, no-any-return]


def open_stdout() -> IO[str]:
    """Stdout for text. Raises BrokenPipeError if it is closed."""
    if sys.stdout is None:
        raise BrokenPipeError
    return sys.stdout
