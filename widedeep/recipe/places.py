"""Where each setting was written, so that a fault can name its file and line; what a fault says of names and values."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from widedeep.errors import Fault

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of the recipe down to a setting; () is the recipe itself."""

OVERRIDE_SOURCE = "--set"


@dataclass(frozen=True)
class Finding:
    """A fault whose place is a path in the recipe, not yet a line of a file."""

    path: KeyPath
    message: str
    line: int | None = None
    """1-based line, if it is not the line of `path`."""
    unread: bool = False
    """The value at `path` could not be read, so that other findings about it are not worth telling."""


@dataclass
class Places:
    """The lines of one recipe file, and what overrides have replaced."""

    source: str
    lines: dict[KeyPath, int | None]
    overridden: set[KeyPath] = field(default_factory=set)

    def override(self, path: KeyPath) -> None:
        """Note that the setting at `path`, and parents that were made for it, come from the command line."""
        for depth in range(1, len(path) + 1):
            if depth == len(path) or path[:depth] not in self.lines:
                self.overridden.add(path[:depth])

    def fault(self, finding: Finding) -> Fault:
        """The fault with the line of its setting, or of the nearest section that was written."""
        where = dotted(finding.path)
        if finding.line is not None:
            return Fault(where, finding.message, finding.line, self.source)
        for depth in range(len(finding.path), -1, -1):
            if finding.path[:depth] in self.overridden:
                return Fault(where, finding.message, source=OVERRIDE_SOURCE)
            if finding.path[:depth] in self.lines:
                return Fault(where, finding.message, self.lines[finding.path[:depth]], self.source)
        return Fault(where, finding.message, source=self.source)

    def cite(self, path: KeyPath) -> str:
        """A second place to look at, such as `crosses.0 (line 12)`."""
        line = self.fault(Finding(path, "")).line
        return dotted(path) + (f" (line {line})" if line is not None else "")


def dotted(path: KeyPath) -> str:
    """`("crosses", 0, "buckets")` as `crosses.0.buckets`."""
    return ".".join(str(key) for key in path)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known word, whatever its case; empty if none is near."""
    import difflib  # not at the top: few recipes have a fault

    by_letters = {name.casefold(): name for name in known}
    nearest = difflib.get_close_matches(word.casefold(), by_letters, n=1)
    return f"; did you mean '{by_letters[nearest[0]]}'?" if nearest else ""


def told(value: Any) -> str:
    """A value as a message shows it: text in quotes, so that '10' and 10 differ."""
    match value:
        case None:
            return "empty (null)"
        case bool():
            return str(value).lower()
        case str():
            return f"the text {value if len(value) <= 60 else value[:60] + '…'!r}"
        case list() | tuple():
            return "a list"
        case dict():
            return "a section"
        case _:
            return str(value) if len(str(value)) <= 60 else str(value)[:60] + "…"
