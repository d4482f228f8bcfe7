"""The cross hash: a mix of the members' value hashes, in the order of the field names. It is file format."""

import json
from collections.abc import Iterable, Sequence

import polars as pl

MISSING_MEMBER = 0x4D495353_494E4721
"""Takes the place of a missing member's hash, so that "no value" is a value of its own ("MISSING!" in ASCII)."""
_START = 0x27D4EB2F_165667C5
# Odd multipliers with well-spread bits: XXH64's first prime, and the constant of the golden ratio.
_STEP = 0x9E3779B1_85EBCA87
_FINISH = 0x9E3779B9_7F4A7C15
_HALF = 2**32


def mix(hashes: Sequence[pl.Expr]) -> pl.Expr:
    """One UInt64 per row out of the members' UInt64 value hashes, given in the order of `cross_members`; never null.

    Each step is a bijection of the state for a fixed member and of the member for a fixed state, and multiplies between
    two members, so that equal members do not cancel as they would under a plain XOR. Polars' UInt64 product wraps at
    2**64; division by 2**32 stands for the right shift that Polars lacks.
    """
    state = _literal(_START)
    for member in hashes:
        state = _stir(state ^ member.fill_null(_literal(MISSING_MEMBER)), _STEP)
    return _stir(state, _FINISH)


def _stir(state: pl.Expr, multiplier: int) -> pl.Expr:
    product = state * _literal(multiplier)
    return product ^ (product // _literal(_HALF))


def _literal(value: int) -> pl.Expr:
    return pl.lit(value, dtype=pl.UInt64)


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
