"""A block of rows as read from a source, and the cleaning of texts and check of columns that all readers share."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import ColumnError, DataError
from widedeep.recipe.schema import FormatSettings
from widedeep.source.canonical import as_decimals, canonical_text
from widedeep.source.coded import CodedColumn

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
BLANKS = " \t" + NO_BREAK_SPACE
"""The characters that `format.trim` drops around a value."""
_COUNTED_BYTES = 1 << 18


@dataclass(frozen=True)
class RawBlock:
    """Consecutive rows of one source."""

    frame: pl.DataFrame
    """Only String columns when the source is delimited text; the file's own types when it is Parquet."""
    source_name: str
    first_row: int
    """0-based number of the block's first row within its source."""
    bytes_done: int
    """Stored (compressed) bytes of the source read so far."""
    first_line: int | None = None
    """1-based line of the first row; None for Parquet and Arrow."""
    lines: NDArray[np.int64] | None = None
    """Line of each row; None if row n stands on line n after the first (no quoted line breaks, no dropped lines)."""
    coded: Mapping[str, CodedColumn] = field(default_factory=dict)
    """Columns that the caller asked for as codes; the frame lacks them."""

    @property
    def num_rows(self) -> int:
        """Rows of the block."""
        return next((len(column.codes) for column in self.coded.values()), self.frame.height)

    def line_of(self, row: int) -> int | None:
        """1-based line where row `row` (0-based within the block) starts; None for Parquet and Arrow."""
        if self.lines is not None:
            return int(self.lines[row])
        return None if self.first_line is None else self.first_line + row

    def text_of(self, column: str, what: str = "") -> pl.Series:
        """The canonical texts of a column that is not coded. Raises DataError for a type without a text.

        `what` says in the message what the column is for, such as ", the key of a side table".
        """
        try:
            frame = as_decimals(self.frame.select(column))
            return frame.select(canonical_text(pl.col(column), frame.schema[column])).to_series()
        except DataError as error:
            raise DataError(f"{self.source_name}: column {column!r}{what}: {error}") from None

    def place_of(self, row: int) -> str:
        """Where a row stands, for a message: `log.csv:17`, or `log.parquet: row 17` (counted from 1)."""
        line = self.line_of(row)
        if line is None:
            return f"{self.source_name}: row {self.first_row + row + 1}"
        return f"{self.source_name}:{line}"


def count_newlines(data: NDArray[np.uint8]) -> int:
    """Count the line breaks among bytes, a piece at a time: comparing a whole block at once would double its memory."""
    return sum(
        int(np.count_nonzero(data[start : start + _COUNTED_BYTES] == ord("\n")))
        for start in range(0, len(data), _COUNTED_BYTES)
    )


def clean_texts(frame: pl.DataFrame, settings: FormatSettings, *, may_have_blanks: bool = True) -> pl.DataFrame:
    """Trim the String columns (unless nothing can need it) and set their missing texts to null, as the format says."""
    text = pl.col(pl.String)
    # One step after the other: in one expression, all before would be done twice for each missing text.
    if settings.trim and may_have_blanks:
        frame = frame.with_columns(text.str.strip_chars(BLANKS))
    for missing in settings.missing:
        frame = frame.with_columns(pl.when(text != missing).then(text))
    return frame


def require_columns(wanted: Sequence[str], present: Sequence[str], name: str) -> None:
    """Raise ColumnError for the first wanted column that the source `name` lacks."""
    held = set(present)
    for column in wanted:
        if column in held:
            continue
        by_letters = {shown.casefold(): shown for shown in present}
        close = difflib.get_close_matches(column.casefold(), by_letters, n=1)
        hint = f"; did you mean {by_letters[close[0]]!r}?" if close else ""
        if len(present) == 1 and any(separator in present[0] for separator in "\t;|,"):
            hint = "; is `data.format.separator` right?"
        listed = ", ".join(present[:30]) + (", …" if len(present) > 30 else "")
        raise ColumnError(f"{name}: no column {column!r}{hint or '.'} It has: {listed}")
