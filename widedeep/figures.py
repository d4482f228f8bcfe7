"""How numbers read, in a terminal and on a page: figures, gains, durations, speeds, counts by field. And how texts of
others are shown on a terminal."""

import re
from collections.abc import Mapping

_JOINERS = "\u00ad\u200c\u200d"
"""Invisible, but part of how words and emoji are written: a soft hyphen, and what joins letters or keeps them apart."""
_QUOTED = re.compile(r"(?<!\w)(['\"])((?:\\.|(?!\1).)*)\1")
_MOST_QUOTED = 200
_LONG_WORD = re.compile(rf"(?<!\S)([^\s/'\"]{{{_MOST_QUOTED}}})[^\s/'\"]+(?!\S)")
"""A long name without quotes; a path has slashes and stays whole, so that it can be copied."""


def figure(value: float | int | str | None) -> str:
    """A figure as people read it: four decimals from 0.01 to 9999, else four significant digits; – for None."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if value == 0 or 1e-2 <= abs(value) < 1e4 else f"{value:.4g}"


def gain_cell(value: float, low: float | None = None) -> str:
    """A gain in thousandths, with ± half the 95% interval if its lower end is given: `8.85 ±0.46`."""
    shown = f"{1000.0 * value:.3g}"
    return shown if low is None else f"{shown} ±{1000.0 * (value - low):.2g}"


def duration(seconds: float) -> str:
    """Seconds as `8.3 s`, `4:07` or `2:10:00`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def size(count: int) -> str:
    """Bytes as `900 B`, `1.4 MB` or `23 GB`."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1e3, units[1:]
    return f"{value:.1f} {units[0]}" if value < 9.95 and units[0] != "B" else f"{value:.0f} {units[0]}"


def age(seconds: float) -> str:
    """Time gone by as `5 min`, `7 h` or `12 d`."""
    minutes = max(seconds, 0.0) / 60.0
    if minutes < 60.0:
        return f"{minutes:.0f} min"
    return f"{minutes / 60.0:.0f} h" if minutes < 48 * 60.0 else f"{minutes / 1440.0:.0f} d"


def rate(speed: float, unit: str) -> str:
    """A speed in `unit` a second; bytes in MB."""
    return f"{speed / 1e6:,.1f} MB/s" if unit == "bytes" else f"{speed:,.0f} {unit}/s"


def odd_value_lists(missing: Mapping[str, int], unseen: Mapping[str, int]) -> dict[str, list[str]]:
    """Rows with a missing or an unseen value, by field, as `field 1,234`; no list where there is
    nothing to say."""
    kinds = {"missing values": missing, "unseen values": unseen}
    lists = {kind: [f"{name} {rows:,}" for name, rows in found.items() if rows] for kind, found in kinds.items()}
    return {kind: items for kind, items in lists.items() if items}


def visible(text: str) -> str:
    """A text from data, or with parts from data, as a terminal may get it.

    Control characters, escape sequences, line breaks and what turns the direction of writing are shown as `\\x1b`,
    `\\n`, `\\u202e`, … in place of being obeyed.
    """
    if text.isprintable():
        return text
    return "".join(
        character if _is_harmless(character) else character.encode("unicode_escape").decode() for character in text
    )


def _is_harmless(character: str) -> bool:
    is_wide_blank = character.isspace() and character > "\x9f" and character not in "\u2028\u2029"
    return character.isprintable() or is_wide_blank or character in _JOINERS


def visible_message(text: str) -> str:
    """A message, `visible`, with at most 200 characters of each value or name that it quotes."""
    return visible(_LONG_WORD.sub(lambda word: f"{word[1]}…", _QUOTED.sub(_cut_short, text)))


def _cut_short(match: re.Match[str]) -> str:
    quote, quoted = match[1], match[2]
    return match[0] if len(quoted) <= _MOST_QUOTED else f"{quote}{quoted[:_MOST_QUOTED]}…{quote}"
