"""What is read straight from a shard's bytes is what Polars reads of it, and a damaged shard leads nowhere else."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from widedeep.encoded.shard_layout import shard_layout
from widedeep.encoded.store import RECORD_ROWS, EncodedStore, write_stores
from widedeep.errors import ArtefactError

ROWS = 3 * RECORD_ROWS + 5
DTYPES = {"a": "Int32", "b": "List(Int32)", "c": "Float32", "d": "List(Float32)", "e": "UInt64", "f": "Int32"}


def frame(rows: int = ROWS) -> pl.DataFrame:
    number = np.arange(rows)
    lists = pl.Series([[i % 7] * (i % 3) for i in range(rows)], dtype=pl.List(pl.Int32))
    return pl.DataFrame(
        {
            "a": number.astype(np.int32),
            "b": lists,
            "c": number.astype(np.float32) / 3,
            "d": lists.cast(pl.List(pl.Float32)),
            "e": number.astype(np.uint64) << np.uint64(33),
            "f": -number.astype(np.int32),
        }
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EncodedStore:
    folder = tmp_path_factory.mktemp("layout") / "store"
    write_stores([(folder, [frame()])], shard_rows=2 * RECORD_ROWS + 3)
    return EncodedStore.open(folder)


def read(store: EncodedStore, start: int, rows: int) -> dict[str, np.ndarray]:
    targets = {"a": np.int32, "c": np.float32, "e": np.uint64, "f": np.int32}
    arrays = {name: np.empty(rows, dtype) for name, dtype in targets.items()}
    store.read_into(start, rows, arrays)
    return arrays


@pytest.mark.parametrize(
    ("start", "rows"),
    [(0, ROWS), (0, 1), (RECORD_ROWS - 1, 2), (5, RECORD_ROWS), (2 * RECORD_ROWS, 10), (ROWS - 1, 1), (7, 0)],
)
def test_rows_of_any_place_are_those_that_polars_reads(store: EncodedStore, start: int, rows: int) -> None:
    assert all(shard_layout(store.directory / shard.name, DTYPES) is not None for shard in store.shards)
    expected = frame().slice(start, rows)
    for name, values in read(store, start, rows).items():
        np.testing.assert_array_equal(values, expected[name].to_numpy())


@pytest.mark.parametrize("how", ["compressed", "with nulls", "of another type"])
def test_a_shard_that_is_laid_out_otherwise_is_read_all_the_same(how: str, tmp_path: Path) -> None:
    rows = frame(100)
    write_stores([(tmp_path / "s", [rows])])
    path = tmp_path / "s" / "shard-00000.arrow"
    if how == "with nulls":
        rows = rows.with_columns(b=pl.when(pl.col("a") != 3).then("b"), c=pl.when(pl.col("a") != 3).then("c"))
    elif how == "of another type":
        rows = rows.with_columns(pl.col("c").cast(pl.Float64))
    rows.write_ipc(path, compression="lz4" if how == "compressed" else "uncompressed")
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    manifest["shards"][0]["bytes"] = path.stat().st_size
    if how == "of another type":
        manifest["columns"]["c"] = "Float64"
    (tmp_path / "s" / "manifest.json").write_text(json.dumps(manifest))
    assert shard_layout(path, manifest["columns"]) is None
    got = read(EncodedStore.open(tmp_path / "s"), 2, 90)
    np.testing.assert_array_equal(got["a"], np.arange(2, 92))
    np.testing.assert_allclose(got["c"], [np.nan if how == "with nulls" and i == 3 else i / 3 for i in range(2, 92)])


def test_a_changed_byte_leads_to_no_place_outside_of_the_file(tmp_path: Path) -> None:
    write_stores([(tmp_path / "s", [frame(40)])])
    path = tmp_path / "s" / "shard-00000.arrow"
    whole = path.read_bytes()
    draw, known = np.random.default_rng(0), 0
    for _ in range(600):
        damaged = bytearray(whole)
        place = int(draw.integers(len(damaged)))
        damaged[place] = int(draw.integers(256))
        path.write_bytes(bytes(damaged))
        layout = shard_layout(path, DTYPES)
        if layout is not None:
            known += 1
            assert (np.diff(layout.starts) >= 0).all()
            for offsets in layout.offsets.values():
                assert all(0 <= offset <= len(whole) for offset in offsets)
    assert known > 0


@pytest.mark.parametrize("kept", [0, 9, 10, 200])
def test_what_is_left_of_a_shard_has_no_layout(kept: int, tmp_path: Path) -> None:
    write_stores([(tmp_path / "s", [frame(40)])])
    path = tmp_path / "s" / "shard-00000.arrow"
    path.write_bytes(path.read_bytes()[:kept])
    assert shard_layout(path, DTYPES) is None


@pytest.mark.parametrize("harm", ["gone", "shorter"])
def test_a_shard_that_is_lost_while_it_is_read_is_told_of(harm: str, tmp_path: Path) -> None:
    write_stores([(tmp_path / "s", [frame(4000)])])
    store = EncodedStore.open(tmp_path / "s")
    read(store, 0, 10)
    path = tmp_path / "s" / "shard-00000.arrow"
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(ArtefactError, match=r"shard-00000.arrow: cannot be read .* delete stages/ and run again"):
        read(store, 0, 4000)
