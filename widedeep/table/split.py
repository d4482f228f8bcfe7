"""Which split each row of `data.train` goes to."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import polars_hash
from numpy.typing import NDArray

from widedeep.draws import MASK, random_draws, unit_interval
from widedeep.errors import DataError
from widedeep.recipe.schema import ColumnSplit, DataSettings, KeySplit, RandomSplit, Split
from widedeep.source.blocks import RawBlock
from widedeep.source.coded import CodedRows
from widedeep.source.forms import value_text
from widedeep.table.listed import ListedValues

if TYPE_CHECKING:
    from widedeep.table.missing_values import MissingValues

SPLITS = ("train", "valid", "test")
TRAIN, VALID, TEST = range(3)


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


def split_rows(rows: CodedRows, codes: NDArray[np.uint8]) -> Iterator[tuple[str, CodedRows]]:
    """The rows of each split, in order."""
    for code, split in enumerate(SPLITS):
        chosen = codes == code
        if chosen.all():
            yield split, rows
        elif chosen.any():
            yield split, rows.on_rows(rows.frame.filter(pl.Series(chosen)))
