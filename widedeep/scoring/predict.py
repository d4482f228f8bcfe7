"""Any table → scores, streaming, in input order."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Literal

import polars as pl

from widedeep.errors import UsageError
from widedeep.figures import odd_value_lists
from widedeep.files import check_output
from widedeep.recipe.base import why_no_name
from widedeep.recipe.kinds import FileKind
from widedeep.reporting import Reporter
from widedeep.scoring.outputs import OutputFormat, format_of, write_frames
from widedeep.scoring.rows import InputRows, OddValues
from widedeep.scoring.scored_blocks import ScoredBlock, TypedBlocks, one_thread_each, scored_blocks
from widedeep.scoring.scorer import ROWS_BY_DICTIONARY, Scorer
from widedeep.source.paths import Frame, Source, refuse_as_output

if TYPE_CHECKING:
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
    trust: bool = False,
    line_buffered: bool = False,
    reporter: Reporter,
) -> PredictResult:
    """Score every row of `inputs` and write the `keep` columns and `score`; `tables` as in `InputRows`, `trust` as in
    `Scorer.load`.

    A file appears whole or not at all; a stream gets rows as they are scored. With `line_buffered`, which takes a
    single stream of NDJSON or CSV, each score is written before the next row is waited for. Raises UsageError (no
    format, output exists, or is one of the inputs), ArtefactError (the run), DataError and ColumnError (the rows),
    WriteError (the output).
    """
    chosen = output_format or format_of(output)
    if line_buffered and chosen == "parquet":
        raise UsageError("--line-buffered writes csv or ndjson: nothing can be read of a Parquet file before its end")
    if isinstance(output, Path):
        refuse_as_output(output, [*inputs, *tables.values()])
        check_output(output, force=force, may_be_stream=True)
    _check_kept(keep)
    scorer = Scorer.load(run, trust=trust)
    odd_values = OddValues()
    rows = InputRows(
        scorer, inputs, input_format=input_format, keep=keep, labelled=False, tables=tables, reporter=reporter
    )
    kept = _kept_columns(keep, chosen)
    with closing(_answers(scorer, inputs, rows, odd_values, keep, kept, line_buffered=line_buffered)) as blocks:
        num_rows = write_frames(_frames(blocks, kept), output, chosen, kept.final_types if kept else dict)
    return PredictResult(num_rows, output if isinstance(output, Path) else None, odd_values.missing, odd_values.unseen)


def predict_rows(
    scorer: Scorer,
    inputs: Sequence[Source | Frame],
    *,
    input_format: FileKind | None = None,
    keep: Sequence[str] = (),
    tables: Mapping[str, str] = MappingProxyType({}),
    reporter: Reporter,
) -> pl.DataFrame:
    """Score every row of `inputs`, as `predict_files` does: the `keep` columns and `score` (Float32), in input order.

    `reporter` hears how many rows had a missing or an unseen value, by field. Raises UsageError (kept columns that do
    not fit), DataError and ColumnError (the rows).
    """
    _check_kept(keep)
    odd_values = OddValues()
    scored = None if keep else _small_frame(scorer, inputs, odd_values)
    if scored is None:
        rows = InputRows(
            scorer, inputs, input_format=input_format, keep=keep, labelled=False, tables=tables, reporter=reporter
        )
        kept = _kept_columns(keep, "frame")
        with closing(scored_blocks(scorer, _checked(iter(rows), kept), odd_values)) as blocks:
            frames = list(_frames(blocks, kept))
        types = kept.final_types() if kept else {}
        scored = pl.concat(frame.cast(types) for frame in frames)  # type: ignore[arg-type]
    for title, fields in odd_value_lists(odd_values.missing, odd_values.unseen).items():
        reporter.note(f"{title}: {', '.join(fields)}")
    return scored


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


def _check_kept(keep: Sequence[str]) -> None:
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


def _frames(blocks: Iterator[ScoredBlock], kept: "KeptColumns | None") -> Iterator[pl.DataFrame]:
    for block in blocks:
        yield pl.DataFrame([*(kept.of(block.raw) if kept else ()), pl.Series(SCORE, block.scores)])
