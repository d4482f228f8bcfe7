"""New rows on their way to a score: read, typed as in training."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import polars as pl

from widedeep.recipe.kinds import FileKind
from widedeep.recipe.schema import FormatSettings
from widedeep.reporting import Reporter
from widedeep.scoring.scorer import Scorer
from widedeep.source.blocks import RawBlock
from widedeep.source.paths import Frame, Source, expand_paths, refuse_as_output, total_size
from widedeep.source.sources import Cut, RowlessFiles, believed_format, read_blocks
from widedeep.table.side_tables import SideTables, needed_tables, side_table_files

STDIN_NAME = "<stdin>"
FRAME_NAME = "the frame"
"""What messages call rows that come from no file, and so have no path."""


class InputRows:
    """Iterates over blocks of new rows: (the raw columns, the typed ones), in input order, in bounded memory."""

    def __init__(
        self,
        scorer: Scorer,
        inputs: Sequence[Source | BinaryIO | Frame],
        *,
        input_format: FileKind | None,
        keep: Sequence[str],
        labelled: bool,
        reporter: Reporter,
        tables: Mapping[str, str] = MappingProxyType({}),
        outputs: Sequence[Path] = (),
        formats: Sequence[str] = (),
    ) -> None:
        """`keep` names raw columns to read besides the model's. With `labelled`, the label (and weight) must be there.
        `formats` change the recipe's `data.format`, see `changed_format`.

        `tables` maps side tables to files that stand in for the recipe's; `outputs` are to be written, which none of
        the recipe's may be. Raises UsageError, ColumnError and DataError for what is not there, UsageError for such an
        output, ArtefactError for side tables of another's run.
        """
        self._recipe_format, self._input_format = scorer.recipe.data.format, input_format
        if formats:
            from widedeep.scoring.input_options import changed_format  # most rows come as those of training did

            self._recipe_format = changed_format(scorer.recipe, formats)
        self._reporter = reporter
        self.inputs: list[Source | BinaryIO | Frame] = []
        """The files that paths stand for, and what else is read."""
        for source in inputs:
            self.inputs += expand_paths([str(source)], Path()) if isinstance(source, (str, Path)) else [source]
        self.typing = scorer.typing(labelled=labelled)
        """What types the rows."""
        columns = [*self.typing.needed, *keep]
        for table in needed_tables(scorer.recipe.data, columns):
            if table not in tables and scorer.require_own is not None:
                scorer.require_own(f"side table {table!r}", f"name its file, --table {table}=FILE")
        self.tables = SideTables.load(
            scorer.recipe.data, scorer.base_dir, columns, reporter, replaced=tables, forms=scorer.forms
        )
        """Those that the columns come from."""
        if outputs:
            of_recipe = [name for name in columns if name.partition(".")[0] not in tables]
            for files in side_table_files(scorer.recipe.data, scorer.base_dir, of_recipe).values():
                for output in outputs:
                    refuse_as_output(output, files)
        self.log_columns = self.tables.log_columns(columns)
        """The columns to read from the log itself."""

    def __iter__(self) -> Generator[tuple[pl.DataFrame, pl.DataFrame]]:
        finished = 0
        with self._reporter.work("score", total_size(self.inputs), "bytes") as meter:
            rowless = RowlessFiles()
            for source in self.inputs:
                done = 0
                with rowless.passed_over():
                    for block in self.blocks_of(source):
                        yield block.frame, self.typing.apply(block)
                        done = block.bytes_done
                        meter.update(finished + done)
                finished += done
            rowless.settle(self._reporter)
        self.tables.warn_unmatched()

    def typed(self, block: RawBlock) -> tuple[pl.DataFrame, pl.DataFrame]:
        """(The raw columns, the typed ones) of a block of the log, which has `log_columns`."""
        joined = self.tables.join(block)
        return joined.frame, self.typing.apply(joined)

    def settle(self) -> None:
        """Warn of rows that side tables did not match, once all are read."""
        self.tables.warn_unmatched()

    def blocks_of(
        self,
        source: Source | BinaryIO | Frame,
        *,
        name: str | None = None,
        cut: Cut | None = None,
        is_first: bool = True,
    ) -> Iterator[RawBlock]:
        """The blocks of one source, side tables joined; of a part of it, if there is a `cut` (see `cuts_of`).

        Messages call it `name`, by default its path. `is_first` says whether its first rows are among them.
        """
        settings = self.format_of(source)
        if name is None:
            is_file = isinstance(source, (str, Path))
            name = str(source) if is_file else FRAME_NAME if isinstance(source, Frame) else STDIN_NAME
        if is_first and isinstance(source, (str, Path, Frame)):
            self.tables.check_log(source, settings, name=name)
        return map(self.tables.join, read_blocks(source, settings, self.log_columns, name=name, cut=cut))

    def format_of(self, source: Source | BinaryIO | Frame) -> FormatSettings:
        """How the bytes of a source are read."""
        if self._input_format is not None:
            return self._recipe_format.model_copy(update={"kind": self._input_format, "version": None})
        # New rows need not come in the format of the training files.
        return believed_format(source, self._recipe_format) if isinstance(source, (str, Path)) else self._recipe_format
