"""Paths, URLs, compression, encodings, Parquet and Arrow: what is found, and how each unreadable source is refused."""

import gzip
import io
import threading
from collections.abc import Iterator
from datetime import date
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest
import zstandard

from widedeep.errors import ColumnError, DataError
from widedeep.recipe.schema import FormatSettings
from widedeep.source import columnar_blocks
from widedeep.source.paths import expand_paths, total_size
from widedeep.source.sources import believed_format, columns_in, kind_by_ending, read_blocks

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
    (tmp_path / name).write_bytes(content[:-12] if damage == "cut short" else content[4:])
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
    monkeypatch.setattr(columnar_blocks, "BLOCK_ROWS", 100)
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


# --------------------------------------------------------------------------------------------------------------- Arrow


@pytest.mark.parametrize("form", ["file", "stream"])
@pytest.mark.parametrize("name", ["log.arrow", "log.feather", "log.ipc.gz", "log.ipc.zst", "stdin"])
def test_arrow_in_file_and_stream_format_is_read_as_parquet_is(tmp_path, name, form):
    stored = io.BytesIO()
    table = TABLE.with_columns(l=pl.Series([["a"], None, []], dtype=pl.List(pl.Categorical)))
    table.write_ipc(stored) if form == "file" else table.write_ipc_stream(stored)
    content = stored.getvalue()
    content = gzip.compress(content) if name.endswith("gz") else content
    content = zstandard.compress(content) if name.endswith("zst") else content
    (tmp_path / name).write_bytes(content)
    source = io.BytesIO(content) if name == "stdin" else tmp_path / name
    settings = FormatSettings(kind="arrow" if name == "stdin" else "auto", missing=["", "?"])
    (block,) = read_blocks(source, settings, ["t", "n", "c", "l"], name=name)
    assert block.frame.to_dict(as_series=False) == {
        "t": ["a", None, None],
        "n": [1, None, 3],
        "c": ["u", "v", None],
        "l": [["a"], None, []],
    }
    assert block.frame.dtypes == [pl.String, pl.Int64, pl.String, pl.List(pl.String)]
    assert block.place_of(2) == f"{name}: row 3"


def test_arrow_is_read_in_blocks_that_know_their_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(columnar_blocks, "BLOCK_ROWS", 100)
    table = pl.DataFrame({"a": range(250)})
    for name, write in (("file.arrow", table.write_ipc), ("stream.arrow", table.write_ipc_stream)):
        write(tmp_path / name)
        found = list(read_blocks(tmp_path / name, FormatSettings(), None, name="log"))
        assert pl.concat([block.frame for block in found]).equals(table)
        assert [block.first_row for block in found] == [0, 100, 200]
        assert found[-1].bytes_done == (tmp_path / name).stat().st_size


def test_arrow_that_is_foreign_cut_short_empty_or_lacks_a_column_is_refused(tmp_path):
    path = tmp_path / "log.arrow"
    for content in (TEXT, b"ARROW1 and nothing else"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"log.arrow: not a readable Arrow IPC file"):
            read(path)
    for write in (TABLE.write_ipc, TABLE.write_ipc_stream):
        write(path)
        with pytest.raises(ColumnError, match=r"log.arrow: no column 'm'"):
            read(path, ["m"])
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(DataError, match=r"log.arrow: (not a readable|damaged)"):
            read(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"log.arrow: the file is empty"):
        read(path)
    TABLE.clear().write_ipc(path)
    with pytest.raises(DataError, match=r"log.arrow: the file has no rows"):
        read(path)


# ----------------------------------------------------------------------------------------------------- kinds by ending


def test_an_ending_says_the_kind_under_compression_and_in_a_url():
    kinds = {
        "a.csv": "csv",
        "a.TSV.gz": "csv",
        "a.jsonl": "ndjson",
        "a.ndjson.zst": "ndjson",
        "a.PQ": "parquet",
        "a.feather": "arrow",
        "a.log": None,
        "a": None,
    }
    assert {name: kind_by_ending(Path(name)) for name in kinds} == kinds
    assert kind_by_ending("https://host/a.parquet?signature=x.csv") == "parquet"
    assert kind_by_ending("s3://bucket/day-?.arrow") == "arrow"
    assert kind_by_ending("s3://bucket/a") is None


def test_an_ending_is_believed_where_a_file_need_not_be_of_the_recipes_kind():
    settings = FormatSettings(kind="parquet", separator=";")
    assert believed_format(Path("new.jsonl"), settings) == FormatSettings(kind="auto", separator=";")
    assert believed_format(Path("new.log"), settings) == settings


def test_the_columns_of_a_file_are_known_without_reading_it_whole(tmp_path):
    frame = pl.DataFrame({"b": range(20_000), "a": range(20_000)})
    for name, write in (
        ("log.csv", frame.write_csv),
        ("log.parquet", frame.write_parquet),
        ("log.arrow", frame.write_ipc),
        ("log.ndjson", frame.write_ndjson),
    ):
        write(tmp_path / name)
        assert list(columns_in(tmp_path / name, FormatSettings(), name=name)) == ["b", "a"]


# ----------------------------------------------------------------------------------------------------------- encodings


LATIN = "name;city\nJos\xe9;K\xf6ln\n\xff;\xa0x\n"


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_latin_1_is_read_as_the_same_text_in_utf_8(tmp_path, name):
    content = (LATIN * 50).encode("latin-1")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    (tmp_path / "utf8.csv").write_text(LATIN * 50, encoding="utf-8")
    for block_bytes in (7, 1 << 12):
        found = read(tmp_path / name, encoding="latin-1", separator=";", block_bytes=block_bytes)
        assert found.equals(read(tmp_path / "utf8.csv", separator=";"))
    assert found["name"][0] == "José"


def test_text_that_is_not_utf_8_is_refused_with_the_setting_that_may_help(tmp_path):
    (tmp_path / "log.csv").write_bytes(LATIN.encode("latin-1"))
    with pytest.raises(DataError, match=r"log.csv:2: byte 0xe9 is not valid UTF-8.*data.format.encoding: latin-1"):
        read(tmp_path / "log.csv", separator=";")


# ---------------------------------------------------------------------------------------------------------------- URLs


def test_a_file_url_is_a_path_whatever_the_format(tmp_path):
    (tmp_path / "a log.csv").write_bytes(TEXT)
    (tmp_path / "b.csv").write_bytes(TEXT)
    url = (tmp_path / "a log.csv").as_uri()
    assert "%20" in url
    assert expand_paths([url, "b.csv"], tmp_path) == [tmp_path / "a log.csv", tmp_path / "b.csv"]
    assert expand_paths([f"file://{tmp_path}/*.csv"], Path("elsewhere")) == [tmp_path / "a log.csv", tmp_path / "b.csv"]
    with pytest.raises(DataError, match=r"file:///none.csv: no such file"):
        expand_paths(["file:///none.csv"], tmp_path)


def test_other_urls_stay_as_they_are_and_unknown_ones_are_refused(tmp_path):
    urls = [
        "s3://bucket//a/*.parquet",
        "gs://b/x.arrow",
        "abfss://c@h/x.pq",
        "https://h/x.parquet?y=1",
        "hf://datasets/a/b.parquet",
    ]
    assert expand_paths([*urls, urls[0]], tmp_path) == urls
    assert total_size(urls) is None
    with pytest.raises(DataError, match=r"ftp://h/x.csv: ftp:// is not understood: one of s3, "):
        expand_paths(["ftp://h/x.csv"], tmp_path)


@pytest.mark.parametrize(("url", "what"), [("s3://b/x.csv.gz", "delimited text"), ("https://h/x.jsonl", "NDJSON")])
def test_text_behind_a_url_is_refused(url, what):
    with pytest.raises(DataError, match=f"{url}: {what} is not read from a URL"):
        next(read_blocks(url, FormatSettings(), None, name=url))


class _WithRanges(SimpleHTTPRequestHandler):
    """Serves files as object stores do: a part of one, if a part is asked for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        first, last = 0, len(content) - 1
        wanted = self.headers.get("Range")
        if wanted:
            start, end = wanted.removeprefix("bytes=").split("-")
            first = int(start) if start else max(0, len(content) - int(end))
            last = min(int(end), last) if start and end else last
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
        self.end_headers()
        self.wfile.write(content[first : last + 1])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Address of a server of the test's folder."""

    def handler(*arguments):
        return _WithRanges(*arguments, directory=str(tmp_path))

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["log.parquet", "log.arrow"])
def test_a_file_behind_a_url_is_read_in_blocks_as_the_file_itself(tmp_path, monkeypatch, server, name):
    monkeypatch.setattr(columnar_blocks, "BLOCK_ROWS", 100)
    monkeypatch.setattr(columnar_blocks, "_FETCHED_ROWS", 150)
    table = pl.DataFrame({"a": range(250), "b": [f"x{number}" for number in range(250)]})
    table.write_parquet(tmp_path / name) if name.endswith("parquet") else table.write_ipc(tmp_path / name)
    url = f"{server}/{name}"
    found = list(read_blocks(url, FormatSettings(), ["b"], name=url))
    assert pl.concat([block.frame for block in found]).equals(table.select("b"))
    assert [block.first_row for block in found] == [0, 100, 150]
    assert [block.bytes_done for block in found] == sorted({block.bytes_done for block in found})
    assert columns_in(url, FormatSettings(), name=url) == ["a", "b"]
    with pytest.raises(ColumnError, match=f"{url}: no column 'c'"):
        list(read_blocks(url, FormatSettings(), ["c"], name=url))


def test_a_url_behind_which_nothing_lies_is_refused_in_one_short_line(server):
    url = f"{server}/none.parquet"
    with pytest.raises(DataError, match=f"{url}: not a readable Parquet file: .*404") as caught:
        list(read_blocks(url, FormatSettings(), None, name=url))
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_a_column_in_another_letter_case_is_named_as_the_one_that_may_be_meant(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("USER_ID,Ad,PRICE\n1,2,3\n")
    for wanted, meant in (("price", "PRICE"), ("user_id", "USER_ID"), ("ad", "Ad")):
        with pytest.raises(ColumnError, match=rf"no column '{wanted}'; did you mean '{meant}'\? It has: USER_ID, Ad"):
            read(path, [wanted])
