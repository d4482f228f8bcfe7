"""Scores few raw rows in a warm process without a Polars query: their values by column in, their scores out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.features.few_rows import EncodedRows, RowEncoder
from widedeep.features.plan import UnseenCounts
from widedeep.scoring.scorer import Scorer
from widedeep.source.canonical import kind_of
from widedeep.table.few_rows import RowTyping
from widedeep.table.side_tables import needed_tables
from widedeep.table.typed import Typing

_ROWS_TO_WARM_UP = 3


class RowScorer:
    """Scores few rows at a time, as `Scorer` scores them once they are typed."""

    def __init__(self, scorer: Scorer, typing: RowTyping, encoder: RowEncoder, columns: Sequence[str]) -> None:
        self._scorer, self._typing, self._encoder = scorer, typing, encoder
        self.columns = columns
        """The source columns to read."""

    @classmethod
    def of(cls, scorer: Scorer, typing: Typing) -> "RowScorer | None":
        """None where rows cannot be taken one by one: side tables, numbers that are listed as missing, vocabularies
        that are too large. `typing` types the other rows of the same source."""
        if needed_tables(scorer.recipe.data, typing.needed) or scorer.row_encoder is None:
            return None
        rows = RowTyping.of(typing, scorer.recipe)
        return None if rows is None else cls(scorer, rows, scorer.row_encoder, typing.needed)

    def warm_up(self) -> None:
        """Let no row wait for what the first few calls of torch and NumPy set up: it takes as long as two rows."""
        for _ in range(_ROWS_TO_WARM_UP):
            self.score({column: [None] for column in self.columns}, 1)

    def accepts(self, schema: pl.Schema) -> bool:
        """Whether a frame has the columns to read, of plain types and of the kinds that training saw."""
        if not all(name in schema and _is_plain(schema[name]) for name in self.columns):
            return False
        return self._typing.accepts({name: kind_of(schema[name]) for name in self.columns})

    def encoded(
        self, raw: Mapping[str, Sequence[Any]], num_rows: int
    ) -> tuple[EncodedRows, Mapping[str, Sequence[Any]]] | None:
        """The rows as the model reads them, and typed; None for rows that `Typing` has to read."""
        typed = self._typing.typed(raw, num_rows)
        encoded = None if typed is None else self._encoder.encode(typed, num_rows)
        return None if typed is None or encoded is None else (encoded, typed)

    def score(self, raw: Mapping[str, Sequence[Any]], num_rows: int) -> tuple[NDArray[np.float32], UnseenCounts] | None:
        """Scores [N] of the rows, and their missing and unseen values; None for rows that `Typing` has to read.

        `raw` maps a source column to a value for each row: str, int, float, bool, a list of these, or None.
        """
        made = self.encoded(raw, num_rows)
        if made is None:
            return None
        encoded, typed = made
        scores = self._scorer.scores_of(encoded.indices, encoded.numerics, encoded.lists)
        return scores, self._encoder.count_unseen(typed, encoded)


_PLAIN_TYPES = frozenset(
    [pl.String, pl.Boolean, pl.Float64, pl.Null, pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32]
)


def _is_plain(dtype: pl.DataType) -> bool:
    inner = dtype.inner if isinstance(dtype, pl.List) else dtype
    return inner in _PLAIN_TYPES


def score_small_frame(scorer: Scorer, frame: pl.DataFrame) -> tuple[NDArray[np.float32], UnseenCounts] | None:
    """What `RowScorer.score` gives for the rows of a frame; None for one with columns of other than plain types."""
    rows = scorer.row_scorer
    if rows is None or not rows.accepts(frame.schema):
        return None
    raw = {name: frame[name].to_list() for name in rows.columns}
    return rows.score(raw, len(frame))
