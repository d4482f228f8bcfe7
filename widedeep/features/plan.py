"""The feature plan: everything that was fitted on train rows (see fit.py), and the encoding with it."""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.artefacts import digest_of_bytes, read_json_artefact, require_shape
from widedeep.errors import ArtefactError
from widedeep.features.fields import (
    FIRST,
    MISSING,
    UNKNOWN,
    UNSEEN,
    FittedCategorical,
    FittedCross,
    FittedMultiValued,
    FittedNumeric,
    bucket_name,
    flag_name,
    hash_name,
    weight_name,
)
from widedeep.files import check_readable, write_json, writing
from widedeep.source.coded import Cells, CodedRows

PLAN_FORMAT = 2
"""Format version of a saved plan; a plan of a newer format is refused. In format 1 each vocabulary has its own file."""
UnseenCounts = dict[str, dict[str, int]]
"""Field → `missing` and `unseen` → number of rows."""
_VOCABULARIES = "vocabularies"
_VALUES_TOGETHER = 1 << 20
"""Most values of several vocabularies in one file, and in one step of a digest: the thousands of small ones of a wide
table, each in a file of its own, would take most of the time."""
_ROW = "\0row"
_OF_FIELD = {
    "name": str,
    "column": str,
    "embedding_dim": (int, None),
    "shared": (str, None),
    "buckets": (int, None),
    "seed": int,
    "cardinality": int,
}
_TRANSFORMS = ("standard", "log1p", "cdf", "minmax", "none")
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
)
"""What may be raised by reading files of a plan that are damaged."""
_SHAPE = {
    "numerics": [
        {
            "name": str,
            "column": str,
            "transform": str,
            "clip": ([(float, None)], None),
            "mean": float,
            "scale": float,
            "cuts": [float],
            "flagged": bool,
            "bucket_cuts": ([float], None),
        }
    ],
    "categoricals": [_OF_FIELD],
    "multi_valued": [{**_OF_FIELD, "weights": (str, None), "pooling": str}],
    "crosses": [
        {"name": str, "fields": [str], "buckets": (int, None), "distinct": (int, None), "cuts?": {str: [float]}}
    ],
    "digest": str,
    "checksums": {str: str},
    "sizes?": {str: [int]},
}
"""What `plan.json` holds, besides its format."""


@dataclass(frozen=True)
class IndexColumn:
    """One column of indices in the encoded table: Int32, or List(Int32) if rows have several values."""

    name: str
    kind: Literal["categorical", "bucketed", "cross"]
    """`bucketed` and `cross` belong to the wide part only."""
    size: int
    """Number of indices, which is the number of rows that a table needs: missing, unknown, known values or buckets."""
    fields: tuple[str, ...]
    """The fields that it is made of."""
    embedding_dim: int | None
    """Width of the embedding that the recipe asks for; None leaves it to the model."""
    shared: str | None = None
    """Columns that name the same vocabulary share embedding rows."""
    pooling: Literal["sum", "mean", "max"] | None = None
    """How the embeddings of a row's values become one; None if every row has one index."""
    weights: str | None = None
    """Encoded column of the values' weights, List(Float32), if they have weights."""

    @property
    def cardinality(self) -> int:
        """Number of values that have an index of their own, or of buckets."""
        return self.size - FIRST


@dataclass(frozen=True)
class FeaturePlan:
    """Fitted fields, in the recipe's order."""

    numerics: tuple[FittedNumeric, ...]
    categoricals: tuple[FittedCategorical, ...]
    multi_valued: tuple[FittedMultiValued, ...]
    crosses: tuple[FittedCross, ...]

    @property
    def index_columns(self) -> tuple[IndexColumn, ...]:
        """The columns of indices: categorical fields, multi-valued fields, bucketed numbers, crosses."""
        columns = []
        for field in self.vocabulary_fields:
            column = IndexColumn(
                field.name,
                "categorical",
                field.size,
                (field.name,),
                field.embedding_dim,
                field.shared,
            )
            if isinstance(field, FittedMultiValued):
                weights = None if field.weights is None else weight_name(field.name)
                column = replace(column, pooling=field.pooling, weights=weights)
            columns.append(column)
        for number in self.numerics:
            if number.bucket_cuts is not None:
                size = FIRST + len(number.bucket_cuts) + 1
                columns.append(IndexColumn(bucket_name(number.name), "bucketed", size, (number.name,), None))
        for cross in self.crosses:
            column = IndexColumn(cross.name, "cross", cross.size, cross.fields, None)
            lists = self.list_members(cross)
            if lists:
                weighted = any(field.weights is not None for field in lists)
                column = replace(column, pooling="sum", weights=weight_name(cross.name) if weighted else None)
            columns.append(column)
        return tuple(columns)

    @property
    def vocabulary_fields(self) -> tuple[FittedCategorical, ...]:
        """The fields encoded by vocabulary or by hash: those with one value a row, then those with several."""
        return (*self.categoricals, *self.multi_valued)

    @property
    def cross_columns(self) -> tuple[IndexColumn, ...]:
        """The index columns of crosses: those with one value a row, then those with several."""
        crosses = [column for column in self.index_columns if column.kind == "cross"]
        return tuple(sorted(crosses, key=lambda column: column.pooling is not None))

    @property
    def numeric_columns(self) -> tuple[str, ...]:
        """The Float32 columns: each numeric field, followed by its missing flag if it has one."""
        return tuple(
            name
            for number in self.numerics
            for name in (number.name, *([flag_name(number.name)] if number.flagged else []))
        )

    def required_columns(self) -> tuple[str, ...]:
        """The typed columns that encoding reads."""
        lists = (name for field in self.multi_valued for name in (field.column, field.weights) if name is not None)
        return tuple(
            dict.fromkeys([*(n.column for n in self.numerics), *(field.column for field in self.categoricals), *lists])
        )

    def columns_of(self, crosses: Iterable[FittedCross]) -> tuple[str, ...]:
        """The typed columns that the members of crosses are made from, with the weights of lists."""
        names = {name for cross in crosses for name in cross.fields}
        members = [member for name, member in self.members().items() if name in names]
        weights = [field.weights for field in members if isinstance(field, FittedMultiValued)]
        return tuple(dict.fromkeys([*(member.column for member in members), *filter(None, weights)]))

    def required_types(self) -> dict[str, pl.DataType]:
        """Column → type of `required_columns`: Float64, String, List(String), List(Float32) for weights of lists."""
        types: dict[str, pl.DataType] = {number.column: pl.Float64() for number in self.numerics}
        types |= {field.column: pl.String() for field in self.categoricals}
        types |= {field.column: pl.List(pl.String) for field in self.multi_valued}
        return types | {f.weights: pl.List(pl.Float32) for f in self.multi_valued if f.weights is not None}

    def encode(self, rows: pl.DataFrame | CodedRows, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Typed rows → encoded rows in the same order: Int32 indices, lists of indices, Float32 numbers.

        With `columns`, only those are made. In a coded column each distinct value is looked up, hashed or scaled once.
        A row's list is never empty: a missing list holds the index MISSING alone.
        """
        rows = CodedRows.of(rows)
        wanted = (
            {*self.numeric_columns, *(column.name for column in self.index_columns)} if columns is None else {*columns}
        )
        fields = [field for name, field in self._field_expressions.items() if name in wanted]
        without_lists = [cross for cross in self.crosses if cross.name in wanted and not self.list_members(cross)]
        of_cells = {cross.name: self._of_cells(rows, cross) for cross in without_lists} if rows.values else {}
        by_rows = [cross for cross in without_lists if of_cells.get(cross.name) is None]
        fields_and_hashes = rows.select([*fields, *self._hashes(by_rows)])
        queries = [fields_and_hashes.lazy().select(cross.index() for cross in by_rows)] if by_rows else []
        if self.multi_valued:
            queries += self._encoded_lists(rows.decoded().lazy(), wanted)
        # The rows are in memory, where the streaming engine takes twice the time, and four times for few rows.
        others = pl.concat(queries, how="horizontal").collect(engine="in-memory") if queries else pl.DataFrame()
        crosses = [
            others[cross.name] if (made := of_cells.get(cross.name)) is None else made for cross in without_lists
        ]
        frame = pl.DataFrame([*fields_and_hashes[:, : len(fields)], *crosses, *others[:, len(by_rows) :]])
        return frame if columns is None else frame.select(columns)

    def _of_cells(self, rows: CodedRows, cross: FittedCross) -> pl.Series | None:
        """The indices of a cross, looked up once for each combination of values; None where these are many."""
        cells = rows.cells(self.member_columns(cross))
        if cells is None:
            return None

        def indices() -> pl.Series:
            every = np.arange(cells.count, dtype=np.uint32)
            return self.hashes_of_cells(rows, cross, cells, every).select(cross.index()).to_series()

        return rows.known(cross, indices)[pl.Series(values=cells.of_rows())]

    def hashes_of_cells(
        self, rows: CodedRows, cross: FittedCross, cells: Cells, chosen: NDArray[np.uint32]
    ) -> pl.DataFrame:
        """The hashes of a cross's members, for the `chosen` of the `cells` of its `member_columns`."""
        columns, positions = self.member_columns(cross), cells.positions(chosen)
        return pl.DataFrame(
            rows.of_values(hashed, column)[pl.Series(values=position)]
            for hashed, column, position in zip(self._hashes([cross]), columns, positions, strict=True)
        )

    def member_columns(self, cross: FittedCross) -> list[str]:
        """The typed columns of a cross's members, in order."""
        members = self.members()
        return [members[name].column for name in cross.fields]

    def _hashes(self, crosses: Sequence[FittedCross]) -> list[pl.Expr]:
        """`member_hashes` of crosses without lists, made once."""
        names = tuple(cross.name for cross in crosses)
        if names not in self._hashes_of:
            self._hashes_of[names] = self.member_hashes(crosses)
        return self._hashes_of[names]

    @cached_property
    def _field_expressions(self) -> dict[str, pl.Expr]:
        """Encoded column → the expression for it, for all that are made of single columns."""
        # Cached, because making thousands of expressions takes longer than encoding a block with them.
        expressions = [
            *(field.index() for field in self.categoricals),
            *(number.bucket_index() for number in self.numerics if number.bucket_cuts is not None),
            *(number.scaled() for number in self.numerics),
            *(number.flag() for number in self.numerics if number.flagged),
        ]
        return {expression.meta.output_name(): expression for expression in expressions}

    @cached_property
    def _hashes_of(self) -> dict[tuple[str, ...], list[pl.Expr]]:
        """Names of crosses → the hashes of their members, as far as they were asked for."""
        return {}

    def _encoded_lists(self, frame: pl.LazyFrame, wanted: Set[str]) -> list[pl.LazyFrame]:
        fields = [field for field in self.multi_valued if field.name in wanted]
        crosses = [cross for cross in self.crosses if cross.name in wanted and self.list_members(cross)]
        return [
            *(self._encoded_list(frame, field) for field in fields),
            *(self._encoded_cross(frame, cross) for cross in crosses),
        ]

    def _encoded_list(self, frame: pl.LazyFrame, field: FittedMultiValued) -> pl.LazyFrame:
        weights = [] if field.weights is None else [field.weights]
        flat = frame.select(field.column, *weights).with_row_index(_ROW).explode([field.column, *weights])
        weight = [pl.col(name).fill_null(1.0).alias(weight_name(field.name)) for name in weights]
        return _packed(flat.select(_ROW, field.index(), *weight))

    def _encoded_cross(self, frame: pl.LazyFrame, cross: FittedCross) -> pl.LazyFrame:
        flat = self.cross_rows(frame, cross)
        weighted = [field.weights for field in self.list_members(cross) if field.weights is not None]
        weight = [_product(weighted).alias(weight_name(cross.name))] if weighted else []
        return _packed(flat.select(_ROW, cross.index(), *weight))

    def cross_rows(self, frame: pl.LazyFrame, cross: FittedCross) -> pl.LazyFrame:
        """A row for every combination of values of a cross, in the order of the rows.

        It holds the members' columns and hashes, the weights of lists, and the row's number.
        """
        lists = self.list_members(cross)
        columns = [name for field in lists for name in (field.column, field.weights) if name is not None]
        members = self.members()
        columns += [members[name].column for name in cross.fields if members[name] not in lists]
        single_hashes = self.member_hashes([cross], without=lists)
        flat = frame.select(*single_hashes, *dict.fromkeys(columns)).with_row_index(_ROW)
        for field in lists:
            flat = flat.explode([name for name in (field.column, field.weights) if name is not None])
        return flat.with_columns(field.member_hash().alias(hash_name(field.name)) for field in lists)

    def member_hashes(self, crosses: Sequence[FittedCross], without: Sequence[FittedMultiValued] = ()) -> list[pl.Expr]:
        """UInt64 hashes of the members of crosses, except members in `without`.

        A field with the same cut points in several crosses is hashed once.
        """
        members = {name: member for name, member in self.members().items() if member not in without}
        hashes = {}
        for cross in crosses:
            for name, column in cross.hash_columns.items():
                if name in members and column not in hashes:
                    hashes[column] = _cut(members[name], cross.cuts.get(name)).member_hash().alias(column)
        return list(hashes.values())

    def list_members(self, cross: FittedCross) -> list[FittedMultiValued]:
        """The multi-valued fields among a cross's members. With any, a row can have several values of the cross."""
        return [field for field in self.multi_valued if field.name in cross.fields]

    def members(self) -> dict[str, FittedNumeric | FittedCategorical]:
        """Name → field, for every field that may be a member of a cross."""
        fields: list[FittedNumeric | FittedCategorical] = [*self.numerics, *self.vocabulary_fields]
        return {field.name: field for field in fields}

    def cross_members(self, cross: FittedCross) -> dict[str, FittedNumeric | FittedCategorical]:
        """Name → field, for a cross's members in order; numbers have the cut points of this cross."""
        members = self.members()
        return {name: _cut(members[name], cross.cuts.get(name)) for name in cross.fields}

    def count_unseen(self, typed: pl.DataFrame, encoded: pl.DataFrame) -> UnseenCounts:
        """For each field the rows of a typed frame whose value is missing or unseen, given the frame's encoding.

        A list is unseen if at least one of its values is. Missing numbers are counted in the typed frame, because
        encoded numbers tell only if train had missing values too.
        """
        counts = {
            field.name: {
                "missing": int((encoded[field.name] == MISSING).sum()),
                "unseen": int((encoded[field.name] == UNKNOWN).sum()),
            }
            for field in self.categoricals
        }
        for number in self.numerics:
            counts[number.name] = {"missing": typed[number.column].null_count(), "unseen": 0}
        for field in self.multi_valued:
            unseen = int(encoded[field.name].list.contains(UNKNOWN).sum())
            counts[field.name] = {"missing": typed[field.column].null_count(), "unseen": unseen}
        return counts

    @cached_property
    def digest(self) -> str:
        """Hash of everything that was fitted: two plans are equal if and only if their digests are."""
        # The facts are those of format 1, so that a plan has one digest in whatever format it was saved.
        facts = json.dumps({"format": 1, **self._facts()}, sort_keys=True)
        digest = hashlib.blake2b(facts.encode(), digest_size=16)
        for group in together(self._vocabularies()):
            counts = pl.concat(group.values())
            digest.update(counts.select(counts_text(counts)).write_ndjson().encode())
        return digest.hexdigest()

    def _facts(self) -> dict[str, Any]:
        return {
            "numerics": [asdict(number) for number in self.numerics],
            "categoricals": [_without_vocabulary(field) for field in self.categoricals],
            "multi_valued": [_without_vocabulary(field) for field in self.multi_valued],
            "crosses": [_cross_facts(cross) for cross in self.crosses],
        }

    def save(self, directory: Path) -> None:
        """Write `plan.json` and the vocabularies into a new directory: Arrow files, each called as the first in it."""
        folder = directory / _VOCABULARIES
        with writing(directory):
            folder.mkdir(parents=True)
        checksums, sizes = {}, {}
        for group in together(self._vocabularies()):
            name = next(iter(group))
            with writing(directory), (folder / name).open("wb") as file:
                laid_out_anew(pl.concat(group.values())).write_ipc(file)
            checksums[name] = digest_of_bytes((folder / name).read_bytes())
            sizes[name] = [len(vocabulary) for vocabulary in group.values()]
        facts = {"format": PLAN_FORMAT, **self._facts()}
        write_json(directory / "plan.json", {**facts, "digest": self.digest, "checksums": checksums, "sizes": sizes})

    def refuse_unfit(self) -> None:
        """Raise ValueError for what no fit makes: names that stand for two things or for none, counts below 1."""
        names = self.members().keys()
        if len(names) < len(self.numerics) + len(self.vocabulary_fields):
            raise ValueError("two fields have one name")
        if not all([*names, *(cross.name for cross in self.crosses)]):
            raise ValueError("a field or a cross has no name")
        for number in self.numerics:
            if number.transform not in _TRANSFORMS:
                raise ValueError(f"{number.name} has the unknown transform {number.transform[:40]!r}")
            if any(list(cuts) != sorted(cuts) for cuts in (number.cuts, number.bucket_cuts or ())):
                raise ValueError(f"the cut points of {number.name} do not ascend")
            if number.clip is not None and len(number.clip) != 2:
                raise ValueError(f"{number.name} has a clip without two bounds")
        sizes = {made.name: made.buckets for made in self.vocabulary_fields}
        sizes |= {cross.name: cross.buckets for cross in self.crosses}
        for name, buckets in sizes.items():
            if buckets is not None and not 1 <= buckets < 2**31 - FIRST:
                raise ValueError(f"{name} has {buckets} buckets")
        for field in self.vocabulary_fields:
            dim = field.embedding_dim
            if field.seed < 0 or (dim is not None and not 0 < dim < 2**20):
                raise ValueError(f"{field.name} has no seed, or no possible dimension")
        if unpooled := [field.name for field in self.multi_valued if field.pooling not in ("sum", "mean", "max")]:
            raise ValueError(f"{unpooled[0]} has an unknown pooling")
        for cross in self.crosses:
            if len(cross.fields) < 2 or not {*cross.fields, *cross.cuts} <= names:
                raise ValueError(f"the cross {cross.name} is of fields that are not there")
            if uncut := [n.name for n in self.numerics if n.name in cross.fields and self._cuts_in(n, cross) is None]:
                raise ValueError(f"the cross {cross.name} has no cut points for {uncut[0]}")

    @staticmethod
    def _cuts_in(number: FittedNumeric, cross: FittedCross) -> tuple[float, ...] | None:
        return cross.cuts.get(number.name, number.bucket_cuts)

    def _vocabularies(self) -> Iterator[tuple[str, pl.DataFrame]]:
        for number, field in enumerate(self.categoricals):
            yield f"field-{number:04d}.arrow", field.vocabulary
        for number, field in enumerate(self.multi_valued):
            yield f"list-{number:04d}.arrow", field.vocabulary
        for number, cross in enumerate(self.crosses):
            yield f"cross-{number:04d}.arrow", cross.vocabulary

    @classmethod
    def load(cls, directory: Path) -> "FeaturePlan":
        """Read what `save` wrote. Raises ArtefactError for a missing, damaged or newer plan."""
        path = directory / "plan.json"
        facts = read_json_artefact(path, "no readable plan: restore it from a copy or train again")
        require_shape(facts, {"format": int}, path)
        if facts["format"] > PLAN_FORMAT:
            raise ArtefactError(f"{path}: written by a newer widedeep (format {facts['format']}): upgrade to read it")
        require_shape(facts, _SHAPE, path)
        try:
            vocabularies = _read_vocabularies(directory / _VOCABULARIES, facts)

            def vocabulary(kind: str, number: int) -> pl.DataFrame:
                name = f"{kind}-{number:04d}.arrow"
                return vocabularies[name]

            plan = cls(
                tuple(FittedNumeric(**_tuples(number)) for number in facts["numerics"]),
                tuple(
                    FittedCategorical(**field, vocabulary=vocabulary("field", i))
                    for i, field in enumerate(facts["categoricals"])
                ),
                tuple(
                    FittedMultiValued(**field, vocabulary=vocabulary("list", i))
                    for i, field in enumerate(facts["multi_valued"])
                ),
                tuple(
                    FittedCross(**_cross_settings(cross), vocabulary=vocabulary("cross", i))
                    for i, cross in enumerate(facts["crosses"])
                ),
            )
            if plan.digest != facts["digest"]:
                raise ValueError("its content does not match its digest")
            plan.refuse_unfit()
        except UNREADABLE as error:
            raise ArtefactError(f"{path}: no readable plan ({error}): restore it from a copy or train again") from error
        return plan


def laid_out_anew(counts: pl.DataFrame) -> pl.DataFrame:
    """The same frame with its texts one after the other: how they lie in memory depends on how they were counted, and
    would show in the bytes of a file."""
    content = io.BytesIO()
    counts.rechunk().write_ipc(content, compat_level=pl.CompatLevel.oldest())
    content.seek(0)
    return pl.read_ipc(content)


def together(vocabularies: Iterable[tuple[str, pl.DataFrame]]) -> Iterator[dict[str, pl.DataFrame]]:
    """The named frames in their order, those of equal columns in groups of few values: a large one is alone.

    An empty frame has the columns of its group: those of hashed fields would part all others where these say how long
    values are unseen.
    """
    group: dict[str, pl.DataFrame] = {}
    num_values, filled = 0, None
    for name, vocabulary in vocabularies:
        num_values += len(vocabulary)
        if group and (num_values > _VALUES_TOGETHER or not _may_lie_together(group, filled, vocabulary)):
            yield _of_equal_columns(group, filled)
            group, num_values, filled = {}, len(vocabulary), None
        group[name] = vocabulary
        if filled is None and len(vocabulary):
            filled = vocabulary
    if group:
        yield _of_equal_columns(group, filled)


def _may_lie_together(group: Mapping[str, pl.DataFrame], filled: pl.DataFrame | None, vocabulary: pl.DataFrame) -> bool:
    """`filled`: the first frame of the group that is not empty."""
    if filled is None or vocabulary.is_empty():
        return vocabulary["value"].dtype == next(iter(group.values()))["value"].dtype
    return vocabulary.schema == filled.schema


def _of_equal_columns(group: dict[str, pl.DataFrame], filled: pl.DataFrame | None) -> dict[str, pl.DataFrame]:
    empty = (next(iter(group.values())) if filled is None else filled).clear()
    return {name: vocabulary if len(vocabulary) else empty for name, vocabulary in group.items()}


def _read_vocabularies(folder: Path, facts: Mapping[str, Any]) -> dict[str, pl.DataFrame]:
    """Name → vocabulary, of a plan with these facts. Raises what `read_counts` does."""
    kinds = {"field": "categoricals", "list": "multi_valued", "cross": "crosses"}
    names = (f"{kind}-{number:04d}.arrow" for kind, part in kinds.items() for number in range(len(facts[part])))
    vocabularies: dict[str, pl.DataFrame] = {}
    for name in names:
        of_cross = name.startswith("cross")
        values = read_counts(folder / name, facts["checksums"][name], of_cross=of_cross)
        sizes = [len(values)] if facts["format"] == 1 else facts["sizes"][name]
        if min(sizes, default=-1) < 0 or sum(sizes) != len(values):
            raise ValueError(f"{name} holds other vocabularies than are noted")
        held, start = (name, *islice(names, len(sizes) - 1)), 0
        for held_name, size in zip(held, sizes, strict=True):
            if held_name.startswith("cross") != of_cross:
                raise ValueError(f"{name} holds both fields and crosses")
            own = values.slice(start, size)
            vocabularies[held_name] = own if size else own.select("value", "count")  # the others may have more columns
            start += size
    return vocabularies


def _packed(flat: pl.LazyFrame) -> pl.LazyFrame:
    """The flat rows gathered into lists, one for each row of the frame that was exploded; no list is empty."""
    return flat.group_by(_ROW, maintain_order=True).agg(pl.all()).drop(_ROW)


def _product(weights: list[str]) -> pl.Expr:
    """The product of the weights of the values in a combination; a missing list weighs 1."""
    product = pl.lit(1.0, dtype=pl.Float32)
    for name in weights:
        product = product * pl.col(name).fill_null(1.0)
    return product


def read_counts(path: Path, expected: str, *, of_cross: bool) -> pl.DataFrame:
    """The values and counts of a vocabulary, from an Arrow file whose digest is as `expected`.

    Raises what is `UNREADABLE`, and ArtefactError for a file that may not be read.
    """
    check_readable(path)
    content = path.read_bytes()
    # Checked before parsing, because Polars may panic on damaged Arrow bytes.
    if digest_of_bytes(content) != expected:
        raise ValueError(f"{path.name} is damaged")
    counts = pl.read_ipc(content)
    if counts.schema.get("value") != (pl.UInt64 if of_cross else pl.String):
        raise ValueError(f"{path.name} holds no values of a {'cross' if of_cross else 'field'}")
    if not counts.schema.get("count", pl.Null()).is_integer():
        raise ValueError(f"{path.name} holds no counts")
    if UNSEEN in counts.columns and not (
        counts.schema[UNSEEN] == pl.Int32 and counts[UNSEEN].is_between(0, 2**30).all()
    ):
        raise ValueError(f"{path.name} does not say how long its values are unseen")
    return counts


def counts_text(counts: pl.DataFrame) -> pl.Expr:
    """Each row of a frame of `value`, `count` and perhaps `unseen_runs` as a text, for a digest."""
    return pl.concat_str("value", "count", *(name for name in counts.columns if name == UNSEEN), separator="\0")


def _without_vocabulary(fitted: FittedCategorical | FittedCross) -> dict[str, Any]:
    names = [field.name for field in fields(fitted) if field.name != "vocabulary"]
    return {name: getattr(fitted, name) for name in names}


def _cross_facts(cross: FittedCross) -> dict[str, Any]:
    # The key is left out where there are no cuts, so that such plans have the digest they had before cuts existed.
    facts = _without_vocabulary(cross)
    return facts if cross.cuts else {name: value for name, value in facts.items() if name != "cuts"}


def _cross_settings(facts: dict[str, Any]) -> dict[str, Any]:
    return _tuples({**facts, "cuts": _tuples(facts.get("cuts", {}))})


def _cut(
    member: FittedNumeric | FittedCategorical, cuts: tuple[float, ...] | None
) -> FittedNumeric | FittedCategorical:
    return replace(member, bucket_cuts=cuts) if isinstance(member, FittedNumeric) and cuts is not None else member


def _tuples(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
