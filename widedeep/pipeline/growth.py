"""What the stages before training need of a run that a new one goes on from: its plan, counts and sums. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from widedeep.features.plan import FeaturePlan
from widedeep.features.rare import RareCounts
from widedeep.source.forms import Forms


@dataclass(frozen=True)
class GrowsFrom:
    """A finished run's plan, which new rows are encoded with, and grow."""

    key: str
    """Hash of all that is here."""
    plan: FeaturePlan
    rare_dir: Path
    """The counts of values that have no index in the plan."""
    forms: Forms
    """In which writing the plan's texts are."""
    widths: Mapping[str, int]
    """Field → width of its embedding."""
    sums: Path
    """The sums of its memory of crosses; no file if it has none."""

    def rare(self) -> RareCounts:
        """The counts of values without an index. Raises ArtefactError if they are gone or damaged."""
        return RareCounts.load(self.rare_dir)
