"""Any table → scores, streaming, in input order."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Literal

import polars as pl

from widedeep.errors import OutputExistsError, UsageError
from widedeep.figures import odd_value_lists
from widedeep.recipe.kinds import FileKind
from widedeep.reporting import Reporter
from widedeep.scoring.outputs import OutputFormat, format_of, write_frames
from widedeep.scoring.rows import InputRows, OddValues
from widedeep.scoring.scored_blocks import ScoredBlock, scored_blocks
from widedeep.scoring.scorer import Scorer
from widedeep.source.paths import Frame, Source, refuse_as_output

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
    reporter: Reporter,
) -> PredictResult:
    """Score every row of `inputs` and write the `keep` columns and `score`; `tables` as in `InputRows`.

    A file appears whole or not at all; a stream gets rows as they are scored. Raises UsageError (no format, output
    exists, or is one of the inputs), ArtefactError (the run), DataError and ColumnError (the rows), WriteError (the output).
    """
    chosen = output_format or format_of(output)
    if isinstance(output, Path):
        refuse_as_output(output, [*inputs, *tables.values()])
    if isinstance(output, Path) and output.is_file() and not force:
        raise OutputExistsError(f"{output}: exists already; --force replaces it")
    _check_kept(keep)
    scorer = Scorer.load(run)
    odd_values = OddValues()
    rows = InputRows(
        scorer, inputs, input_format=input_format, keep=keep, labelled=False, tables=tables, reporter=reporter
    )
    kept = _Kept(keep, chosen)
    with closing(scored_blocks(scorer, iter(rows), odd_values)) as blocks:
        num_rows = write_frames(_frames(blocks, kept), output, chosen)
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
    rows = InputRows(
        scorer, inputs, input_format=input_format, keep=keep, labelled=False, tables=tables, reporter=reporter
    )
    with closing(scored_blocks(scorer, iter(rows), odd_values)) as blocks:
        scored = pl.concat(_frames(blocks, _Kept(keep, "frame")))
    for title, fields in odd_value_lists(odd_values.missing, odd_values.unseen).items():
        reporter.note(f"{title}: {', '.join(fields)}")
    return scored


def _check_kept(keep: Sequence[str]) -> None:
    if SCORE in keep or len(set(keep)) < len(keep):
        raise UsageError(
            f"--keep: `{SCORE}` is the name of the scores, and a column can be kept once: {', '.join(keep)}"
        )


class _Kept:
    """The kept columns, which must be such as the output format can hold."""

    def __init__(self, names: Sequence[str], output_format: OutputFormat | Literal["frame"]) -> None:
        self._names, self._format = names, output_format
        self._types: dict[str, pl.DataType] = {}

    def of(self, raw: pl.DataFrame) -> list[pl.Series]:
        """The kept columns of one block. Raises UsageError."""
        for name in self._names:
            now = raw.schema[name]
            before = self._types.setdefault(name, now)
            if self._format == "csv" and now.is_nested():
                raise UsageError(f"--keep {name}: holds {now} values, which CSV cannot: write ndjson or parquet")
            if self._format in ("parquet", "frame") and now != before:
                # In NDJSON, and from file to file, a column may change its type.
                way = "write ndjson or csv" if self._format == "parquet" else "score the files one by one"
                one = "Parquet file" if self._format == "parquet" else "frame"
                raise UsageError(
                    f"--keep {name}: holds {before} values first and {now} later, which one {one} cannot: {way}"
                )
        return [raw[name] for name in self._names]


def _frames(blocks: Iterator[ScoredBlock], kept: _Kept) -> Iterator[pl.DataFrame]:
    for block in blocks:
        yield pl.DataFrame([*kept.of(block.raw), pl.Series(SCORE, block.scores)])
