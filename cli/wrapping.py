"""Wraps messages on stderr at words, on a terminal only: in a pipe each is one line, so that `grep` finds it whole."""

import os
import textwrap
from typing import IO

_WIDTH, _LEAST = 80, 40


def wrapped(message: str, stream: IO[str] | None) -> str:
    """`message` in lines of the terminal's width, all but the first indented; unchanged if `stream` is no terminal.

    A word, such as a path, is never cut.
    """
    if stream is None or not stream.isatty():
        return message
    width = max(_width(stream), _LEAST)
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for line in message.split("\n")
    )


def _width(stream: IO[str]) -> int:
    if (columns := os.environ.get("COLUMNS", "")).isdigit():
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _WIDTH
    except OSError:
        return _WIDTH
