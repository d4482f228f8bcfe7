"""Raw files → typed, checked, split table on disk."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import DataError, NoRowsError
from widedeep.files import syncing, writing
from widedeep.ordered import map_in_order
from widedeep.profile.columns import ColumnProfile, profile_columns
from widedeep.profile.drift import STRONG_DRIFT
from widedeep.profile.findings import findings, show_findings, warn_of_columns
from widedeep.profile.report import ColumnReport, IngestReport, LabelReport
from widedeep.profile.row_sample import RowSample
from widedeep.profile.value_tally import ValueTally, shared_groups
from widedeep.recipe.schema import MultiValuedField, Recipe, TimeSplit
from widedeep.reporting import Reporter
from widedeep.source.blocks import RawBlock
from widedeep.source.canonical import ValueKind
from widedeep.source.coded import CodedRows
from widedeep.source.forms import FORM_OF_KIND, NAN, ColumnForm, Form, Forms, FormTally, add_columns, in_form, is_of
from widedeep.source.paths import Source, expand_paths, total_size
from widedeep.source.sources import RowlessFiles, read_blocks
from widedeep.table.label import TargetTally
from widedeep.table.listed import ListedValues
from widedeep.table.missing_values import missing_values, table_of
from widedeep.table.parts import (
    FIRST_ROWS,
    PartWriter,
    coded_blocks,
    typed_blocks,
    write_first_rows,
    write_forms,
    write_longest,
)
from widedeep.table.side_tables import SideTables
from widedeep.table.split import SPLITS, drawn_parts, listed_folds, row_splits, split_columns, split_rows
from widedeep.table.split_files import check_split_files
from widedeep.table.time_cuts import RankedTimes, time_cuts
from widedeep.table.trained_rows import NegativeSampling
from widedeep.table.typed import Typing
from widedeep.table.typed_columns import (
    GROUP,
    LABEL,
    TARGETS,
    TIME,
    WEIGHT,
    TypedColumn,
    text_name,
    typed_columns,
    values_name,
)
from widedeep.workers import Workers

_UNSPLIT = "unsplit"
_GROUPS_HELD = 1 << 21
"""Groups of a split above which the share of groups that the splits share is taken of a fair choice of them."""
_VALUES_HELD = 1 << 16
"""The same for the distinct values of a column that looks like an id; they are then known to about half a percent."""
_NEARLY_ALL = 0.9
_UNHELD_SHOWN = 5


def ingest(
    recipe: Recipe, base_dir: Path, out_dir: Path, reporter: Reporter, workers: Workers | None = None
) -> IngestReport:
    """Write `out_dir/<split>/part-*`, typed, row order as in the files; equal inputs give equal bytes.

    The splits are train and those that have files or are drawn. The caller gives a folder that it renames when all is
    well. With workers, whatever their number, the rows are the same in other parts. Raises DataError, ColumnError,
    WriteError; see `Typing`, `read_blocks` and `row_splits`.
    """
    data = recipe.data
    files = {split: expand_paths(paths, base_dir) for split in SPLITS if (paths := getattr(data, split)) is not None}
    check_split_files(files, reporter)
    parts = drawn_parts(data)
    splits = [split for split in SPLITS if split in files or split in parts]
    typing = Typing(recipe, decides_forms=True)
    folds = listed_folds(data)
    with syncing() as sync, ThreadPoolExecutor(1) as writing_thread:
        tables = {split: SplitTable(recipe, typing, is_train=split == "train") for split in splits}
        writers: Sequence[PartWriter] = ()
        if workers is None:
            writers = _fill(tables, files, recipe, base_dir, out_dir, reporter, typing, folds, writing_thread, sync)
        else:
            from widedeep.profile.ingest_parts import fill_by_parts  # only here: few ingest so

            fill_by_parts(tables, files, recipe, base_dir, out_dir, reporter, typing, folds, workers, sync)
        _check_splits(recipe, tables, parts)
        of = {c.name: form for c, tally in tables["train"].forms.items() if (form := _form_of(c, tally)) is not None}
        listed = {name: _listed_in(form, tables["train"].listed.get(name, {})) for name, form in of.items()}
        by_value = {name: texts for name, texts in listed.items() if texts} if missing_values(data) else None
        forms = Forms(of, by_value)
        write_forms(out_dir, forms)
        longest = {
            column.name: column.field.max_length
            for column in typing.columns
            if isinstance(column.field, MultiValuedField)
            and column.field.max_length
            and typing.lists.long_rows[column.column]
        }
        if longest:
            write_longest(out_dir, longest)
        for table in tables.values():
            table.settle(forms, longest)
        report = _report(recipe, typing, tables, out_dir, writers)
    _refuse_empty_columns(report)
    _warn_of_bad_numbers(report, reporter)
    _warn_of_lists(typing, reporter)
    _warn_of_unheld([*typing.listed_labels, *folds.values()], reporter)
    report = replace(report, warnings=findings(report, recipe))
    show_findings(report.warnings, reporter)
    return report


def _fill(
    tables: dict[str, "SplitTable"],
    files: dict[str, list[Source]],
    recipe: Recipe,
    base_dir: Path,
    out_dir: Path,
    reporter: Reporter,
    typing: Typing,
    folds: Mapping[str, ListedValues],
    writing_thread: ThreadPoolExecutor,
    sync: Callable[[Path], None],
) -> list[PartWriter]:
    """Read all files and have their rows written, typed and split, by the writers that are returned."""
    data, parts = recipe.data, drawn_parts(recipe.data)
    missing = missing_values(data)
    by_time = bool(parts) and isinstance(data.split, TimeSplit)

    def typed(placed: tuple[str, RawBlock, int]) -> list[tuple[str, CodedRows]]:
        split, block, first_position = placed
        rows = typing.convert(block)
        if split != "train" or not parts:
            return [(split, rows)]
        if by_time:
            return [(_UNSPLIT, rows)]
        return list(split_rows(rows, row_splits(data, block, first_position, folds, missing.get(""))))

    writers = {split: PartWriter(out_dir / split, writing_thread, sync) for split in tables}
    unsplit = PartWriter(out_dir / _UNSPLIT, writing_thread, lambda path: None) if by_time else None
    side_tables = SideTables.load(data, base_dir, columns_read(recipe, "train"), reporter)
    blocks = _keeping_first(_blocks(files, recipe, side_tables, reporter), recipe, out_dir)
    for found in map_in_order(typed, _placed(blocks, typing)):
        for split, rows in found:
            if split == _UNSPLIT and unsplit is not None:
                unsplit.add(rows)
            else:
                writers[split].add(tables[split].add(rows))
    if unsplit is not None:
        unsplit.finish()
        for split, rows in _distributed_by_time(recipe, out_dir):
            writers[split].add(tables[split].add(rows))
        with writing(out_dir):
            shutil.rmtree(out_dir / _UNSPLIT)
    for writer in writers.values():
        writer.close()
    return list(writers.values())


class SplitTable:
    """What is counted over the rows of a split."""

    def __init__(
        self,
        recipe: Recipe,
        typing: Typing,
        *,
        is_train: bool,
        first_row: int = 0,
        first_kept: int = 0,
        all_kept: int | None = None,
    ) -> None:
        """`first_row` is the position in the split of the first row that is added, if there are others, `first_kept`
        its position among the `all_kept` rows that are kept when negatives are sampled."""
        self._kinds = typing.seen_kinds
        missing, data = missing_values(recipe.data), recipe.data
        self.listed: dict[str, Mapping[Form, Sequence[str]]] = {
            column.name: missing[table].by_form
            for column in typing.columns
            if column.role == "text" and (table := table_of(column.column, data)) in missing
        }
        """Column of texts → form that it may have → values that are then missing, because the recipe lists them."""
        self._num_listed: Counter[tuple[str, Form]] = Counter()
        # Held-out rows stay as they are.
        self._sampling = NegativeSampling(recipe.data.keep_negatives, "train", first_row) if is_train else None
        self.target = TargetTally()
        self.missing: dict[str, int] = {}
        self.sample = RowSample(first_row=first_kept, all_rows=all_kept)
        self.groups = ValueTally(_GROUPS_HELD)
        self.forms = _form_tallies(recipe, typing) if is_train else {}
        """Of the columns of texts; only of the train rows, which decide."""

    def add(self, rows: CodedRows) -> CodedRows:
        """Count the next rows; gives those that are kept."""
        if self._sampling is not None:
            rows = self._sampling.kept(rows)
        self.target.add(rows.frame[LABEL], rows.frame.get_column(WEIGHT, default=None))
        for name in rows.columns:
            self.missing[name] = self.missing.get(name, 0) + rows.null_count(name)
        for name, of_form in self.listed.items():
            text = pl.col(name)
            for kind, texts in of_form.items():
                is_listed = is_of(text, kind) & in_form(text, kind).fill_null(NAN).is_in(texts)
                self._num_listed[name, kind] += int(rows.select([is_listed.alias(name)])[name].sum())
        if GROUP in rows.columns:
            self.groups.add(rows.column(GROUP))
        self.sample.add(rows)
        undecided: list[tuple[FormTally, pl.Series]] = []
        for column, tally in self.forms.items():
            form = _form_of_kinds(self._kinds.get(column.column, set()))
            if form is not None:
                tally.add_kind(form)
            else:
                name = column.name
                undecided.append((tally, rows.values[name] if name in rows.values else rows.frame[name]))
        add_columns(undecided)
        return rows

    def merge(self, other: "SplitTable") -> None:
        """Add what `other`, of the same recipe, has counted of the rows that follow."""
        self.target.merge(other.target)
        for name, missing in other.missing.items():
            self.missing[name] = self.missing.get(name, 0) + missing
        self._num_listed.update(other._num_listed)
        self.groups.merge(other.groups)
        self.sample.merge(other.sample)
        for tally, more in zip(self.forms.values(), other.forms.values(), strict=True):
            tally.merge(more)

    def settle(self, forms: Forms, longest: Mapping[str, int]) -> None:
        """Once the columns' forms are known: count what is missing in them, write the sample in them."""
        for name, form in forms.of.items():
            if form != "numbers":
                self.missing[name] += self._num_listed[name, form]
        self.sample.write_in(forms, longest)


def _form_of(column: TypedColumn, tally: FormTally) -> ColumnForm | None:
    return "numbers" if column.role == "values" and tally.form == "number" else tally.form


def _listed_in(form: ColumnForm, listed: Mapping[Form, Sequence[str]]) -> list[str]:
    """The listed texts of a form; `nan` is missing among numbers anyhow. Items of lists are left out where these are
    read."""
    return [] if form == "numbers" else [text for text in listed.get(form, ()) if text != NAN]


def _form_tallies(recipe: Recipe, typing: Typing) -> dict[TypedColumn, FormTally]:
    """Typed column of texts → what tells its form: one tally for all columns of a vocabulary."""
    texts = {c.name: c for c in typing.columns if c.role in ("text", "values", "group")}
    tallies = {name: FormTally() for name in texts}
    names_of = {tally: [name] for name, tally in tallies.items()}
    first_of: dict[str, str] = {}
    """Vocabulary → its first column."""
    for field in recipe.features.with_vocabulary():
        if field.vocabulary is None:
            continue
        multi_valued = isinstance(field, MultiValuedField)
        name = values_name(field, recipe.features) if multi_valued else text_name(field.column, recipe.features)  # type: ignore[arg-type]
        shared, own = tallies[first_of.setdefault(field.vocabulary, name)], tallies[name]
        if shared is not own:  # the column may be of another vocabulary too, whose columns then come along
            for other in (moved := names_of.pop(own)):
                tallies[other] = shared
            names_of[shared] += moved
    return {column: tallies[name] for name, column in texts.items()}


def _form_of_kinds(kinds: Set[ValueKind]) -> Form | None:
    """The form of a column that came as numbers, booleans or moments, never as texts; None of any other."""
    return FORM_OF_KIND.get(next(iter(kinds))) if len(kinds) == 1 else None


def columns_read(recipe: Recipe, split: str) -> list[str]:
    """The source columns that the files of a split must have, those of side tables as `TABLE.column`."""
    typed = (source for column in typed_columns(recipe) for source in column.sources)
    return list(dict.fromkeys([*typed, *(split_columns(recipe.data) if split == "train" else ())]))


def _blocks(
    files: dict[str, list[Source]], recipe: Recipe, side_tables: SideTables, reporter: Reporter
) -> Iterator[tuple[str, RawBlock]]:
    data = recipe.data
    finished = 0
    with reporter.work("ingest", total_size(chain.from_iterable(files.values())), "bytes") as meter:
        for split, sources in files.items():
            columns = side_tables.log_columns(columns_read(recipe, split))
            coded = () if data.tables else read_by_value(recipe)
            rowless = RowlessFiles()
            for source in sources:
                name, done = str(source), 0
                with rowless.passed_over():
                    side_tables.check_log(source, data.format, name=name)
                    for block in read_blocks(source, data.format, columns, name=name, coded=coded):
                        yield split, side_tables.join(block)
                        done = block.bytes_done
                        meter.update(finished + done)
                finished += done
            try:
                rowless.settle(reporter)
            except NoRowsError as error:
                error.split = split
                raise
    side_tables.warn_unmatched()


def _keeping_first(
    blocks: Iterator[tuple[str, RawBlock]], recipe: Recipe, out_dir: Path
) -> Iterator[tuple[str, RawBlock]]:
    """The blocks; the first rows are kept as they were read, in the columns that scoring reads."""
    kept = False
    for split, block in blocks:
        if not kept and block.num_rows:
            write_first_rows(out_dir, first_rows_of(block, recipe))
            kept = True
        yield split, block


def first_rows_of(block: RawBlock, recipe: Recipe) -> pl.DataFrame:
    """The first rows of a block, as they were read, in the columns that scoring reads."""
    columns = [
        block.frame[name].head(FIRST_ROWS)
        if (coded := block.coded.get(name)) is None
        else coded.values[coded.codes.head(FIRST_ROWS)].alias(name)
        for name in Typing(recipe, require_label=False).needed
    ]
    return pl.DataFrame(columns)


def read_by_value(recipe: Recipe) -> set[str]:
    """The source columns that are nothing but labels, numbers and texts of single values: each different text is typed
    once."""
    by_value = ("label", "number", "text")
    columns = typed_columns(recipe)
    others = {source for column in columns if column.role not in by_value for source in column.sources}
    return {column.column for column in columns} - others - set(split_columns(recipe.data))


def _placed(blocks: Iterable[tuple[str, RawBlock]], typing: Typing) -> Iterator[tuple[str, RawBlock, int]]:
    """Each block with its split and its first row's position among the train rows; its kinds are noted."""
    num_train = 0
    for split, block in blocks:
        typing.note_kinds(block)
        yield split, block, num_train
        num_train += block.num_rows if split == "train" else 0


def _distributed_by_time(recipe: Recipe, out_dir: Path) -> Iterator[tuple[str, CodedRows]]:
    def times() -> Iterator[NDArray[np.float64]]:
        return (block[TIME].to_numpy() for block in typed_blocks(out_dir, _UNSPLIT, columns=[TIME]))

    cuts = time_cuts(recipe.data, RankedTimes.in_passes(times))
    for block in coded_blocks(out_dir, _UNSPLIT):
        yield from split_rows(block, cuts.row_splits(block.frame[TIME].to_numpy()))


def _warn_of_unheld(listed: Iterable[ListedValues | None], reporter: Reporter) -> None:
    for values in listed:
        if values is not None and (unheld := values.unheld()):
            shown = ", ".join(map(repr, unheld[:_UNHELD_SHOWN])) + (", …" if len(unheld) > _UNHELD_SHOWN else "")
            reporter.warn(f"{values.setting}: no row holds {shown}: check how the files write it")


def _check_splits(recipe: Recipe, tables: dict[str, SplitTable], parts: tuple[str, ...]) -> None:
    rule = recipe.data.split.model_dump(mode="json", exclude_none=True) if recipe.data.split else {"kind": "random"}
    shown = ", ".join(f"{key}: {value}" for key, value in rule.items())
    counts = ", ".join(f"{split} {table.target.rows}" for split, table in tables.items())
    for split, table in tables.items():
        if table.target.rows == 0:
            raise DataError(
                f"the split leaves no {split} rows ({counts}); data.split is {shown}: change it, or give "
                f"`data.{split}` files"
            )
        table.target.refuse_zero_weights(split, recipe.data.weight)
    tables["train"].target.refuse_constant_label(recipe.data.label)


def _report(
    recipe: Recipe, typing: Typing, tables: dict[str, SplitTable], out_dir: Path, writers: Iterable[PartWriter]
) -> IngestReport:
    """What is to be said of the table, whose last parts `writers` write meanwhile. Raises WriteError."""
    binary = recipe.data.label.kind == "binary"
    samples = {split: table.sample for split, table in tables.items()}
    profiles = profile_columns(typing.columns, samples, binary=binary, keep_negatives=recipe.data.keep_negatives)
    for writer in writers:
        writer.finish()
    if not samples["train"].is_whole:
        profiles = {
            name: _count_new_values(name, _count_suspect(name, profile, samples["train"], out_dir), tables, out_dir)
            for name, profile in profiles.items()
        }
    return IngestReport(
        rows={split: table.target.rows for split, table in tables.items()},
        sampled_rows={split: sample.num_rows for split, sample in samples.items()},
        columns=tuple(
            ColumnReport(
                name=column.column if column.role in TARGETS else column.name,
                column=column.column,
                role=column.role,
                missing={split: table.missing[column.name] for split, table in tables.items()},
                bad_numbers=typing.bad_numbers[column.name],
                profile=profiles.get(column.name),
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
        shared_groups=shared_groups({split: table.groups for split, table in tables.items()})
        if recipe.data.group
        else {},
    )


def _count_suspect(name: str, profile: ColumnProfile, sample: RowSample, out_dir: Path) -> ColumnProfile:
    """A sample cannot tell a constant or an id from a column that is nearly one: they are counted over all rows."""
    present = sample.rows()[name].drop_nulls()
    if profile.type == "list" or not (profile.distinct == 1 or profile.distinct >= _NEARLY_ALL * len(present)):
        return profile
    if profile.type == "number" and profile.distinct > 1:
        return profile  # quantities differ from row to row
    tally = ValueTally(_VALUES_HELD)
    for block in typed_blocks(out_dir, "train", columns=[name]):
        tally.add(block[name].cast(pl.String))
    return replace(profile, distinct=tally.distinct(), distinct_is="exact" if tally.is_exact else "about")


def _count_new_values(
    name: str, profile: ColumnProfile, tables: dict[str, "SplitTable"], out_dir: Path
) -> ColumnProfile:
    """Of a text that drifts, how many rows have values that no train row has: a sample of train cannot tell."""
    if profile.type != "text" or max(profile.drift.values(), default=0.0) < STRONG_DRIFT:
        return profile
    tallies = {split: ValueTally(_VALUES_HELD) for split in tables}
    for split, tally in tallies.items():
        for block in typed_blocks(out_dir, split, columns=[name]):
            tally.add(block[name])
    unseen = {}
    for split, shared in shared_groups(tallies).items():
        with_value = 1.0 - tables[split].missing[name] / tables[split].target.rows
        unseen[split] = with_value * (1.0 - shared.shared_rows / max(shared.rows, 1))
    return replace(profile, unseen=unseen)


def _refuse_empty_columns(report: IngestReport) -> None:
    for column in report.columns:
        if column.role not in TARGETS and column.role != "weights" and column.missing["train"] == report.rows["train"]:
            raise DataError(
                f"column {column.column!r}: missing in all {report.rows['train']} train rows; drop it from features, "
                "or check data.format.missing"
            )


def _warn_of_lists(typing: Typing, reporter: Reporter) -> None:
    lists = typing.lists
    for counts, what in (
        (lists.empty_items, "empty items in lists are left out"),
        (lists.cut_rows, "rows have more values than `max_length`; the rest is cut off"),
        (lists.bad_lists, "texts are no lists of its `form`, counted as missing"),
        (lists.bad_weights, "values are left out, because their weights are no numbers"),
    ):
        warn_of_columns([f"column {column!r}: {count:,} {what}" for column, count in counts.items() if count], reporter)


def _warn_of_bad_numbers(report: IngestReport, reporter: Reporter) -> None:
    messages = [
        f"column {column.column!r}: {column.bad_numbers:,} values are no finite numbers, counted as missing"
        for column in report.columns
        if column.bad_numbers
    ]
    warn_of_columns(messages, reporter)
