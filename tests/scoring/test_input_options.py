"""`predict --format`: new rows whose text is written otherwise than that of training give the same scores."""

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from widedeep.runs import LATEST

Widedeep = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(trained: Path) -> Path:
    return trained / "runs" / "small" / LATEST


@pytest.fixture
def rows(trained: Path) -> list[list[str]]:
    with (trained / "new.csv").open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def expected(trained: Path, run: Path, tmp_path: Path, widedeep: Widedeep) -> bytes:
    assert widedeep("predict", run, trained / "new.csv", "-o", tmp_path / "expected.csv", "--keep", "shape")[0] == 0
    return (tmp_path / "expected.csv").read_bytes()


def written(rows: list[list[str]], **dialect: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", **dialect).writerows(rows)  # type: ignore[arg-type]
    return text.getvalue()


@pytest.mark.parametrize(
    ("dialect", "head", "encoding", "options"),
    [
        ({"delimiter": ";"}, "", "utf-8", ["separator=;"]),
        ({"delimiter": "\t"}, "", "utf-8", ["separator=\\t"]),
        ({"delimiter": "|", "quotechar": "'"}, "", "utf-8", ["separator=|", "quote='"]),
        ({}, "made by hand\n", "utf-8", ["skip_lines=1"]),
        ({}, "# größe\n", "latin-1", ["encoding=latin-1", "comment=#"]),
        ({}, None, "utf-8", ["header=false", "columns=[id, color, shape, user, price, age, click]"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_rows_that_are_written_otherwise_get_the_same_scores(
    dialect: dict[str, str],
    head: str | None,
    encoding: str,
    options: list[str],
    rows: list[list[str]],
    expected: bytes,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    widedeep: Widedeep,
) -> None:
    content = ((head or "") + written(rows[head is None :], **dialect)).encode(encoding)
    (tmp_path / "new.txt").write_bytes(content)
    (tmp_path / "packed").write_bytes(gzip.compress(content))
    formats = [part for option in options for part in ("--format", option)]

    code, _, err = widedeep(
        "predict", run, tmp_path / "new.txt", "-o", tmp_path / "scores.csv", "--keep", "shape", *formats
    )
    assert code == 0, err
    assert (tmp_path / "scores.csv").read_bytes() == expected
    with (tmp_path / "packed").open("rb") as stream:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream))
        code, out, err = widedeep("predict", run, "-", "-o", "-", "--keep", "shape", *formats)
    assert code == 0, err
    assert out.encode() == expected


def test_a_folder_of_scores_notes_how_its_rows_were_read(
    rows: list[list[str]], run: Path, tmp_path: Path, widedeep: Widedeep
) -> None:
    (tmp_path / "new.csv").write_text(written(rows, delimiter=";"))
    command = ("predict", run, tmp_path / "new.csv", "-o", f"{tmp_path}/scores/")
    assert widedeep(*command, "--format", "separator=;")[0] == 0
    assert widedeep(*command, "--format", "separator=;")[0] == 0

    code, _, err = widedeep(*command)

    assert code == 2
    assert "with other options" in err


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("separator", "must be KEY=VALUE"),
        ("missing=x", "what values mean stays as the model knows it"),
        ("kind=parquet", "--input-format"),
        ("compression=gzip", "packed data are seen by themselves"),
        ("separator=;;", "--format: separator: must be text of length 1 or less"),
        ("encoding=ebcdic", "--format: encoding: must be 'utf-8' or 'latin-1'"),
        ("header=false", "needs `columns`"),
        ("skip_lines=few", "--format: skip_lines: must be a whole number"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(
    option: str, words: str, run: Path, trained: Path, tmp_path: Path, widedeep: Widedeep
) -> None:
    code, out, err = widedeep("predict", run, trained / "new.csv", "-o", tmp_path / "scores.csv", "--format", option)

    assert (code, out) == (2, "")
    assert words in err
    assert not (tmp_path / "scores.csv").exists()


def test_a_header_takes_the_place_of_the_names_that_training_had_to_be_given(
    project: Path, tmp_path: Path, widedeep: Widedeep
) -> None:
    header, *lines = (project / "log.csv").read_text().splitlines()
    (project / "bare.csv").write_text("\n".join(lines) + "\n")
    bare = ["--set", "data.train=bare.csv", "--set", f"data.format={{header: false, columns: [{header}]}}"]
    assert widedeep("train", "small.yaml", *bare, "--set", "training.epochs=1")[0] == 0

    assert widedeep("predict", "small", "bare.csv", "-o", "a.csv")[0] == 0
    assert widedeep("predict", "small", "log.csv", "-o", "b.csv", "--format", "header=true")[0] == 0

    assert (project / "a.csv").read_bytes() == (project / "b.csv").read_bytes()
