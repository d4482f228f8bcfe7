"""A set kept on the device gives the batches that the stream gives, to the bit and in its order."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from widedeep.encoded.batches import BatchStream
from widedeep.encoded.store import EncodedStore, write_stores
from widedeep.encoded.unknown_draws import UnknownDraws
from widedeep.features.plan import IndexColumn
from widedeep.features.targets import LABEL_COLUMN, WEIGHT_COLUMN
from widedeep.training.feed import DeviceBatch, HostFeed, ResidentFeed, feed_for, placed_alike

ROWS = 230
CPU = torch.device("cpu")


def store_of(folder: Path) -> EncodedStore:
    number = np.arange(ROWS)
    lists = [[row % 7 + i for i in range(1 + row % 3)] for row in range(ROWS)]
    frame = pl.DataFrame(
        {
            "a": number.astype(np.int32),
            "b": (number % 5).astype(np.int32),
            "x": number.astype(np.float32) / 2,
            "l": pl.Series(lists, dtype=pl.List(pl.Int32)),
            "m": pl.Series([row[::-1] for row in lists], dtype=pl.List(pl.Int32)),
            "w": pl.Series([[float(i) for i in row] for row in lists], dtype=pl.List(pl.Float32)),
            LABEL_COLUMN: (number % 2).astype(np.float32),
            WEIGHT_COLUMN: (number % 3).astype(np.float32),
        }
    )
    write_stores([(folder, [frame])])
    return EncodedStore.open(folder)


def unknown_draws() -> UnknownDraws:
    def column(name: str, *fields: str) -> IndexColumn:
        return IndexColumn(name, "cross" if fields else "categorical", 999, fields or (name,), None)

    columns, lists = [column("a"), column("b", "a", "c")], [column("l"), column("m", "a", "l")]
    return UnknownDraws({"a": 0.4, "l": 0.6}, 3, columns, lists, frozenset())


def stream(
    store: EncodedStore,
    size: int,
    *,
    seed: int | None,
    epoch: int = 0,
    start_batch: int = 0,
    unknown: UnknownDraws | None = None,
) -> BatchStream:
    return BatchStream(
        store,
        ["a", "b"],
        ["x"],
        size,
        list_columns=[("l", "w"), ("m", None)],
        num_folds=4,
        seed=seed,
        epoch=epoch,
        start_batch=start_batch,
        unknown=unknown,
        chunk_rows=16,
        window_chunks=4,
    )


def assert_equal(first: DeviceBatch, second: DeviceBatch) -> None:
    assert first.weight_sum == second.weight_sum
    for one, other in zip(first.tensors(), second.tensors(), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize(("seed", "epoch", "start_batch"), [(1, 0, 0), (1, 1, 0), (2, 0, 3), (None, 0, 0), (1, 0, 7)])
def test_a_resident_set_gives_the_streams_own_batches(
    seed: int | None, epoch: int, start_batch: int, tmp_path: Path
) -> None:
    store = store_of(tmp_path / "s")
    resident = ResidentFeed(stream(store, 50, seed=None), ROWS, CPU)
    wanted = list(HostFeed().batches(stream(store, 32, seed=seed, epoch=epoch, start_batch=start_batch)))
    given = list(resident.batches(stream(store, 32, seed=seed, epoch=epoch, start_batch=start_batch)))
    assert len(given) == len(wanted) == 8 - start_batch
    for one, other in zip(given, wanted, strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize(("seed", "epoch", "start_batch"), [(1, 0, 0), (1, 1, 2), (None, 0, 0)])
def test_a_resident_set_shows_the_values_as_unknown_that_the_stream_shows(
    seed: int | None, epoch: int, start_batch: int, tmp_path: Path
) -> None:
    store = store_of(tmp_path / "s")
    resident = ResidentFeed(stream(store, 50, seed=None), ROWS, CPU)

    def drawing(unknown: UnknownDraws | None) -> BatchStream:
        return stream(store, 32, seed=seed, epoch=epoch, start_batch=start_batch, unknown=unknown)

    wanted = list(HostFeed().batches(drawing(unknown_draws())))
    for one, other in zip(resident.batches(drawing(unknown_draws())), wanted, strict=True):
        assert_equal(one, other)
    # What is kept was not changed.
    untouched = list(HostFeed().batches(drawing(None)))
    for one, other in zip(resident.batches(drawing(None)), untouched, strict=True):
        assert_equal(one, other)
    for shown, plain in zip(wanted, untouched, strict=True):
        assert not torch.equal(shown.indices[0], plain.indices[0])
        assert not torch.equal(shown.indices[1], plain.indices[1])
        assert not torch.equal(shown.bags[0].values, plain.bags[0].values)
        assert not torch.equal(shown.bags[1].values, plain.bags[1].values)


def test_the_cpu_takes_batches_from_the_stream_without_keeping_the_set(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s")

    def never() -> BatchStream:
        raise AssertionError("the set was read")

    assert isinstance(feed_for(CPU, store, never), HostFeed)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("share", [0.5, 0.0])
def test_a_device_is_fed_the_streams_own_batches_from_its_memory_or_from_the_hosts(
    share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widedeep.training.feed.SHARE_OF_FREE_MEMORY", share)
    store = store_of(tmp_path / "s")
    feed = feed_for(torch.device("cuda"), store, lambda: stream(store, 50, seed=None))
    assert isinstance(feed, ResidentFeed) == (share > 0)
    wanted = HostFeed().batches(stream(store, 32, seed=1, unknown=unknown_draws()))
    for one, other in zip(feed.batches(stream(store, 32, seed=1, unknown=unknown_draws())), wanted, strict=True):
        for mine, theirs in zip(one.tensors(), other.tensors(), strict=True):
            assert torch.equal(mine.cpu(), theirs)


@pytest.mark.parametrize("rows", [128, 129, 130, 131])
def test_a_product_does_not_depend_on_where_its_batch_lies(rows: int) -> None:
    draw = np.random.default_rng(rows)
    numbers, gradient = draw.normal(size=(7, rows)).astype(np.float32), torch.from_numpy(draw.normal(size=(rows, 1)))
    products = set()
    for offset in range(8):
        for space in range(8, 16):
            buffer = torch.empty((7, rows + space), dtype=torch.float32)
            view = buffer[:, offset : offset + rows]
            view.copy_(torch.from_numpy(numbers))
            placed = placed_alike(view)
            assert torch.equal(placed, view)
            products.add((placed @ gradient.float()).numpy().tobytes())
    assert len(products) == 1
