"""Golden vectors of the cross hash, worked out apart from Polars; how well it stirs; names that are never shared."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.features.crosses import MixTable, cross_members, cross_name, mix
from widedeep.features.value_hash import CROSS_SEED, value_hash
from widedeep.source.canonical import canonical_text


def mix_of(*values: str | None) -> int:
    frame = pl.DataFrame(
        {str(i): [value] for i, value in enumerate(values)}, schema={str(i): pl.String for i in range(len(values))}
    )
    result: int = frame.select(mix([value_hash(pl.col(name), CROSS_SEED) for name in frame.columns])).item()
    return result


def mixes(*members: np.ndarray) -> np.ndarray:
    frame = pl.DataFrame({str(i): member for i, member in enumerate(members)})
    return frame.select(mix([pl.col(name) for name in frame.columns]).alias("mix"))["mix"].to_numpy()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("a", "b"), 0x04DFB83D4FB9771F),
        (("b", "a"), 0x64A09612C870DB78),
        (("a-b", "c"), 0xBA9368EFED9A0BDE),
        (("a", "b-c"), 0x119714392FAD905B),
        (("", None), 0xEDD4537CC4242331),
        ((None, None), 0x8885D8A891D8E662),
        (("1", "1"), 0xF45437CDC922A13B),
        (("x", "y", "z"), 0x38A12953CCADC9B6),
    ],
)
def test_the_mix_gives_its_golden_vectors(values: tuple[str | None, ...], expected: int) -> None:
    assert mix_of(*values) == expected


@pytest.mark.parametrize("members", [2, 3])
def test_every_bit_of_every_member_flips_each_bit_of_the_mix_half_of_the_time(members: int) -> None:
    draw = np.random.default_rng(members)
    base = [draw.integers(0, 2**64, 2000, dtype=np.uint64) for _ in range(members)]
    plain = mixes(*base)
    for member in range(members):
        flips = np.zeros((64, 64))
        for bit in range(64):
            changed = list(base)
            changed[member] = base[member] ^ np.uint64(1 << bit)
            difference = plain ^ mixes(*changed)
            flips[bit] = (difference[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)).mean(axis=0)
        assert abs(flips.mean() - 0.5) < 0.05
        # Value hashes are well mixed themselves; no member's bit may be all but lost or all but copied as a whole.
        assert flips.mean(axis=1).min() > 0.25
        assert (flips.max(axis=1) > 0.4).all()


@given(st.lists(st.text(alphabet='ax "\\', min_size=1, max_size=4), min_size=2, max_size=3, unique=True),
       st.lists(st.text(alphabet='ax "\\', min_size=1, max_size=4), min_size=2, max_size=3, unique=True))  # fmt: skip
def test_two_crosses_share_a_name_only_if_they_share_their_members(first: list[str], second: list[str]) -> None:
    assert (cross_name(first) == cross_name(second)) == (sorted(first) == sorted(second))


def test_a_cross_is_named_readably() -> None:
    assert cross_name(["sex", "age"]) == "age x sex"
    assert cross_name(["sex", "hours per week"]) == '"hours per week" x sex'


# Few letters, so that pairs which only a joined string confuses ("a-b", "c" and "a", "b-c") do come up.
MEMBER = st.none() | st.text(alphabet="a-_\0", max_size=3)


@settings(max_examples=100)
@given(st.lists(st.tuples(MEMBER, MEMBER), min_size=2, max_size=30, unique=True))
def test_different_pairs_have_different_mixes_whatever_separators_or_missing_values_they_hold(
    pairs: list[tuple[str | None, str | None]],
) -> None:
    frame = pl.DataFrame(pairs, schema={"0": pl.String, "1": pl.String}, orient="row")
    mixed = frame.select(mix([value_hash(pl.col(name), CROSS_SEED) for name in "01"]))
    assert mixed.to_series().n_unique() == len(pairs)


@given(st.lists(st.text(min_size=1, max_size=3), min_size=2, max_size=5, unique=True), st.randoms())
def test_members_stand_in_the_order_of_their_names_bytes_whatever_the_recipes_order(names, chance) -> None:
    members = cross_members(chance.sample(names, len(names)))
    assert members == tuple(sorted(names, key=lambda name: name.encode()))
    assert cross_name(names) == cross_name(members)


def expected_buckets(rows: int, buckets: int) -> float:
    return buckets * (1 - (1 - 1 / buckets) ** rows)


@pytest.mark.parametrize("buckets", [2**20, 2**16, 1_000_003, 1000])
def test_mixes_fill_as_many_buckets_as_chance_would(buckets: int) -> None:
    side = np.arange(450)
    texts = pl.DataFrame({"a": np.repeat(side, 450), "b": np.tile(side, 450)}).cast(pl.String)
    hashed = texts.select(value_hash(pl.col(name), CROSS_SEED) for name in "ab")
    used = len(np.unique(mixes(hashed["a"].to_numpy(), hashed["b"].to_numpy()) % np.uint64(buckets)))
    # The number of buckets in use varies by less than the root of the number of rows.
    assert abs(used - expected_buckets(len(texts), buckets)) < 3 * len(texts) ** 0.5


@pytest.mark.parametrize("members", [2, 3, 4])
def test_equal_values_do_not_cancel(members: int) -> None:
    texts = pl.DataFrame({"a": np.arange(100_000)}).cast(pl.String)
    hashed = texts.select(value_hash(pl.col("a"), CROSS_SEED))["a"].to_numpy()
    used = len(np.unique(mixes(*[hashed] * members) % np.uint64(2**20)))
    assert abs(used - expected_buckets(100_000, 2**20)) < 1000


def test_one_and_its_float_and_its_text_are_one_member() -> None:
    columns = [pl.Series([1, 20]), pl.Series([1.0, 20.0]), pl.Series(["1", "20"]), pl.Series([1, 20], dtype=pl.UInt8)]
    seen = {
        tuple(
            column.to_frame("x")
            .select(mix([value_hash(canonical_text(pl.col("x"), column.dtype), CROSS_SEED)] * 2))
            .to_series()
        )
        for column in columns
    }
    assert seen == {(mix_of("1", "1"), mix_of("20", "20"))}


@given(
    known=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 40) | st.integers(2**64 - 40, 2**64 - 1), unique=True),
    others=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 40)),
)
def test_a_mix_is_found_at_its_rank_however_alike_the_first_bits_are(known: list[int], others: list[int]) -> None:
    table = MixTable(np.array(known, dtype=np.uint64))
    asked = known + others
    expected = [known.index(mix) if mix in known else -1 for mix in asked]
    assert table.ranks(np.array(asked, dtype=np.uint64)).tolist() == expected
