"""Counts of the values that a plan gave no index, kept so that a run that goes on can add new rows to them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from widedeep.artefacts import digest_of_bytes, read_json_artefact, require_shape
from widedeep.errors import ArtefactError
from widedeep.features.plan import UNREADABLE, counts_text, read_counts
from widedeep.files import write_json, writing

_INDEX = "rare.json"
CROSS_PREFIX = "cross "
"""What the name of a cross's vocabulary begins with."""


@dataclass
class RareCounts:
    """Counts of rare values by vocabulary, each a frame of `value` (String, of crosses UInt64) and `count` (Int64).

    With `training.evict` they say too how long a value is unseen, as vocabularies do.
    """

    vocabularies: dict[str, pl.DataFrame] = field(default_factory=dict)
    """Vocabulary, as `vocabulary_key` and `cross_key` name it → its rare values by (-count, value)."""

    @property
    def digest(self) -> str:
        """Hash of all counts."""
        digest = hashlib.blake2b(digest_size=16)
        for name, counts in self._with_values():
            digest.update(json.dumps(name).encode())
            digest.update(counts.select(counts_text(counts)).write_ndjson().encode())
        return digest.hexdigest()

    def save(self, directory: Path) -> None:
        """Write `rare.json` and an Arrow file for each vocabulary that has rare values into a new directory."""
        with writing(directory):
            directory.mkdir(parents=True)
        entries: dict[str, dict[str, Any]] = {}
        for number, (name, counts) in enumerate(self._with_values()):
            path = directory / f"rare-{number:04d}.arrow"
            with writing(path), path.open("wb") as file:
                counts.write_ipc(file, compression="lz4")
            entries[name] = {"file": path.name, "checksum": digest_of_bytes(path.read_bytes())}
        write_json(directory / _INDEX, {"vocabularies": entries, "digest": self.digest})

    @classmethod
    def load(cls, directory: Path) -> "RareCounts":
        """Read what `save` wrote. Raises ArtefactError for missing or damaged counts."""
        try:
            return cls(
                {
                    name: read_counts(
                        directory / Path(entry["file"]).name, entry["checksum"], of_cross=name.startswith(CROSS_PREFIX)
                    )
                    for name, entry in _index(directory)["vocabularies"].items()
                }
            )
        except UNREADABLE as error:
            raise ArtefactError(
                f"{directory / _INDEX}: cannot read the counts of rare values ({error}): the run is damaged; restore "
                "it from a copy"
            ) from error

    @staticmethod
    def saved_digest(directory: Path) -> str:
        """The `digest` of what `save` wrote. Raises ArtefactError for missing or damaged counts."""
        return str(_index(directory)["digest"])

    def _with_values(self) -> Iterator[tuple[str, pl.DataFrame]]:
        return ((name, counts) for name, counts in sorted(self.vocabularies.items()) if len(counts))


def _index(directory: Path) -> dict[str, Any]:
    path = directory / _INDEX
    facts: dict[str, Any] = read_json_artefact(path, "the run is damaged; restore it from a copy")
    require_shape(facts, {"vocabularies": {str: {"file": str, "checksum": str}}, "digest": str}, path)
    return facts
