"""Label, row weight and group of typed rows, as the encoded store and the metrics take them."""

import polars as pl

from widedeep.features.value_hash import value_hash, vocabulary_seed
from widedeep.source.coded import CodedRows
from widedeep.table.typed import GROUP, LABEL, WEIGHT

LABEL_COLUMN = "#label"
"""Of an encoded row's label; a field may well be called `label` or `weight`."""
WEIGHT_COLUMN = "#weight"
GROUP_COLUMN = "#group"
"""UInt64: the hash of the row's group."""
_GROUP_SEED = vocabulary_seed(GROUP_COLUMN)


def stored_targets(typed: pl.DataFrame | CodedRows) -> pl.DataFrame:
    """Label and weight (Float32) and the hash of the group (UInt64), of those that typed rows hold."""
    columns = {LABEL: pl.col(LABEL).alias(LABEL_COLUMN), WEIGHT: pl.col(WEIGHT).alias(WEIGHT_COLUMN)}
    columns[GROUP] = value_hash(pl.col(GROUP), _GROUP_SEED).alias(GROUP_COLUMN)
    return typed.select([expression for name, expression in columns.items() if name in typed.columns])
