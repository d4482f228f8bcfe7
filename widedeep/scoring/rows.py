"""New rows on their way to a score: read, typed as in training, odd values counted."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import polars as pl

from widedeep.features.plan import FeaturePlan
from widedeep.recipe.schema import FormatSettings
from widedeep.reporting import Reporter
from widedeep.scoring.scorer import Scorer
from widedeep.table.sources import expand_paths, has_parquet_ending, read_blocks
from widedeep.table.typed import Typing

STDIN_NAME = "<stdin>"


class InputRows:
    """Iterates over blocks of new rows: (the raw columns, the typed ones), in input order, in bounded memory."""

    def __init__(
        self,
        scorer: Scorer,
        inputs: Sequence[Path | BinaryIO],
        *,
        input_format: Literal["csv", "parquet"] | None,
        keep: Sequence[str],
        labelled: bool,
        reporter: Reporter,
    ) -> None:
        """`keep` names raw columns to read besides the model's. With `labelled`, the label (and weight) must be there."""
        self._recipe_format, self._input_format = scorer.recipe.data.format, input_format
        self._reporter = reporter
        self._inputs: list[Path | BinaryIO] = []
        for source in inputs:
            self._inputs += expand_paths([str(source)], Path()) if isinstance(source, Path) else [source]
        self._typing = Typing(scorer.recipe, require_label=labelled, trained_kinds=scorer.source_kinds)
        self._columns = list(dict.fromkeys([*self._typing.needed, *keep]))

    def __iter__(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        sizes = [source.stat().st_size if isinstance(source, Path) else None for source in self._inputs]
        total = None if None in sizes else sum(size for size in sizes if size is not None)
        finished = 0
        with self._reporter.work("score", total, "bytes") as meter:
            for source in self._inputs:
                name = str(source) if isinstance(source, Path) else STDIN_NAME
                done = 0
                for block in read_blocks(source, self._format_of(source), self._columns, name=name):
                    yield block.frame, self._typing.apply(block)
                    done = block.bytes_done
                    meter.update(finished + done)
                finished += done

    def _format_of(self, source: Path | BinaryIO) -> FormatSettings:
        if self._input_format is not None:
            return self._recipe_format.model_copy(update={"kind": self._input_format})
        # New rows need not come in the format of the training files: an ending that says Parquet is believed.
        if isinstance(source, Path) and has_parquet_ending(source):
            return self._recipe_format.model_copy(update={"kind": "parquet"})
        return self._recipe_format


class OddValues:
    """Counts, over typed blocks and their encodings, the rows whose value was missing or unseen in train; only fields that have any."""

    def __init__(self, plan: FeaturePlan) -> None:
        self._plan = plan
        self.missing: dict[str, int] = {}
        self.unseen: dict[str, int] = {}

    def count(self, typed: pl.DataFrame, encoded: pl.DataFrame) -> None:
        """Add one block's counts."""
        for field, counts in self._plan.count_unseen(typed, encoded).items():
            for total, number in ((self.missing, counts["missing"]), (self.unseen, counts["unseen"])):
                if number:
                    total[field] = total.get(field, 0) + number
