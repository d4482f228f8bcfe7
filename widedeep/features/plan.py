"""The feature plan: everything that was fitted on train rows (see fit.py), and the encoding that follows from it."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import polars as pl

from widedeep.errors import ArtefactError
from widedeep.features.fields import (
    FIRST,
    MISSING,
    UNKNOWN,
    FittedCategorical,
    FittedCross,
    FittedNumeric,
    bucket_name,
    flag_name,
)
from widedeep.files import write_json, writing

PLAN_FORMAT = 1
"""Format version of a saved plan; one of a newer format is refused."""
_VOCABULARIES = "vocabularies"


@dataclass(frozen=True)
class IndexColumn:
    """One Int32 column of the encoded table."""

    name: str
    kind: Literal["categorical", "bucketed", "cross"]
    """`bucketed` and `cross` belong to the wide part only."""
    size: int
    """Rows that a table for it needs: missing, unknown, and the known values or buckets."""
    fields: tuple[str, ...]
    """The fields that it is made of."""
    embedding_dim: int | None
    """Width that the recipe asks for; None leaves it to the model."""
    cardinality: int
    """Values that have an index of their own, or the buckets."""


@dataclass(frozen=True)
class FeaturePlan:
    """Fitted fields, in the recipe's order."""

    numerics: tuple[FittedNumeric, ...]
    categoricals: tuple[FittedCategorical, ...]
    crosses: tuple[FittedCross, ...]

    @property
    def index_columns(self) -> tuple[IndexColumn, ...]:
        """Categorical fields, then bucketed numerics, then crosses."""
        columns = [
            IndexColumn(field.name, "categorical", field.size, (field.name,), field.embedding_dim, field.cardinality)
            for field in self.categoricals
        ]
        for number in self.numerics:
            if number.bucket_cuts is not None:
                buckets = len(number.bucket_cuts) + 1
                name = bucket_name(number.name)
                columns.append(IndexColumn(name, "bucketed", buckets + 2, (number.name,), None, buckets))
        for cross in self.crosses:
            columns.append(IndexColumn(cross.name, "cross", cross.size, cross.fields, None, cross.size - FIRST))
        return tuple(columns)

    @property
    def numeric_columns(self) -> tuple[str, ...]:
        """The Float32 columns: each numeric field, followed by its missing flag where it has one."""
        return tuple(
            name
            for number in self.numerics
            for name in (number.name, *([flag_name(number.name)] if number.flagged else []))
        )

    def required_columns(self) -> dict[str, Literal["number", "text"]]:
        """The typed columns that encoding reads."""
        required: dict[str, Literal["number", "text"]] = {number.column: "number" for number in self.numerics}
        return required | {field.column: "text" for field in self.categoricals}

    def encode(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Typed rows → Int32 indices and Float32 numbers, row by row, order kept; only Polars expressions."""
        return self.encode_lazily(frame.lazy()).collect()

    def encode_lazily(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """`encode` as a query, the same for any engine and chunking."""
        hash_columns = {field: f"\0hash of {field}" for cross in self.crosses for field in cross.fields}
        members = self.members()
        # Each member is hashed once, whatever the number of crosses that it is in.
        hashed = frame.with_columns(members[name].member_hash().alias(column) for name, column in hash_columns.items())
        return hashed.select(
            *(field.index() for field in self.categoricals),
            *(number.bucket_index() for number in self.numerics if number.bucket_cuts is not None),
            *(cross.index(hash_columns) for cross in self.crosses),
            *(number.scaled() for number in self.numerics),
            *(number.flag() for number in self.numerics if number.flagged),
        )

    def members(self) -> dict[str, FittedNumeric | FittedCategorical]:
        """Name → field, for every field that may stand in a cross."""
        fields: list[FittedNumeric | FittedCategorical] = [*self.numerics, *self.categoricals]
        return {field.name: field for field in fields}

    def count_unseen(self, typed: pl.DataFrame, encoded: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Per field: rows that are missing or unseen in a typed frame and its encoding.

        A number's missing values are counted in the typed frame: encoded ones show only where train had some, too.
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
        return counts

    @property
    def digest(self) -> str:
        """Hash over everything that was fitted: equal plans, and only they, have equal ones."""
        digest = hashlib.blake2b(json.dumps(self._facts(), sort_keys=True).encode(), digest_size=16)
        for _, vocabulary in self._vocabularies():
            digest.update(vocabulary.select(pl.concat_str("value", "count", separator="\0")).write_ndjson().encode())
        return digest.hexdigest()

    def _facts(self) -> dict[str, Any]:
        return {
            "format": PLAN_FORMAT,
            "numerics": [asdict(number) for number in self.numerics],
            "categoricals": [_without_vocabulary(field) for field in self.categoricals],
            "crosses": [_without_vocabulary(cross) for cross in self.crosses],
        }

    def save(self, directory: Path) -> None:
        """Write `plan.json` and one Arrow file per vocabulary into a new directory."""
        folder = directory / _VOCABULARIES
        with writing(directory):
            folder.mkdir(parents=True)
            for name, vocabulary in self._vocabularies():
                with (folder / name).open("wb") as file:
                    vocabulary.write_ipc(file)
        checksums = {name: _checksum((folder / name).read_bytes()) for name, _ in self._vocabularies()}
        write_json(directory / "plan.json", {**self._facts(), "digest": self.digest, "checksums": checksums})

    def _vocabularies(self) -> Iterator[tuple[str, pl.DataFrame]]:
        for number, field in enumerate(self.categoricals):
            yield f"field-{number:04d}.arrow", field.vocabulary
        for number, cross in enumerate(self.crosses):
            yield f"cross-{number:04d}.arrow", cross.vocabulary

    @classmethod
    def load(cls, directory: Path) -> "FeaturePlan":
        """Read what `save` wrote. Raises ArtefactError for a missing, damaged or newer plan."""
        path = directory / "plan.json"
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            if facts["format"] > PLAN_FORMAT:
                raise ArtefactError(
                    f"{path}: written by a newer widedeep (format {facts['format']}): upgrade to read it"
                )
            folder = directory / _VOCABULARIES

            def vocabulary(kind: str, number: int) -> pl.DataFrame:
                name = f"{kind}-{number:04d}.arrow"
                content = (folder / name).read_bytes()
                # Before it is parsed: Polars may panic on damaged Arrow bytes.
                if _checksum(content) != facts["checksums"][name]:
                    raise ValueError(f"{name} is damaged")
                return pl.read_ipc(content)

            plan = cls(
                tuple(FittedNumeric(**_tuples(number)) for number in facts["numerics"]),
                tuple(
                    FittedCategorical(**field, vocabulary=vocabulary("field", i))
                    for i, field in enumerate(facts["categoricals"])
                ),
                tuple(
                    FittedCross(**_tuples(cross), vocabulary=vocabulary("cross", i))
                    for i, cross in enumerate(facts["crosses"])
                ),
            )
            if plan.digest != facts["digest"]:
                raise ValueError("its digest does not fit")
        except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
            raise ArtefactError(f"{path}: no readable plan ({error}): restore it from a copy or train again") from error
        return plan


def _checksum(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _without_vocabulary(holder: FittedCategorical | FittedCross) -> dict[str, Any]:
    names = [field.name for field in fields(holder) if field.name != "vocabulary"]
    return {name: getattr(holder, name) for name in names}


def _tuples(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
