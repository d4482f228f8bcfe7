"""Raw files → typed, checked, split table on disk."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import DataError
from widedeep.files import writing
from widedeep.recipe.schema import Recipe, TimeSplit
from widedeep.reporting import Reporter
from widedeep.table.blocks import RawBlock
from widedeep.table.canonical import Kind
from widedeep.table.label import TargetTally
from widedeep.table.parts import PartWriter, scan_typed, typed_blocks
from widedeep.table.sources import expand_paths, read_blocks
from widedeep.table.split import SPLITS, drawn_parts, row_splits, split_columns, split_frames, time_cuts
from widedeep.table.typed import LABEL, TIME, WEIGHT, Role, Typing, typed_columns

__all__ = ["ColumnReport", "IngestReport", "LabelReport", "ingest", "scan_typed", "typed_blocks"]

_UNSPLIT = "unsplit"


@dataclass(frozen=True)
class ColumnReport:
    """One column of the typed table."""

    name: str
    column: str
    role: Role
    missing: dict[str, int]
    """Rows without a value, per split; bad numbers are among them."""
    bad_numbers: int
    """Texts, NaN and infinities counted as missing, over all splits."""


@dataclass(frozen=True)
class LabelReport:
    """The label of one split, rows counted alike whatever their weight."""

    mean: float
    positives: int | None
    """None for regression."""


@dataclass(frozen=True)
class IngestReport:
    """What ingest found."""

    rows: dict[str, int]
    columns: tuple[ColumnReport, ...]
    source_kinds: dict[str, Kind]
    """What each source column holds; at scoring it must hold the same, or text."""
    label: dict[str, LabelReport]

    def to_json(self) -> dict[str, Any]:
        """As plain dicts, lists, texts and numbers."""
        return {**asdict(self), "columns": [asdict(column) for column in self.columns]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The report that `to_json` wrote."""
        return cls(
            rows=dict(value["rows"]),
            columns=tuple(ColumnReport(**column) for column in value["columns"]),
            source_kinds=dict(value["source_kinds"]),
            label={split: LabelReport(**label) for split, label in value["label"].items()},
        )


def ingest(recipe: Recipe, base_dir: Path, out_dir: Path, reporter: Reporter) -> IngestReport:
    """Write `out_dir/<split>/part-*.parquet`, typed, row order as in the files; equal inputs give equal bytes.

    The splits are train and those that have files or are drawn. The caller gives a folder that it renames when all is
    well. Raises DataError, ColumnError, WriteError; see `Typing`, `read_blocks` and `row_splits`.
    """
    data = recipe.data
    files = {split: expand_paths(paths, base_dir) for split in SPLITS if (paths := getattr(data, split)) is not None}
    parts = drawn_parts(data)
    splits = [split for split in SPLITS if split in files or split in parts]
    typing = Typing(recipe)
    tables = {split: _SplitTable(out_dir / split) for split in splits}
    by_time = bool(parts) and isinstance(data.split, TimeSplit)
    unsplit = PartWriter(out_dir / _UNSPLIT) if by_time else None
    rows_read = 0
    for split, block in _blocks(files, recipe, reporter):
        typed = typing.apply(block)
        if split != "train" or not parts:
            tables[split].add(typed)
        elif unsplit is not None:
            unsplit.add(typed)
            rows_read += typed.height
        else:
            for drawn, frame in split_frames(typed, row_splits(data, block, rows_read)):
                tables[drawn].add(frame)
            rows_read += typed.height
    if unsplit is not None:
        unsplit.flush()
        _distribute_by_time(recipe, out_dir, tables, rows_read)
    for table in tables.values():
        table.writer.flush()
    _check_splits(recipe, tables, parts)
    report = _report(recipe, typing, tables)
    _refuse_empty_columns(report)
    _warn_of_bad_numbers(report, reporter)
    return report


class _SplitTable:
    """One split under way: its parts and what is counted over its rows."""

    def __init__(self, directory: Path) -> None:
        self.writer = PartWriter(directory)
        self.target = TargetTally()
        self.missing: dict[str, int] = {}

    def add(self, frame: pl.DataFrame) -> None:
        self.target.add(frame[LABEL], frame.get_column(WEIGHT, default=None))
        for name in frame.columns:
            self.missing[name] = self.missing.get(name, 0) + frame[name].null_count()
        self.writer.add(frame)


def _blocks(files: dict[str, list[Path]], recipe: Recipe, reporter: Reporter) -> Iterator[tuple[str, RawBlock]]:
    needed = list(dict.fromkeys(column.column for column in typed_columns(recipe)))
    total = sum(path.stat().st_size for paths in files.values() for path in paths)
    finished = 0
    with reporter.work("ingest", total, "bytes") as meter:
        for split, paths in files.items():
            columns = [*needed, *(split_columns(recipe.data) if split == "train" else ())]
            for path in paths:
                for block in read_blocks(path, recipe.data.format, columns, name=str(path)):
                    yield split, block
                    meter.update(finished + block.bytes_done)
                finished += path.stat().st_size


def _distribute_by_time(recipe: Recipe, out_dir: Path, tables: dict[str, _SplitTable], num_rows: int) -> None:
    def times() -> Iterator[NDArray[np.float64]]:
        return (block[TIME].to_numpy() for block in typed_blocks(out_dir, _UNSPLIT, columns=[TIME]))

    cuts = time_cuts(recipe.data, num_rows, times)
    for block in typed_blocks(out_dir, _UNSPLIT):
        for split, frame in split_frames(block, cuts.row_splits(block[TIME].to_numpy())):
            tables[split].add(frame)
    with writing(out_dir):
        shutil.rmtree(out_dir / _UNSPLIT)


def _check_splits(recipe: Recipe, tables: dict[str, _SplitTable], parts: tuple[str, ...]) -> None:
    rule = recipe.data.split.model_dump(mode="json", exclude_none=True) if recipe.data.split else {"kind": "random"}
    shown = ", ".join(f"{key}: {value}" for key, value in rule.items())
    counts = ", ".join(f"{split} {table.target.rows}" for split, table in tables.items())
    for split, table in tables.items():
        if table.target.rows == 0:
            raise DataError(
                f"the split leaves no {split} rows ({counts}); data.split is {shown}: change it, or give `data.{split}` files"
            )
        table.target.refuse_zero_weights(split, recipe.data.weight)
    tables["train"].target.refuse_constant_label(recipe.data.label)


def _report(recipe: Recipe, typing: Typing, tables: dict[str, _SplitTable]) -> IngestReport:
    binary = recipe.data.label.kind == "binary"
    return IngestReport(
        rows={split: table.target.rows for split, table in tables.items()},
        columns=tuple(
            ColumnReport(
                name=column.name,
                column=column.column,
                role=column.role,
                missing={split: table.missing[column.name] for split, table in tables.items()},
                bad_numbers=typing.bad_numbers[column.name],
            )
            for column in typing.columns
        ),
        source_kinds=typing.kinds,
        label={
            split: LabelReport(
                mean=table.target.label_sum / table.target.rows,
                positives=round(table.target.label_sum) if binary else None,
            )
            for split, table in tables.items()
        },
    )


def _refuse_empty_columns(report: IngestReport) -> None:
    for column in report.columns:
        if column.role in ("number", "text") and column.missing["train"] == report.rows["train"]:
            raise DataError(
                f"column {column.column!r}: missing in all {report.rows['train']} train rows; drop it from features, "
                "or check data.format.missing"
            )


def _warn_of_bad_numbers(report: IngestReport, reporter: Reporter) -> None:
    for column in report.columns:
        if column.bad_numbers:
            reporter.warn(
                f"column {column.column!r}: {column.bad_numbers} values are no finite numbers, counted as missing"
            )
