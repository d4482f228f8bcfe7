"""Reads the columns of an additive model from an encoded store."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from widedeep.encoded.store import EncodedStore
from widedeep.features.fields import FIRST
from widedeep.features.plan import IndexColumn
from widedeep.features.targets import LABEL_COLUMN, WEIGHT_COLUMN
from widedeep.lists import Lists
from widedeep.memory.additive import Target, effective_weights
from widedeep.memory.columns import CodeColumn, Column, Floats, ListColumn, narrow, narrow_lists
from widedeep.recipe.data import LabelKind

NUMERIC_CODES = 32
"""Quantile codes that a scaled number is cut into, so that crosses need not stand in for main effects that bend."""


def main_columns(
    store: EncodedStore, columns: tuple[IndexColumn, ...], numerics: tuple[str, ...], cuts: Sequence[Floats]
) -> list[Column]:
    """The main effects: every categorical column, and every number as codes between its `cuts`."""
    fields = [_index_column(store, column, first=0) for column in columns if column.kind == "categorical"]
    numbers = (_numeric_column(store, name, of_number) for name, of_number in zip(numerics, cuts, strict=True))
    return [*fields, *numbers]


def numeric_cuts(store: EncodedStore, numerics: tuple[str, ...]) -> list[Floats]:
    """For each number the ascending cut points between its quantile codes."""
    return [_cuts(np.concatenate([chunk.to_numpy() for chunk in store.chunks(name)])) for name in numerics]


def _cuts(values: Floats) -> Floats:
    return np.unique(np.quantile(values, np.arange(1, NUMERIC_CODES) / NUMERIC_CODES, method="lower"))


def cross_column(store: EncodedStore, column: IndexColumn) -> Column:
    """The column of a cross; unknown and missing indices have no weight."""
    return _index_column(store, column, first=FIRST)


def _index_column(store: EncodedStore, column: IndexColumn, *, first: int) -> Column:
    chunks = store.chunks(column.name)
    if column.pooling is None:
        return CodeColumn([narrow(chunk.to_numpy(), column.size) for chunk in chunks], column.size, first)
    weights = [None] * len(chunks) if column.weights is None else store.chunks(column.weights)
    lists = [
        narrow_lists(Lists.of(chunk, chunk_weights), column.size)
        for chunk, chunk_weights in zip(chunks, weights, strict=True)
    ]
    return ListColumn(lists, column.size, first)


def _numeric_column(store: EncodedStore, name: str, cuts: Floats) -> CodeColumn:
    chunks = [chunk.to_numpy() for chunk in store.chunks(name)]
    size = len(cuts) + 1
    return CodeColumn([narrow(np.searchsorted(cuts, chunk, side="right"), size) for chunk in chunks], size)


def target(store: EncodedStore, kind: LabelKind) -> Target:
    """Label and effective weight of the store's rows."""
    weight = effective_weights(_whole(store, WEIGHT_COLUMN)) if WEIGHT_COLUMN in store.columns else None
    return Target(kind, _whole(store, LABEL_COLUMN), weight)


def _whole(store: EncodedStore, name: str) -> Floats:
    return pl.concat(store.chunks(name)).to_numpy()
