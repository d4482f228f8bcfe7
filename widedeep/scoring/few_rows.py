"""Scores few raw rows in a warm process without a Polars query: their values by column in, their scores out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widedeep.features.few_rows import EncodedRows, RowEncoder
from widedeep.features.plan import UnseenCounts
from widedeep.scoring.scorer import Scorer
from widedeep.table.few_rows import RowTyping
from widedeep.table.side_tables import needed_tables
from widedeep.table.typed import Typing


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
