"""The encoded store of one split: uncompressed Arrow shards that can be memory-mapped, and a manifest with checksums.

Polars copies what it reads from the shards, so a reader holds what it asked for and no more.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.artefacts import digest_of_file
from widedeep.encoded.shard_layout import SIMPLE, ShardLayout, shard_layout
from widedeep.errors import ArtefactError
from widedeep.files import check_readable, for_polars, syncing, write_json, writing
from widedeep.lists import Lists
from widedeep.ordered import in_threads, map_in_order

STORE_FORMAT = 4
"""Format version of the store; a store of a newer format is refused."""
SHARD_ROWS = 1 << 18
"""Rows of one file of the store."""
RECORD_ROWS = 1 << 14
"""Rows of one Arrow record batch: the least that is read at a time, wherever a reader starts."""


@dataclass(frozen=True)
class Shard:
    """One file of a store."""

    name: str
    rows: int
    bytes: int
    checksum: str
    """blake2b of the file's bytes, 16 bytes in hexadecimal."""


def write_stores(stores: Iterable[tuple[Path, Iterable[pl.DataFrame]]], *, shard_rows: int = SHARD_ROWS) -> None:
    """Write each directory's encoded frames, in order, as shards of `shard_rows` rows; the last may be shorter.

    Columns are sorted by name. One store's last shards are written while the next one's are made.
    """
    dtypes: dict[Path, dict[str, str]] = {}
    shards: dict[Path, list[Shard]] = {}

    def paths_and_frames() -> Iterator[tuple[Path, list[pl.DataFrame]]]:
        for directory, frames in stores:
            with writing(directory):
                directory.mkdir(parents=True)
            dtypes[directory], numbers = {}, count()
            for frame in frames_of_shards(frames, shard_rows):
                # A query would join the columns' pieces here, on this thread, and not where the shard is written.
                waiting = [pl.DataFrame([frame[name] for name in sorted(frame.columns)])]
                dtypes[directory].update((name, str(dtype)) for name, dtype in waiting[0].schema.items())
                del frame  # so that the writer alone holds the pieces
                yield directory / shard_name(next(numbers)), waiting

    with syncing() as sync:

        def written(path_and_frame: tuple[Path, list[pl.DataFrame]]) -> tuple[Path, Shard]:
            path, frame = path_and_frame
            # Taken out of its list, so that its pieces are not held beside the whole.
            shard = write_shard(path, frame.pop().rechunk())
            sync(path)
            return path.parent, shard

        for directory, shard in map_in_order(written, paths_and_frames()):
            shards.setdefault(directory, []).append(shard)
    for directory, columns in dtypes.items():
        write_manifest(directory, columns, shards.get(directory, []))


def write_manifest(directory: Path, dtypes: Mapping[str, str], shards: Sequence[Shard]) -> None:
    """Make a store of shards that are written: their columns, sorted by name, with their types, and their order."""
    write_json(
        directory / "manifest.json",
        {
            "format": STORE_FORMAT,
            "rows": sum(shard.rows for shard in shards),
            "columns": dtypes,
            "shards": [vars(shard) for shard in shards],
        },
    )


def shard_name(number: int) -> str:
    """The file of a shard, counted from 0."""
    return f"shard-{number:05d}.arrow"


def write_shard(path: Path, frame: pl.DataFrame) -> Shard:
    """Write one file of a store; the frame's columns are sorted by name, each in one piece. Raises WriteError."""
    with writing(path), path.open("wb") as file:
        # A Python file tells the operating system's reason for a failure; given a path, Polars would drop it.
        frame.write_ipc(file, compression="uncompressed", record_batch_size=RECORD_ROWS)
    return Shard(path.name, len(frame), path.stat().st_size, digest_of_file(path))


def frames_of_shards(frames: Iterable[pl.DataFrame], shard_rows: int) -> Iterator[pl.DataFrame]:
    """Cut frames, in order, into those of `shard_rows` rows; the last may be shorter."""
    waiting: list[pl.DataFrame] = []
    rows = 0
    for frame in frames:
        start = 0
        while rows + len(frame) - start >= shard_rows:
            taken = shard_rows - rows
            yield pl.concat([*waiting, frame.slice(start, taken)])
            start, waiting, rows = start + taken, [], 0
        if start < len(frame):
            waiting.append(frame.slice(start))
            rows += len(frame) - start
    if waiting:
        yield pl.concat(waiting)


class EncodedStore:
    """A finished store."""

    def __init__(self, directory: Path, rows: int, dtypes: dict[str, str], shards: Sequence[Shard]) -> None:
        self.directory, self.rows, self.columns, self.shards = directory, rows, tuple(dtypes), tuple(shards)
        self._dtypes = dtypes
        self._layouts: dict[Shard, ShardLayout | None] = {}
        self.starts = np.cumsum([0, *(shard.rows for shard in shards)])
        """[shards + 1]: the row number at which each shard starts, and the number of all rows."""

    @classmethod
    def open(cls, directory: Path) -> "EncodedStore":
        """Read the manifest and check every shard's size. Raises ArtefactError for a missing, short or newer store."""
        path = directory / "manifest.json"
        check_readable(path)
        try:
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if manifest["format"] > STORE_FORMAT:
                raise ArtefactError(f"{directory}: written by a newer widedeep (format {manifest['format']}); upgrade")
            shards = [Shard(**shard) for shard in manifest["shards"]]
            store = cls(directory, manifest["rows"], dict(manifest["columns"]), shards)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArtefactError(f"{path}: no readable store ({error}); delete stages/ and run again") from error
        for shard in shards:
            file = directory / shard.name
            check_readable(file)
            size = file.stat().st_size if file.exists() else 0
            if size != shard.bytes:
                raise ArtefactError(f"{file}: has {size} of its {shard.bytes} bytes; delete stages/ and run again")
        return store

    def verify(self) -> None:
        """Read every byte. Raises ArtefactError for a shard whose checksum is not the manifest's."""
        in_threads(self._verify, self.shards)

    def _verify(self, shard: Shard) -> None:
        path = self.directory / shard.name
        if digest_of_file(path, "delete stages/ and run again") != shard.checksum:
            raise ArtefactError(f"{path}: damaged; delete stages/ and run again")

    def read(self, start: int, rows: int, columns: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Column → its values [rows], for `rows` consecutive rows from `start`."""
        return {name: series.to_numpy() for name, series in self._read(start, rows, columns).items()}

    def read_into(self, start: int, rows: int, targets: Mapping[str, NDArray[Any]]) -> None:
        """Write the values of `rows` consecutive rows from `start` to each column's target [rows], C-contiguous."""
        place = 0
        for shard, first, taken in self._parts(start, rows):
            self._fill(shard, first, {name: target[place : place + taken] for name, target in targets.items()})
            place += taken

    def _fill(self, shard: Shard, first: int, targets: Mapping[str, NDArray[Any]]) -> None:
        """Fill targets of one length from the row `first` of a shard on."""
        layout = self._layout_of(shard)
        direct = {
            name: target
            for name, target in targets.items()
            if layout is not None and target.dtype == SIMPLE.get(self._dtypes.get(name, ""))
        }
        if layout is not None and direct:
            path, rows = self.directory / shard.name, len(next(iter(direct.values())))
            try:
                with path.open("rb", buffering=0) as file:
                    layout.read(file, first, rows, direct)
            except (OSError, EOFError) as error:
                raise _unreadable(path, error) from error
        if rest := [name for name in targets if name not in direct]:
            read = self._scan(shard, rest, first, len(targets[rest[0]]))
            for name in rest:
                targets[name][:] = read[name].to_numpy()

    def _layout_of(self, shard: Shard) -> ShardLayout | None:
        if shard not in self._layouts:
            path = self.directory / shard.name
            try:
                layout = shard_layout(path, self._dtypes)
            except OSError as error:
                raise _unreadable(path, error) from error
            self._layouts[shard] = layout if layout is not None and layout.starts[-1] == shard.rows else None
        return self._layouts[shard]

    def read_lists(self, start: int, rows: int, columns: Sequence[tuple[str, str | None]]) -> list[Lists]:
        """The lists of `rows` consecutive rows from `start`, for each (column of lists, column of weights or None)."""
        if not columns:
            return []
        read = self._read(start, rows, [name for pair in columns for name in pair if name is not None])
        return [Lists.of(read[name], None if weights is None else read[weights]) for name, weights in columns]

    def chunks(self, column: str) -> list[pl.Series]:
        """A whole column in memory, as chunks of at most RECORD_ROWS consecutive rows, in order."""
        chunks: list[pl.Series] = []
        for shard in self.shards:
            chunks += self._scan(shard, [column])[column].get_chunks()
        return chunks

    def _read(self, start: int, rows: int, columns: Sequence[str]) -> dict[str, pl.Series]:
        frames = [self._scan(shard, columns, first, taken) for shard, first, taken in self._parts(start, rows)]
        return pl.concat(frames).to_dict()

    def _parts(self, start: int, rows: int) -> Iterator[tuple[Shard, int, int]]:
        """(shard, its first row that is wanted, how many) of each shard that holds some of `rows` rows from `start`."""
        number = int(np.searchsorted(self.starts, start, side="right")) - 1
        while rows > 0:
            first = start - int(self.starts[number])
            taken = min(rows, self.shards[number].rows - first)
            yield self.shards[number], first, taken
            start, rows, number = start + taken, rows - taken, number + 1

    def _scan(self, shard: Shard, columns: Sequence[str], offset: int = 0, rows: int | None = None) -> pl.DataFrame:
        path = self.directory / shard.name
        try:
            return pl.scan_ipc(for_polars(path), glob=False).select(columns).slice(offset, rows).collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ArtefactError:
    return ArtefactError(f"{path}: cannot be read ({error}); delete stages/ and run again")
