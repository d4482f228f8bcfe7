"""Which known values training shows as unknown, so that it looks like serving: drawn anew each epoch, by counters alone.

A draw depends on the seed, the epoch, the field and the row's number in the store (in a list on the place, too), never on
batches, or on how far a stream was read. In a row where a member is shown as unknown, so is every combination that it is
part of: at serving a new user is new in all of his crosses. Hashed crosses know no unknown value, and stay as they are.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widedeep.compiled import compiled
from widedeep.draws import GOLDEN_GAMMA, mix
from widedeep.features.fields import FIRST, UNKNOWN
from widedeep.features.plan import FeaturePlan, IndexColumn

Bools = NDArray[np.bool_]
Longs = NDArray[np.int64]

_GAMMA, _ONE = np.uint64(GOLDEN_GAMMA), np.uint64(1)
_mix = compiled(mix)


@compiled
def _mixed(start: np.uint64, position: np.uint64) -> np.uint64:
    """64 random bits of a position, as in `random_draws`."""
    return _mix(start + (position + _ONE) * _GAMMA)  # type: ignore[no-any-return]


@compiled
def _draw_rows(start: np.uint64, limit: np.uint64, rows: Longs, drawn: Bools) -> None:
    """Fill `drawn` [B]: whether each row's 64 random bits are below `limit`."""
    for i in range(len(rows)):
        drawn[i] = _mixed(start, np.uint64(rows[i])) < limit


@compiled
def _draw_values(start: np.uint64, limit: np.uint64, rows: Longs, lengths: Longs, drawn: Bools) -> None:
    """The same for each value of the rows' lists: `lengths` [B], `drawn` [their sum]."""
    place = 0
    for i in range(len(rows)):
        of_row = _mixed(start, np.uint64(rows[i]))
        for k in range(lengths[i]):
            drawn[place] = _mixed(of_row, np.uint64(k)) < limit
            place += 1


@dataclass(frozen=True)
class Draws:
    """What was drawn for the rows of a batch, on the host or, after `put`, on a device."""

    rows: tuple[Any, ...]
    """[B] bool, for each drawn column with one value a row."""
    values: tuple[Any, ...]
    """[N] bool, for each drawn column of lists."""
    places: tuple[tuple[Any, ...], ...]
    """For each cross with lists and each of its drawn members: [N] int64, the member's row or value in each combination."""

    def put(self, put: Callable[[NDArray[Any]], Any]) -> "Draws":
        """The same with every array brought to a device."""
        places = tuple(tuple(map(put, members)) for members in self.places)
        return Draws(tuple(map(put, self.rows)), tuple(map(put, self.values)), places)


class UnknownDraws:
    """The draws of a training."""

    def __init__(
        self,
        shares: Mapping[str, float],
        seed: int,
        columns: Sequence[IndexColumn],
        list_columns: Sequence[IndexColumn],
        hashed: frozenset[str],
    ) -> None:
        """`shares`: field → share of its known values, above 0; `columns` and `list_columns` as in the batches, those of
        lists in the plan's order; `hashed` names the crosses without an unknown value."""
        self._seed, self._shares = seed, dict(shares)
        # Where columns stand in a batch, and which were drawn.
        self._drawn = [(place, column.name) for place, column in enumerate(columns) if column.name in shares]
        self._drawn_lists = [(place, column.name) for place, column in enumerate(list_columns) if column.name in shares]
        self._list_places = {column.name: place for place, column in enumerate(list_columns)}
        self._crosses = self._known_crosses(columns, hashed)
        self._list_crosses = self._known_crosses(list_columns, hashed)

    @classmethod
    def of_plan(
        cls,
        plan: FeaturePlan,
        shares: Mapping[str, float],
        seed: int,
        columns: Sequence[IndexColumn],
        list_columns: Sequence[IndexColumn],
    ) -> "UnknownDraws":
        """Those of a plan's columns."""
        hashed = frozenset(cross.name for cross in plan.crosses if cross.buckets is not None)
        return cls(shares, seed, columns, list_columns, hashed)

    def _known_crosses(
        self, columns: Sequence[IndexColumn], hashed: frozenset[str]
    ) -> list[tuple[int, tuple[str, ...], list[str]]]:
        """Place, all members, drawn members."""
        return [
            (place, column.fields, drawn)
            for place, column in enumerate(columns)
            if column.kind == "cross" and column.name not in hashed
            if (drawn := [name for name in column.fields if name in self._shares])
        ]

    def draw(self, epoch: int, rows: Longs, lengths: Sequence[Longs]) -> Draws:
        """For the store's rows [B], whose lists have `lengths` [B] in each column of lists."""
        of_rows = [np.empty(len(rows), dtype=np.bool_) for _ in self._drawn]
        for (_, name), drawn in zip(self._drawn, of_rows, strict=True):
            _draw_rows(*self._start_and_limit(epoch, name), rows, drawn)
        of_values = []
        for place, name in self._drawn_lists:
            drawn = np.empty(int(lengths[place].sum()), dtype=np.bool_)
            _draw_values(*self._start_and_limit(epoch, name), rows, lengths[place], drawn)
            of_values.append(drawn)
        places = [self._places(fields, drawn, lengths) for _, fields, drawn in self._list_crosses]
        return Draws(tuple(of_rows), tuple(of_values), tuple(places))

    def _start_and_limit(self, epoch: int, name: str) -> tuple[np.uint64, np.uint64]:
        digest = hashlib.blake2b(f"{self._seed} {epoch} {name}".encode(), digest_size=8).digest()
        return np.uint64(int.from_bytes(digest, "little")), np.uint64(int(self._shares[name] * 2.0**64))

    def _places(self, fields: Sequence[str], drawn: Sequence[str], lengths: Sequence[Longs]) -> tuple[Longs, ...]:
        """Combinations come in the order of `FeaturePlan.cross_rows`: of a row's lists, the last one goes fastest."""
        lists = sorted((self._list_places[name], name) for name in fields if name in self._list_places)
        ones = np.ones_like(lengths[0])
        sizes = np.prod([lengths[place] for place, _ in lists], axis=0, dtype=np.int64) * ones
        rows = np.repeat(np.arange(len(sizes)), sizes)
        within = np.arange(len(rows)) - (np.cumsum(sizes) - sizes)[rows]
        found, faster = {}, ones
        for place, name in reversed(lists):
            own = lengths[place]
            found[name] = (np.cumsum(own) - own)[rows] + within // faster[rows] % own[rows]
            faster = faster * own
        return tuple(found.get(name, rows) for name in drawn)

    def apply(self, draws: Draws, indices: Any, values: Sequence[Any], fill: Callable[[Any, Any, int], object]) -> None:
        """Show what was drawn as unknown, in place.

        `indices` [F, B] and, for each column of lists, `values` [N] are arrays, or tensors like the draws; `fill` sets
        their elements where a mask says so.
        """
        hidden: dict[str, Any] = {}
        columns = [(name, indices[place]) for place, name in self._drawn]
        columns += [(name, values[place]) for place, name in self._drawn_lists]
        for (name, column), drawn in zip(columns, (*draws.rows, *draws.values), strict=True):
            hidden[name] = drawn & (column >= FIRST)
            fill(column, hidden[name], UNKNOWN)
        for place, _, members in self._crosses:
            fill(indices[place], _any_of([hidden[name] for name in members]), UNKNOWN)
        for (place, _, members), places in zip(self._list_crosses, draws.places, strict=True):
            of_members = [hidden[name][own] for name, own in zip(members, places, strict=True)]
            fill(values[place], _any_of(of_members), UNKNOWN)


def _any_of(masks: Sequence[Any]) -> Any:
    found = masks[0]
    for mask in masks[1:]:
        found = found | mask
    return found
