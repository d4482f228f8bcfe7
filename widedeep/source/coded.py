"""Columns as codes: the distinct values once, and for every row the position of its value among them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

_CELLS_PER_ROW = 4
"""Combinations of values per row, up to which looking at them is quicker than at the rows: a block comes in slices."""
_FEW_CODES = 8
"""Codes up to which comparing all rows with each is quicker than looking up what each row's code stands for."""


@dataclass(frozen=True)
class CodedColumn:
    """A column as its distinct values and a code per row."""

    values: pl.Series
    """Of any type, null for missing. A value may occur twice."""
    codes: pl.Series
    """[rows], unsigned: the position of each row's value in `values`."""

    def spread(self, of_values: pl.Series) -> pl.Series:
        """For each row, the entry of `of_values` that belongs to its value."""
        # By brackets: `gather` makes a query, which takes three times as long.
        return of_values[self.codes]

    def of_rows(self) -> pl.Series:
        """Each row's value."""
        return self.spread(self.values)

    def null_count(self) -> int:
        """Rows without a value."""
        codes = self.codes.to_numpy()
        missing = np.flatnonzero(self.values.is_null().to_numpy()) if self.values.null_count() else ()
        if len(missing) > _FEW_CODES:
            return int(np.count_nonzero(self.values.is_null().to_numpy()[codes]))
        return sum(int(np.count_nonzero(codes == codes.dtype.type(code))) for code in missing)


@dataclass(frozen=True)
class CodedRows:
    """Rows of a table, some columns of which are coded."""

    frame: pl.DataFrame
    """All columns, the coded ones as codes."""
    values: Mapping[str, pl.Series] = field(default_factory=dict)
    """Coded column → its values (see `CodedColumn`)."""
    _known: dict[int, tuple[object, pl.Series]] = field(default_factory=dict, repr=False, compare=False)
    """What was made of the values, by the `id` of a key that is kept with it; see `known`."""

    @classmethod
    def of(cls, rows: "pl.DataFrame | CodedRows") -> "CodedRows":
        """The rows themselves; of a plain frame, with nothing coded."""
        return rows if isinstance(rows, CodedRows) else cls(rows)

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.frame.height

    @property
    def columns(self) -> list[str]:
        """Names of all columns, in order."""
        return self.frame.columns

    def coded(self, name: str) -> CodedColumn:
        """A column as codes; if it is not coded, every row gets a code of its own."""
        if name in self.values:
            return CodedColumn(self.values[name], self.frame[name])
        return CodedColumn(self.frame[name], pl.int_range(self.height, dtype=pl.UInt32, eager=True))

    def column(self, name: str) -> pl.Series:
        """The values of a column, one per row."""
        return self.coded(name).of_rows().alias(name) if name in self.values else self.frame[name]

    def null_count(self, name: str) -> int:
        """Rows without a value in a column."""
        return self.coded(name).null_count() if name in self.values else self.frame[name].null_count()

    def on_rows(self, frame: pl.DataFrame) -> "CodedRows":
        """Other rows, or fewer columns, with the same values for the codes."""
        kept = set(frame.columns)
        return CodedRows(frame, {name: values for name, values in self.values.items() if name in kept}, self._known)

    def counts(self, name: str) -> pl.DataFrame:
        """The values that occur in a coded column, some perhaps twice: a frame of `value` and `count` (Int64)."""
        values = self.values[name]
        counts = np.bincount(self.frame[name].to_numpy(), minlength=len(values))
        counted = pl.DataFrame({"value": values, "count": counts})
        return counted if counts.all() else counted.filter(pl.col("count") > 0)

    def slices(self, rows: int) -> Iterator["CodedRows"]:
        """All rows in order, at most `rows` at once."""
        return (self.on_rows(frame) for frame in self.frame.iter_slices(rows))

    def known(self, key: object, made: Callable[[], pl.Series]) -> pl.Series:
        """What `made` makes of the values alone, once for all slices of a block that ask for it by the same key."""
        kept = self._known.get(id(key))
        # Kept with the key: another one may get its `id` once it is gone.
        if kept is None or kept[0] is not key:
            kept = key, made()
            self._known[id(key)] = kept
        return kept[1]

    def of_values(self, expression: pl.Expr, name: str) -> pl.Series:
        """An expression over a coded column, evaluated once for each of its values."""
        return self.known(expression, lambda: self.values[name].to_frame(name).select(expression).to_series())

    def cells(self, names: Sequence[str]) -> "Cells | None":
        """The combinations of the values of coded columns; None if one is not coded, or there are far fewer rows."""
        if any(name not in self.values for name in names):
            return None
        sizes = [len(self.values[name]) for name in names]
        most = _CELLS_PER_ROW * self.height
        return Cells([self.frame[name] for name in names], sizes) if math.prod(sizes) <= most else None

    def decoded(self) -> pl.DataFrame:
        """All columns with their values."""
        return self.frame.with_columns(self.column(name) for name in self.values)

    def select(self, expressions: Sequence[pl.Expr]) -> pl.DataFrame:
        """Evaluate row-wise expressions, with the result that they have on `decoded`.

        An expression over a single coded column is computed once per value, not once per row, and for all slices of a
        block at once where they are given the same expression.
        """
        of_rows: list[pl.Expr] = []
        selected: dict[str, pl.Series] = {}
        for expression in expressions:
            roots = set(expression.meta.root_names())
            if len(roots) == 1 and roots <= self.values.keys():
                (name,) = roots
                of_values = self.of_values(expression, name)
                selected[of_values.name] = self.coded(name).spread(of_values)
            else:
                of_rows.append(expression)
        needed = {name for expression in of_rows for name in expression.meta.root_names()} & self.values.keys()
        rows = CodedRows(self.frame, {name: self.values[name] for name in needed}).decoded()
        selected |= {column.name: column for column in rows.select(of_rows)}
        return pl.DataFrame([selected[expression.meta.output_name()] for expression in expressions])


@dataclass(frozen=True)
class Cells:
    """The combinations of the values of some coded columns, numbered; rows may hold some of them only."""

    codes: Sequence[pl.Series]
    """The codes of each column [rows]."""
    sizes: Sequence[int]
    """Number of values of each column."""

    @property
    def count(self) -> int:
        """Number of combinations."""
        return math.prod(self.sizes)

    def of_rows(self) -> NDArray[np.uint32]:
        """The number of each row's combination."""
        cells = self.codes[0].to_numpy().astype(np.uint32)
        for codes, size in zip(self.codes[1:], self.sizes[1:], strict=True):
            cells *= np.uint32(size)
            cells += codes.to_numpy()
        return cells

    def positions(self, cells: NDArray[np.uint32]) -> list[NDArray[np.uint32]]:
        """For each column the position of the value that it has in each of these combinations."""
        positions: list[NDArray[np.uint32]] = []
        for size in reversed(self.sizes):
            cells, position = np.divmod(cells, np.uint32(size))
            positions.append(position)
        return positions[::-1]
