"""The typed table on disk: a folder per split, with parts in row order. Most columns are coded.

A part is two Arrow files: `part-00000.arrow` holds the rows, `part-00000.values` the values of its coded columns, a
list for each. `forms.json` says in which one writing the texts of a column are read (see widedeep/source/forms.py), and
`missing.json`, where the recipe lists numbers, booleans or times as missing values, which of these texts are null.
`longest.json` says how many items of a list count, where lists are stored that have more.
`first-rows.arrow` holds the first rows as they were read, before they were typed.
"""

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.artefacts import read_json_artefact, require_shape, telling_stage, unreadable
from widedeep.errors import ArtefactError
from widedeep.files import check_readable, for_polars, write_json, writing
from widedeep.source.coded import CodedColumn, CodedRows
from widedeep.source.forms import Forms
from widedeep.table.typed import rows_in_forms

PART_ROWS = 1 << 18
FIRST_ROWS = 1000
"""Rows that are kept as they were read, at most: no recipe may ask for more golden rows."""
_FORMS, _MISSING, _LONGEST = "forms.json", "missing.json", "longest.json"
_FIRST_ROWS = "first-rows.arrow"
_FEW_ROWS = 1 << 10
_COMPILED_ROWS = 1 << 15
"""Rows from which on a block of fewer values than rows is read by compiled loops: a large CSV file came by them."""
_ROWS_PER_VALUE = 4
"""A column with fewer rows per distinct value is stored without codes, which would save nothing."""


class PartWriter:
    """Writes one split as `part-00000`, … of about 2^18 rows (never cut within a block), on another thread."""

    def __init__(self, directory: Path, thread: ThreadPoolExecutor, sync: Callable[[Path], None]) -> None:
        """`sync` is given each file that was written."""
        self.num_rows = 0
        self._directory, self._thread, self._sync = directory, thread, sync
        self._waiting: list[CodedRows] = []
        self._num_waiting = 0
        self._num_parts = 0
        self._under_way: list[Future[None]] = []
        with writing(directory):
            directory.mkdir(parents=True)

    def add(self, rows: CodedRows) -> None:
        """Append rows. Raises WriteError, which may concern rows that were added before."""
        self.num_rows += rows.height
        self._waiting.append(rows)
        self._num_waiting += rows.height
        if self._num_waiting >= PART_ROWS:
            self._wait()  # no more than two parts are held in memory
            self._flush()

    def close(self) -> None:
        """Have the rest written, which `finish` waits for."""
        if self._waiting:
            self._flush()

    def finish(self) -> None:
        """Write the rest and wait until all is on disk. Raises WriteError."""
        self.close()
        self._wait()

    def _flush(self) -> None:
        path = _part_path(self._directory, self._num_parts)
        self._under_way.append(self._thread.submit(_write_part, path, self._waiting, self._sync))
        self._waiting, self._num_waiting = [], 0
        self._num_parts += 1

    def _wait(self) -> None:
        while self._under_way:
            self._under_way.pop(0).result()


class WaitingRows:
    """Rows of a split that become a part of it once all are there."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._blocks: list[CodedRows] = []

    def add(self, rows: CodedRows) -> None:
        """Append rows."""
        self.num_rows += rows.height
        if rows.height:
            self._blocks.append(rows)

    def write(self, path: Path) -> None:
        """Write the part, unless it has no rows, and forget the rows. Raises WriteError."""
        if self._blocks:
            _write_part(path, self._blocks)
        self._blocks = []


def _write_part(path: Path, blocks: list[CodedRows], sync: Callable[[Path], None] | None = None) -> None:
    # The files are read once or twice and then deleted with their stage: speed matters more than size.
    write_rows(path, _coded_alike(blocks), compression="lz4")
    if sync is not None:
        sync(path)
        sync(_values_path(path))


def write_rows(path: Path, rows: CodedRows, *, compression: Literal["lz4", "uncompressed"] = "uncompressed") -> None:
    """Write rows, coded as they are, as the two files of a part. Raises WriteError."""
    values = pl.DataFrame([values.implode().alias(name) for name, values in rows.values.items()])
    for place, frame in ((path, rows.frame), (_values_path(path), values)):
        # A Python file tells the operating system's reason for a failure; given a path, Polars would drop it.
        with writing(place), place.open("wb") as file:
            frame.write_ipc(file, compression=compression)


def read_rows(path: Path, columns: Sequence[str] | None = None) -> CodedRows:
    """What `write_rows` wrote. Raises ArtefactError."""
    return _read_part(path, columns)


def number_parts(directory: Path, parts: Sequence[Path], sync: Callable[[Path], None]) -> None:
    """Let files, in order, be the parts of a split; they may lie elsewhere on the disk. Raises WriteError.

    `sync` is given each file then.
    """
    with writing(directory):
        directory.mkdir(parents=True)
        for number, part in enumerate(parts):
            os.replace(part, path := _part_path(directory, number))
            os.replace(_values_path(part), _values_path(path))
            sync(path)
            sync(_values_path(path))


def _coded_alike(blocks: list[CodedRows]) -> CodedRows:
    """The rows of all blocks together. Columns that are texts, or coded in all blocks, get a common coding."""
    columns: list[pl.Series] = []
    values: dict[str, pl.Series] = {}
    for name in blocks[0].columns:
        coding = None
        if all(name in block.values or block.frame[name].dtype == pl.String for block in blocks):
            coding = _one_coding([block.coded(name) for block in blocks])
        if coding is not None:
            values[name] = coding.values
            columns.append(coding.codes.alias(name))
        else:
            columns.append(pl.concat([block.column(name) for block in blocks]).rechunk())
    return CodedRows(pl.DataFrame(columns), values)


def _one_coding(blocks: list[CodedColumn]) -> CodedColumn | None:
    """The columns joined, coded by null and the values that occur; None if there are too few rows per value."""
    codes = [block.codes.to_numpy() for block in blocks]
    used = [_used(of_rows, len(block.values)) for block, of_rows in zip(blocks, codes, strict=True)]
    if sum(map(len, codes)) <= _FEW_ROWS and _are_many(blocks, used, sum(map(len, codes))):
        return None
    values = pl.concat([block.values[held] for block, held in zip(blocks, used, strict=True)]).rechunk()
    numbers = _numbered(values)
    num_values = int(numbers.max(initial=0)) + 1
    if num_values * _ROWS_PER_VALUE > sum(map(len, codes)):
        return None
    firsts = np.zeros(num_values, dtype=np.int64)
    firsts[numbers[::-1]] = np.arange(len(numbers))[::-1]
    null = pl.Series([None], dtype=values.dtype)
    recoded = np.empty(sum(map(len, codes)), dtype=np.min_scalar_type(num_values))
    start, row = 0, 0
    for block, held, of_rows in zip(blocks, used, codes, strict=True):
        new = np.zeros(len(block.values), dtype=recoded.dtype)
        new[held] = numbers[start : start + len(held)]
        _recode(of_rows, new, recoded[row : row + len(of_rows)])
        start, row = start + len(held), row + len(of_rows)
    return CodedColumn(pl.concat([null, values[firsts[1:]]]).rechunk(), pl.Series(values=recoded))


def _used(codes: NDArray[Any], num_values: int) -> NDArray[np.int64]:
    """The codes that occur, ascending."""
    used = np.zeros(num_values, dtype=np.bool_)
    if num_values < len(codes) and len(codes) >= _COMPILED_ROWS:
        from widedeep.table.recoding import mark_used  # only here: Numba takes as long to import as Polars

        mark_used(codes, used)
    else:
        used[codes] = True
    return np.flatnonzero(used)


def _recode(codes: NDArray[Any], new: NDArray[Any], recoded: NDArray[Any]) -> None:
    """Fill `recoded` [rows] with the code that `new` [values] has for each of `codes` [rows]."""
    if len(new) < len(codes) and len(codes) >= _COMPILED_ROWS:
        from widedeep.table.recoding import recode  # only here, as above

        recode(codes, new, recoded)
    else:
        recoded[:] = new[codes]


def _are_many(blocks: list[CodedColumn], used: list[NDArray[np.int64]], num_rows: int) -> bool:
    """Whether the values that occur are too many for a coding: Python counts few values sooner than Polars begins to.

    Values that Python takes for one, such as 0.0 and -0.0, make it say no, and the coding itself decides.
    """
    if max(len(block.values) for block in blocks) > _FEW_ROWS:
        return False
    distinct: set[object] = set()
    for block, held in zip(blocks, used, strict=True):
        values = block.values.to_list()
        distinct.update(values[number] for number in held.tolist())
    return (len(distinct - {None}) + 1) * _ROWS_PER_VALUE > num_rows


def _numbered(values: pl.Series) -> NDArray[np.int64]:
    """A number from 1 on per distinct value (0 for null): texts in order of appearance, numbers of their bits."""
    numbers = np.zeros(len(values), dtype=np.int64)
    present = values.is_not_null().to_numpy()
    if values.dtype == pl.String:
        # A Categorical with fresh categories numbers texts as they come, at half the cost of grouping.
        texts = values.drop_nulls().cast(pl.Categorical(pl.Categories.random())).to_physical()
        numbers[present] = texts.to_numpy().astype(np.int64) + 1
    else:
        bits = values.drop_nulls().to_numpy().view(np.uint64)
        numbers[present] = np.unique(bits, return_inverse=True)[1] + 1
    return numbers


def _values_path(part: Path) -> Path:
    return part.with_suffix(".values")


def _part_paths(directory: Path, split: str) -> list[Path]:
    """The parts of a split, in row order. Raises ArtefactError if there are none, or some are gone."""
    paths = sorted((directory / split).glob("part-*.arrow"))
    if not paths or paths[-1] != _part_path(directory / split, len(paths) - 1):
        raise ArtefactError(f"{directory / split}: parts of the typed table are gone: delete stages/ and run again")
    return paths


def _part_path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.arrow"


def typed_names(directory: Path, split: str) -> list[str]:
    """The columns of a split of the typed table."""
    path = _part_paths(directory, split)[0]
    with _reading(path):
        return pl.scan_ipc(for_polars(path), glob=False).collect_schema().names()


def write_first_rows(directory: Path, rows: pl.DataFrame) -> None:
    """Keep rows as they were read, for the runs that are trained on this table."""
    content = io.BytesIO()
    rows.write_ipc(content, compression="lz4")
    with writing(directory):
        (directory / _FIRST_ROWS).write_bytes(content.getbuffer())


def first_rows(directory: Path, count: int) -> pl.DataFrame:
    """The first `count` of the rows that `write_first_rows` kept. Raises ArtefactError."""
    with _reading(directory / _FIRST_ROWS):
        content = (directory / _FIRST_ROWS).read_bytes()
        return pl.read_ipc(content, n_rows=count)


def write_forms(directory: Path, forms: Forms) -> None:
    """Keep the forms of the columns' texts, which the readers of this table go by."""
    write_json(directory / _FORMS, forms.of)
    if forms.missing is not None:
        write_json(directory / _MISSING, forms.missing)


def forms_of(directory: Path) -> Forms:
    """The forms that `write_forms` kept; none of a table that has none yet. Raises ArtefactError."""
    of, missing = (
        _json_of(path, shape) if path.exists() else None
        for path, shape in ((directory / _FORMS, {str: str}), (directory / _MISSING, {str: [str]}))
    )
    return Forms(of or {}, missing)


def write_longest(directory: Path, longest: Mapping[str, int]) -> None:
    """Keep how many items of a list count, per column of lists and of their weights that has longer ones."""
    write_json(directory / _LONGEST, longest)


def shortened(rows: CodedRows, longest: Mapping[str, int]) -> CodedRows:
    """Rows in their forms with the first items of each list, as many as `longest` says of its column."""
    lists = [pl.col(name).list.head(most) for name, most in longest.items() if name in rows.columns]
    return rows.on_rows(rows.frame.with_columns(lists)) if lists else rows


def _json_of(path: Path, shape: Any) -> Any:
    with telling_stage():
        value = read_json_artefact(path, "damaged")
        require_shape(value, shape, path)
    return value


def coded_blocks(
    directory: Path,
    split: str,
    rows: int = PART_ROWS,
    columns: Sequence[str] | None = None,
    forms: Forms | None = None,
    part: int | None = None,
) -> Iterator[CodedRows]:
    """The rows of a split, or of its `part` alone, in order, in blocks of at most `rows` rows; memory is bounded by one
    part.

    Texts are in the `forms` given, by default in those that the table keeps. Raises ArtefactError for parts that cannot
    be read.
    """
    forms, longest = forms_of(directory) if forms is None else forms, _longest_of(directory)
    paths = _part_paths(directory, split)
    for path in paths if part is None else [paths[part]]:
        yield from shortened(rows_in_forms(_read_part(path, columns), forms), longest).slices(rows)


def coded_part(directory: Path, split: str, number: int, columns: Sequence[str] | None = None) -> CodedRows:
    """The rows of one part of a split, as `coded_blocks` gives them. Raises ArtefactError."""
    rows = rows_in_forms(_read_part(_part_path(directory / split, number), columns), forms_of(directory))
    return shortened(rows, _longest_of(directory))


def part_heights(directory: Path, split: str) -> list[int]:
    """How many rows each part of a split has. Raises ArtefactError."""
    heights = []
    for path in _part_paths(directory, split):
        with _reading(path):
            heights.append(int(pl.scan_ipc(for_polars(path), glob=False).select(pl.len()).collect().item()))
    return heights


def _longest_of(directory: Path) -> dict[str, int]:
    path = directory / _LONGEST
    longest: dict[str, int] = _json_of(path, {str: int}) if path.exists() else {}
    return longest


def _read_part(path: Path, columns: Sequence[str] | None) -> CodedRows:
    with _reading(path):
        frame, values = (pl.scan_ipc(for_polars(file), glob=False) for file in (path, _values_path(path)))
        wanted = frame if columns is None else frame.select(columns)
        names = wanted.collect_schema().names()
        coded = values.select(name for name in values.collect_schema().names() if name in names).collect()
        return CodedRows(wanted.collect(), {column.name: column.explode() for column in coded})


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn a fault of reading a part into an ArtefactError."""
    check_readable(path)
    try:
        yield
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise unreadable(path, error) from error


def typed_blocks(
    directory: Path,
    split: str,
    rows: int = PART_ROWS,
    columns: Sequence[str] | None = None,
    forms: Forms | None = None,
    part: int | None = None,
) -> Iterator[pl.DataFrame]:
    """`coded_blocks` with values in place of codes."""
    return (block.decoded() for block in coded_blocks(directory, split, rows, columns, forms, part))


def read_typed(directory: Path, split: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """All rows of a split of the typed table, in order."""
    return pl.concat(typed_blocks(directory, split, columns=columns))
