"""Where scores go: formats, files that appear whole, streams, and what is refused before anything is scored."""

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from widedeep.errors import OutputExistsError, UsageError, WriteError
from widedeep.reporting import Reporter
from widedeep.scoring.outputs import OutputFormat, format_of, write_frames
from widedeep.scoring.predict import PredictResult, predict_files

RUN = Path(__file__).with_name("run-format-1")
ROWS = Path(__file__).with_name("run-format-1-scores.csv")
WHOLE = pl.DataFrame({"id": ["a", 'b"', "c,d", None], "score": [0.5, 0.25, 1.0, 0.0]})


def frames() -> Iterator[pl.DataFrame]:
    yield from (WHOLE[:3], WHOLE[3:])


def read(content: bytes, form: OutputFormat) -> pl.DataFrame:
    readers = {"csv": pl.read_csv, "ndjson": pl.read_ndjson, "parquet": pl.read_parquet}
    return readers[form](io.BytesIO(content))


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("s.csv", "csv"),
        ("S.CSV", "csv"),
        ("s.ndjson", "ndjson"),
        ("s.jsonl", "ndjson"),
        ("s.parquet", "parquet"),
        ("s.pq", "parquet"),
    ],
)
def test_an_ending_says_the_format(name: str, form: str) -> None:
    assert format_of(Path(name)) == form
    assert format_of(io.BytesIO()) == "csv"


def test_an_ending_that_says_none_is_refused() -> None:
    message = r"^scores.txt: the ending says no format \(.csv, .ndjson, .jsonl, .parquet, .pq\): add --output-format csv\|ndjson\|parquet$"
    with pytest.raises(UsageError, match=message):
        format_of(Path("scores.txt"))


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
def test_a_file_and_a_stream_hold_all_rows_once_in_order(tmp_path: Path, form: OutputFormat) -> None:
    path, stream = tmp_path / "scores", io.BytesIO()
    path.write_text("old")
    assert write_frames(frames(), path, form) == 4
    assert write_frames(frames(), stream, form) == 4
    assert read(path.read_bytes(), form).equals(WHOLE)
    assert read(stream.getvalue(), form).equals(WHOLE)
    assert [left.name for left in tmp_path.iterdir()] == ["scores"]


def test_a_csv_has_one_header() -> None:
    stream = io.BytesIO()
    write_frames(frames(), stream, "csv")
    assert stream.getvalue().count(b"score") == 1


class Reluctant(io.BytesIO):
    """Takes three bytes at a time, as an unbuffered pipe may."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed = 0

    def write(self, content: Any) -> int:
        return super().write(bytes(content)[:3])

    def flush(self) -> None:
        self.flushed = len(self.getvalue())


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
def test_a_stream_that_takes_a_part_at_a_time_gets_all_and_is_flushed(form: OutputFormat) -> None:
    stream = Reluctant()
    write_frames(frames(), stream, form)
    assert read(stream.getvalue(), form).equals(WHOLE)
    assert stream.flushed == len(stream.getvalue())


def test_rows_reach_a_stream_as_they_are_scored() -> None:
    stream = Reluctant()
    seen: list[int] = []

    def watched() -> Iterator[pl.DataFrame]:
        for frame in frames():
            seen.append(stream.flushed)
            yield frame

    write_frames(watched(), stream, "csv")
    assert seen[0] == 0
    assert 0 < seen[1] < stream.flushed


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_fault_on_the_way_leaves_what_was_there(tmp_path: Path, form: OutputFormat) -> None:
    path = tmp_path / "scores"
    path.write_text("old")

    def faulty() -> Iterator[pl.DataFrame]:
        yield WHOLE
        raise RuntimeError("later")

    with pytest.raises(RuntimeError, match="later"):
        write_frames(faulty(), path, form)
    assert [left.read_text() for left in tmp_path.iterdir()] == ["old"]


def test_a_link_stays_and_the_file_behind_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("old")
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "real.csv")
    write_frames(frames(), link, "csv")
    assert link.is_symlink()
    assert pl.read_csv(tmp_path / "real.csv").height == 4


def test_a_place_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"none/s.csv: its folder does not exist: make it first"):
        write_frames(frames(), tmp_path / "none" / "s.csv", "csv")
    with pytest.raises(WriteError, match="is a directory; name a file in it"):
        write_frames(frames(), tmp_path, "csv")


def test_a_device_takes_the_rows_and_stays(tmp_path: Path) -> None:
    assert write_frames(frames(), Path(os.devnull), "csv") == 4
    assert not Path(os.devnull).is_file()


# ------------------------------------------------------------------------------------------------------------- predict


def predicted(output: Path | io.BytesIO, rows: Path = ROWS, **options: Any) -> PredictResult:
    return predict_files(RUN, [rows], output, reporter=Reporter(), **options)


def test_kept_columns_stand_before_the_score_as_they_came(tmp_path: Path) -> None:
    result = predicted(tmp_path / "s.parquet", keep=["shape", "price"])
    found, rows = pl.read_parquet(tmp_path / "s.parquet"), pl.read_csv(ROWS)
    assert found.columns == ["shape", "price", "score"]
    assert (result.rows, result.path) == (rows.height, tmp_path / "s.parquet")
    assert found["price"].cast(pl.Float64).to_list() == rows["price"].to_list()
    assert found["score"].to_list() == pytest.approx(rows["score"].to_list(), abs=1e-6)
    assert result.missing["color"] == rows["color"].null_count()
    assert "price" not in result.unseen


def test_rows_to_be_scored_need_no_label(tmp_path: Path) -> None:
    pl.read_csv(ROWS).drop("click").write_csv(tmp_path / "rows.csv")
    with_label, without = io.BytesIO(), io.BytesIO()
    predicted(with_label)
    predicted(without, tmp_path / "rows.csv")
    assert without.getvalue() == with_label.getvalue()


def test_the_format_that_is_named_comes_before_the_ending_and_a_stream_has_no_path(tmp_path: Path) -> None:
    predicted(tmp_path / "s.csv", output_format="ndjson")
    assert pl.read_ndjson(tmp_path / "s.csv").columns == ["score"]
    predicted(tmp_path / "plain", output_format="csv")
    stream = io.BytesIO()
    assert predicted(stream).path is None
    assert (tmp_path / "plain").read_bytes() == stream.getvalue()


def test_an_output_that_exists_is_replaced_with_force_only(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("old")
    with pytest.raises(OutputExistsError, match="exists already; --force replaces it"):
        predicted(path)
    assert path.read_text() == "old"
    assert predicted(path, force=True).rows == pl.read_csv(path).height


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (["color", "score", "shape"], "--keep score: the output's column `score` holds the scores"),
        (["color", "color"], "--keep color: given twice"),
        (["^c.*$"], "--keep '^c.*$': cannot be a column's name here (it reads as a pattern of names)"),
        (["color\x01"], "--keep 'color\\x01': cannot be a column's name here (it holds the control character"),
    ],
)
def test_a_column_is_kept_once_and_none_is_called_as_a_column_of_ours(
    tmp_path: Path, keep: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        predicted(tmp_path / "s.csv", keep=keep)
    assert list(tmp_path.iterdir()) == []


def test_lists_are_kept_in_every_format_but_csv(tmp_path: Path) -> None:
    rows = tmp_path / "rows.parquet"
    pl.read_csv(ROWS).with_columns(pl.col("tags").str.split("|")).write_parquet(rows)
    for form in ("ndjson", "parquet"):
        predicted(tmp_path / f"s.{form}", rows, keep=["tags"])
    assert pl.read_parquet(tmp_path / "s.parquet")["tags"].dtype == pl.List(pl.String)
    with pytest.raises(
        UsageError, match=r"--keep tags: holds List\(String\) values, which CSV cannot: write ndjson or parquet"
    ):
        predicted(tmp_path / "s.csv", rows, keep=["tags"])
    assert not (tmp_path / "s.csv").exists()


def test_a_kept_column_that_changes_its_type_fits_no_parquet_file(tmp_path: Path) -> None:
    rows = pl.read_csv(ROWS)
    for name, change in (("a", pl.col("price")), ("b", pl.col("price").cast(pl.Float32))):
        rows.with_columns(change).write_parquet(tmp_path / f"{name}.parquet")
    inputs = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for form in ("csv", "ndjson"):
        result = predict_files(RUN, inputs, tmp_path / f"s.{form}", keep=["price"], reporter=Reporter())
        assert result.rows == 2 * rows.height
    with pytest.raises(
        UsageError, match="--keep price: holds Float64 values first and Float32 later, which one Parquet"
    ):
        predict_files(RUN, inputs, tmp_path / "s.parquet", keep=["price"], reporter=Reporter())


@pytest.mark.parametrize("output_format", ["csv", "ndjson"])
@given(
    scores=st.lists(st.floats(width=32) | st.floats(0, 1, width=32) | st.floats(2**-11, 2**21, width=32), max_size=9)
)
@example(scores=[0.5, 1.0, 0.0, 1e-3, 1e6, 999999.94, 0.1, 1e-4, 123456.0, float("nan"), float("inf"), -0.25])
def test_a_score_at_a_time_is_written_as_all_scores_at_once(output_format: OutputFormat, scores: list[float]) -> None:
    frame = pl.DataFrame({"score": scores}, schema={"score": pl.Float32})
    one_by_one, at_once = io.BytesIO(), io.BytesIO()
    frames = (frame[row : row + 1] for row in range(len(scores)))
    assert write_frames(frames, one_by_one, output_format) == len(scores)
    write_frames(iter([frame] if scores else []), at_once, output_format)
    assert one_by_one.getvalue() == at_once.getvalue()
