"""Counts values in bounded memory and puts them in the order in which they get their indices."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from widedeep.features.fields import UNSEEN
from widedeep.files import for_polars

SPILL_ENTRIES = 16_000_000
"""Distinct values held in memory by all fields that are counted together. Above that, counts are partitioned by hash
and written to disk."""
PARTITIONS = 32
"""Partitions of the counts on disk."""
RARE_HELD = 1 << 20
"""Most values without an index whose counts are kept for a run that goes on; of more, those with the highest counts."""


class ValueCounts:
    """Counts of values (String, or UInt64 for crosses), the same for any order and blocks, in memory or on disk."""

    def __init__(
        self, dtype: pl.DataType, spill_dir: Path, *, spill_entries: int = SPILL_ENTRIES, evict: int | None = None
    ) -> None:
        """With `evict`, frames have a column `unseen_runs` (Int32) too, and values that reach it are left out."""
        self._evict = evict
        self.dtype = dtype
        self._empty = pl.DataFrame(schema={"value": dtype, "count": pl.Int64})
        if evict is not None:
            self._empty = self._empty.with_columns(pl.lit(0, pl.Int32).alias(UNSEEN))
        self._spill_dir, self._spill_entries = spill_dir, spill_entries
        self._partials: list[pl.DataFrame] = []
        self._is_summed = False
        """Whether there is one partial, in which values are distinct."""
        self._pending = 0
        self._spilled: list[list[Path]] = [[] for _ in range(PARTITIONS)]
        self._num_spills = 0
        self.distinct = 0
        """Number of distinct values seen, whatever their count; set by `result`."""

    def add(self, values: pl.Series) -> None:
        """Count a block's values; nulls do not count."""
        self.add_counted(pl.DataFrame({"value": values}).group_by("value").agg(count=pl.len().cast(pl.Int64)))

    def add_counted(self, counted: pl.DataFrame) -> None:
        """Add the `count` (Int64) of each `value` of a frame, which may hold a value twice; null does not count."""
        if counted["value"].null_count():
            counted = counted.drop_nulls("value")
        if self._evict is not None and UNSEEN not in counted.columns:
            counted = counted.with_columns(pl.lit(0, pl.Int32).alias(UNSEEN))
        # By brackets: a query for each block of each of many fields takes longer than its work.
        self._partials.append(counted[self._empty.columns])
        self._is_summed = False
        self._pending += len(counted)
        if self._pending > self._spill_entries:
            self._merge()

    def add_earlier(self, counted: pl.DataFrame) -> None:
        """Add what earlier runs counted, as `add_counted` does: a value is unseen unless others add it as well."""
        runs = pl.col(UNSEEN) if UNSEEN in counted.columns else pl.lit(0, pl.Int32)
        self.add_counted(counted.with_columns((runs + 1).alias(UNSEEN)))

    def _merge(self) -> None:
        merged = _summed(pl.concat([self._empty, *self._partials]))
        if len(merged) > self._spill_entries // 2:
            self._spill(merged)
            merged = self._empty
        self._partials, self._pending, self._is_summed = [merged], len(merged), True

    def _spill(self, counts: pl.DataFrame) -> None:
        numbered = counts.with_columns(part=self._part)
        for (part,), frame in numbered.partition_by("part", as_dict=True, include_key=False).items():
            self._write(int(part), frame)

    @property
    def _part(self) -> pl.Expr:
        value = pl.col("value")
        # Any hash of a text will do: it only tells which file holds a value, for as long as this process runs.
        return (value if self._empty.schema["value"] == pl.UInt64 else value.hash(seed=1)) % PARTITIONS

    def _write(self, part: int, counts: pl.DataFrame) -> None:
        path = self._spill_dir / f"{id(self):x}-{part:02d}-{self._num_spills:07d}.arrow"
        self._num_spills += 1
        with path.open("wb") as file:
            counts.write_ipc(file)
        self._spilled[part].append(path)

    def additions(self) -> Iterator[pl.DataFrame]:
        """All counts for `add_counted` of another: as they were added, a value perhaps twice, if none are on disk."""
        return iter(self._partials) if self._num_spills == 0 else self.parts()

    def parts(self) -> Iterator[pl.DataFrame]:
        """`value` and `count` of all values, in frames that share no value, so that one at a time is enough in memory.

        If there are several frames, UInt64 values are partitioned by their remainder modulo PARTITIONS. Several passes
        are possible, and more values may be added between them. `clear` removes the files.
        """
        for part in self._whole_parts():
            yield part if self._evict is None else part.filter(pl.col(UNSEEN) < self._evict)

    def _whole_parts(self) -> Iterator[pl.DataFrame]:
        if not self._is_summed:
            self._partials, self._is_summed = [_summed(pl.concat([self._empty, *self._partials]))], True
        (merged,) = self._partials
        self._pending = len(merged)
        if self._num_spills == 0:
            yield merged
            return
        if len(merged) > 0:
            self._spill(merged)
        self._partials, self._pending, self._is_summed = [], 0, False
        for part, paths in enumerate(self._spilled):
            if len(paths) > 1:
                summed = _summed(pl.concat([_spilled_counts(path) for path in paths]))
                self._remove(paths)
                self._write(part, summed)
                yield summed
            elif paths:
                yield _spilled_counts(paths[0])

    def result(self, *, min_count: int, max_size: int | None) -> pl.DataFrame:
        """`value` and `count` of values seen at least `min_count` times, by (-count, value), at most `max_size`.

        Strings are ordered by their UTF-8 bytes. All counts are then cleared, from disk as well.
        """
        return self.kept_and_rare(self._empty, min_count=min_count, max_size=max_size, num_rare=0)[0]

    def kept_and_rare(
        self, first: pl.DataFrame, *, min_count: int, max_size: int | None, num_rare: int = RARE_HELD
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The vocabulary as `result` gives it, and the `num_rare` values outside it with the highest counts.

        The `value`s of `first` that are counted come first in the vocabulary, in their order and however few they are.
        `distinct` is set and all counts are cleared, as by `result`.
        """
        if first.is_empty() and self._num_spills == 0:
            return self._all_kept_and_rare(min_count, max_size, num_rare)
        first = first.select("value")
        old = self._empty
        if not first.is_empty():
            old = pl.concat([old, *(part.join(first, on="value", how="semi") for part in self.parts())])
            old = first.join(old, on="value", how="inner", maintain_order="left")
        room = None if max_size is None else max(0, max_size - len(old))
        kept, rare, self.distinct = _ranked(self._empty, min_count, room), self._empty, 0
        for part in self.parts():
            self.distinct += len(part)
            if not first.is_empty():
                part = part.join(first, on="value", how="anti")
            ranked = _ranked(part, min_count, None)
            both = ranked if kept.is_empty() else _ranked(pl.concat([kept, ranked]), min_count, None)
            kept = both if room is None else both.head(room)
            if num_rare:
                beyond = both.clear() if room is None else both.slice(room)
                rest = pl.concat([rare, beyond, part.filter(pl.col("count") < min_count)])
                rare = _ranked(rest, 1, num_rare)
        self.clear()
        return kept if old.is_empty() else pl.concat([old, kept]), rare

    def _all_kept_and_rare(
        self, min_count: int, max_size: int | None, num_rare: int
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        # All values in memory, sorted once: a table may have thousands of fields with a few values each.
        (counts,) = self.parts()
        self.distinct = len(counts)
        self.clear()
        ranked = _ranked(counts, 1 if num_rare else min_count, None)
        num_kept = int((ranked["count"] >= min_count).sum())
        if max_size is not None:
            num_kept = min(num_kept, max_size)
        return ranked.head(num_kept), ranked.slice(num_kept, num_rare)

    def clear(self) -> None:
        """Forget all counts, on disk as well."""
        for paths in self._spilled:
            self._remove(paths)
        self._partials, self._pending, self._num_spills, self._is_summed = [], 0, 0, False

    def _remove(self, paths: list[Path]) -> None:
        for path in paths:
            path.unlink()
        paths.clear()


def _spilled_counts(path: Path) -> pl.DataFrame:
    return pl.scan_ipc(for_polars(path), glob=False).collect()


def _summed(counts: pl.DataFrame) -> pl.DataFrame:
    unseen = [pl.col(UNSEEN).min()] if UNSEEN in counts.columns else []
    return counts.group_by("value").agg(pl.col("count").sum(), *unseen)


def _ranked(counts: pl.DataFrame, min_count: int, max_size: int | None) -> pl.DataFrame:
    ranked = counts.filter(pl.col("count") >= min_count).sort(["count", "value"], descending=[True, False])
    return ranked if max_size is None else ranked.head(max_size)
