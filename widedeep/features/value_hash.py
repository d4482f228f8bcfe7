"""The 64-bit hash of a value's canonical text, and the seeds of the hash. Both are file format."""

import hashlib

import polars as pl
from polars_hash import NonCryptographicHashingNameSpace

CROSS_SEED = 0x77696465_64656570
"""Seed of the hash of a value in a cross, the same for all fields ("widedeep" in ASCII)."""


def value_hash(expr: pl.Expr, seed: int) -> pl.Expr:
    """XXH64 of the UTF-8 bytes of a String expression, as UInt64; null for null. `seed` is in [0, 2**64).

    Source: the xxHash specification, github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md.
    """
    return NonCryptographicHashingNameSpace(expr).xxhash64(seed=seed)


def vocabulary_seed(name: str) -> int:
    """The seed of a vocabulary, made from its name: fields that share the name share every index."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
