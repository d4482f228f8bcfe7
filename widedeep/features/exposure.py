"""How often serving meets values that training has not seen: estimated from train rows alone.

A row of a table for unknown values learns from what is rare in train, and yet speaks at serving for every row whose user
or ad is new. How many these are, train rows can say: where they have a time, by looking at the later ones as if only the
earlier ones had been seen; elsewhere by the counts, because of N rows drawn at random the chance that the next one has a
value seen c times so far is about (c + 1) * (values seen c + 1 times) / N (Good 1953).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.features.fields import MISSING, UNKNOWN, FittedCategorical
from widedeep.recipe.schema import FeatureSettings
from widedeep.table.split import value_at

UnknownShare = float | Literal["auto"]
"""`training.unknown_share`."""
LATE_SHARE = 0.2
"""Of the train rows: the last ones, which are looked at as if only those before them had been seen."""
MOST_SHOWN = 0.05
"""Of the known values, as long as the recipe names no share: enough to learn what to say of new ones, even where nearly
all that is to come is new. More costs what is known of known values, and what they tell of the other fields: with 9 in
10 users new a twentieth did about as well as half, and on MovieLens-100K by time a tenth cost .002 of log loss, the full share .014."""
MOST_SHOWN_AT_ALL = 0.95
"""Known values keep the rest of their rows, whatever share the recipe names."""
LEAST_SHOWN = 0.001
"""A smaller share teaches nothing, and training is left as it was."""


@dataclass(frozen=True)
class Exposure:
    """Shares of the train rows (of lists: of their values), from 0 to 1."""

    missing: float
    unknown: float
    """Too rare to have an index of their own."""
    expected: float
    """Of the rows to come: unknown ones."""
    by: Literal["time", "counts"]
    """Whether later rows were set against earlier ones, or values were counted."""

    def shown(self, unknown_share: UnknownShare = "auto") -> float:
        """The share of the known values to be shown as unknown, so that `unknown_share` of all are; `auto`: so that the
        expected share is, but no more than MOST_SHOWN of them."""
        wanted, most = (self.expected, MOST_SHOWN) if unknown_share == "auto" else (unknown_share, MOST_SHOWN_AT_ALL)
        known = 1.0 - self.unknown - self.missing
        share = min((wanted - self.unknown) / known, most) if known > 0.0 else 0.0
        return share if share >= LEAST_SHOWN else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return vars(self)


class ExposureCounts:
    """Counts, per field with a vocabulary and index, the rows among the earlier and the later train rows.

    Sums of integers: in whatever blocks the rows come, and in whatever order, the result is the same.
    """

    def __init__(self, fields: Sequence[FittedCategorical], features: FeatureSettings, *, by_time: bool) -> None:
        self._fields = [field for field in fields if field.buckets is None]
        self._least = {field.name or field.column: field.min_count for field in features.with_vocabulary()}
        self._by_time = by_time
        self._counts = {field.name: np.zeros((2, field.size), dtype=np.int64) for field in self._fields}

    def add(self, encoded: pl.DataFrame, late: NDArray[np.bool_] | None) -> None:
        """Encoded train rows; `late` [rows] where they have a time."""
        for name, counts in self._counts.items():
            indices, of_rows = encoded[name], late
            if indices.dtype == pl.List:
                if late is not None:
                    of_rows = np.repeat(late, indices.list.len().to_numpy())
                indices = indices.explode()
            _count(indices.to_numpy(), of_rows, counts)

    def result(self) -> dict[str, Exposure]:
        """Field → its exposure."""
        early: dict[str, NDArray[np.int64]] = {}
        for field in self._fields:
            counts = self._counts[field.name][0]
            early[_vocabulary(field)] = early.get(_vocabulary(field), 0) + counts
        return {field.name: self._exposure(field, early[_vocabulary(field)]) for field in self._fields}

    def _exposure(self, field: FittedCategorical, early: NDArray[np.int64]) -> Exposure:
        counts, least = self._counts[field.name], self._least[field.name]
        rows = counts.sum(axis=0)
        total = int(rows.sum())
        # Without a time all rows are early ones, and a value is new as often as one has just become known.
        seen, unseen = (counts[1], early < least) if self._by_time else (rows, early <= least)
        unseen[[MISSING, UNKNOWN]] = False, True
        return Exposure(
            missing=_share(int(rows[MISSING]), total),
            unknown=_share(int(rows[UNKNOWN]), total),
            expected=_share(int(seen[unseen].sum()), int(seen.sum())),
            by="time" if self._by_time else "counts",
        )


def _count(indices: NDArray[np.int32], late: NDArray[np.bool_] | None, counts: NDArray[np.int64]) -> None:
    size = counts.shape[1]
    places = indices.astype(np.int64)
    if late is not None:
        places += late * size
    if counts.size <= len(places):
        counts += np.bincount(places, minlength=counts.size).reshape(counts.shape)
    else:  # a table larger than the block is not gone through for each block
        np.add.at(counts.reshape(-1), places, 1)


def _vocabulary(field: FittedCategorical) -> str:
    # A field's own vocabulary cannot be mistaken for a shared one, whose name begins otherwise.
    return f"shared {field.shared}" if field.shared is not None else f"of {field.name}"


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def late_from(num_rows: int, times: Callable[[], Iterable[NDArray[np.float64]]]) -> float | None:
    """The instant from which on rows count as late: LATE_SHARE of them at least, rows of one instant together.

    Where so many share the first instant, all after it are late; None where all rows are of one instant. `times` gives
    the rows' times block by block, as often as it is asked.
    """
    cut = value_at(int(num_rows * (1.0 - LATE_SHARE)), times)
    if any((block < cut).any() for block in times()):
        return cut
    later = [float(block[block > cut].min()) for block in times() if (block > cut).any()]
    return min(later, default=None)


def shown_shares(exposures: Mapping[str, Exposure], unknown_share: UnknownShare) -> dict[str, float]:
    """Field → share of its known values that training shows as unknown, where that is any."""
    shares = {name: exposure.shown(unknown_share) for name, exposure in exposures.items()}
    return {name: share for name, share in shares.items() if share > 0.0}
