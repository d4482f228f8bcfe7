"""Label, row weight and group of typed rows, in the form that the encoded store and the metrics use."""

import polars as pl

from widedeep.features.value_hash import value_hash, vocabulary_seed
from widedeep.recipe.base import OURS
from widedeep.source.coded import CodedRows
from widedeep.table.typed_columns import GROUP, LABEL, WEIGHT

LABEL_COLUMN = f"{OURS}label"
"""Encoded column of the label."""
WEIGHT_COLUMN = f"{OURS}weight"
GROUP_COLUMN = f"{OURS}group"
"""UInt64: the hash of the row's group."""
_GROUP_SEED = vocabulary_seed("#group")


def stored_targets(typed: pl.DataFrame | CodedRows) -> pl.DataFrame:
    """Label and weight (Float32) and the hash of the group (UInt64), as far as the typed rows hold them."""
    columns = {LABEL: pl.col(LABEL).alias(LABEL_COLUMN), WEIGHT: pl.col(WEIGHT).alias(WEIGHT_COLUMN)}
    columns[GROUP] = value_hash(pl.col(GROUP), _GROUP_SEED).alias(GROUP_COLUMN)
    present = set(typed.columns)
    return typed.select([expression for name, expression in columns.items() if name in present])
