"""Raw files → typed, split table by workers.

First every piece of the files is typed and kept aside, since where a row goes depends on the rows before it: on its
position, or on all times. Then every piece is split. Pieces are cut by the files alone, and what was counted of them is
added up in their order, so that the table does not depend on the workers.
"""

import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, count
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import NoRowsError, UsageError
from widedeep.files import temporary_directory, writing
from widedeep.profile.ingest import SplitTable, columns_read, first_rows_of, read_by_value
from widedeep.recipe.schema import RandomSplit, Recipe, TimeSplit
from widedeep.reporting import Reporter
from widedeep.source.canonical import ValueKind
from widedeep.source.paths import Source, can_be_read_again, size_of
from widedeep.source.sources import BLOCK_BYTES, Cut, RowlessFiles, cuts_of, read_blocks
from widedeep.table.listed import ListedValues
from widedeep.table.lists import ListTally
from widedeep.table.missing_values import missing_values
from widedeep.table.parts import WaitingRows, number_parts, read_rows, write_first_rows, write_rows
from widedeep.table.side_tables import SideTables
from widedeep.table.split import SPLITS, drawn_parts, listed_folds, random_splits, row_splits, split_rows
from widedeep.table.time_cuts import RankedTimes, TimeCuts, TimeMarks, TimesAround, time_cuts
from widedeep.table.trained_rows import NegativeSampling
from widedeep.table.typed import Typing
from widedeep.table.typed_columns import LABEL, TIME
from widedeep.workers import Workers

PIECE_BYTES = 32 << 20
"""Stored bytes of a piece: a part of a large file, or several small files."""


@dataclass(frozen=True)
class _Section:
    """A file, or a part of one."""

    source: Source
    cut: Cut | None
    is_first: bool
    """Whether it holds the first rows of the file."""


@dataclass(frozen=True)
class _CutTask:
    source: Source
    recipe: Recipe
    columns: tuple[str, ...]
    cut_bytes: int
    block_bytes: int


@dataclass(frozen=True)
class _TypeTask:
    """One piece, to be typed and kept aside."""

    split: str
    sections: tuple[_Section, ...]
    recipe: Recipe
    base_dir: Path
    folder: Path
    number: int


@dataclass(frozen=True)
class _TypedBlock:
    path: Path
    rows: int
    splits: NDArray[np.uint8] | None
    """Where each row goes, if that can be told of its values alone."""
    marks: TimeMarks | None
    """Of the rows' times, if these tell where each goes."""


@dataclass(frozen=True)
class _TypedPiece:
    blocks: tuple[_TypedBlock, ...]
    rows: tuple[int, ...]
    """Of each section."""
    rowless: tuple[NoRowsError | None, ...]
    """Of each section, what its reader said if it has no rows."""
    kinds: tuple[tuple[str, dict[str, ValueKind]], ...]
    """Kinds of values, with the file's name, as they came."""
    bad_numbers: Counter[str]
    lists: ListTally
    listed: tuple[ListedValues | None, ...]
    """Labels and folds that rows held."""
    unmatched: list[tuple[int, list[str]]]
    first_rows: pl.DataFrame | None

    @property
    def num_rows(self) -> int:
        return sum(self.rows)


@dataclass(frozen=True)
class _LookTask:
    """Blocks whose times are seen from two times."""

    paths: tuple[Path, ...]
    low: float
    high: float


@dataclass(frozen=True)
class _SplitTask:
    """One typed piece, to be split."""

    split: str
    """The split that it was read for."""
    piece: tuple[_TypedBlock, ...]
    recipe: Recipe
    kinds: Mapping[str, set[ValueKind]]
    first_position: int
    cuts: TimeCuts | None
    folder: Path
    number: int
    firsts: Mapping[str, int]
    """Split → position in it of the first row."""
    firsts_kept: Mapping[str, int]
    """The same among the rows that are kept when negatives are sampled."""
    all_kept: Mapping[str, int]
    """Split → all rows that are kept."""


def fill_by_parts(
    tables: Mapping[str, SplitTable],
    files: Mapping[str, list[Source]],
    recipe: Recipe,
    base_dir: Path,
    out_dir: Path,
    reporter: Reporter,
    typing: Typing,
    folds: Mapping[str, ListedValues],
    workers: Workers,
    sync: Callable[[Path], None],
) -> None:
    """Read all files and write their rows, typed and split; count them in `tables`, `typing` and `folds`.

    `sync` is given each file of the table.
    """
    base_dir, out_dir = base_dir.resolve(), out_dir.resolve()  # workers may have another current directory
    sources = [source for of_split in files.values() for source in of_split]
    total_bytes = sum(size_of(source) or 0 for source in sources)
    workers.prepare(__name__, len(sources) + total_bytes // PIECE_BYTES)
    side_tables = SideTables.load(recipe.data, base_dir, columns_read(recipe, "train"), reporter)
    folder = out_dir / "typed"
    with writing(folder):
        folder.mkdir()
    cuts = _cuts(files, recipe, side_tables, workers, reporter)
    are_found_meanwhile = any(isinstance(of_file, Iterator) for of_file in cuts.values())
    coming = _pieces(files, recipe, base_dir, folder, cuts)
    tasks, pieces = _typed(coming, total_bytes, workers, reporter, one_by_one=are_found_meanwhile)
    _settle_rowless(tasks, pieces, reporter)
    kinds_so_far = []
    for piece in pieces:
        for name, seen in piece.kinds:
            typing.note_seen(seen, name)
        kinds_so_far.append({column: set(kinds) for column, kinds in typing.seen_kinds.items()})
        typing.bad_numbers.update(piece.bad_numbers)
        typing.lists.add(piece.lists)
        for values, seen_there in zip((*typing.listed_labels, *folds.values()), piece.listed, strict=True):
            if values is not None and seen_there is not None:
                values.merge(seen_there)
        side_tables.add_unmatched(piece.unmatched)
    side_tables.warn_unmatched()
    first_rows = next((piece.first_rows for piece in pieces if piece.first_rows is not None), None)
    if first_rows is None:
        raise NoRowsError(f"{tasks[0].sections[0].source}: the file has no rows")
    write_first_rows(out_dir, first_rows)
    to_split = _placed(tasks, pieces, recipe, kinds_so_far, workers, tuple(tables))
    parts: dict[str, list[Path]] = {split: [] for split in tables}
    counted: dict[int, dict[str, SplitTable]] = {}
    total, done = sum(piece.num_rows for piece in pieces), 0
    with reporter.work("split", total, "rows") as meter:
        for number, by_split in workers.map(_split, to_split, [piece.num_rows for piece in pieces]):
            counted[number] = by_split
            shutil.rmtree(_piece(folder, number), ignore_errors=True)  # workers go on meanwhile
            done += pieces[number].num_rows
            meter.update(done)
    for number in range(len(tasks)):
        for split, table in counted[number].items():
            tables[split].merge(table)
            if table.target.rows:
                parts[split].append(_part(folder, number, split))
    for split, paths in parts.items():
        number_parts(out_dir / split, paths, sync)
    with writing(folder):
        shutil.rmtree(folder)


def _cuts(
    files: Mapping[str, list[Source]],
    recipe: Recipe,
    side_tables: SideTables,
    workers: Workers,
    reporter: Reporter,
) -> dict[int, Iterable[Cut]]:
    """The cuts of each file that has some, by its number. Those of a single one are found while they are taken."""
    asked = [
        _CutTask(
            _absolute(source),
            recipe,
            tuple(side_tables.log_columns(columns_read(recipe, split))),
            PIECE_BYTES,
            min(BLOCK_BYTES, PIECE_BYTES),
        )
        for split, sources in files.items()
        for source in sources
    ]
    for task in asked:
        if not can_be_read_again(task.source):
            raise UsageError(f"{task.source}: gives its rows once, and a worker may have to read them again: copy it")
    large = {number: task for number, task in enumerate(asked) if (size_of(task.source) or 0) >= 2 * PIECE_BYTES}
    numbers = list(large)
    if len(large) == 1:
        coming = _cuts_of(large[numbers[0]])
        first = next(coming, None)
        return {} if first is None else {numbers[0]: chain([first], coming)}
    cuts: dict[int, Iterable[Cut]] = {}
    if large:
        sizes = [size_of(task.source) or 0 for task in large.values()]
        with reporter.work("find records", len(large), "files") as meter:
            for done, (place, of_file) in enumerate(workers.map(_cut, large.values(), sizes), 1):
                if of_file:
                    cuts[numbers[place]] = of_file
                meter.update(done)
    return cuts


def _pieces(
    files: Mapping[str, list[Source]], recipe: Recipe, base_dir: Path, folder: Path, cuts: Mapping[int, Iterable[Cut]]
) -> Iterator[_TypeTask]:
    """Yield the pieces of all files, in order; those of a split hold nothing of another."""
    task_numbers = count()

    def piece(split: str, sections: Sequence[_Section]) -> _TypeTask:
        return _TypeTask(split, tuple(sections), recipe, base_dir, folder, next(task_numbers))

    file_numbers = count()
    for split, sources in files.items():
        waiting: list[_Section] = []
        waiting_bytes = 0
        for source in map(_absolute, sources):
            size, of_file = size_of(source), cuts.get(next(file_numbers))
            if waiting and (of_file is not None or size is None or waiting_bytes + size > PIECE_BYTES):
                yield piece(split, waiting)
                waiting, waiting_bytes = [], 0
            if of_file is not None:
                for place, cut in enumerate(of_file):
                    yield piece(split, [_Section(source, cut, place == 0)])
            else:
                waiting.append(_Section(source, None, True))
                waiting_bytes += PIECE_BYTES if size is None else size
        if waiting:
            yield piece(split, waiting)


def _typed(
    coming: Iterator[_TypeTask], total_bytes: int, workers: Workers, reporter: Reporter, *, one_by_one: bool
) -> tuple[list[_TypeTask], list[_TypedPiece]]:
    """All pieces in order, and what came of typing them; `one_by_one` while others are still cut, else the largest
    first."""
    tasks: list[_TypeTask] = []

    def noted() -> Iterator[_TypeTask]:
        for task in coming:
            tasks.append(task)
            yield task

    sizes = None if one_by_one else [_size(task) for task in noted()]
    typed: dict[int, _TypedPiece] = {}
    done = 0
    with reporter.work("ingest", total_bytes, "bytes") as meter:
        for number, piece in workers.map(_type, noted() if sizes is None else tasks, sizes):
            typed[number] = piece
            done += _size(tasks[number])
            meter.update(min(done, total_bytes))
    return tasks, [typed[number] for number in range(len(tasks))]


def _absolute(source: Source) -> Source:
    return source.absolute() if isinstance(source, Path) else source


def _size(task: _TypeTask) -> int:
    """Stored bytes of a piece, about."""
    sizes = ((size_of(section.source) or 0, section.cut) for section in task.sections)
    return sum(size if cut is None else min(size, PIECE_BYTES) for size, cut in sizes)


def _settle_rowless(tasks: Sequence[_TypeTask], pieces: Sequence[_TypedPiece], reporter: Reporter) -> None:
    """Tell which files were passed over. Raises NoRowsError, as one process does, where none of a split has rows."""
    rows: Counter[tuple[str, int]] = Counter()
    errors: dict[tuple[str, int], NoRowsError | None] = {}
    num_files: Counter[str] = Counter()
    for task, piece in zip(tasks, pieces, strict=True):
        for section, num_rows, error in zip(task.sections, piece.rows, piece.rowless, strict=True):
            num_files[task.split] += section.is_first
            file = (task.split, num_files[task.split])
            rows[file] += num_rows
            errors[file] = errors.get(file) or error
    for split in num_files:
        rowless = RowlessFiles()
        for file, error in errors.items():
            if file[0] == split:
                with rowless.passed_over():
                    if not rows[file] and error is not None:
                        raise error
        try:
            rowless.settle(reporter)
        except NoRowsError as error:
            error.split = split
            raise


def _placed(
    tasks: Sequence[_TypeTask],
    pieces: Sequence[_TypedPiece],
    recipe: Recipe,
    kinds: Sequence[Mapping[str, set[ValueKind]]],
    workers: Workers,
    splits: Sequence[str],
) -> list[_SplitTask]:
    """What is to be split, with the positions of each piece's rows."""
    data = recipe.data
    by_time = bool(drawn_parts(data)) and isinstance(data.split, TimeSplit)
    cuts = None
    if by_time:
        cuts = time_cuts(data, _times([p for t, p in zip(tasks, pieces, strict=True) if t.split == "train"], workers))
    to_split: list[_SplitTask] = []
    position = 0
    for task, piece, seen in zip(tasks, pieces, kinds, strict=True):
        to_split.append(
            _SplitTask(task.split, piece.blocks, recipe, seen, position, cuts, task.folder, task.number, {}, {}, {})
        )
        position += piece.num_rows if task.split == "train" else 0
    counts = workers.in_order(_count, to_split)
    firsts: Counter[str] = Counter()
    for number, of_piece in enumerate(counts):
        to_split[number] = replace(to_split[number], firsts=dict(firsts))
        firsts.update(of_piece)
    if data.keep_negatives < 1.0:
        counts = workers.in_order(_count_kept, to_split)
    all_kept: Counter[str] = Counter()
    for number, of_piece in enumerate(counts):
        to_split[number] = replace(to_split[number], firsts_kept=dict(all_kept))
        all_kept.update(of_piece)
    return [replace(task, all_kept=dict(all_kept)) for task in to_split]


def _times(pieces: Sequence[_TypedPiece], workers: Workers) -> RankedTimes:
    """The times of all rows, which workers look at."""
    blocks = [(place, block) for place, piece in enumerate(pieces) for block in piece.blocks]

    def look(numbers: Sequence[int], low: float, high: float) -> Iterator[TimesAround]:
        paths: dict[int, list[Path]] = {}
        for number in numbers:
            place, block = blocks[number]
            paths.setdefault(place, []).append(block.path)
        tasks = [_LookTask(tuple(of_piece), low, high) for of_piece in paths.values()]
        return (around for _, around in workers.map(_look, tasks))

    return RankedTimes([block.marks for _, block in blocks if block.marks is not None], look)


# ------------------------------------------------------------------------------------------------- what a worker does


def _cut(task: _CutTask) -> list[Cut]:
    return list(_cuts_of(task))


def _cuts_of(task: _CutTask) -> Iterator[Cut]:
    return cuts_of(
        task.source,
        task.recipe.data.format,
        task.columns,
        name=str(task.source),
        cut_bytes=task.cut_bytes,
        block_bytes=task.block_bytes,
    )


@lru_cache(maxsize=1)
def _side_tables(pickled: bytes, base_dir: Path, folder: Path) -> SideTables:
    """The side tables of a recipe, read once by each worker for each table that is made in a `folder` of its own."""
    recipe: Recipe = pickle.loads(pickled)
    return SideTables.load(recipe.data, base_dir, columns_read(recipe, "train"), Reporter())


def _type(task: _TypeTask) -> _TypedPiece:
    recipe, data = task.recipe, task.recipe.data
    typing, folds, missing = Typing(recipe, decides_forms=True), listed_folds(data), missing_values(data).get("")
    side_tables = _side_tables(pickle.dumps(recipe), task.base_dir, task.folder)
    columns = side_tables.log_columns(columns_read(recipe, task.split))
    coded = () if data.tables else read_by_value(recipe)
    drawn = task.split == "train" and drawn_parts(data) and not isinstance(data.split or RandomSplit(), RandomSplit)
    blocks: list[_TypedBlock] = []
    rows: list[int] = []
    rowless: list[NoRowsError | None] = []
    kinds: list[tuple[str, dict[str, ValueKind]]] = []
    first_rows = None
    side_tables.take_unmatched()
    with temporary_directory(task.folder) as scratch:
        for section in task.sections:
            name = str(section.source)
            rows.append(0)
            rowless.append(None)
            try:
                if section.is_first:
                    side_tables.check_log(section.source, data.format, name=name)
                for raw in read_blocks(section.source, data.format, columns, name=name, coded=coded, cut=section.cut):
                    block = side_tables.join(raw)
                    seen = typing.note_kinds(block)
                    if not kinds or kinds[-1] != (name, seen):
                        kinds.append((name, seen))
                    if first_rows is None and block.num_rows:
                        first_rows = first_rows_of(block, recipe)
                    splits = None
                    if drawn and not isinstance(data.split, TimeSplit):
                        splits = row_splits(data, block, 0, folds, missing)
                    path, typed = scratch / f"block-{len(blocks):05d}.arrow", typing.convert(block)
                    write_rows(path, typed)
                    marks = TimeMarks.of(typed.column(TIME).to_numpy()) if drawn and splits is None else None
                    blocks.append(_TypedBlock(path, block.num_rows, splits, marks))
                    rows[-1] += block.num_rows
            except NoRowsError as error:
                rowless[-1] = error
        place = _piece(task.folder, task.number)
        _let_be(scratch, place)
    return _TypedPiece(
        tuple(replace(block, path=place / block.path.name) for block in blocks),
        tuple(rows),
        tuple(rowless),
        tuple(kinds),
        typing.bad_numbers,
        typing.lists,
        (*typing.listed_labels, *folds.values()),
        side_tables.take_unmatched(),
        first_rows,
    )


def _codes(task: _SplitTask, block: _TypedBlock, position: int, rows: pl.DataFrame | None) -> NDArray[np.uint8]:
    """Where each row of a block goes."""
    data = task.recipe.data
    if task.split != "train" or not drawn_parts(data):
        return np.full(block.rows, SPLITS.index(task.split), dtype=np.uint8)
    if block.splits is not None:
        return block.splits
    if task.cuts is not None:
        times = read_rows(block.path, [TIME]).frame if rows is None else rows
        return task.cuts.row_splits(times[TIME].to_numpy())
    return random_splits(data, position, block.rows)


def _look(task: _LookTask) -> TimesAround:
    times = (read_rows(path, [TIME]).column(TIME).to_numpy() for path in task.paths)
    return TimesAround.joined([TimesAround.of(of_block, task.low, task.high) for of_block in times])


def _count(task: _SplitTask) -> dict[str, int]:
    """Split → rows of the piece that go there."""
    counts = np.zeros(len(SPLITS), dtype=np.int64)
    position = task.first_position
    for block in task.piece:
        counts += np.bincount(_codes(task, block, position, None), minlength=len(SPLITS))
        position += block.rows
    return {split: int(count) for split, count in zip(SPLITS, counts, strict=True) if count}


def _count_kept(task: _SplitTask) -> dict[str, int]:
    """Split → rows of the piece that go there and are kept when negatives are sampled."""
    counts: Counter[str] = Counter()
    sampling = NegativeSampling(task.recipe.data.keep_negatives, "train", task.firsts.get("train", 0))
    position = task.first_position
    for block in task.piece:
        columns = [LABEL, TIME] if task.cuts is not None else [LABEL]
        rows = read_rows(block.path, columns)
        for split, of_split in split_rows(rows, _codes(task, block, position, rows.frame)):
            counts[split] += (sampling.kept(of_split) if split == "train" else of_split).height
        position += block.rows
    return dict(counts)


def _split(task: _SplitTask) -> dict[str, SplitTable]:
    recipe = task.recipe
    typing = Typing(recipe, decides_forms=True)
    typing.seen_kinds = {column: set(kinds) for column, kinds in task.kinds.items()}
    waiting: dict[str, WaitingRows] = {}
    tables: dict[str, SplitTable] = {}
    position = task.first_position
    for block in task.piece:
        rows = read_rows(block.path)
        for split, of_split in split_rows(rows, _codes(task, block, position, rows.frame)):
            if split not in tables:
                waiting[split] = WaitingRows()
                tables[split] = SplitTable(
                    recipe,
                    typing,
                    is_train=split == "train",
                    first_row=task.firsts.get(split, 0),
                    first_kept=task.firsts_kept.get(split, 0),
                    all_kept=task.all_kept[split],
                )
            waiting[split].add(tables[split].add(of_split))
        position += block.rows
    with temporary_directory(task.folder) as scratch:
        for split, rows_of_split in waiting.items():
            rows_of_split.write(scratch / f"{split}.arrow")
        _let_be(scratch, _part(task.folder, task.number, "").parent)
    return tables


def _let_be(scratch: Path, place: Path) -> None:
    """Call a folder `place`, unless another worker has made that already: then it is the same."""
    with writing(place):
        try:
            scratch.rename(place)
        except OSError:
            if not place.is_dir():
                raise


def _piece(folder: Path, number: int) -> Path:
    return folder / f"piece-{number:05d}"


def _part(folder: Path, number: int, split: str) -> Path:
    return folder / f"parts-{number:05d}" / f"{split}.arrow"
