"""Counts of the values that a plan gave no index, kept so that a run that goes on can add new rows to them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from widedeep.errors import ArtefactError
from widedeep.files import check_readable, write_json, writing

_INDEX = "rare.json"


@dataclass
class RareCounts:
    """Counts of rare values by vocabulary, each a frame of `value` (String, of crosses UInt64) and `count` (Int64)."""

    vocabularies: dict[str, pl.DataFrame] = field(default_factory=dict)
    """Vocabulary, as `vocabulary_key` and `cross_key` name it → its rare values by (-count, value)."""

    @property
    def digest(self) -> str:
        """Hash of all counts."""
        digest = hashlib.blake2b(digest_size=16)
        for name, counts in self._with_values():
            digest.update(json.dumps(name).encode())
            digest.update(counts.select(pl.concat_str("value", "count", separator="\0")).write_ndjson().encode())
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
            entries[name] = {"file": path.name, "checksum": _checksum(path.read_bytes())}
        write_json(directory / _INDEX, {"vocabularies": entries, "digest": self.digest})

    @classmethod
    def load(cls, directory: Path) -> "RareCounts":
        """Read what `save` wrote. Raises ArtefactError for missing or damaged counts."""
        path = directory / _INDEX
        check_readable(path)
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))["vocabularies"]
            return cls(
                {
                    name: _read(directory / Path(entry["file"]).name, entry["checksum"])
                    for name, entry in entries.items()
                }
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArtefactError(
                f"{path}: cannot read the counts of rare values ({error}): the run is damaged; restore it from a copy"
            ) from error

    def _with_values(self) -> Iterator[tuple[str, pl.DataFrame]]:
        return ((name, counts) for name, counts in sorted(self.vocabularies.items()) if len(counts))


def _read(path: Path, checksum: str) -> pl.DataFrame:
    check_readable(path)
    content = path.read_bytes()
    # Checked before parsing, because Polars may panic on damaged Arrow bytes.
    if _checksum(content) != checksum:
        raise ValueError(f"{path.name} is damaged")
    return pl.read_ipc(content)


def _checksum(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
