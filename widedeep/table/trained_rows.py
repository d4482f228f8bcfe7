"""Yields the rows that a model is trained on: train, in a refit other splits too, with negatives sampled."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from widedeep.draws import random_draws
from widedeep.source.coded import CodedRows
from widedeep.source.forms import Forms
from widedeep.table.parts import PART_ROWS, coded_blocks
from widedeep.table.split import SPLITS
from widedeep.table.typed_columns import LABEL

_NEGATIVES_SEED = 0x6E65676174697665
"""Seed for sampling negatives ("negative" in ASCII), plus the split's number. A random split has other seeds."""


class NegativeSampling:
    """Keeps all positives of a split and a random share of its negatives.

    Which negatives are kept depends only on the split and their position in it. Blocks must come in row order.
    """

    def __init__(self, keep_negatives: float, split: str, first_row: int = 0) -> None:
        """`first_row` is the position of the first row of the first block."""
        self._keep, self._seed = keep_negatives, _NEGATIVES_SEED + SPLITS.index(split)
        self._rows_seen = first_row

    def kept(self, rows: CodedRows) -> CodedRows:
        """The rows of the next block that are kept, in order. The block must have the label."""
        if self._keep == 1.0:
            return rows
        draws = random_draws(self._seed, self._rows_seen, rows.height)
        self._rows_seen += rows.height
        return rows.on_rows(rows.frame.filter((pl.col(LABEL) == 1.0) | pl.Series(draws < self._keep)))


def trained_blocks(
    directory: Path,
    splits: Sequence[str],
    keep_negatives: float,
    rows: int = PART_ROWS,
    columns: Sequence[str] | None = None,
    forms: Forms | None = None,
) -> Iterator[CodedRows]:
    """Yield the rows of the typed table's `splits`, one split after the other, in blocks of at most `rows` rows.

    `ingest` has sampled the negatives of train already. Those of the other splits are sampled here with the same share,
    since scores are corrected for a single share. Texts are in the `forms` given, by default in those of the table.
    """
    for split in splits:
        sampling = NegativeSampling(1.0 if split == "train" else keep_negatives, split)
        read = columns if columns is None or LABEL in columns else [*columns, LABEL]
        for block in coded_blocks(directory, split, rows, read, forms):
            kept = sampling.kept(block)
            if kept.height:
                yield kept if columns is None else kept.on_rows(kept.frame.select(columns))
