"""The hash of a cross: the value hashes of its members, mixed in the order of their names. It is file format."""

import json
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

MISSING_MEMBER = 0x4D495353_494E4721
"""Stands for the hash of a missing member: in a cross, "no value" is a value of its own ("MISSING!" in ASCII)."""
_START = np.uint64(0x27D4EB2F_165667C5)
# Odd multipliers with well-spread bits: XXH64's first prime, and the constant of the golden ratio.
_STEP = np.uint64(0x9E3779B1_85EBCA87)
_FINISH = np.uint64(0x9E3779B9_7F4A7C15)
_HALF = np.uint64(32)


def mix(hashes: Sequence[pl.Expr]) -> pl.Expr:
    """One UInt64 per row from the members' UInt64 value hashes, given in the order of `cross_members`; never null.

    Each step is a bijection of the state for a fixed member, and of the member for a fixed state. It multiplies between
    two members, so equal members do not cancel each other as they would under a plain XOR. NumPy does the arithmetic:
    its UInt64 product wraps at 2**64 as Polars' does, and it has a right shift, which Polars lacks and which takes a
    quarter of the time of a division.
    """
    members = [member.fill_null(pl.lit(MISSING_MEMBER, dtype=pl.UInt64)) for member in hashes]
    return pl.map_batches(members, _mixed, return_dtype=pl.UInt64, is_elementwise=True)


def _mixed(members: Sequence[pl.Series]) -> pl.Series:
    return pl.Series(members[0].name, mixed_members([member.to_numpy() for member in members]))


def mixed_members(members: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """The mix of the members' hashes, arrays of one shape, MISSING_MEMBER for a missing one; see `mix`."""
    state = members[0] ^ _START
    _stir(state, _STEP)
    for member in members[1:]:
        state ^= member
        _stir(state, _STEP)
    _stir(state, _FINISH)
    return state


def _stir(state: NDArray[np.uint64], multiplier: np.uint64) -> None:
    state *= multiplier
    state ^= state >> _HALF


class MixTable:
    """Finds mixes in a vocabulary by their first bits, which are nearly random: about one comparison per look-up."""

    def __init__(self, mixes: NDArray[np.uint64]) -> None:
        """`mixes` [N], all different, in order of rank."""
        order = np.argsort(mixes)
        # The entry after the last one ends every search: it is the largest UInt64, and its rank -1 means "not found".
        self._mixes = np.append(mixes[order], np.uint64(2**64 - 1))
        self._ranks = np.append(order, -1).astype(np.int32)
        bits = len(mixes).bit_length() + 1
        self._shift = np.uint64(64 - bits)
        firsts = self._mixes[:-1] >> self._shift
        self._starts = np.searchsorted(firsts, np.arange(2**bits, dtype=np.uint64)).astype(np.int32)

    def ranks(self, mixes: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The rank of each mix, [rows]; -1 for a mix that is not in the vocabulary."""
        positions = self._starts.take((mixes >> self._shift).view(np.int64))
        entries = self._mixes.take(positions)
        ranks: NDArray[np.int32] = np.where(entries == mixes, self._ranks.take(positions), -1)
        rows = np.flatnonzero(entries < mixes)
        positions = positions.take(rows)
        while len(rows):
            wanted, positions = mixes.take(rows), positions + 1
            entries = self._mixes.take(positions)
            ranks[rows] = np.where(entries == wanted, self._ranks.take(positions), -1)
            further = np.flatnonzero(entries < wanted)
            rows, positions = rows.take(further), positions.take(further)
        return ranks


def cross_members(fields: Iterable[str]) -> tuple[str, ...]:
    """The fields in the order of their names' UTF-8 bytes: the order in which a cross mixes and names them."""
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
