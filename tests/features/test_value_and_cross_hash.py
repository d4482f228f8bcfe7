"""The value hash and the cross hash are file format: golden vectors, and what must never collide."""

import polars as pl
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from widedeep.features.crosses import cross_members, cross_name, mix
from widedeep.features.value_hash import CROSS_SEED, value_hash, vocabulary_seed
from widedeep.table.canonical import canonical_text

GOLDEN_SEED = 0x638DD47B9A5CDFAF
GOLDEN_MIXES = [0xBAA156A7DBB83ADF, 0x37006DFA0D1C0000, 0xDEE5DAD9A3E9A768]

Value = st.one_of(st.none(), st.text(max_size=6))


def hashes(values: list[str | None], seed: int = CROSS_SEED) -> list[int | None]:
    return pl.DataFrame({"v": pl.Series(values, dtype=pl.String)}).select(value_hash(pl.col("v"), seed))["v"].to_list()


def cross(*columns: list[str | None]) -> list[int]:
    frame = pl.DataFrame({str(i): pl.Series(column, dtype=pl.String) for i, column in enumerate(columns)})
    members = [value_hash(pl.col(name), CROSS_SEED) for name in frame.columns]
    return frame.select(mix(members).alias("mix"))["mix"].to_list()


def test_the_value_hash_is_xxh64() -> None:
    # Reference vectors of the xxHash project.
    assert hashes(["", "a", "abc"], seed=0) == [0xEF46DB3751D8E999, 0xD24EC4F1A98C6E5B, 0x44BC2CF5AD770999]
    assert hashes([None]) == [None]


def test_seeds_and_mixes_are_recorded() -> None:
    assert vocabulary_seed("user") == GOLDEN_SEED
    assert cross(["red", "", None], ["flat", "flat", "flat"]) == GOLDEN_MIXES


@given(Value, Value, Value, Value)
@settings(max_examples=300, deadline=None)
def test_two_different_pairs_have_different_mixes(a: str | None, b: str | None, c: str | None, d: str | None) -> None:
    assume((a, b) != (c, d))
    first, second = cross([a, c], [b, d])
    assert first != second


def test_separators_inside_values_do_not_collide() -> None:
    mixes = cross(["a-b", "a", "a_b", "a", "ab", "a"], ["c", "b-c", "c", "b_c", "c", "bc"])
    assert len(set(mixes)) == 6


def test_missing_is_not_empty_and_takes_part_as_a_value() -> None:
    mixes = cross([None, "", None, "", "x"], [None, "", "", None, None])
    assert None not in mixes
    assert len(set(mixes)) == 5


def test_crosses_of_equal_values_spread_as_any_others() -> None:
    values = [str(i) for i in range(1000)]
    assert len({value % 4096 for value in cross(values, values)}) > 850  # an XOR would send all to one bucket


@given(st.permutations(["b", "a", "ä", "Z"]))
@settings(deadline=None)
def test_the_order_of_the_fields_in_the_recipe_is_of_no_matter(fields: list[str]) -> None:
    assert cross_members(fields) == ("Z", "a", "b", "ä")
    assert cross_name(fields) == "Z x a x b x ä"


def test_an_integer_an_integral_float_and_its_text_are_one_value() -> None:
    frame = pl.DataFrame({"i": [1, -7], "f": [1.0, -7.0], "t": ["1", "-7"]})
    texts = frame.select(canonical_text(pl.col(name), frame.schema[name]) for name in frame.columns)
    hashed = texts.select(value_hash(pl.col(name), 3) for name in texts.columns)
    assert hashed["i"].to_list() == hashed["f"].to_list() == hashed["t"].to_list()


def test_mixes_fall_into_buckets_as_chance_would_have_it() -> None:
    buckets = 1 << 20
    left = [str(i) for i in range(500) for _ in range(400)]
    right = [str(i) for _ in range(500) for i in range(400)]
    used = len({value % buckets for value in cross(left, right)})
    expected = buckets * (1 - (1 - 1 / buckets) ** 200_000)
    assert abs(used - expected) < 5 * (200_000 * 200_000 / (2 * buckets)) ** 0.5
