"""The cross hash: a mix of the members' value hashes, in the order of the field names. It is file format."""

import json
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

MISSING_MEMBER = 0x4D495353_494E4721
"""Takes the place of a missing member's hash, so that "no value" is a value of its own ("MISSING!" in ASCII)."""
_START = 0x27D4EB2F_165667C5
# Odd multipliers with well-spread bits: XXH64's first prime, and the constant of the golden ratio.
_STEP = 0x9E3779B1_85EBCA87
_FINISH = 0x9E3779B9_7F4A7C15


def mix(hashes: Sequence[pl.Expr]) -> pl.Expr:
    """One UInt64 per row out of the members' UInt64 value hashes, given in the order of `cross_members`; never null.

    Each step is a bijection of the state for a fixed member and of the member for a fixed state, and multiplies between
    two members, so that equal members do not cancel as they would under a plain XOR. NumPy's UInt64 product wraps at
    2**64 as Polars' does, and its right shift, which Polars lacks, takes a quarter of the time of a division.
    """
    members = [member.fill_null(pl.lit(MISSING_MEMBER, dtype=pl.UInt64)) for member in hashes]
    return pl.map_batches(members, _mixed, return_dtype=pl.UInt64, is_elementwise=True)


def _mixed(members: Sequence[pl.Series]) -> pl.Series:
    state = members[0].to_numpy() ^ np.uint64(_START)
    _stir(state, _STEP)
    for member in members[1:]:
        state ^= member.to_numpy()
        _stir(state, _STEP)
    _stir(state, _FINISH)
    return pl.Series(members[0].name, state)


def _stir(state: NDArray[np.uint64], multiplier: int) -> None:
    state *= np.uint64(multiplier)
    state ^= state >> np.uint64(32)


class MixTable:
    """Finds mixes in a vocabulary by their first bits, which are as good as random: about one comparison each."""

    def __init__(self, mixes: NDArray[np.uint64]) -> None:
        """`mixes` [N], all different, in order of rank."""
        order = np.argsort(mixes)
        # One past the last, which no mix goes beyond, stands for none.
        self._mixes = np.append(mixes[order], np.uint64(2**64 - 1))
        self._ranks = np.append(order, -1).astype(np.int32)
        bits = len(mixes).bit_length() + 1
        self._shift = np.uint64(64 - bits)
        firsts = self._mixes[:-1] >> self._shift
        self._starts = np.searchsorted(firsts, np.arange(2**bits, dtype=np.uint64)).astype(np.int32)

    def ranks(self, mixes: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The rank of each mix [rows], -1 for one that is not in the vocabulary."""
        places = self._starts.take((mixes >> self._shift).view(np.int64))
        found = self._mixes.take(places)
        ranks: NDArray[np.int32] = np.where(found == mixes, self._ranks.take(places), -1)
        rows = np.flatnonzero(found < mixes)
        places = places.take(rows)
        while len(rows):
            wanted, places = mixes.take(rows), places + 1
            found = self._mixes.take(places)
            ranks[rows] = np.where(found == wanted, self._ranks.take(places), -1)
            further = np.flatnonzero(found < wanted)
            rows, places = rows.take(further), places.take(further)
        return ranks


def cross_members(fields: Iterable[str]) -> tuple[str, ...]:
    """The fields in the order of their names' UTF-8 bytes, in which they are mixed and named."""
    return tuple(sorted(fields, key=str.encode))


def cross_name(fields: Iterable[str]) -> str:
    """`a x b`, in the order of `cross_members`.

    A name with a blank, a quote or a backslash is written as a JSON string (`"hours per week" x sex`), so two crosses
    never share a name.
    """
    return " x ".join(_quoted(name) for name in cross_members(fields))


def _quoted(name: str) -> str:
    plain = not any(character.isspace() or character in '"\\' for character in name)
    return name if plain else json.dumps(name, ensure_ascii=False)
