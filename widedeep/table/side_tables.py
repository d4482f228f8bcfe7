"""Side tables (`data.tables`): reads the needed columns into memory and joins them to blocks of the log."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from widedeep.errors import ColumnError, DataError, UsageError
from widedeep.recipe.base import OURS
from widedeep.recipe.schema import DataSettings, FormatSettings, SideTable
from widedeep.reporting import Reporter
from widedeep.source.blocks import RawBlock
from widedeep.source.canonical import canonical_text
from widedeep.source.forms import Form, Forms, FormTally, series_in_form
from widedeep.source.paths import Frame, Source, can_be_read_again, expand_paths
from widedeep.source.sources import RowlessFiles, believed_format, columns_in, read_blocks

if TYPE_CHECKING:
    from widedeep.table.missing_values import MissingValues

_KEY, _MATCHED = f"{OURS}key", f"{OURS}matched"
_EXAMPLES = 3
_NO_FORMS = Forms()
_KEY_OF_TABLE = ", the key of a side table"


def needed_tables(data: DataSettings, needed: Iterable[str]) -> dict[str, list[str]]:
    """Side table → its columns that `needed` names as `TABLE.column`; tables without a needed column are left out.

    A name whose prefix is no side table is a column of the log.
    """
    columns_of: dict[str, list[str]] = {}
    for name in dict.fromkeys(needed):
        table, dot, column = name.partition(".")
        if dot and table in data.tables:
            columns_of.setdefault(table, []).append(column)
    return columns_of


def side_table_files(data: DataSettings, base_dir: Path, needed: Iterable[str]) -> dict[str, list[Source]]:
    """Side table → its files, for the needed tables. Raises DataError for a file that is not there."""
    return {table: _files(table, data.tables[table].files, base_dir, "") for table in needed_tables(data, needed)}


def _files(table: str, patterns: Sequence[str], base_dir: Path, advice: str) -> list[Source]:
    try:
        return expand_paths(patterns, base_dir)
    except DataError as error:
        raise DataError(f"data.tables.{table}: {error}{advice}") from None


class SideTables:
    """The side tables that a recipe needs, in memory."""

    def __init__(self, tables: Sequence["_Table"], reporter: Reporter) -> None:
        self._tables, self._reporter = tables, reporter

    @classmethod
    def load(
        cls,
        data: DataSettings,
        base_dir: Path,
        needed: Sequence[str],
        reporter: Reporter,
        *,
        replaced: Mapping[str, str] | None = None,
        forms: Forms | None = _NO_FORMS,
    ) -> "SideTables":
        """Read the tables that have a column in `needed`.

        `replaced` maps tables to paths or URLs, relative to the current directory, that are read in place of the
        recipe's; None if the user can change the recipe itself. Keys that are all numbers, booleans, or dates and times
        are compared in one writing (see widedeep/source/forms.py), so that 12 finds 12.0; runs from before there were
        forms, whose `forms` are None, compare texts as they are. Raises UsageError for a table that the recipe does not
        have, ColumnError for a column that is not there, DataError for a file that is not there and for a key that is
        missing or repeats.
        """
        for table in replaced or ():
            if table not in data.tables:
                known = f"its side tables are {', '.join(data.tables)}" if data.tables else "it has none"
                raise UsageError(f"--table {table}=…: the run's recipe has no side table of that name; {known}")
        loaded = []
        missing: Mapping[str, MissingValues] = {}
        if data.tables and forms is not None and forms.missing is not None:
            from widedeep.table.missing_values import missing_values  # not at the top: few recipes list values

            missing = missing_values(data)
        for table, columns in needed_tables(data, needed).items():
            settings = data.tables[table]
            if replaced is not None and table in replaced:
                files = _files(table, [replaced[table]], Path(), "")
                read_as = [(file, believed_format(file, settings.format)) for file in files]
            else:
                advice = f"; pass --table {table}=FILE to say where it lies now" if replaced is not None else ""
                files = _files(table, settings.files, base_dir, advice)
                read_as = [(file, settings.format) for file in files]
            own, of_log = missing.get(table), missing.get("")
            loaded.append(_load(table, settings, read_as, columns, own, of_log, in_form=forms is not None))
        return cls(loaded, reporter)

    def log_columns(self, needed: Iterable[str]) -> list[str]:
        """The columns to read from the log: those of `needed` that are its own, and those to join tables on."""
        joined = {name for table in self._tables for name in table.names}
        of_log = [name for name in needed if name not in joined]
        return list(dict.fromkeys([*of_log, *(table.on for table in self._tables)]))

    def check_log(self, source: Source | Frame, settings: FormatSettings, *, name: str) -> None:
        """Raise ColumnError if a file of the log has a column with the name of a side table's column.

        What gives its rows once cannot be looked at beforehand.
        """
        if not self._tables or not can_be_read_again(source):
            return
        present = columns_in(source, settings, name=name)
        for table in self._tables:
            for column in table.names:
                if column in present:
                    raise ColumnError(
                        f"{name}: the log has a column {column!r} of its own, and so is a column of side table "
                        f"{table.name!r} called; rename either"
                    )

    def join(self, block: RawBlock) -> RawBlock:
        """The block with the tables' columns, in the same order; null where a table has no row for the key."""
        frame = block.frame
        for table in self._tables:
            frame = table.join(frame, block)
        return replace(block, frame=frame)

    def take_unmatched(self) -> list[tuple[int, list[str]]]:
        """Of each table the joined rows with a key that it lacks, and some of these keys; they are then forgotten."""
        unmatched = [(table.unmatched_rows, table.unmatched_keys) for table in self._tables]
        for table in self._tables:
            table.unmatched_rows, table.unmatched_keys = 0, []
        return unmatched

    def add_unmatched(self, unmatched: Sequence[tuple[int, list[str]]]) -> None:
        """Add what `take_unmatched` gave elsewhere, of the rows that follow."""
        for table, (rows, keys) in zip(self._tables, unmatched, strict=True):
            table.unmatched_rows += rows
            table.unmatched_keys = list(dict.fromkeys([*table.unmatched_keys, *keys]))[:_EXAMPLES]

    def warn_unmatched(self) -> None:
        """Tell, once all blocks are joined, how many rows had a key that a table lacks."""
        for table in self._tables:
            if table.unmatched_rows:
                rows, examples = table.unmatched_rows, ", ".join(map(repr, table.unmatched_keys))
                more = ", …" if len(table.unmatched_keys) == _EXAMPLES else ""
                self._reporter.warn(
                    f"side table {table.name!r}: {rows:,} row{'s' * (rows != 1)} of the log with a key that it lacks, "
                    f"such as {examples}{more}; {', '.join(table.names)} {'is' if len(table.names) == 1 else 'are'} "
                    "missing there"
                )


@dataclass
class _Table:
    """A side table: its key as canonical text, the needed columns under their full names, and a mark on every row."""

    name: str
    on: str
    frame: pl.DataFrame
    form: Form | None
    """Of the keys."""
    missing: "MissingValues | None"
    """Values of the log's column that are no keys, because the recipe lists them as missing."""
    unmatched_rows: int = 0
    unmatched_keys: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [column for column in self.frame.columns if column not in (_KEY, _MATCHED)]

    def join(self, frame: pl.DataFrame, block: RawBlock) -> pl.DataFrame:
        keys = series_in_form(block.text_of(self.on, _KEY_OF_TABLE), self.form)
        keys = _without_missing(keys, block, self.on, self.form, self.missing)
        joined = frame.with_columns(keys.alias(_KEY)).join(self.frame, on=_KEY, how="left", maintain_order="left")
        unmatched = keys.filter(keys.is_not_null() & joined[_MATCHED].is_null())
        self.unmatched_rows += len(unmatched)
        if len(unmatched) and len(self.unmatched_keys) < _EXAMPLES:
            examples = dict.fromkeys([*self.unmatched_keys, *unmatched.unique(maintain_order=True).head(_EXAMPLES)])
            self.unmatched_keys = list(examples)[:_EXAMPLES]
        return joined.drop(_KEY, _MATCHED)


def _load(
    table: str,
    settings: SideTable,
    files: Sequence[tuple[Source, FormatSettings]],
    columns: Sequence[str],
    missing: "MissingValues | None",
    missing_in_log: "MissingValues | None",
    *,
    in_form: bool,
) -> _Table:
    try:
        blocks = list(_read(files, list(dict.fromkeys([settings.key, *columns]))))
    except DataError as error:
        # The readers' messages name settings under `data.format`, which is the format of the log.
        raise DataError(str(error).replace("data.format.", f"data.tables.{table}.format.")) from None
    keys = pl.concat([block.text_of(settings.key, _KEY_OF_TABLE) for block in blocks])
    tally = FormTally()
    tally.add(keys)
    form = tally.form if in_form else None
    keys = series_in_form(keys, form)
    if missing is not None:
        pieces, row = [], 0
        for block in blocks:
            piece = keys.slice(row, block.num_rows)
            pieces.append(_without_missing(piece, block, settings.key, form, missing))
            row += block.num_rows
        keys = pl.concat(pieces)
    _check_keys(table, settings.key, keys, blocks)
    joined = [_stacked(f"{table}.{column}", [block.frame[column] for block in blocks]) for column in columns]
    frame = pl.DataFrame([keys.alias(_KEY), *joined]).with_columns(pl.lit(True).alias(_MATCHED))
    return _Table(table, settings.on or settings.key, frame, form, missing_in_log)


def _without_missing(
    keys: pl.Series, block: RawBlock, column: str, form: Form | None, missing: "MissingValues | None"
) -> pl.Series:
    """Keys of a block in their form, with those null that the recipe lists as missing."""
    if missing is None:
        return keys
    from widedeep.table.missing_values import form_of_type

    return missing.without_texts(keys, form_of_type(block.frame.schema[column]) or form)


def _read(files: Sequence[tuple[Source, FormatSettings]], columns: Sequence[str]) -> Iterator[RawBlock]:
    rowless = RowlessFiles()
    for source, settings in files:
        with rowless.passed_over():
            yield from read_blocks(source, settings, columns, name=str(source))
    rowless.settle()


def _check_keys(table: str, column: str, keys: pl.Series, blocks: Sequence[RawBlock]) -> None:
    missing = keys.is_null().arg_true()
    if len(missing):
        raise DataError(
            f"{_place(missing[0], blocks)}: column {column!r}: the key of side table {table!r} is missing; "
            "every row needs one: fill it or drop the row"
        )
    if keys.n_unique() == len(keys):
        return
    again = (~keys.is_first_distinct()).arg_true()[0]
    first = (keys == keys[again]).arg_true()[0]
    raise DataError(
        f"{_place(again, blocks)}: column {column!r}: the key {keys[again]!r} of side table {table!r} stands already "
        f"at {_place(first, blocks)}; a key may have one row: drop one of them"
    )


def _place(row: int, blocks: Sequence[RawBlock]) -> str:
    for block in blocks:
        if row < block.frame.height:
            return block.place_of(row)
        row -= block.frame.height
    raise AssertionError(row)


def _stacked(name: str, pieces: Sequence[pl.Series]) -> pl.Series:
    """A column of all pieces together; as canonical texts if the pieces hold it in different types."""
    types = {piece.dtype for piece in pieces if piece.dtype != pl.Null}
    if len(types) > 1 and not any(dtype.is_nested() for dtype in types):
        pieces = [pl.select(canonical_text(pl.lit(piece), piece.dtype)).to_series() for piece in pieces]
    try:
        return pl.concat([piece.alias(name).to_frame() for piece in pieces], how="vertical_relaxed").to_series()
    except pl.exceptions.PolarsError:
        kinds = ", ".join(sorted(map(str, types)))
        raise DataError(f"side table column {name!r}: its files hold values of different types ({kinds})") from None
