"""Which split each row of `data.train` goes to."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import polars_hash
from numpy.typing import NDArray

from widedeep.draws import MASK, random_draws, unit_interval
from widedeep.errors import DataError
from widedeep.float_order import float_of_bits, ordered_bits
from widedeep.recipe.schema import ColumnSplit, DataSettings, KeySplit, RandomSplit, Split, TimeSplit
from widedeep.source.blocks import RawBlock
from widedeep.source.coded import CodedRows
from widedeep.source.forms import value_text
from widedeep.table.listed import ListedValues

if TYPE_CHECKING:
    from widedeep.table.missing_values import MissingValues

SPLITS = ("train", "valid", "test")
TRAIN, VALID, TEST = range(3)
HELD_TIMES = 1 << 24
"""Times that are held in memory at once (8 bytes each)."""


def drawn_parts(data: DataSettings) -> tuple[str, ...]:
    """Names of the splits that `data.split` takes from the train rows, which are those without files of their own."""
    rule = data.split or RandomSplit()
    return tuple(part for part in SPLITS[1:] if getattr(data, part) is None and getattr(rule, part))


def split_columns(data: DataSettings) -> tuple[str, ...]:
    """The source columns that the split itself reads."""
    if not drawn_parts(data):
        return ()
    if isinstance(data.split, KeySplit):
        return (data.split.key,)
    return (data.split.column,) if isinstance(data.split, ColumnSplit) else ()


def listed_folds(data: DataSettings) -> dict[str, ListedValues]:
    """Split → the values of the column that says which rows it has, where the recipe splits by a column."""
    if not isinstance(data.split, ColumnSplit):
        return {}
    return {part: ListedValues(f"data.split.{part}", getattr(data.split, part)) for part in drawn_parts(data)}


def row_splits(
    data: DataSettings,
    block: RawBlock,
    first_position: int,
    folds: Mapping[str, ListedValues],
    missing: "MissingValues | None" = None,
) -> NDArray[np.uint8]:
    """0 train, 1 valid, 2 test for each row of a block whose first row is train row `first_position`.

    `missing` are values that the log's format lists. Not for a split by time, which needs `time_cuts` first. Raises
    DataError for a missing key.
    """
    rule: Split = data.split or RandomSplit()
    parts = drawn_parts(data)
    if isinstance(rule, ColumnSplit):
        return _by_column(folds, _texts(block, rule.column, missing))
    if isinstance(rule, RandomSplit):
        return random_splits(data, first_position, block.num_rows)
    assert isinstance(rule, KeySplit)
    draws = _key_draws(rule, block, _texts(block, rule.key, missing))
    return _cut(draws, rule.valid if "valid" in parts else 0.0, rule.test if "test" in parts else 0.0)


def random_splits(data: DataSettings, first_position: int, num_rows: int) -> NDArray[np.uint8]:
    """The same for a random split, which asks for no values."""
    rule, parts = data.split or RandomSplit(), drawn_parts(data)
    assert isinstance(rule, RandomSplit)
    draws = random_draws(rule.seed, first_position, num_rows)
    return _cut(draws, rule.valid if "valid" in parts else 0.0, rule.test if "test" in parts else 0.0)


def _cut(draws: NDArray[np.float64], valid: float, test: float) -> NDArray[np.uint8]:
    return np.where(draws < test, TEST, np.where(draws < test + valid, VALID, TRAIN)).astype(np.uint8)


def _texts(block: RawBlock, column: str, missing: "MissingValues | None") -> pl.Series:
    texts = block.text_of(column)
    return texts if missing is None else missing.without(texts)


def _key_draws(rule: KeySplit, block: RawBlock, keys: pl.Series) -> NDArray[np.float64]:
    if keys.null_count():
        row = keys.is_null().arg_true()[0]
        raise DataError(
            f"{block.place_of(row)}: column {rule.key!r}: the key of data.split is missing; fill it or drop the row"
        )
    # One side for 12 and 12.0, True and true, whatever writes them. That 007 goes with 7 does no harm here.
    keys = keys.to_frame().select(value_text(pl.col(rule.key)).alias(rule.key)).to_series()
    hashes = keys.to_frame().select(polars_hash.col(rule.key).nchash.xxhash64(seed=rule.seed & MASK))
    return unit_interval(hashes.to_series().to_numpy())


def _by_column(folds: Mapping[str, ListedValues], texts: pl.Series) -> NDArray[np.uint8]:
    codes = np.zeros(len(texts), dtype=np.uint8)
    for part, values in folds.items():
        codes[values.held(texts)] = SPLITS.index(part)
    return codes


# ---------------------------------------------------------------------------------------------------------- by time


@dataclass(frozen=True)
class TimeCuts:
    """Rows from time `test` on are test, earlier ones from `valid` on are valid; infinity for an empty split."""

    valid: float
    test: float

    def row_splits(self, times: NDArray[np.float64]) -> NDArray[np.uint8]:
        """0 train, 1 valid, 2 test for each row."""
        return np.where(times >= self.test, TEST, np.where(times >= self.valid, VALID, TRAIN)).astype(np.uint8)


def time_cuts(data: DataSettings, num_rows: int, times: Callable[[], Iterable[NDArray[np.float64]]]) -> TimeCuts:
    """The exact cut points: the last `test` share of all rows, before it the last `valid` share of all.

    Rows of one instant stay together, in the later part. `times` gives the time column block by block, as often as
    it is asked: memory is bounded by HELD_TIMES.
    """
    assert isinstance(data.split, TimeSplit)
    parts, times = drawn_parts(data), held_times(times)
    test = valid = np.inf
    left = num_rows
    if "test" in parts:
        test = value_at(max(left - _num_wanted(data.split.test, num_rows), 0), num_rows, times)
        left = sum(int((block < test).sum()) for block in times())
    if "valid" in parts and left:
        valid = value_at(max(left - _num_wanted(data.split.valid, num_rows), 0), num_rows, times)
    return TimeCuts(float(valid), float(test))


def _num_wanted(share: float, num_rows: int) -> int:
    return max(1, round(share * num_rows))


def held_times(times: Callable[[], Iterable[NDArray[np.float64]]]) -> Callable[[], Iterable[NDArray[np.float64]]]:
    """`times`, read once and held in memory if there are no more than HELD_TIMES: each pass reads files otherwise."""
    held: list[NDArray[np.float64]] = []
    for block in times():
        held.append(block)
        if sum(map(len, held)) > HELD_TIMES:
            return times
    return lambda: held


def value_at(rank: int, num_rows: int, times: Callable[[], Iterable[NDArray[np.float64]]]) -> float:
    """The value at `rank` (0-based) of all times in order; both zeros are one.

    Of more times than memory should hold, it is found by a radix search over 16 bits at a time.
    """
    if num_rows <= HELD_TIMES:
        return float(np.partition(np.concatenate([*times()]), rank)[rank]) + 0.0
    prefix = np.uint64(0)
    for shift in (48, 32, 16, 0):
        counts = np.zeros(1 << 16, dtype=np.int64)
        for block in times():
            keys = ordered_bits(block)
            if shift < 48:
                keys = keys[keys >> np.uint64(shift + 16) == prefix]
            digits = (keys >> np.uint64(shift)) & np.uint64(0xFFFF)
            counts += np.bincount(digits.astype(np.int64), minlength=1 << 16)
        below = np.cumsum(counts)
        digit = int(np.searchsorted(below, rank, side="right"))
        rank -= int(below[digit] - counts[digit])
        prefix = (prefix << np.uint64(16)) | np.uint64(digit)
    return float_of_bits(int(prefix))


def split_rows(rows: CodedRows, codes: NDArray[np.uint8]) -> Iterator[tuple[str, CodedRows]]:
    """The rows of each split, in order."""
    for code, split in enumerate(SPLITS):
        chosen = codes == code
        if chosen.all():
            yield split, rows
        elif chosen.any():
            yield split, rows.on_rows(rows.frame.filter(pl.Series(chosen)))
