"""Any table → scores, streaming, in input order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import polars as pl

from widedeep.errors import OutputExistsError, UsageError
from widedeep.reporting import Reporter
from widedeep.scoring.outputs import OutputFormat, format_of, write_frames
from widedeep.scoring.rows import InputRows, OddValues
from widedeep.scoring.scorer import Scorer

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
    inputs: Sequence[Path | BinaryIO],
    output: Path | BinaryIO,
    *,
    input_format: Literal["csv", "parquet"] | None = None,
    output_format: OutputFormat | None = None,
    keep: Sequence[str] = (),
    force: bool = False,
    reporter: Reporter,
) -> PredictResult:
    """Score every row of `inputs` and write the `keep` columns and `score`.

    A file appears whole or not at all; a stream gets rows as they are scored. Raises UsageError (no format, output
    exists), ArtefactError (the run), DataError and ColumnError (the rows), WriteError (the output).
    """
    chosen = output_format or format_of(output)
    if isinstance(output, Path) and output.is_file() and not force:
        raise OutputExistsError(f"{output}: exists already; --force replaces it")
    if SCORE in keep or len(set(keep)) < len(keep):
        raise UsageError(
            f"--keep: `{SCORE}` is the name of the scores, and a column can be kept once: {', '.join(keep)}"
        )
    scorer = Scorer.load(run)
    odd_values = OddValues(scorer.plan)
    rows = InputRows(scorer, inputs, input_format=input_format, keep=keep, labelled=False, reporter=reporter)
    num_rows = write_frames(_scored(scorer, rows, odd_values, keep), output, chosen)
    return PredictResult(num_rows, output if isinstance(output, Path) else None, odd_values.missing, odd_values.unseen)


def _scored(scorer: Scorer, rows: InputRows, odd_values: OddValues, keep: Sequence[str]) -> Iterator[pl.DataFrame]:
    for raw, typed in rows:
        scores, encoded = scorer.score(typed)
        odd_values.count(typed, encoded)
        yield pl.DataFrame([*(raw[name] for name in keep), pl.Series(SCORE, scores)])
