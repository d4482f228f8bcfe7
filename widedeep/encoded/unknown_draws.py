"""Draws which known values training shows as unknown, so that it meets unknown values as serving does.

Every epoch draws anew. A draw depends on the seed, the epoch, the field and the row's number in the store (in a list
also on the position), never on batches or on how far a stream was read. Where a member is shown as unknown, so are all
crosses of the row that it is part of: at serving a new user is new in all of the user's crosses. A hashed cross has no
index for unknown values and stays as it is.
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
    """Fill `drawn` [B] with whether each row's 64 random bits are below `limit`."""
    for i in range(len(rows)):
        drawn[i] = _mixed(start, np.uint64(rows[i])) < limit


@compiled
def _draw_values(start: np.uint64, limit: np.uint64, rows: Longs, lengths: Longs, drawn: Bools) -> None:
    """Fill `drawn` [N] likewise for each value of the rows' lists, whose `lengths` [B] sum to N."""
    value = 0
    for i in range(len(rows)):
        row_start = _mixed(start, np.uint64(rows[i]))
        for k in range(lengths[i]):
            drawn[value] = _mixed(row_start, np.uint64(k)) < limit
            value += 1


@dataclass(frozen=True)
class Draws:
    """The draws for the rows of a batch, on the host or, after `put`, on a device."""

    rows: tuple[Any, ...]
    """For each field drawn from that has one value a row: [B] bool, whether the value is to be shown as unknown."""
    values: tuple[Any, ...]
    """For each field drawn from that has lists: [N] bool, likewise for the values of the batch."""
    positions: tuple[tuple[Any, ...], ...]
    """For each cross with lists and each of its members drawn from: [N] int64, the member's row or value in each
    combination."""

    def put(self, put: Callable[[NDArray[Any]], Any]) -> "Draws":
        """The same draws with every array brought to a device by the function `put`."""
        positions = tuple(tuple(map(put, members)) for members in self.positions)
        return Draws(tuple(map(put, self.rows)), tuple(map(put, self.values)), positions)


class UnknownDraws:
    """Draws for the batches of a training and applies the draws to them."""

    def __init__(
        self,
        shares: Mapping[str, float],
        seed: int,
        columns: Sequence[IndexColumn],
        list_columns: Sequence[IndexColumn],
        hashed: frozenset[str],
    ) -> None:
        """`shares`: field → share of its known values to show as unknown, above 0.

        `columns` (one value a row) and `list_columns` come in the order of the batches; for lists that must be the
        plan's order. `hashed` names the crosses without an index for unknown values.
        """
        self._seed, self._shares = seed, dict(shares)
        # (position in a batch, name) of the fields that are drawn from.
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
        """The draws for columns of `plan`, which knows the hashed crosses."""
        hashed = frozenset(cross.name for cross in plan.crosses if cross.buckets is not None)
        return cls(shares, seed, columns, list_columns, hashed)

    def _known_crosses(
        self, columns: Sequence[IndexColumn], hashed: frozenset[str]
    ) -> list[tuple[int, tuple[str, ...], list[str]]]:
        """(position in a batch, all members, members drawn from) of the crosses that have such members."""
        return [
            (place, column.fields, drawn)
            for place, column in enumerate(columns)
            if column.kind == "cross" and column.name not in hashed
            if (drawn := [name for name in column.fields if name in self._shares])
        ]

    def draw(self, epoch: int, rows: Longs, lengths: Sequence[Longs]) -> Draws:
        """The draws for `rows` [B] of the store. `lengths` holds the lists' lengths [B] for each column of lists."""
        row_masks = [np.empty(len(rows), dtype=np.bool_) for _ in self._drawn]
        for (_, name), mask in zip(self._drawn, row_masks, strict=True):
            _draw_rows(*self._start_and_limit(epoch, name), rows, mask)
        value_masks = []
        for place, name in self._drawn_lists:
            mask = np.empty(int(lengths[place].sum()), dtype=np.bool_)
            _draw_values(*self._start_and_limit(epoch, name), rows, lengths[place], mask)
            value_masks.append(mask)
        positions = [self._positions(fields, drawn, lengths) for _, fields, drawn in self._list_crosses]
        return Draws(tuple(row_masks), tuple(value_masks), tuple(positions))

    def _start_and_limit(self, epoch: int, name: str) -> tuple[np.uint64, np.uint64]:
        digest = hashlib.blake2b(f"{self._seed} {epoch} {name}".encode(), digest_size=8).digest()
        return np.uint64(int.from_bytes(digest, "little")), np.uint64(int(self._shares[name] * 2.0**64))

    def _positions(self, fields: Sequence[str], drawn: Sequence[str], lengths: Sequence[Longs]) -> tuple[Longs, ...]:
        """For each member in `drawn` of a cross: [N], its row, or its value's position, in each combination.

        Combinations come in the order of `FeaturePlan.cross_rows`: the last of a row's lists changes fastest.
        """
        lists = sorted((self._list_places[name], name) for name in fields if name in self._list_places)
        ones = np.ones_like(lengths[0])
        sizes = np.prod([lengths[place] for place, _ in lists], axis=0, dtype=np.int64) * ones
        rows = np.repeat(np.arange(len(sizes)), sizes)
        within = np.arange(len(rows)) - (np.cumsum(sizes) - sizes)[rows]
        positions, stride = {}, ones
        for place, name in reversed(lists):
            member_lengths = lengths[place]
            starts = np.cumsum(member_lengths) - member_lengths
            positions[name] = starts[rows] + within // stride[rows] % member_lengths[rows]
            stride = stride * member_lengths
        return tuple(positions.get(name, rows) for name in drawn)

    def apply(self, draws: Draws, indices: Any, values: Sequence[Any], fill: Callable[[Any, Any, int], object]) -> None:
        """Overwrite the values that were drawn with UNKNOWN, in place. A missing value stays missing.

        `indices` [F, B], and `values` [N] for each column of lists, are arrays or, like the draws, tensors.
        `fill(array, mask, number)` writes a number where a mask is true.
        """
        hidden: dict[str, Any] = {}
        columns = [(name, indices[place]) for place, name in self._drawn]
        columns += [(name, values[place]) for place, name in self._drawn_lists]
        for (name, column), drawn in zip(columns, (*draws.rows, *draws.values), strict=True):
            hidden[name] = drawn & (column >= FIRST)
            fill(column, hidden[name], UNKNOWN)
        for place, _, members in self._crosses:
            fill(indices[place], _any_of([hidden[name] for name in members]), UNKNOWN)
        for (place, _, members), positions in zip(self._list_crosses, draws.positions, strict=True):
            masks = [hidden[name][position] for name, position in zip(members, positions, strict=True)]
            fill(values[place], _any_of(masks), UNKNOWN)


def _any_of(masks: Sequence[Any]) -> Any:
    union = masks[0]
    for mask in masks[1:]:
        union = union | mask
    return union
