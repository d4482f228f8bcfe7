"""A stream that answers: each score is written before the next row is asked for, and is the score of the whole file."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from widedeep.errors import ColumnError, DataError, NoRowsError, UsageError, WidedeepError
from widedeep.reporting import Reporter
from widedeep.scoring.outputs import OutputFormat
from widedeep.scoring.predict import predict_files
from widedeep.scoring.scorer import Scorer
from widedeep.table.typed import Typing

Widedeep = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> object:
    """The run is loaded once for all tests of this module."""
    loaded: dict[Path, Scorer] = {}
    load = Scorer.load
    with pytest.MonkeyPatch.context() as patch:

        def cached(path: Path, **options: Any) -> Scorer:
            if path not in loaded:
                loaded[path] = load(path, **options)
            return loaded[path]

        patch.setattr(Scorer, "load", cached)
        yield


@pytest.fixture(scope="module")
def run(trained: Path) -> Path:
    return (trained / "runs" / "small" / "latest").resolve()


class Asking(io.BytesIO):
    """Gives a line at a time, and notes how many lines of answers there are whenever it is asked for more."""

    def __init__(self, content: bytes, answers: io.BytesIO) -> None:
        super().__init__(content)
        self._answers = answers
        self.answered: list[int] = []

    def read1(self, size: int | None = -1, /) -> bytes:
        self.answered.append(self._answers.getvalue().count(b"\n"))
        return self.readline()


def answers(run: Path, content: bytes, output_format: OutputFormat = "csv", keep: tuple[str, ...] = ()) -> bytes:
    sink = io.BytesIO()
    predict_files(
        run,
        [Asking(content, sink)],
        sink,
        output_format=output_format,
        keep=keep,
        line_buffered=True,
        reporter=Reporter(),
    )
    return sink.getvalue()


def scores_of_whole(run: Path, content: bytes, keep: tuple[str, ...] = ()) -> pl.DataFrame:
    sink = io.BytesIO()
    predict_files(run, [io.BytesIO(content)], sink, output_format="parquet", keep=keep, reporter=Reporter())
    return pl.read_parquet(sink.getvalue())


def require_answers(run: Path, content: bytes, keep: tuple[str, ...] = ()) -> None:
    """Fails unless the answers are the rows that the whole stream gives."""
    expected = scores_of_whole(run, content, keep)
    told = pl.read_csv(answers(run, content, keep=keep), schema_overrides=expected.schema)
    assert told.drop("score").equals(expected.drop("score"), null_equal=True)
    assert told["score"].to_list() == pytest.approx(expected["score"].to_list(), abs=1e-6)


@pytest.fixture(scope="module")
def csv(trained: Path) -> bytes:
    return b"".join((trained / "new.csv").read_bytes().splitlines(keepends=True)[:40])


@pytest.fixture(scope="module")
def ndjson(trained: Path) -> bytes:
    return pl.read_csv(trained / "new.csv").head(40).write_ndjson().encode()


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_each_score_is_written_before_the_next_row_is_asked_for(
    kind: str, run: Path, csv: bytes, ndjson: bytes
) -> None:
    content, sink = {"csv": csv, "ndjson": ndjson}[kind], io.BytesIO()
    stream = Asking(content, sink)
    result = predict_files(run, [stream], sink, output_format="ndjson", line_buffered=True, reporter=Reporter())
    header = int(kind == "csv")
    asked = len(content.splitlines()) + 1  # once more, to hear of the end
    assert stream.answered == [max(0, number - header) for number in range(asked)]
    assert result.rows == asked - 1 - header


def test_rows_that_only_warm_up_are_counted_nowhere(run: Path) -> None:
    content = b'{"color":"red","shape":"flat","user":"u1","price":1.5,"age":30}\n' * 3
    result = predict_files(
        run, [io.BytesIO(content)], io.BytesIO(), output_format="csv", line_buffered=True, reporter=Reporter()
    )
    assert (result.rows, result.missing, result.unseen) == (3, {}, {})


@pytest.mark.parametrize("keep", [(), ("user", "id")])
@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_answers_are_the_scores_of_the_whole_stream(
    kind: str, keep: tuple[str, ...], run: Path, csv: bytes, ndjson: bytes
) -> None:
    require_answers(run, {"csv": csv, "ndjson": ndjson}[kind], keep)


HEAD = b"id,color,shape,user,price,age\n"


@pytest.mark.parametrize(
    "content",
    [
        HEAD + b'1,red,"square, or so",u1,1.5,30\n2,"re\nd",flat,u2,2,\n\n3,blue,round,u3,7,40\n',
        HEAD + b'1, red ,"a ""b""",u1, 1.5 ,30\r\n2,\xc3\xa9,flat,u2,1e3,31\r\n',
        b"\xef\xbb\xbf" + HEAD + b"1,red,round,u1,1.5,30",
        b"sep=,\n" + HEAD + b"1,red,round,u1,1.5,30\n",
        b"\n" + HEAD + b"1,,,,,\n",
        b'\n{"color":"red","shape":"x","user":7,"price":"1.5","age":null}\n\n{"color":"a:b"}\n',
        b'\xef\xbb\xbf{"color":"\\u00e9","shape":"x","user":7.0,"price":1,"price":2,"age":3}\n',
        b'{"color": true , "shape" : "x", "user": 12345678901234567890, "price": 1e-7, "age": 2.5}',
    ],
)
def test_odd_lines_are_answered_as_the_whole_stream_is(content: bytes, run: Path) -> None:
    require_answers(run, content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        HEAD,
        b'{"color": "red"}\n',
        b'{"color": "red", "shape": 1, "user": 2, "price": 1, "age": 1}\n{"color"\n',
        b'{"color": "red", "shape": 1, "user": 2, "price": "much", "age": 1}\n',
        b'{"color": ["red"], "shape": 1, "user": 2, "price": 1, "age": 1}\n',
        HEAD + b"1,red,round,u1,1.5,30\n2,red,round\n",
        HEAD + b"1,red,round,u1,much,30\n",
        HEAD + b"1,\xff,round,u1,1,30\n",
        HEAD + b'1,"red,round,u1,1,30\n',
        b"id,color,shape\n1,red,round\n",
    ],
)
def test_what_is_refused_in_a_whole_stream_is_refused_with_the_same_place(content: bytes, run: Path) -> None:
    with pytest.raises(WidedeepError) as whole:
        scores_of_whole(run, content)
    with pytest.raises(WidedeepError) as by_line:
        answers(run, content)
    assert type(by_line.value) is type(whole.value)
    place = str(whole.value).split(" ")[0]
    assert str(by_line.value).startswith(place)
    assert place.startswith("<stdin>")
    assert type(whole.value) in (DataError, ColumnError, NoRowsError)


def test_plain_rows_are_answered_without_a_query(
    run: Path, csv: bytes, ndjson: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a query was run")

    monkeypatch.setattr(Typing, "apply", refuse)
    plain = b"".join(line for line in csv.splitlines(keepends=True) if b'"' not in line)
    assert answers(run, plain).count(b"\n") == plain.count(b"\n")
    assert answers(run, ndjson, "ndjson").count(b"\n") == 40


def test_rows_with_side_tables_and_dates_are_answered_too(rich: Path) -> None:
    run = (rich / "runs" / "rich" / "latest").resolve()
    log = b"".join((rich / "log.csv").read_bytes().splitlines(keepends=True)[:9])
    require_answers(run, log)


def test_nobody_can_read_a_parquet_file_line_by_line(run: Path, csv: bytes) -> None:
    with pytest.raises(UsageError, match="csv or ndjson"):
        answers(run, csv, "parquet")


def test_only_a_pipe_can_be_answered(trained: Path, run: Path, widedeep: Widedeep) -> None:
    code, _, err = widedeep("predict", run, trained / "new.csv", "-o", "-", "--line-buffered")
    assert (code, "give - as the only FILE" in " ".join(err.split())) == (2, True)


def test_a_coprocess_writes_a_line_and_reads_its_score(run: Path, ndjson: bytes) -> None:
    program = "from widedeep_cli.main import main; main()"
    command = [sys.executable, "-c", program, "predict", str(run), "-", "-o", "-", "--line-buffered"]
    expected = scores_of_whole(run, ndjson)["score"].to_list()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told = []
        for line in ndjson.splitlines(keepends=True)[:5]:
            process.stdin.write(line)
            process.stdin.flush()
            if not told:
                assert process.stdout.readline() == b"score\n"
            told.append(float(process.stdout.readline()))
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0
    assert told == pytest.approx(expected[:5], abs=1e-6)
