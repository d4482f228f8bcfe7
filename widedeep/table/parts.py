"""The typed table on disk: one folder per split, Parquet parts in row order."""

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import polars as pl

from widedeep.files import writing

PART_ROWS = 1 << 18


class PartWriter:
    """Writes one split as `part-00000.parquet`, … of about 2^18 rows (never cut within a block), on another thread."""

    def __init__(self, directory: Path, thread: ThreadPoolExecutor) -> None:
        self.num_rows = 0
        self._directory, self._thread = directory, thread
        self._waiting: list[pl.DataFrame] = []
        self._num_waiting = 0
        self._num_parts = 0
        self._under_way: Future[None] | None = None
        with writing(directory):
            directory.mkdir(parents=True)

    def add(self, frame: pl.DataFrame) -> None:
        """Append rows. Raises WriteError, also for rows added before."""
        self.num_rows += frame.height
        self._waiting.append(frame)
        self._num_waiting += frame.height
        if self._num_waiting >= PART_ROWS:
            self._flush()

    def finish(self) -> None:
        """Return when all is written. Raises WriteError."""
        if self._waiting:
            self._flush()
        self._wait()

    def _flush(self) -> None:
        self._wait()
        path = self._directory / f"part-{self._num_parts:05d}.parquet"
        self._under_way = self._thread.submit(_write_part, path, self._waiting)
        self._waiting, self._num_waiting = [], 0
        self._num_parts += 1

    def _wait(self) -> None:
        if self._under_way is not None:
            self._under_way.result()
            self._under_way = None


def _write_part(path: Path, frames: list[pl.DataFrame]) -> None:
    # Read back once or twice and then deleted with its stage: speed counts for more than size. Through a buffer,
    # because Polars reports a full disk as an "invalid thrift" error without the system's reason.
    content = io.BytesIO()
    pl.concat(frames).write_parquet(content, compression="lz4", statistics=False)
    with writing(path):
        path.write_bytes(content.getbuffer())


def part_paths(directory: Path, split: str) -> list[Path]:
    """The parts of a split, in row order."""
    return sorted((directory / split).glob("part-*.parquet"))


def scan_typed(directory: Path, split: str) -> pl.LazyFrame:
    """All rows of a split of the typed table, lazily, in order."""
    return pl.scan_parquet(part_paths(directory, split), hive_partitioning=False, glob=False)


def typed_blocks(
    directory: Path, split: str, rows: int = PART_ROWS, columns: Sequence[str] | None = None
) -> Iterator[pl.DataFrame]:
    """The rows of a split, in order, in blocks of at most `rows` rows; memory is bounded by one part."""
    for path in part_paths(directory, split):
        wanted = pl.scan_parquet(path, hive_partitioning=False, glob=False)
        frame = (wanted if columns is None else wanted.select(columns)).collect()
        yield from frame.iter_slices(rows)
