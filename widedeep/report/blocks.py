"""What a page is made of; the template draws each. Text is text here: the template escapes it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One of several figures in a cell, with its interval drawn on a scale that all lines of the table share."""

    label: str
    text: str
    small: str
    run: int | None
    """The run whose colour it has; None is no run's."""
    interval: tuple[float, float, float] | None = None
    """Lower end, middle and upper end, in percent of the scale's width."""
    aside: str = ""
    """Another figure, at the right."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    small: str = ""
    """Written below, smaller: an interval, a path."""
    lines: Sequence[Line] = ()
    """In place of a text."""
    run: int | None = None
    """The run whose colour stands before the text."""
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """A table whose first column says what its rows are."""

    titles: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    title: str = ""
    stacks: bool = False
    """Whether rows become cards on a narrow screen."""


@dataclass(frozen=True)
class Legend:
    """One line of a legend: a run's name, or with `run` None something that all charts draw alike."""

    text: str
    run: int | None


@dataclass(frozen=True)
class Chart:
    """A drawing with its title, legend and what it tells."""

    title: str
    svg: str
    caption: str
    legend: Sequence[Legend] = ()


@dataclass(frozen=True)
class Folded:
    """Text that is shown when asked for, as it was written."""

    summary: str
    text: str
    run: int | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    name: str
    title: str
    intro: Sequence[str] = ()
    """Paragraphs."""
    legend: Sequence[Legend] = ()
    """Of its tables."""
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[Folded] = ()
    notes: Sequence[str] = ()
    """Paragraphs at the end, smaller."""
    pairs_tables: bool = False
    """Whether two tables stand beside each other where there is room."""


def text(value: str, small: str = "") -> Cell:
    """A cell of words."""
    return Cell(value, small, is_number=False)


@dataclass(frozen=True)
class Scale:
    """Where values lie between two ends."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Percent of the width, within it."""
        width = self.high - self.low
        share = (value - self.low) / width if width > 0.0 else 0.5
        return round(100.0 * min(max(share, 0.0), 1.0), 2)

    def interval(self, value: float, low: float, high: float) -> tuple[float, float, float]:
        """As a line takes it."""
        return self.place(low), self.place(value), self.place(high)
