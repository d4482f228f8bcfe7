"""Counts of the values that a plan gave no index, kept so that a run that goes on can add new rows to them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from widedeep.errors import ArtefactError
from widedeep.features.plan import together
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
        value_and_count = pl.concat_str("value", "count", separator="\0")
        for group in together(self._with_values()):
            text = pl.concat(group.values()).select(value_and_count).write_ndjson()
            lines = iter(text.encode().splitlines(keepends=True))  # texts have more line breaks than bytes
            for name, counts in group.items():
                digest.update(json.dumps(name).encode())
                digest.update(b"".join(islice(lines, len(counts))))
        return digest.hexdigest()

    def save(self, directory: Path) -> None:
        """Write `rare.json` and the counts of vocabularies that have rare values, as Arrow, into a new directory."""
        with writing(directory):
            directory.mkdir(parents=True)
        entries: dict[str, dict[str, Any]] = {}
        for number, group in enumerate(together(self._with_values())):
            path = directory / f"rare-{number:04d}.arrow"
            with writing(path), path.open("wb") as file:
                pl.concat(group.values(), rechunk=len(group) > 1).write_ipc(file, compression="lz4")
            checksum, start = _checksum(path.read_bytes()), 0
            for name, counts in group.items():
                entries[name] = {"file": path.name, "checksum": checksum, "start": start, "size": len(counts)}
                start += len(counts)
        write_json(directory / _INDEX, {"vocabularies": entries, "digest": self.digest})

    @classmethod
    def load(cls, directory: Path) -> "RareCounts":
        """Read what `save` wrote. Raises ArtefactError for missing or damaged counts."""
        path = directory / _INDEX
        check_readable(path)
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))["vocabularies"]
            checksums = {entry["file"]: entry["checksum"] for entry in entries.values()}
            read = {name: _read(directory / Path(name).name, checksum) for name, checksum in checksums.items()}
            # Runs of older versions have a file for each.
            return cls(
                {
                    name: read[entry["file"]].slice(entry.get("start", 0), entry.get("size"))
                    for name, entry in entries.items()
                }
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
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
