"""How long work reports its progress: the command line draws it, a library user may ignore it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal


class Meter:
    """One piece of long work, under way. This base class draws nothing."""

    def update(self, done: float, **figures: float) -> None:
        """Report the absolute amount `done` so far, in the unit of `Reporter.work`.

        `figures` (loss=…, rows_per_second=…) are shown beside it.
        """

    def expect(self, total: float, how: Literal["at most", "likely"]) -> None:
        """Report that the work will end at `total` units: at the latest (`at most`), or probably (`likely`)."""


class Reporter:
    """Receives notes, warnings and progress. This base class is silent."""

    def note(self, message: str) -> None:
        """Something worth knowing, such as a setting that the model's kind leaves out; several parts may note it."""

    def part(self, name: str, number: int, of: int) -> None:
        """Work goes on with another part of it, such as a seed: the `number`-th, from 1, `of` so many."""

    def warn(self, message: str) -> None:
        """Something that will probably hurt, though work goes on."""

    @contextmanager
    def work(self, title: str, total: float | None, unit: str) -> Iterator[Meter]:
        """Long work named `title` of `total` units ("rows", "bytes"; None where nobody knows)."""
        yield Meter()

    def epoch(self, figures: Mapping[str, float | int | str | None]) -> None:
        """Report a finished epoch: `epoch` of at most `epochs`, train loss, valid metrics (first the one that chooses
        the best epoch), rows per second, learning-rate scale, whether it is the best.
        """
