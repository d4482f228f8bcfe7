"""Counts of the values that a plan gave no index, kept so that a run that goes on can add new rows to them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from widedeep.artefacts import digest_of_bytes, read_json_artefact, require_shape
from widedeep.errors import ArtefactError
from widedeep.features.plan import UNREADABLE, counts_text, laid_out_anew, read_counts, together
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
        for group in together(self._with_values()):
            counted = pl.concat(group.values())
            text = counted.select(counts_text(counted)).write_ndjson()
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
                laid_out_anew(pl.concat(group.values())).write_ipc(file, compression="lz4")
            checksum = digest_of_bytes(path.read_bytes())
            for name, counts in group.items():
                entries[name] = {"file": path.name, "checksum": checksum, "size": len(counts)}
        write_json(directory / _INDEX, {"vocabularies": entries, "digest": self.digest})

    @classmethod
    def load(cls, directory: Path) -> "RareCounts":
        """Read what `save` wrote. Raises ArtefactError for missing or damaged counts."""
        try:
            return cls(_read(directory))
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
    entry = {"file": str, "checksum": str, "size?": int}
    require_shape(facts, {"vocabularies": {str: entry}, "digest": str}, path)
    return facts


def _read(directory: Path) -> dict[str, pl.DataFrame]:
    """Vocabulary → its counts, of what `save` wrote. Raises what `read_counts` does."""
    vocabularies: dict[str, pl.DataFrame] = {}
    unread: dict[tuple[str, str, bool], pl.DataFrame] = {}
    for name, entry in _index(directory)["vocabularies"].items():
        file = Path(entry["file"]).name, entry["checksum"], name.startswith(CROSS_PREFIX)
        if file not in unread:
            unread[file] = read_counts(directory / file[0], file[1], of_cross=file[2])
        rest = unread[file]
        size = entry.get("size", len(rest))  # which runs of older versions lack: each of their files holds one
        if not 0 <= size <= len(rest):
            raise ValueError(f"{file[0]} holds other counts than are noted")
        vocabularies[name], unread[file] = rest.head(size), rest.slice(size)
    if left := [file for (file, _, _), rest in unread.items() if len(rest)]:
        raise ValueError(f"{left[0]} holds other counts than are noted")
    return vocabularies
