"""Rows from all over a table of any size: whole records, in order, and how much of the table they are."""

import gzip
import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from widedeep.errors import ColumnError, DataError
from widedeep.recipe.schema import FormatSettings
from widedeep.suggest import spread_lines
from widedeep.suggest.sniff import HEAD_BYTES
from widedeep.suggest.spread_lines import Lines, flat_keys, line_frames
from widedeep.suggest.spread_sample import SpreadSample, spread, spread_sample


def log(rows: int) -> pl.DataFrame:
    draw = random.Random(0)
    texts = ["plain", 'a "quoted" word', "two\nlines", "x,y"]
    return pl.DataFrame(
        {"row": range(rows), "text": [draw.choice(texts) for _ in range(rows)], "y": [row % 2 for row in range(rows)]}
    )


def rows_of(frames: list[pl.DataFrame]) -> list[int]:
    return pl.concat(frames)["row"].cast(pl.Int64).to_list()


CSV = Lines(FormatSettings(), ["row", "text", "y"])


@pytest.mark.parametrize(
    ("items", "most", "chosen"), [(5, 9, [0, 1, 2, 3, 4]), (10, 4, [0, 3, 6, 9]), (3, 1, [0]), (1, 4, [0])]
)
def test_what_is_chosen_is_spread_from_the_first_to_the_last(items: int, most: int, chosen: list[int]) -> None:
    assert spread(range(items), most) == chosen


def test_a_small_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log(100).write_csv(path)
    size = path.stat().st_size
    for budget in (size, -(-size * 4 // 5)):
        frames, share = line_frames([path], CSV, budget)
        assert (rows_of(frames), share) == (list(range(100)), 1.0)


def test_lines_to_skip_are_those_at_the_front_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"# by x\n" + log(20_000)["row", "y"].write_csv().encode())
    lines = Lines(FormatSettings(skip_lines=1), ["row", "y"])
    settings = FormatSettings(header=False, columns=("row", "y"), skip_lines=1)
    assert lines.frame(b"# by x\nrow,y\n3,1\n4,0\n", None, "log.csv").height == 2  # type: ignore[union-attr]
    assert lines.frame(b"3,1\n4,0\n", ["row", "y"], "log.csv").height == 2  # type: ignore[union-attr]
    assert Lines(settings, ["row", "y"]).frame(b"3,1\n4,0\n", ["row", "y"], "x").height == 2  # type: ignore[union-attr]
    frames, _ = line_frames([path], lines, path.stat().st_size // 10)
    rows = rows_of(frames)
    assert rows[0] == 0
    assert rows == sorted(set(rows))


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_of_a_large_file_whole_records_are_taken_from_all_places(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"log.{form}"
    table = log(20_000)
    table.write_csv(path) if form == "csv" else table.write_ndjson(path)
    lines = CSV if form == "csv" else Lines(FormatSettings(kind="ndjson"), ["row", "text", "y"])
    budget = path.stat().st_size // 10
    frames, share = line_frames([path], lines, budget)
    rows = rows_of(frames)
    assert len(frames) == 16
    assert rows == sorted(set(rows))
    assert rows[0] == 0
    assert rows[-1] == 19_999
    assert share == pytest.approx(len(rows) / 20_000, rel=0.05)
    assert 0.07 < share < 0.1
    # As it stands in the table, quotes, line breaks and all.
    expected = table["text"].gather(rows).to_list()
    assert pl.concat(frames)["text"].to_list() == expected


def test_the_last_record_counts_without_a_line_break_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(log(9000).write_csv().rstrip("\n"))
    assert rows_of(line_frames([path], CSV, 20_000)[0])[-1] == 8999
    (tmp_path / "small.csv").write_text("row,text,y\n1,a,0\n2,b,1")
    assert rows_of(line_frames([tmp_path / "small.csv"], CSV, 20_000)[0]) == [1, 2]


def test_text_of_which_no_record_ends_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.ndjson"
    path.write_text('{"a": "' + "x" * 100_000)
    with pytest.raises(DataError, match=r"log.ndjson: the file has no rows that can be told apart; check its quotes"):
        line_frames([path], Lines(FormatSettings(kind="ndjson"), ["a"]), 20_000)


def test_a_place_without_a_record_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(log(4000).write_csv() + "\n" * 60_000)
    frames, share = line_frames([path], CSV, 20_000)
    assert 0 < len(frames) < 16
    assert 0 < share < 1


def test_a_key_that_holds_values_of_two_kinds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.ndjson"
    path.write_text('{"a": 1, "y": 0}\n' * 70_000 + '{"a": [1], "y": 1}\n' * 70_000)
    with pytest.raises(DataError):
        sampled(path, 1000)


def test_several_files_are_one_table(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.csv" for number in range(3)]
    for number, path in enumerate(paths):
        log(9000)[3000 * number : 3000 * (number + 1)].write_csv(path)
    frames, share = line_frames(paths, CSV, 20_000)
    rows = rows_of(frames)
    assert rows == sorted(set(rows))
    assert {row // 3000 for row in rows} == {0, 1, 2}
    assert share == pytest.approx(len(rows) / 9000, rel=0.1)


def test_a_file_in_another_order_of_columns_is_read_by_name_and_one_that_lacks_one_is_refused(tmp_path: Path) -> None:
    log(9000).write_csv(tmp_path / "a.csv")
    log(9000).select("y", "row", "text").write_csv(tmp_path / "b.csv")
    frames, _ = line_frames([tmp_path / "a.csv", tmp_path / "b.csv"], CSV, 20_000)
    assert all(row % 2 == int(y) for frame in frames for row, y in zip(rows_of([frame]), frame["y"], strict=True))
    log(9000).select("y", "row").write_csv(tmp_path / "b.csv")
    with pytest.raises(ColumnError, match=r"b.csv: no column 'text'"):
        line_frames([tmp_path / "a.csv", tmp_path / "b.csv"], CSV, 20_000)


@pytest.mark.parametrize("rows", [100, 150_000])
def test_a_compressed_file_is_thinned_from_its_front(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(log(rows).write_csv().encode(), 1))
    frames, share = line_frames([path], CSV, 300_000)
    found = rows_of(frames)
    assert found == sorted(set(found))
    assert share == pytest.approx(len(found) / rows, rel=0.1)
    if rows == 100:
        assert (found, share) == (list(range(100)), 1.0)
    else:
        assert found[0] == 0
        assert found[-1] > 0.8 * rows
        assert 0.05 < share < 0.4


def test_of_a_huge_compressed_file_only_the_front_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(log(150_000).write_csv().encode(), 1))
    monkeypatch.setattr(spread_lines, "_STREAMED_BYTES", 500_000)
    frames, share = line_frames([path], CSV, 300_000)
    found = rows_of(frames)
    assert max(found) < 75_000
    assert share == pytest.approx(len(found) / 150_000, rel=0.4)


@pytest.mark.parametrize(
    ("cut", "start"),
    [
        ("1,a,0\n2,b,1\n3,c,0\n", 6),
        (",0\n2,b,1\n3,c,0\n4,d,1\n", 3),
        ('wo\nlines",0\n2,b,1\n3,c,0\n4,d,1\n', 12),
        ("no line break", 13),
        ("1\n2\n3\n", 6),
    ],
)
def test_a_record_starts_behind_a_line_break_where_those_that_follow_have_its_width(cut: str, start: int) -> None:
    assert CSV.start_in(cut.encode(), 3) == start


def test_a_line_of_json_starts_behind_any_line_break() -> None:
    assert Lines(FormatSettings(kind="ndjson"), ["a"]).start_in(b'1}\n{"a": 2}\n', 1) == 3


def test_records_that_end_are_whole() -> None:
    assert CSV.whole(b'1,a,0\n2,"x\ny",1\n3,c') == b'1,a,0\n2,"x\ny",1\n'
    assert Lines(FormatSettings(kind="ndjson"), ["a"]).whole(b'{"a": 1}\n{"a"') == b'{"a": 1}\n'


# ---------------------------------------------------------------------------------------------------------- JSON keys


def test_the_keys_of_json_lines_are_flat_where_they_hold_values_or_lists_of_them() -> None:
    records = [{"a": 1, "b": [1, 2], "c": {"x": 1}, "d": [[1]], "e": [{"x": 1}], "f": None}, {"g": "x", "a": {"y": 1}}]
    text = "".join(json.dumps(record) + "\n" for record in records)
    flat = {"a": False, "b": True, "c": False, "d": False, "e": False, "f": True, "g": True}
    assert flat_keys(text.encode(), "log.ndjson") == flat
    assert flat_keys(b'{"a": 1}', "log.ndjson") == {"a": True}
    assert flat_keys(b'\n{"a": 1}\n{"b": ', "log.ndjson") == {"a": True}
    assert flat_keys(b'{"a": 1}\n[1]\n{"b": 2}\n', "log.ndjson") == {"a": True, "b": True}


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"[1]\n", "does not start with a JSON object"),
        (b"a,b\n", "does not start"),
    ],
)
def test_what_is_no_json_line_is_refused(head: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"log.ndjson: the file {message}"):
        flat_keys(head, "log.ndjson")


# ------------------------------------------------------------------------------------------------------------- sample


def sampled(path: Path, max_rows: int = 250_000, label: str = "y") -> SpreadSample:
    return spread_sample([path], label, max_rows)


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet", "arrow", "parquet.gz"])
def test_a_small_table_is_seen_whole_in_every_kind_of_file(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"log.{form}"
    write(log(50), path)
    sample = sampled(path)
    assert sample.frame["row"].cast(pl.Int64).to_list() == list(range(50))
    assert (sample.num_rows, sample.exact, sample.whole, sample.is_text) == (50, True, True, form == "csv")
    assert sample.pieces.tolist() == [0] * 50
    assert sample.left_out == {}


def write(table: pl.DataFrame, path: Path) -> None:
    kind = path.name.removesuffix(".gz").split(".")[-1]
    plain = path.with_name(f"plain.{kind}")
    {
        "csv": table.write_csv,
        "ndjson": table.write_ndjson,
        "parquet": table.write_parquet,
        "arrow": table.write_ipc,
    }[kind](plain)
    path.write_bytes(gzip.compress(plain.read_bytes()) if path.suffix == ".gz" else plain.read_bytes())
    plain.unlink()


def test_of_a_large_parquet_table_ten_runs_of_rows_are_seen(tmp_path: Path) -> None:
    log(5000).write_parquet(tmp_path / "log.parquet")
    sample = sampled(tmp_path / "log.parquet", 500)
    rows = sample.frame["row"].to_list()
    assert (len(rows), sample.num_rows, sample.exact, sample.whole) == (500, 5000, True, False)
    assert np.unique(sample.pieces).tolist() == list(range(10))
    assert rows[:50] == list(range(50))
    assert rows[-50:] == list(range(4950, 5000))
    assert rows[50:100] == list(range(550, 600))


def test_of_a_large_csv_rows_are_estimated(tmp_path: Path) -> None:
    log(120_000).write_csv(tmp_path / "log.csv")
    assert (tmp_path / "log.csv").stat().st_size > 1.25 * HEAD_BYTES
    sample = sampled(tmp_path / "log.csv", 1000)
    assert sample.num_rows == pytest.approx(120_000, rel=0.02)
    assert (sample.exact, sample.whole) == (False, False)
    assert len(np.unique(sample.pieces)) == 16


def test_a_table_that_is_damaged_on_the_way_is_told_with_the_row(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    log(5000).write_parquet(path, row_group_size=500)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = b"\xff" * 2000
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"log.parquet: damaged or lost at or after row \d+: "):
        sampled(path, 500)


def test_a_wide_table_is_seen_in_fewer_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("widedeep.suggest.spread_sample._MAX_CELLS", 300)
    log(5000).write_parquet(tmp_path / "log.parquet")
    assert sampled(tmp_path / "log.parquet").frame.height == 100


def test_of_many_files_the_first_the_last_and_some_between_are_seen(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:02}.parquet" for number in range(64)]
    for number, path in enumerate(paths):
        log(640)[10 * number : 10 * number + 10].write_parquet(path)
    sample = spread_sample(paths, "y")
    assert (sample.num_rows, sample.exact, sample.frame.height) == (640, False, 320)
    assert sample.frame["row"][0] == 0
    assert sample.frame["row"][-1] == 639
    for path, csv in ((path, path.with_suffix(".csv")) for path in paths):
        pl.read_parquet(path).write_csv(csv)
    sample = spread_sample([path.with_suffix(".csv") for path in paths], "y")
    assert sample.num_rows == pytest.approx(640, rel=0.02)
    assert not sample.exact


def test_columns_that_cannot_be_read_are_left_out_with_what_they_hold(tmp_path: Path) -> None:
    table = log(9).with_columns(
        b=pl.lit(b"\xff"), s=pl.struct("row"), l=pl.Series([[[1]]] * 9), ok=pl.concat_list("row")
    )
    table = table.with_columns(
        pl.col("row").alias("^r.*$"), pl.col("row").alias("r\x01"), pl.col("text").cast(pl.Categorical)
    )
    table.write_parquet(tmp_path / "log.parquet")
    sample = sampled(tmp_path / "log.parquet")
    assert set(sample.left_out) == {"b", "s", "l", "^r.*$", "r\x01"}
    assert sample.left_out["b"].startswith("holds bytes that are no text in UTF-8")
    assert sample.left_out["^r.*$"] == "its name reads as a pattern of names: rename it"
    assert sample.left_out["r\x01"] == "its name holds the control character U+0000 or U+0001: rename it"
    assert sample.frame.schema["text"] == pl.String
    assert sample.frame["ok"].to_list() == [[row] for row in range(9)]
    (tmp_path / "log.ndjson").write_text('{"y": 1, "o": {"a": 1}, "l": [1]}\n{"y": 0, "l": []}\n')
    sample = sampled(tmp_path / "log.ndjson")
    assert sample.left_out == {"o": "holds objects or lists of lists"}
    assert sample.frame.columns == ["y", "l"]


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["a.csv", "b.parquet"], DataError, "parts of one table must be of one kind; these are csv, parquet"),
        (["broken.parquet"], DataError, r"broken.parquet: not a readable Parquet file: "),
        (["empty.parquet"], DataError, r"empty.parquet: the file has no rows"),
        (["b.parquet", "lacks.parquet"], ColumnError, r"lacks.parquet: no column"),
        (["lacks.parquet"], ColumnError, r"lacks.parquet: no column 'y'"),
    ],
)
def test_files_that_are_no_one_table_are_refused(
    tmp_path: Path, names: list[str], error: type[Exception], message: str
) -> None:
    log(9).write_csv(tmp_path / "a.csv")
    log(9).write_parquet(tmp_path / "b.parquet")
    log(9).clear().write_parquet(tmp_path / "empty.parquet")
    log(9).drop("y").write_parquet(tmp_path / "lacks.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 this is none")
    with pytest.raises(error, match=message):
        spread_sample([tmp_path / name for name in names], "y")


def test_a_url_of_text_and_a_label_that_reads_as_a_pattern_are_refused() -> None:
    with pytest.raises(DataError, match="text is not read from a URL, only Parquet and Arrow files are"):
        spread_sample(["https://example.org/log.csv"], "y")
    with pytest.raises(ColumnError, match="a label called '\\*' reads as a pattern of names; rename the column"):
        spread_sample([Path("log.csv")], "*")
