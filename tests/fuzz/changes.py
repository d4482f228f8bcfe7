"""Changes that several kinds of cases share: of values in a tree, and of bytes."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

KeyPath = tuple[str | int, ...]

EXTREMES: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 255, 65536, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**30),
    *(0.0, -0.0, 0.5, 1.0, 1 - 1e-16, 1e-300, 5e-324, 1e308, -1e308, float("inf"), float("-inf"), float("nan")),
    *(None, True, False, "", " ", "auto", "null", "~", "0", "1", "nan"),
    *("é", "\u202e", "\ufeff", "\x7f", "\t", "\\", '"'),
    *("a" * 300, "../..", "/", ".", "~", "*", "[", "${HOME}", "${", "%Y", "%", "%Q", "log.csv", "people.csv"),
    *("score", "__weight__", "__group__", "__row__", "label", "click", "x", "people.x", "people.user", "missing"),
    *([], {}, [[]], [None], [0], [""], {"": ""}, {"kind": "x"}, [1, "1", 1.0, True], [[["a"]]], ["a", "a"]),
)
"""Values that settings and entries are replaced by."""


def places(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of every entry below `value`, lists and mappings included."""
    if path:
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def at(value: Any, path: KeyPath) -> Any:
    """What lies at the path."""
    for key in path:
        value = value[key]
    return value


def near(draw: random.Random, value: Any, texts: Sequence[str]) -> Any:
    """A value that may well be valid in the place of `value`; another text is one of `texts`, or much like it."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return draw.choice([0, 1, 2, 3, value + 1, value - 1, -value, value * 2, value * 100, value / 2, 1e6, 0.99])
    if isinstance(value, str):
        return draw.choice([*texts, *[value[:-1], value + "x", value.upper(), ",", ":", ";"] * 4])
    return value


def damage(draw: random.Random, content: bytearray) -> None:
    """Change some bytes: flipped, set, dropped, doubled, zeroed or moved."""
    start = draw.randrange(len(content))
    end = min(len(content), start + draw.choice([1, 1, 4, 30]))
    way = draw.choice(["flip", "set", "drop", "double", "zero", "move"])
    if way == "flip":
        content[start] ^= 1 << draw.randrange(8)
    elif way == "set":
        content[start] = draw.choice([0, 255, *b'"{}[],:\n\r\t\\ \xef'])
    elif way == "zero":
        content[start:end] = bytes(end - start)
    elif way == "double":
        content[end:end] = content[start:end]
    else:
        part = content[start:end]
        del content[start:end]
        if way == "move":
            place = draw.randrange(len(content) + 1)
            content[place:place] = part
    if not content:
        content.append(0)
