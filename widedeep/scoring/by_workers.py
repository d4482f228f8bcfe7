"""Files scored by workers: each reads, types and scores pieces of them, and their scores come in the order of the rows.

A piece is read in the blocks in which one process reads the file, and a block is scored in the same parts, so that all
scores are equal to the bit. What depends on the rows before (kinds of values, the first fault, counts, messages) is
gone through here, block by block.
"""

import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import polars as pl

from widedeep.errors import UsageError, WidedeepError, WorkersError
from widedeep.files import temporary_directory, writing
from widedeep.recipe.kinds import FileKind
from widedeep.recipe.schema import FormatSettings
from widedeep.reporting import Reporter
from widedeep.scoring.rows import InputRows
from widedeep.scoring.scored_blocks import PART_ROWS, ScoredBlock, TypedBlocks, scored_blocks
from widedeep.scoring.scorer import Scorer
from widedeep.scoring.tally import OddValues, Tally
from widedeep.source.canonical import ValueKind
from widedeep.source.forms import Forms
from widedeep.source.paths import Frame, Source, can_be_read_again, size_of, total_size
from widedeep.source.sources import BLOCK_BYTES, Cut, RowlessFiles, cuts_of
from widedeep.table.parts import part_heights, typed_blocks
from widedeep.table.typed_columns import GROUP, LABEL, WEIGHT
from widedeep.workers import Workers, open_workers

CUT_BYTES = 32 << 20
"""Stored bytes of a piece of a large file; a file of fewer than two is not cut."""
_SCORE = "score"
_BEGUN = "begun"
"""Folder of pieces that are not whole. Those that wait lie elsewhere, as whoever begins one looks through it."""
Task = TypeVar("Task")


@dataclass(frozen=True)
class Job:
    """What all pieces have in common."""

    run: Path
    folder: Path
    """Where scores wait. No other command has it, so that workers that go on load each command's run anew."""
    keep: tuple[str, ...] = ()
    """Raw columns to bring beside the scores."""
    labelled: bool = False
    """Whether rows are to be measured: the typed label, weight and group are brought."""
    sliced: tuple[str, ...] = ()
    """Typed columns to bring besides."""
    input_format: FileKind | None = None
    tables: tuple[tuple[str, str], ...] = ()
    formats: tuple[str, ...] = ()


@dataclass(frozen=True)
class _CutTask:
    source: Path
    name: str
    settings: FormatSettings
    columns: tuple[str, ...]
    cut_bytes: int
    block_bytes: int


@dataclass(frozen=True)
class _PieceTask:
    """A file, or a part of one."""

    job: Job
    number: int
    source: Source
    name: str
    """What messages call the file."""
    cut: Cut | None
    is_first: bool
    """Whether it holds the first rows of the file."""


@dataclass(frozen=True)
class _PartTask:
    """A part of a split of a typed table."""

    job: Job
    typed_dir: Path
    split: str
    number: int


@dataclass(frozen=True)
class _ScoredPiece:
    folder: Path
    num_blocks: int
    """With scores, each in a file."""
    kinds: tuple[Mapping[str, ValueKind], ...]
    """Of the values of each block of raw rows, and of the one that the error is of."""
    odd_values: OddValues
    unmatched: list[tuple[int, list[str]]]
    error: WidedeepError | None
    """What the reader raised after these blocks."""


class ScoringWorkers:
    """Workers that score the rows of files."""

    def __init__(self, workers: Workers, job: Job, sources: Sequence[Source] | None, reporter: Reporter) -> None:
        """`sources` are all files that are to be scored, if `blocks` is asked for some of them after the others."""
        self._workers, self._job, self._sources, self._reporter = workers, job, sources, reporter
        self._files: Iterator[list[_PieceTask]] | None = None
        """The pieces of each file that is still to come."""
        self._pieces: Generator[_ScoredPiece] | None = None

    def blocks(self, rows: InputRows, odd_values: OddValues) -> Generator[ScoredBlock]:
        """The rows of the next files, which are those of `rows`, in order, with what the job brings of them: kept
        columns as `raw`, or label, weight and group as `typed`.

        Tells and raises what iterating over `rows` does, at the same rows.
        """
        if self._files is None or self._pieces is None:
            files = self._planned(rows, self._sources or rows.inputs)
            self._files = iter(files)
            self._pieces = self._in_order(_score, [task for tasks in files for task in tasks])
        finished = 0
        with self._reporter.work("score", total_size(rows.inputs), "bytes") as meter:
            rowless = RowlessFiles()
            for source in rows.inputs:
                tasks = next(self._files)
                with rowless.passed_over():
                    num_rows = 0
                    for number, _ in enumerate(tasks, 1):
                        for block in _replayed(next(self._pieces), tasks[0].name, rows, odd_values):
                            num_rows += len(block.scores)
                            yield block
                        meter.update(finished + (size_of(source) or 0) * number // len(tasks))
                    if not num_rows:
                        for _ in rows.blocks_of(source):  # a part has no fault if it is empty, the whole file has
                            pass
                finished += size_of(source) or 0
            rowless.settle(self._reporter)
        rows.settle()

    def split_blocks(self, typed_dir: Path, split: str, odd_values: OddValues) -> Generator[ScoredBlock]:
        """The rows of a split of a typed table, in order, with what the job brings of them. Raises ArtefactError."""
        heights = part_heights(typed_dir, split)
        tasks = [_PartTask(self._job, typed_dir.resolve(), split, number) for number in range(len(heights))]
        self._pieces = self._in_order(_score_part, tasks)
        done = 0
        with self._reporter.work("score", sum(heights), "rows") as meter:
            for height, piece in zip(heights, self._pieces, strict=True):
                odd_values.merge(piece.odd_values)
                for number in range(piece.num_blocks):
                    yield _read_block(piece, number, odd_values)
                if piece.error is not None:
                    raise piece.error
                shutil.rmtree(piece.folder, ignore_errors=True)
                done += height
                meter.update(done)

    def close(self) -> None:
        """Let nobody score any more."""
        if self._pieces is not None:
            self._pieces.close()

    def _planned(self, rows: InputRows, sources: Sequence[Source | BinaryIO | Frame]) -> list[list[_PieceTask]]:
        """The pieces of each file, in order."""
        files: list[Source] = []
        for source in sources:
            if not isinstance(source, (str, Path)) or not can_be_read_again(source):
                raise gives_once(source)
            files.append(source)
        large = {
            number: _CutTask(
                source.absolute(), str(source), rows.format_of(source), tuple(rows.log_columns), CUT_BYTES, BLOCK_BYTES
            )
            for number, source in enumerate(files)
            if isinstance(source, Path) and (size_of(source) or 0) >= 2 * CUT_BYTES
        }
        cuts: dict[int, list[Cut]] = {}
        if large:
            numbers = list(large)
            with self._reporter.work("find records", len(large), "files") as meter:
                for place, of_file in self._workers.map(_cut, list(large.values())):
                    cuts[numbers[place]] = of_file
                    meter.update(len(cuts))
        planned: list[list[_PieceTask]] = []
        number = 0
        for place, source in enumerate(files):
            planned.append([])
            parts: Sequence[Cut | None] = cuts.get(place) or [None]
            for cut in parts:
                there = source.absolute() if isinstance(source, Path) else source
                planned[-1].append(_PieceTask(self._job, number, there, str(source), cut, not planned[-1]))
                number += 1
        return planned

    def _in_order(self, function: Callable[[Task], _ScoredPiece], tasks: Sequence[Task]) -> Generator[_ScoredPiece]:
        done: dict[int, _ScoredPiece] = {}
        following = 0
        with closing(self._workers.map(function, tasks)) as pieces:  # type: ignore[type-var]
            for number, piece in pieces:
                done[number] = piece
                while following in done:
                    yield done.pop(following)
                    following += 1


@contextmanager
def scoring_workers(
    where: str,
    work_dir: Path,
    run: Path,
    reporter: Reporter,
    *,
    sources: Sequence[Source] | None = None,
    tables: Mapping[str, str],
    **job: Any,
) -> Iterator[ScoringWorkers]:
    """The workers that `where` names, see `open_workers`, for one command; their scores wait in `work_dir`.

    `job` are fields of `Job`. Raises what `open_workers` does, WriteError for a work directory that takes nothing.
    """
    place = work_dir.resolve()
    with writing(work_dir):
        place.mkdir(parents=True, exist_ok=True)
    # Workers may have another current directory.
    named = tuple((table, file if "://" in file else os.path.abspath(file)) for table, file in tables.items())
    with ExitStack() as stack:
        with writing(work_dir):
            folder = stack.enter_context(temporary_directory(place))
            (folder / _BEGUN).mkdir()
        workers = stack.enter_context(open_workers(where, place))
        scoring = ScoringWorkers(workers, Job(run.resolve(), folder, tables=named, **job), sources, reporter)
        stack.callback(scoring.close)
        yield scoring


def refuse_streams(inputs: Sequence[Source | BinaryIO | Frame]) -> None:
    """Raise UsageError for what gives its rows once."""
    for given in inputs:
        if not isinstance(given, (str, Path)) or not can_be_read_again(Path(given)):
            raise gives_once(given)


def gives_once(source: Any) -> UsageError:
    """The error for a source that cannot be shared."""
    name = source if isinstance(source, (str, Path)) else "<stdin>"
    return UsageError(f"--workers: {name} gives its rows once, and a worker may have to read them again: name a file")


def _replayed(piece: _ScoredPiece, name: str, rows: InputRows, odd_values: OddValues) -> Iterator[ScoredBlock]:
    """What one process would have made of these blocks. Raises what it would."""
    odd_values.merge(piece.odd_values)
    rows.tables.add_unmatched(piece.unmatched)
    for number, seen in enumerate(piece.kinds):
        rows.typing.note_seen(seen, name)
        if number == piece.num_blocks:
            break  # the error is of this block
        yield _read_block(piece, number, odd_values)
    if piece.error is not None:
        raise piece.error
    shutil.rmtree(piece.folder, ignore_errors=True)


def _read_block(piece: _ScoredPiece, number: int, odd_values: OddValues) -> ScoredBlock:
    try:
        content = (piece.folder / f"{number}.arrow").read_bytes()
    except FileNotFoundError as error:
        raise _gone(piece.folder.parent) from error
    frame = pl.read_ipc(content)
    scores = frame[_SCORE].to_numpy()
    for start in range(0, len(scores), PART_ROWS):
        odd_values.add_scores(scores[start : start + PART_ROWS])
    columns = frame.drop(_SCORE)
    return ScoredBlock(columns, columns, scores)


def _gone(folder: Path) -> WorkersError:
    return WorkersError(
        f"{folder}: is gone, where scores waited: leave it alone while a command runs, and let all workers see --work"
    )


# ------------------------------------------------------------------------------------------------- what a worker does


def _cut(task: _CutTask) -> list[Cut]:
    try:
        return list(
            cuts_of(
                task.source,
                task.settings,
                task.columns,
                name=task.name,
                cut_bytes=task.cut_bytes,
                block_bytes=task.block_bytes,
            )
        )
    except WidedeepError:
        return []  # whoever reads the file tells of the fault, once the rows before it are scored


@lru_cache(maxsize=1)
def _scorer(job: Job) -> Scorer:
    """The run, loaded once by each worker for each command."""
    # Who may read what the recipe names was settled by the process that the user has started.
    return Scorer.load(job.run, trust=True, device="cpu")


@lru_cache(maxsize=1)
def _rows(job: Job) -> InputRows:
    """What reads rows for the run, with its side tables; made once likewise."""
    return InputRows(
        _scorer(job),
        [],
        input_format=job.input_format,
        keep=job.keep,
        labelled=job.labelled,
        tables=dict(job.tables),
        reporter=Reporter(),
        formats=job.formats,
    )


def _score(task: _PieceTask) -> _ScoredPiece:
    job = task.job
    scorer, rows = _scorer(job), _rows(job)
    rows.typing = scorer.typing(labelled=job.labelled)  # it is not to know the rows of other pieces
    kinds: list[Mapping[str, ValueKind]] = []

    def typed() -> Generator[tuple[pl.DataFrame, pl.DataFrame]]:
        for block in rows.blocks_of(task.source, name=task.name, cut=task.cut, is_first=task.is_first):
            seen = rows.typing.note_kinds(block)
            kinds.append(kinds[-1] if kinds and kinds[-1] == seen else seen)
            yield block.frame, rows.typing.apply(block)

    piece = _scored(job, task.number, scorer, typed())
    return replace(piece, kinds=tuple(kinds), unmatched=rows.tables.take_unmatched())


def _score_part(task: _PartTask) -> _ScoredPiece:
    scorer = _scorer(task.job)
    frames = typed_blocks(task.typed_dir, task.split, forms=scorer.forms or Forms(), part=task.number)
    return _scored(task.job, task.number, scorer, ((frame, frame) for frame in frames))


def _scored(job: Job, number: int, scorer: Scorer, rows: TypedBlocks) -> _ScoredPiece:
    """Score rows, and leave what the job brings of them in a folder that is called so once it is whole."""
    odd_values = OddValues() if job.labelled else Tally(scorer.plan)
    num_blocks, error = 0, None
    place = job.folder / f"piece-{number}"
    with ExitStack() as stack:
        if not job.folder.is_dir():
            raise _gone(job.folder)
        with writing(job.folder.parent):  # not around the reading, whose files may lie there too
            scratch = stack.enter_context(temporary_directory(job.folder / _BEGUN))
        try:
            with closing(scored_blocks(scorer, rows, odd_values)) as blocks:
                for block in blocks:
                    columns = _brought(block.typed, job.sliced) if job.labelled else block.raw.select(job.keep)
                    with writing(job.folder.parent), (scratch / f"{num_blocks}.arrow").open("wb") as file:
                        pl.DataFrame([*columns, pl.Series(_SCORE, block.scores)]).write_ipc(file)
                    num_blocks += 1
        except WidedeepError as failure:
            error = failure
        with writing(job.folder.parent):
            try:
                scratch.rename(place)
            except OSError:
                if not place.is_dir():  # made by another worker: then it is the same
                    raise
    return _ScoredPiece(place, num_blocks, (), odd_values, [], error)


def _brought(typed: pl.DataFrame, sliced: Sequence[str]) -> pl.DataFrame:
    names = dict.fromkeys([LABEL, WEIGHT, GROUP, *sliced])
    return typed.select(name for name in names if name in typed.columns)
