"""Estimates from train rows alone how often serving meets values that training has not seen.

In training, a table's row for unknown values learns only from rare values; at serving it answers for every row whose
user or ad is new. Train rows tell how many such rows to expect. If they have a time, the later rows are looked at as if
only the earlier ones had been seen. Otherwise counts tell: after N random rows, the chance that the next row has a
value seen c times so far is about (c + 1) * (number of values seen c + 1 times) / N (Good 1953).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.features.fields import MISSING, UNKNOWN, FittedCategorical
from widedeep.recipe.schema import FeatureSettings
from widedeep.table.time_cuts import RankedTimes

UnknownShare = float | Literal["auto"]
"""The setting `training.unknown_share`."""
LATE_SHARE = 0.2
"""Share of the train rows that count as late: they are looked at as if only the rows before them had been seen."""
MOST_SHOWN = 0.05
"""Largest share of known values shown as unknown if the recipe names no share.

It is enough to learn what to predict for new values, even if nearly all values to come are new. A larger share costs
what is learnt of known values, and of the other fields through them. With 9 in 10 users new, a twentieth did about as
well as half; on MovieLens-100K split by time, a tenth cost .002 of log loss and the full share .014."""
MOST_SHOWN_AT_ALL = 0.95
"""Largest share of known values shown as unknown, whatever share the recipe names."""
LEAST_SHOWN = 0.001
"""A smaller share would teach nothing: no values are then shown as unknown."""


@dataclass(frozen=True)
class Exposure:
    """A field's shares of missing and unknown values among rows (of lists: among their values), from 0 to 1."""

    missing: float
    """Share of the train rows that have no value."""
    unknown: float
    """Share of the train rows whose value is too rare to have an index of its own."""
    expected: float
    """Share of unknown values that is expected in rows to come."""
    by: Literal["time", "counts"]
    """How `expected` was estimated: from later rows against earlier ones, or from counts of values."""

    def shown(self, unknown_share: UnknownShare = "auto") -> float:
        """The share of known values to show as unknown so that `unknown_share` of all rows are unknown.

        `auto` aims at the expected share, but shows at most MOST_SHOWN of the known values as unknown.
        """
        wanted, most = (self.expected, MOST_SHOWN) if unknown_share == "auto" else (unknown_share, MOST_SHOWN_AT_ALL)
        known = 1.0 - self.unknown - self.missing
        share = min((wanted - self.unknown) / known, most) if known > 0.0 else 0.0
        return share if share >= LEAST_SHOWN else 0.0

    def to_json(self) -> dict[str, Any]:
        """The shares as plain values."""
        return vars(self)


class ExposureCounts:
    """Counts earlier and later train rows per index, for every field with a vocabulary.

    Counts are sums of integers: the result does not depend on the order of the rows or on their blocks.
    """

    def __init__(self, fields: Sequence[FittedCategorical], features: FeatureSettings, *, by_time: bool) -> None:
        self._fields = [field for field in fields if field.buckets is None]
        self._least = {field.name or field.column: field.min_count for field in features.with_vocabulary()}
        self._by_time = by_time
        self._counts = {field.name: np.zeros((2, field.size), dtype=np.int64) for field in self._fields}

    def add(self, encoded: pl.DataFrame, late: NDArray[np.bool_] | None) -> None:
        """Count encoded train rows. `late` [rows] tells which rows are late; None if rows have no time."""
        for name, counts in self._counts.items():
            indices, late_values = encoded[name], late
            if indices.dtype == pl.List:
                if late is not None:
                    late_values = np.repeat(late, indices.list.len().to_numpy())
                indices = indices.explode()
            _count(indices.to_numpy(), late_values, counts)

    def sparse(self) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Field → the places in its table of counts that are not 0, and the counts there."""
        counted = ((name, counts.reshape(-1)) for name, counts in self._counts.items())
        return {name: (places := np.flatnonzero(flat), flat[places]) for name, flat in counted}

    def merge(self, sparse: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]]) -> None:
        """Add what others of the same fields have counted, as their `sparse` gives it."""
        for name, (places, counts) in sparse.items():
            self._counts[name].reshape(-1)[places] += counts

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
        # Without a time all rows count as early. Good's formula, summed over all c below min_count, gives the share of
        # the rows whose value was seen at most min_count times.
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
    positions = indices.astype(np.int64)
    if late is not None:
        positions += late * size
    if counts.size <= len(positions):
        counts += np.bincount(positions, minlength=counts.size).reshape(counts.shape)
    else:  # bincount would go through the whole table, which is larger than the block
        np.add.at(counts.reshape(-1), positions, 1)


def _vocabulary(field: FittedCategorical) -> str:
    # The prefixes keep the vocabulary of one field apart from a shared vocabulary that has the field's name.
    return f"shared {field.shared}" if field.shared is not None else f"of {field.name}"


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def late_from(times: Callable[[], Iterable[NDArray[np.float64]]]) -> float | None:
    """The instant from which on rows count as late, so that at least LATE_SHARE of them are late.

    Rows of one instant stay together. If no row comes before that instant, all rows after the first instant are late.
    None if all rows are of one instant. `times` is called once per pass and gives the rows' times block by block.
    """
    ranked = RankedTimes.in_passes(times)
    cut = ranked.at(int(ranked.num_rows * (1.0 - LATE_SHARE)))
    if cut.before:
        return cut.time
    return ranked.at(cut.through).time if cut.through < ranked.num_rows else None


def shown_shares(exposures: Mapping[str, Exposure], unknown_share: UnknownShare) -> dict[str, float]:
    """Field → share of its known values that training shows as unknown; fields with a share of 0 are left out."""
    shares = {name: exposure.shown(unknown_share) for name, exposure in exposures.items()}
    return {name: share for name, share in shares.items() if share > 0.0}
