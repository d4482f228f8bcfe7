"""A stream that answers: the score of each row is there before the next row is asked for."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, BinaryIO, Protocol

import polars as pl

from widedeep.errors import NoRowsError, UsageError
from widedeep.recipe.schema import FormatSettings
from widedeep.scoring.few_rows import RowScorer
from widedeep.scoring.rows import STDIN_NAME, InputRows
from widedeep.scoring.scored_blocks import ScoredBlock, one_thread_each
from widedeep.scoring.scorer import Scorer
from widedeep.scoring.tally import OddValues, PartCounts
from widedeep.source.blocks import RawBlock, clean_texts, require_columns
from widedeep.source.contents import is_json_line
from widedeep.source.csv_blocks import CsvRows
from widedeep.source.json_blocks import block_of_line, has_key, keys_of_line
from widedeep.source.json_rows import columns_of_lines
from widedeep.source.json_values import column_of
from widedeep.source.lines import lines_as_they_come

Values = Mapping[str, Sequence[Any]]
"""Source column → the value of the one row."""


def score_lines(
    scorer: Scorer, stream: BinaryIO, rows: InputRows, odd_values: OddValues, keep: Sequence[str]
) -> Iterator[ScoredBlock]:
    """Yield each row of `stream`, NDJSON or CSV in UTF-8, with its score as soon as its line is there.

    `rows` says how rows are read and typed. A block's raw columns are those in `keep`. Plain rows take no Polars query.
    Raises what `InputRows` raises for the rows, UsageError for a stream of another kind.
    """
    row_scorer = RowScorer.of(scorer, rows.typing)
    num_rows = 0
    with one_thread_each(), short_collections():
        if row_scorer is not None:
            row_scorer.warm_up()
        reader, lines = _opened(stream, rows)
        for number, line in lines:
            values = None if row_scorer is None else reader.plain(line)
            scored = None if row_scorer is None or values is None else row_scorer.score(values, 1)
            if scored is not None and values is not None:
                raw = _kept(values, keep, reader.settings) if keep else _NO_COLUMNS
                scores, counts = scored
            else:
                block = reader.block(line, number)
                if block is None:
                    continue
                raw, typed = rows.typed(block)
                scores, encoded = scorer.score(typed)
                counts = scorer.plan.count_unseen(typed, encoded)
            odd_values.add_part(PartCounts(counts, rows=len(scores)), scores)
            num_rows += 1
            yield ScoredBlock(raw, _NO_COLUMNS, scores)
        reader.finish()
    rows.settle()
    if not num_rows:
        raise NoRowsError(f"{STDIN_NAME}: has no rows")


_NO_COLUMNS = pl.DataFrame()


def _opened(stream: BinaryIO, rows: InputRows) -> "tuple[_Reader, Iterator[tuple[int, bytes]]]":
    settings = rows.format_of(stream)
    if settings.kind not in ("auto", "csv", "ndjson"):
        raise UsageError(f"--line-buffered reads NDJSON or CSV, not {settings.kind}: say which, --input-format csv")
    lines = lines_as_they_come(stream, name=STDIN_NAME)
    read: list[tuple[int, bytes]] = []
    for number, line in lines:
        read.append((number, line))
        if line.strip():
            break
    is_json = settings.kind == "ndjson" or (settings.kind == "auto" and bool(read) and is_json_line(read[-1][1]))
    reader: _Reader = _JsonLines(rows, settings) if is_json else _CsvLines(rows, settings)
    return reader, chain(read, lines)


class _Reader(Protocol):
    """Lines of one format → rows."""

    settings: FormatSettings

    def plain(self, line: bytes) -> Values | None:
        """The values of a line that is a row and has nothing unusual; None for any other, for `block`."""

    def block(self, line: bytes, number: int) -> RawBlock | None:
        """The row that ends with this line; None if none does."""

    def finish(self) -> None:
        """Raise what can be said at the end only."""


class _JsonLines:
    def __init__(self, rows: InputRows, settings: FormatSettings) -> None:
        self.settings, self._columns = settings, list(dict.fromkeys(rows.log_columns))
        self._unseen = self._columns
        self._first_line = b""

    def plain(self, line: bytes) -> Values | None:
        return columns_of_lines([self._noted(line)], self._columns)

    def _noted(self, line: bytes) -> bytes:
        self._first_line = self._first_line or line
        if self._unseen:
            self._unseen = [key for key in self._unseen if not has_key(line, key)]
        return line

    def block(self, line: bytes, number: int) -> RawBlock | None:
        self._noted(line)
        return block_of_line(line, number, self.settings, self._columns, name=STDIN_NAME)

    def finish(self) -> None:
        if self._unseen and self._first_line.strip():
            require_columns(self._unseen, keys_of_line(self._first_line, name=STDIN_NAME), STDIN_NAME)


class _CsvLines:
    def __init__(self, rows: InputRows, settings: FormatSettings) -> None:
        self.settings, self._is_latin = settings, settings.encoding == "latin-1"
        self._rows = CsvRows(settings, rows.log_columns, name=STDIN_NAME)

    def plain(self, line: bytes) -> Values | None:
        return self._rows.values_of(self._utf8(line))

    def block(self, line: bytes, number: int) -> RawBlock | None:
        return self._rows.add(self._utf8(line), number)

    def finish(self) -> None:
        self._rows.refuse_open_quote()

    def _utf8(self, line: bytes) -> bytes:
        return line.decode("latin-1").encode() if self._is_latin else line


def _kept(values: Values, keep: Sequence[str], settings: FormatSettings) -> pl.DataFrame:
    return clean_texts(pl.DataFrame([column_of(name, list(values[name])) for name in keep]), settings)


@contextmanager
def short_collections() -> Iterator[None]:
    """Collections of garbage look at nothing that is there by now."""
    # Without this a collection now and then visits every object of every library: a row would wait for tens of
    # milliseconds.
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
