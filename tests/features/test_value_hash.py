"""The value hash against XXH64 written out from its specification, for any text and any seed."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.features.value_hash import CROSS_SEED, value_hash, vocabulary_seed

MASK = 2**64 - 1
P1, P2, P3, P4, P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)


def rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & MASK


def round_of(lane: int, word: int) -> int:
    return rotate((lane + word * P2) & MASK, 31) * P1 & MASK


def reference_xxh64(data: bytes, seed: int) -> int:
    """XXH64, written out from its specification."""
    rest = data
    if len(data) >= 32:
        lanes = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed, (seed - P1) & MASK]
        while len(rest) >= 32:
            words = [int.from_bytes(rest[i : i + 8], "little") for i in range(0, 32, 8)]
            lanes = [round_of(lane, word) for lane, word in zip(lanes, words, strict=True)]
            rest = rest[32:]
        state = sum(rotate(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            state = ((state ^ round_of(0, lane)) * P1 + P4) & MASK
    else:
        state = (seed + P5) & MASK
    state = (state + len(data)) & MASK
    while len(rest) >= 8:
        state = (rotate(state ^ round_of(0, int.from_bytes(rest[:8], "little")), 27) * P1 + P4) & MASK
        rest = rest[8:]
    if len(rest) >= 4:
        state = (rotate(state ^ int.from_bytes(rest[:4], "little") * P1 & MASK, 23) * P2 + P3) & MASK
        rest = rest[4:]
    for byte in rest:
        state = rotate(state ^ byte * P5 & MASK, 11) * P1 & MASK
    for shift, prime in ((33, P2), (29, P3)):
        state = (state ^ state >> shift) * prime & MASK
    return state ^ state >> 32


def hash_of(text: str | None, seed: int) -> int | None:
    frame = pl.DataFrame({"text": [text]}, schema={"text": pl.String})
    value: int | None = frame.select(value_hash(pl.col("text"), seed)).item()
    return value


@pytest.mark.parametrize(
    ("text", "seed", "expected"),
    [
        ("", 0, 0xEF46DB3751D8E999),
        ("a", 0, 0xD24EC4F1A98C6E5B),
        ("abc", 0, 0x44BC2CF5AD770999),
        ("", 0x9E3779B1, 0xAC75FDA2929B17EF),
    ],
)
def test_the_value_hash_gives_the_published_xxh64_vectors(text: str, seed: int, expected: int) -> None:
    assert hash_of(text, seed) == expected


@settings(max_examples=60)
@given(st.text(max_size=80), st.integers(0, MASK))
def test_the_value_hash_is_xxh64_of_the_utf_8_bytes_for_every_seed(text: str, seed: int) -> None:
    assert hash_of(text, seed) == reference_xxh64(text.encode(), seed)


def test_seeds_are_pinned() -> None:
    assert CROSS_SEED == 0x7769646564656570
    assert [vocabulary_seed(name) for name in ("user", "item", "größe")] == [
        7173623408806911919,
        15634484697162812036,
        16832822397561338100,
    ]
