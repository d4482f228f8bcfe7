"""Paths, compression and Parquet: what is found, and how each unreadable source is refused."""

import gzip
import io
from datetime import date
from pathlib import Path

import polars as pl
import pytest
import zstandard

from widedeep.errors import ColumnError, DataError
from widedeep.recipe.schema import FormatSettings
from widedeep.table import sources
from widedeep.table.sources import expand_paths, read_blocks

TEXT = b"a,b\n" + b"".join(b"%d,x%d\n" % (number, number) for number in range(3000))


def read(path: Path, columns=None, block_bytes: int = 1 << 12, **settings) -> pl.DataFrame:
    found = read_blocks(path, FormatSettings(**settings), columns, name=path.name, block_bytes=block_bytes)
    return pl.concat([block.frame for block in found])


def test_files_globs_and_directories_are_found_sorted_and_each_once(tmp_path):
    for name in ("b.csv", "a.csv", "day/2.csv", "day/1.csv", "day/_SUCCESS", "day/.1.crc", "odd[1].csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n1\n")

    def names(*patterns: str) -> list[str]:
        return [str(path.relative_to(tmp_path)) for path in expand_paths(patterns, tmp_path)]

    assert names("b.csv", "?.csv") == ["b.csv", "a.csv"]
    assert names("day") == ["day/1.csv", "day/2.csv"]
    assert names("**/*.csv") == ["a.csv", "b.csv", "day/1.csv", "day/2.csv", "odd[1].csv"]
    assert names("odd[1].csv") == ["odd[1].csv"]
    assert names(str(tmp_path / "a.csv")) == ["a.csv"]


def test_a_pattern_that_names_nothing_is_refused_with_the_place_looked_at(tmp_path):
    (tmp_path / "empty").mkdir()
    for pattern in ("none.csv", "*.csv"):
        with pytest.raises(DataError) as caught:
            expand_paths([pattern], tmp_path)
        assert str(caught.value) == f"{pattern}: no such file ({tmp_path / pattern})"
    with pytest.raises(DataError, match="empty: a directory without data files"):
        expand_paths(["empty"], tmp_path)


def test_a_file_that_vanished_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"gone.csv: cannot be read: No such file"):
        read(tmp_path / "gone.csv")


def compressed(name: str) -> bytes:
    if name.endswith("gz"):
        return gzip.compress(TEXT[:9000]) + gzip.compress(TEXT[9000:])
    return zstandard.compress(TEXT[:9000]) + zstandard.compress(TEXT[9000:])


@pytest.mark.parametrize("name", ["log.csv.gz", "log.csv.zst"])
def test_compressed_text_of_several_members_reads_as_the_plain_text(tmp_path, name):
    (tmp_path / "log.csv").write_bytes(TEXT)
    (tmp_path / name).write_bytes(compressed(name))
    assert read(tmp_path / name).equals(read(tmp_path / "log.csv"))


@pytest.mark.parametrize("name", ["log.csv.gz", "log.csv.zst"])
@pytest.mark.parametrize("damage", ["cut short", "foreign"])
def test_compressed_text_that_is_cut_short_or_foreign_is_refused(tmp_path, name, damage):
    content = compressed(name)
    (tmp_path / name).write_bytes(content[:-12] if damage == "cut short" else TEXT)
    with pytest.raises(DataError, match=f"{name}: cannot be decompressed"):
        read(tmp_path / name)


def test_progress_counts_stored_bytes_up_to_the_files_size(tmp_path):
    path = tmp_path / "log.csv.gz"
    path.write_bytes(compressed(path.name))
    done = [block.bytes_done for block in read_blocks(path, FormatSettings(), None, name="x", block_bytes=1 << 12)]
    assert done == sorted(done)
    assert 0 < done[-1] <= path.stat().st_size


TABLE = pl.DataFrame(
    {
        "n": [1, None, 3],
        "d": [date(2024, 1, 2), None, None],
        "t": [" a ", "?", ""],
        "c": pl.Series(["u", "v ", None], dtype=pl.Categorical),
    }
)


@pytest.mark.parametrize("name", ["log.parquet", "log.pq.gz", "log.pq.zst", "stdin"])
def test_parquet_keeps_its_types_and_its_texts_are_cleaned_as_in_delimited_text(tmp_path, name):
    stored = io.BytesIO()
    TABLE.write_parquet(stored)
    content = stored.getvalue()
    if name.endswith("gz"):
        content = gzip.compress(content)
    if name.endswith("zst"):
        content = zstandard.compress(content)
    (tmp_path / name).write_bytes(content)
    source = io.BytesIO(content) if name == "stdin" else tmp_path / name
    form = FormatSettings(kind="parquet" if name == "stdin" else "auto", missing=["", "?"])
    (block,) = read_blocks(source, form, ["t", "n", "c"], name=name)
    assert block.frame.to_dict(as_series=False) == {"t": ["a", None, None], "n": [1, None, 3], "c": ["u", "v", None]}
    assert block.frame.dtypes == [pl.String, pl.Int64, pl.String]
    assert block.line_of(0) is None
    assert block.place_of(1) == f"{name}: row 2"


def test_parquet_is_read_in_blocks_that_know_their_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_PARQUET_BLOCK_ROWS", 100)
    table = pl.DataFrame({"a": range(250)})
    table.write_parquet(tmp_path / "log.parquet", row_group_size=120)
    found = list(read_blocks(tmp_path / "log.parquet", FormatSettings(), None, name="log"))
    assert pl.concat([block.frame for block in found]).equals(table)
    assert [block.first_row for block in found] == [0, 100, 200]
    assert found[-1].bytes_done == (tmp_path / "log.parquet").stat().st_size


def test_parquet_that_is_foreign_cut_short_empty_or_lacks_a_column_is_refused(tmp_path):
    path = tmp_path / "log.parquet"
    path.write_bytes(TEXT)
    with pytest.raises(DataError, match=r"log.parquet: not a readable Parquet file"):
        read(path)
    TABLE.write_parquet(path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"log.parquet: not a readable Parquet file"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"log.parquet: the file is empty"):
        read(path)
    TABLE.clear().write_parquet(path)
    with pytest.raises(DataError, match=r"log.parquet: the file has no rows"):
        read(path)
    with pytest.raises(ColumnError, match=r"log.parquet: no column 'm'; did you mean 't'|no column 'm'"):
        read(path, ["m"])


def test_the_recipe_may_force_the_kind_whatever_the_ending(tmp_path):
    (tmp_path / "log.parquet").write_bytes(b"a\n1\n")
    assert read(tmp_path / "log.parquet", kind="csv").rows() == [("1",)]
    TABLE.write_parquet(tmp_path / "log.dat")
    assert read(tmp_path / "log.dat", ["n"], kind="parquet").height == 3
