"""The encoded store comes back whole or not at all; a stream of batches is shuffled, complete and resumable."""

import json
import math
import threading
import weakref
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from widedeep.encoded.batches import Batch, BatchStream, _Window
from widedeep.encoded.store import STORE_FORMAT, EncodedStore, write_stores
from widedeep.errors import ArtefactError
from widedeep.features.targets import LABEL_COLUMN, WEIGHT_COLUMN


def frame(rows: int, start: int = 0) -> pl.DataFrame:
    number = np.arange(start, start + rows)
    return pl.DataFrame(
        {
            "b": (number % 5).astype(np.int32),
            "a": number.astype(np.int32),
            "x": number.astype(np.float32) / 2,
            LABEL_COLUMN: (number % 2).astype(np.float32),
            WEIGHT_COLUMN: np.ones(rows, dtype=np.float32),
        }
    )


def store_of(folder: Path, rows: int, *, shard_rows: int = 1 << 20, block: int = 40) -> EncodedStore:
    write_stores([(folder, (frame(rows).slice(s, block) for s in range(0, rows, block)))], shard_rows=shard_rows)
    return EncodedStore.open(folder)


def rows_of(batches: list[Batch]) -> list[int]:
    return [int(row) for batch in batches for row in batch.indices[0]]


@pytest.mark.parametrize("rows", [1, 99, 100, 101, 350])
def test_a_store_gives_back_what_was_written_across_its_shards(rows: int, tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", rows, shard_rows=100)
    store.verify()
    assert [shard.rows for shard in store.shards] == [100] * (rows // 100) + ([rows % 100] if rows % 100 else [])
    for start, count in ((0, rows), (rows // 2, rows - rows // 2)):
        columns = store.read(start, count, ["a", "x"])
        assert columns["a"].tolist() == list(range(start, start + count))
        assert columns["x"].tolist() == [row / 2 for row in range(start, start + count)]


def test_disk_does_not_depend_on_the_order_of_the_fields(tmp_path: Path) -> None:
    write_stores([(tmp_path / "one", [frame(50)])])
    write_stores([(tmp_path / "two", [frame(50).select(WEIGHT_COLUMN, "x", LABEL_COLUMN, "b", "a")])])
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_truncated_a_changed_and_a_missing_shard_are_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", 100)
    shard = tmp_path / "s" / store.shards[0].name
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(ArtefactError, match="shard-00000"):
        EncodedStore.open(tmp_path / "s")
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtefactError, match="damaged"):
        EncodedStore.open(tmp_path / "s").verify()
    shard.unlink()
    with pytest.raises(ArtefactError, match="shard-00000"):
        EncodedStore.open(tmp_path / "s")
    with pytest.raises(ArtefactError, match="shard-00000"):
        store.verify()


def test_a_store_without_a_readable_manifest_or_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"manifest\.json"):
        EncodedStore.open(tmp_path / "none")
    store_of(tmp_path / "s", 10)
    manifest = tmp_path / "s" / "manifest.json"
    facts = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**facts, "format": STORE_FORMAT + 1}))
    with pytest.raises(ArtefactError, match="newer widedeep"):
        EncodedStore.open(tmp_path / "s")
    for damage in ("", "[]", json.dumps(facts)[:-20], json.dumps({**facts, "shards": [{"name": "x"}]})):
        manifest.write_text(damage)
        with pytest.raises(ArtefactError, match=r"manifest\.json"):
            EncodedStore.open(tmp_path / "s")


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(1, 40))
@settings(max_examples=30)
def test_shards_are_cut_exactly_however_the_frames_come(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], shard_rows: int
) -> None:
    rows, starts = sum(sizes), np.cumsum([0, *sizes])
    folder = tmp_path_factory.mktemp("cut") / "s"
    write_stores(
        [(folder, [frame(size, start) for size, start in zip(sizes, starts, strict=False)])], shard_rows=shard_rows
    )
    store = EncodedStore.open(folder)
    assert store.rows == rows
    assert [shard.rows for shard in store.shards] == [
        min(shard_rows, rows - start) for start in range(0, rows, shard_rows)
    ]
    if rows:
        assert store.read(0, rows, ["a"])["a"].tolist() == list(range(rows))


@given(
    rows=st.integers(1, 300),
    batch_size=st.integers(1, 120),
    chunk_rows=st.integers(1, 60),
    window_chunks=st.integers(1, 6),
    seed=st.one_of(st.none(), st.integers(0, 9)),
    data=st.data(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_row_comes_once_and_a_resumed_stream_goes_on_as_the_undisturbed_one(
    rows: int,
    batch_size: int,
    chunk_rows: int,
    window_chunks: int,
    seed: int | None,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    store = store_of(tmp_path_factory.mktemp("store") / "s", rows, shard_rows=64)

    def stream(start_batch: int = 0) -> BatchStream:
        return BatchStream(
            store,
            ["a", "b"],
            ["x"],
            batch_size,
            seed=seed,
            epoch=2,
            start_batch=start_batch,
            chunk_rows=chunk_rows,
            window_chunks=window_chunks,
        )

    batches = list(stream())
    assert len(batches) == len(stream())
    assert sorted(rows_of(batches)) == list(range(rows))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    if seed is None:
        assert rows_of(batches) == list(range(rows))
    for batch in batches:
        assert (batch.numerics[0] == batch.indices[0] / 2).all()
        assert (batch.label == batch.indices[0] % 2).all()
        assert batch.weight is not None
    start = data.draw(st.integers(0, len(batches)))
    assert rows_of(list(stream(start))) == rows_of(batches[start:])


def test_epochs_and_seeds_shuffle_differently_and_equal_ones_alike(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", 300)

    def order(seed: int, epoch: int) -> list[int]:
        return rows_of(list(BatchStream(store, ["a"], [], 50, seed=seed, epoch=epoch, chunk_rows=16)))

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_every_window_is_shuffled_in_its_own_way_and_chunks_over_the_whole_store(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", 400)
    rows = np.array(rows_of(list(BatchStream(store, ["a"], [], 100, seed=1, chunk_rows=100, window_chunks=1))))
    windows = rows.reshape(4, 100)
    assert len({tuple(window % 100) for window in windows}) == 4
    assert all(len(set(window // 100)) == 1 for window in windows)
    assert [int(window[0]) // 100 for window in windows] != [0, 1, 2, 3]


def test_the_rows_of_a_window_are_let_go_before_the_one_after_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[weakref.ref[NDArray[np.int32]]] = []
    still_held: list[int] = []
    load = BatchStream._load

    def noted(self: BatchStream, window: int) -> _Window:
        still_held.append(sum(rows() is not None for rows in loads))
        loaded = load(self, window)
        assert loaded.inputs is not None
        loads.append(weakref.ref(loaded.inputs))
        return loaded

    monkeypatch.setattr(BatchStream, "_load", noted)
    store = store_of(tmp_path / "s", 300)
    batches = list(BatchStream(store, ["a"], ["x"], 7, seed=0, chunk_rows=10, window_chunks=10))
    assert sorted(rows_of(batches)) == list(range(300))
    assert still_held == [0, 1, 1]


@pytest.mark.parametrize("batch_size", [7, 100, 250])
def test_what_is_not_shuffled_is_read_little_by_little_into_the_same_batches(batch_size: int, tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", 300)
    stream = BatchStream(store, ["a"], ["x"], batch_size, seed=None, chunk_rows=10, window_chunks=10_000)
    assert stream._rows_of(0) == max(80, math.ceil(batch_size / 10) * 10)
    batches = list(stream)
    assert rows_of(batches) == list(range(300))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    resumed = BatchStream(store, ["a"], ["x"], batch_size, seed=None, start_batch=1, chunk_rows=10)
    assert rows_of(list(resumed)) == list(range(batch_size, 300))


def test_a_consumer_that_stops_early_leaves_no_reader_behind(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", 300)
    stream = iter(BatchStream(store, ["a"], [], 10, seed=1, chunk_rows=10, window_chunks=2))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("widedeep-b", "widedeep-w"))]


@pytest.mark.parametrize("names", [([], []), (["a"], []), ([], ["x"]), (["b", "a"], ["x"])])
def test_columns_of_either_kind_may_be_none_in_shuffled_rows(
    names: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "s", 300, shard_rows=70)
    stream = BatchStream(store, *names, 40, seed=1, chunk_rows=10, window_chunks=4)
    for batch, rows in zip(stream, stream.row_numbers(), strict=True):
        written = frame(300)[rows]
        assert batch.indices.tolist() == [written[name].to_list() for name in names[0]]
        assert batch.numerics.tolist() == [written[name].to_list() for name in names[1]]
        assert batch.label.tolist() == written[LABEL_COLUMN].to_list()


@pytest.mark.parametrize("seed", [None, 1])
def test_a_shard_that_vanishes_reaches_the_consumer_as_an_artefact_error(seed: int | None, tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", 300, shard_rows=100)
    stream = iter(BatchStream(store, ["a"], [], 10, seed=seed, chunk_rows=10, window_chunks=2))
    next(stream)
    (tmp_path / "s" / store.shards[2].name).unlink()
    with pytest.raises(ArtefactError):
        list(stream)
