"""What the bench reports: figures, each measured several times and held against a target, and the table of them."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HEADER = "| row | against | target | median (least to most) | |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    row: str
    against: str
    values: Sequence[float]
    """One per repetition."""
    at_least: float | None = None
    at_most: float | None = None
    form: str = ".2f"
    """How a value is written, as in `format`."""
    unit: str = ""
    note: str = ""
    """What a reader must know beside it, such as the absolute values behind a ratio."""

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target; None where there is none."""
        median = statistics.median(self.values)
        if self.at_least is not None:
            return median >= self.at_least
        return None if self.at_most is None else median <= self.at_most

    def line(self) -> str:
        """The line of the table."""
        median, spread = self._written(statistics.median(self.values)), ""
        if len(self.values) > 1:
            spread = f" ({self._written(min(self.values))} to {self._written(max(self.values))})"
        verdict = {True: "met", False: "**missed**", None: ""}[self.met]
        target = self._target()
        note = f"; {self.note}" if self.note else ""
        return f"| {self.row} | {self.against} | {target} | {median}{spread}{self.unit}{note} | {verdict} |"

    def _written(self, value: float) -> str:
        return format(value, self.form)

    def _target(self) -> str:
        if self.at_least is not None:
            return f"≥ {self._written(self.at_least)}{self.unit}"
        return "" if self.at_most is None else f"≤ {self._written(self.at_most)}{self.unit}"


@dataclass(frozen=True)
class Failure:
    """A row that gave no figure."""

    row: str
    reason: str

    def line(self) -> str:
        """The line of the table, which has no room for more than the reason's last line."""
        last = (self.reason.strip().splitlines() or ["no reason given"])[-1].replace("|", "\\|")
        return f"| {self.row} | | | {last} | **not measured** |"


def table(lines: Iterable[Figure | Failure]) -> str:
    """The whole table, in Markdown."""
    return "\n".join([HEADER, *(line.line() for line in lines)])
