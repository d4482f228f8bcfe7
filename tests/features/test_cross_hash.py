"""Golden vectors of the cross hash, worked out apart from Polars; how well it stirs; names that are never shared."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.features.crosses import cross_name, mix
from widedeep.features.value_hash import CROSS_SEED, value_hash


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
