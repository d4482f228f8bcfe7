"""Columns that stand in the path: folders called `name=value`, as Hive, Spark and others write them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from widedeep.errors import DataError
from widedeep.recipe.schema import FormatSettings
from widedeep.source.blocks import RawBlock, clean_texts
from widedeep.source.paths import partition_texts


def with_path_columns(frame: pl.DataFrame, source: Path | str) -> pl.DataFrame:
    """Rows of a file with the columns of its path that they lack, as texts."""
    own = set(frame.columns)
    texts = {column: text for column, text in partition_texts(source).items() if column not in own}
    return frame.with_columns(pl.lit(text, pl.String).alias(column) for column, text in texts.items())


def with_partitions(
    blocks: Iterator[RawBlock],
    texts: Mapping[str, str | None],
    settings: FormatSettings,
    columns: Sequence[str] | None,
) -> Iterator[RawBlock]:
    """Blocks of one file with the columns of its path, as texts, which are trimmed and missing as those of the file.

    A column that the file has too stays as it is there. Raises DataError where the two differ. `columns` says the order
    (None: those of the path come last).
    """
    cleaned = clean_texts(pl.DataFrame(dict(texts), schema=dict.fromkeys(texts, pl.String)), settings)
    for block in blocks:
        frame = block.frame
        for column in cleaned.columns:
            if column in frame.columns:
                _check_equal(block, column, cleaned[column])
            else:
                frame = pl.DataFrame([*frame, cleaned[column].new_from_index(0, block.num_rows)])
        if columns is not None:
            present = set(frame.columns)
            frame = frame.select(column for column in dict.fromkeys(columns) if column in present)
        yield replace(block, frame=frame)


def _check_equal(block: RawBlock, column: str, text: pl.Series) -> None:
    values = block.frame[column]
    if values.dtype.is_numeric():
        same = values.eq_missing(text.cast(values.dtype, strict=False).new_from_index(0, len(values)))
    else:
        written = block.text_of(column)
        same = written.eq_missing(text.new_from_index(0, len(values)))
    if not same.all():
        row = int(same.arg_min() or 0)
        raise DataError(
            f"{block.place_of(row)}: column {column!r}: holds {values[row]!r}, and the folder is called "
            f"{column}={text[0]}: a column that stands in both must be equal; rename either"
        )
