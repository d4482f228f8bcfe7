"""Any table → scores, streaming, in input order."""

import hashlib
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Literal

import polars as pl

from widedeep.errors import UsageError
from widedeep.figures import odd_value_lists
from widedeep.files import check_output
from widedeep.locks import locked
from widedeep.recipe.base import why_no_name
from widedeep.recipe.kinds import FileKind
from widedeep.reporting import Reporter
from widedeep.scoring.guard import Breach, Guard, GuardOptions
from widedeep.scoring.outputs import OutputFormat, format_of, write_frames
from widedeep.scoring.rows import InputRows
from widedeep.scoring.scored_blocks import ScoredBlock, TypedBlocks, one_thread_each, scored_blocks
from widedeep.scoring.scorer import ROWS_BY_DICTIONARY, Scorer
from widedeep.scoring.tally import OddValues, Tally
from widedeep.source.paths import Frame, Source, refuse_as_output

if TYPE_CHECKING:
    from widedeep.scoring.by_workers import ScoringWorkers
    from widedeep.scoring.kept import KeptColumns

SCORE = "score"
"""Name of the column that holds the scores."""


@dataclass(frozen=True)
class PredictResult:
    """What was scored."""

    rows: int
    path: Path | None
    missing: dict[str, int]
    """Field → rows without a value."""
    unseen: dict[str, int]
    """Field → rows with a value that train had not, or too rarely."""
    breaches: list[Breach]
    """What lies past a limit."""


@dataclass(frozen=True)
class ScoringOptions:
    """What a caller of `predict` asks for, but where rows come from and where scores go."""

    input_format: FileKind | None = None
    output_format: OutputFormat | None = None
    """By default what the output's ending says; Parquet in a folder."""
    keep: Sequence[str] = ()
    """Columns of the input to copy beside the score."""
    tables: Mapping[str, str] = field(default_factory=dict)
    """As in `InputRows`."""
    force: bool = False
    """Whether an output that exists is replaced."""
    guard: GuardOptions = field(default_factory=GuardOptions)
    wait: bool = False
    """Whether to wait while another process writes the output."""
    formats: Sequence[str] = ()
    """As in `InputRows`."""
    workers: str | None = None
    """Which processes share the work, see `open_workers`; None for this one alone. They score on the CPU."""
    work_dir: Path = Path()
    """Where scores of workers wait."""


def predict_files(
    run: Path,
    inputs: Sequence[Source | BinaryIO],
    output: Path | BinaryIO,
    *,
    input_format: FileKind | None = None,
    output_format: OutputFormat | None = None,
    keep: Sequence[str] = (),
    tables: Mapping[str, str] = MappingProxyType({}),
    force: bool = False,
    guard: GuardOptions | None = None,
    wait: bool = False,
    formats: Sequence[str] = (),
    workers: str | None = None,
    work_dir: Path = Path(),
    trust: bool = False,
    line_buffered: bool = False,
    reporter: Reporter,
) -> PredictResult:
    """Score every row of `inputs` and write the `keep` columns and `score`; options as in `ScoringOptions`, `trust` as
    in `Scorer.load`.

    A file appears whole or not at all; a stream gets rows as they are scored. With `line_buffered`, which takes a
    single stream of NDJSON or CSV, each score is written before the next row is waited for, and shifts are not judged.
    Raises UsageError (no format, output exists, or is what is read), ArtefactError (the run, or an output that
    another process writes), DataError and ColumnError (the rows), WriteError (the output), RefusedError (rows past a
    limit of refusal, unless forced; a stream has got its scores by then), WorkersError.
    """
    guard = guard or GuardOptions(force=force)
    chosen = output_format or format_of(output)
    if line_buffered and chosen == "parquet":
        raise UsageError("--line-buffered writes csv or ndjson: nothing can be read of a Parquet file before its end")
    check_kept(keep)
    report = guard.report
    if isinstance(output, Path):
        refuse_as_output(output, [*inputs, *tables.values()])
        check_output(output, force=True, may_be_stream=True)
    if report is not None:
        refuse_as_output(report, [*inputs, *tables.values()])
        guard = replace(guard, report=check_output(report, force=True))
        if isinstance(output, Path) and report.resolve() == output.resolve():
            raise UsageError(f"--report {report}: the scores go there: name another file")
    options = ScoringOptions(input_format, output_format, keep, tables, force, guard, wait, formats, workers, work_dir)
    if workers is not None:
        from widedeep.scoring.by_workers import refuse_streams  # not at the top: most tables are scored here

        refuse_streams(inputs)
    with _locked(output, options, reporter):
        if isinstance(output, Path):
            check_output(output, force=force, may_be_stream=True)
        scorer = Scorer.load(run, trust=trust, device="auto" if workers is None else "cpu")
        judge = Guard(scorer, run, guard)
        with shared_scoring(run, options, reporter) as shared:
            return score_to(
                output, scorer, judge, inputs, chosen, options, reporter, line_buffered=line_buffered, shared=shared
            )


@contextmanager
def shared_scoring(
    run: Path, options: ScoringOptions, reporter: Reporter, sources: Sequence[Source] | None = None
) -> "Iterator[ScoringWorkers | None]":
    """The workers that the options name, for all `sources` if they are scored one after the other; None for none."""
    if options.workers is None:
        yield None
        return
    from widedeep.scoring.by_workers import scoring_workers  # not at the top: most tables are scored here

    with scoring_workers(
        options.workers,
        options.work_dir,
        run,
        reporter,
        sources=sources,
        tables=options.tables,
        keep=tuple(options.keep),
        input_format=options.input_format,
        formats=tuple(options.formats),
    ) as shared:
        yield shared


def score_to(
    output: Path | BinaryIO,
    scorer: Scorer,
    guard: Guard,
    inputs: Sequence[Source | BinaryIO],
    chosen: OutputFormat,
    options: ScoringOptions,
    reporter: Reporter,
    *,
    line_buffered: bool = False,
    file: Path | None = None,
    shared: "ScoringWorkers | None" = None,
) -> PredictResult:
    """Score every row of `inputs`, let `guard` judge them all, and write their scores in the `chosen` format.

    With `shared`, workers score them. What is told of the rows names `file`, if they are those of one file of several.
    Raises what `predict_files` raises of rows and of the output.
    """
    tally = Tally(scorer.plan)
    rows = InputRows(
        scorer,
        inputs,
        input_format=options.input_format,
        keep=options.keep,
        labelled=False,
        tables=options.tables,
        reporter=reporter,
        outputs=[path for path in (output, options.guard.report) if isinstance(path, Path)],
        formats=options.formats,
    )
    kept = _kept_columns(options.keep, chosen)
    breaches: list[Breach] = []
    # A Parquet file for a stream is made whole before it is sent.
    is_sent = chosen != "parquet" and not (isinstance(output, Path) and (output.is_file() or not output.exists()))

    def judged(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        yield from frames
        breaches.extend(guard.judge(tally, reporter, lambda: tally.rows if is_sent else 0, file=file))

    if shared is not None:
        answers = _checked_scores(shared.blocks(rows, tally), kept)
    else:
        answers = _answers(scorer, inputs, rows, tally, options.keep, kept, line_buffered=line_buffered)
    with closing(answers) as blocks:
        num_rows = write_frames(judged(_frames(blocks, kept)), output, chosen, kept.final_types if kept else dict)
    return PredictResult(num_rows, output if isinstance(output, Path) else None, tally.missing, tally.unseen, breaches)


@contextmanager
def _locked(output: Path | BinaryIO, options: ScoringOptions, reporter: Reporter) -> Iterator[None]:
    """Lock the name of a file, so that no second job writes it. Streams, devices and pipes have no lock."""
    if not isinstance(output, Path) or not output.parent.is_dir() or (output.exists() and not output.is_file()):
        yield
        return
    place = output.resolve()
    lock = place.with_name(f".widedeep-{hashlib.blake2b(os.fsencode(place.name), digest_size=8).hexdigest()}.lock")
    with locked(output, lock, "name another output", wait=options.wait, note=reporter.note, keep=False):
        yield


def predict_rows(
    scorer: Scorer,
    run: Path,
    inputs: Sequence[Source | Frame],
    *,
    input_format: FileKind | None = None,
    keep: Sequence[str] = (),
    tables: Mapping[str, str] = MappingProxyType({}),
    reporter: Reporter,
) -> pl.DataFrame:
    """Score every row of `inputs`, as `predict_files` does: the `keep` columns and `score` (Float32), in input order.

    `reporter` hears how many rows had a missing or an unseen value, by field, and is warned of what lies past a limit;
    nothing is refused, and a frame of up to ROWS_BY_DICTIONARY rows is not judged. Raises UsageError (kept columns that
    do not fit), DataError and ColumnError (the rows).
    """
    check_kept(keep)
    few = OddValues()
    scored = None if keep else _small_frame(scorer, inputs, few)
    if scored is not None:
        _note_odd_values(few, reporter)
        return scored
    guard, tally = Guard(scorer, run, GuardOptions(force=True)), Tally(scorer.plan)
    rows = InputRows(
        scorer, inputs, input_format=input_format, keep=keep, labelled=False, tables=tables, reporter=reporter
    )
    kept = _kept_columns(keep, "frame")
    with closing(scored_blocks(scorer, _checked(iter(rows), kept), tally)) as blocks:
        frames = list(_frames(blocks, kept))
    types = kept.final_types() if kept else {}
    scored = pl.concat(frame.cast(types) for frame in frames)  # type: ignore[arg-type]
    _note_odd_values(tally, reporter)
    guard.judge(tally, reporter)
    return scored


def _note_odd_values(odd_values: OddValues, reporter: Reporter) -> None:
    for title, fields in odd_value_lists(odd_values.missing, odd_values.unseen).items():
        reporter.note(f"{title}: {', '.join(fields)}")


def _answers(
    scorer: Scorer,
    inputs: Sequence[Source | BinaryIO],
    rows: InputRows,
    odd_values: OddValues,
    keep: Sequence[str],
    kept: "KeptColumns | None",
    *,
    line_buffered: bool,
) -> Generator[ScoredBlock]:
    if not line_buffered:
        yield from scored_blocks(scorer, _checked(iter(rows), kept), odd_values)
        return
    from widedeep.scoring.line_by_line import score_lines  # not at the top: few streams are asked for answers

    (stream,) = inputs
    assert not isinstance(stream, (str, Path)), "a stream answers, a file does not"
    for block in score_lines(scorer, stream, rows, odd_values, keep):
        if kept:
            kept.check(block.raw)
        yield block


def _small_frame(scorer: Scorer, inputs: Sequence[Source | Frame], odd_values: OddValues) -> pl.DataFrame | None:
    """The scores of few rows in memory, which need no query; None for all else."""
    (frame,) = inputs if len(inputs) == 1 else (None,)
    if not isinstance(frame, pl.DataFrame) or not 0 < frame.height <= ROWS_BY_DICTIONARY:
        return None
    from widedeep.scoring.few_rows import score_small_frame  # not at the top: most tables have more rows

    with one_thread_each():
        scored = score_small_frame(scorer, frame)
    if scored is None:
        return None
    scores, counts = scored
    odd_values.add(counts)
    return pl.DataFrame([pl.Series(SCORE, scores)])


def check_kept(keep: Sequence[str]) -> None:
    """Raise UsageError for columns that cannot be kept."""
    if SCORE in keep:
        raise UsageError(
            f"--keep {SCORE}: the output's column `{SCORE}` holds the scores, so that no other can have its name: "
            "rename the column, or join the scores to it by row"
        )
    for name in keep:
        if keep.count(name) > 1:
            raise UsageError(f"--keep {name}: given twice, and a column can be kept once")
        if (reason := why_no_name(name)) is not None:
            raise UsageError(f"--keep {name!r}: cannot be a column's name here (it {reason}): rename the column")


def _kept_columns(keep: Sequence[str], output_format: OutputFormat | Literal["frame"]) -> "KeptColumns | None":
    if not keep:
        return None
    from widedeep.scoring.kept import KeptColumns  # not at the top: most scores stand alone

    return KeptColumns(keep, output_format)


def _checked(blocks: TypedBlocks, kept: "KeptColumns | None") -> TypedBlocks:
    """The blocks, each looked at before it is scored."""
    with closing(blocks):
        for raw, typed in blocks:
            if kept:
                kept.check(raw)
            yield raw, typed


def _checked_scores(blocks: Generator[ScoredBlock], kept: "KeptColumns | None") -> Generator[ScoredBlock]:
    """The same for blocks that workers have scored."""
    with closing(blocks):
        for block in blocks:
            if kept:
                kept.check(block.raw)
            yield block


def _frames(blocks: Iterator[ScoredBlock], kept: "KeptColumns | None") -> Iterator[pl.DataFrame]:
    for block in blocks:
        yield pl.DataFrame([*(kept.of(block.raw) if kept else ()), pl.Series(SCORE, block.scores)])
