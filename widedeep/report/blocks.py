"""The building blocks of a page, which the template draws. They hold plain text: the template escapes it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One of several figures in a cell; its interval is drawn on the scale of the whole table."""

    label: str
    text: str
    small: str
    run: int | None
    """The number of the run whose colour it has; None for no run."""
    interval: tuple[float, float, float] | None = None
    """Lower end, middle and upper end, in percent of the scale's width."""
    aside: str = ""
    """Another figure, shown at the right."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    small: str = ""
    """Shown below in a smaller font: an interval, a path."""
    lines: Sequence[Line] = ()
    """Lines to show in place of the text."""
    run: int | None = None
    """The number of the run whose colour is shown before the text."""
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows."""

    titles: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    title: str = ""
    stacks: bool = False
    """Whether rows become cards on a narrow screen."""


@dataclass(frozen=True)
class Legend:
    """A line of a legend: a run's name, or, if `run` is None, something that all charts draw alike."""

    text: str
    run: int | None


@dataclass(frozen=True)
class Chart:
    """A drawing with its title, its legend and a text on how to read it."""

    title: str
    svg: str
    caption: str
    legend: Sequence[Legend] = ()


@dataclass(frozen=True)
class Folded:
    """Preformatted text that is hidden until the reader opens it."""

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
    """Paragraphs at the end, in a smaller font."""
    pairs_tables: bool = False
    """Whether two tables are shown side by side where there is room."""


def text(value: str, small: str = "") -> Cell:
    """A cell of words."""
    return Cell(value, small, is_number=False)


@dataclass(frozen=True)
class Scale:
    """A scale with two ends, on which values are placed."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """The position of a value in percent of the width, from 0 to 100."""
        width = self.high - self.low
        share = (value - self.low) / width if width > 0.0 else 0.5
        return round(100.0 * min(max(share, 0.0), 1.0), 2)

    def interval(self, value: float, low: float, high: float) -> tuple[float, float, float]:
        """The positions of an interval, as `Line` takes them."""
        return self.place(low), self.place(value), self.place(high)
