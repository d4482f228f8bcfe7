"""Files that are not read: every command names them as what they are, with what to do; outputs that would destroy."""

import io
import json
import os
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from widedeep.source.contents import HEAD_BYTES, signature_of

CommandLine = Callable[..., tuple[int, str, str]]


def tar(mode: str) -> bytes:
    stored = io.BytesIO()
    with tarfile.open(fileobj=stored, mode=mode) as archive:  # type: ignore[call-overload]
        archive.addfile(tarfile.TarInfo("log.csv"), io.BytesIO())
    return stored.getvalue()


def zipped(*names: str) -> bytes:
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        for name in names:
            archive.writestr(name, "a,click\n1,0\n")
    return stored.getvalue()


def encrypted() -> bytes:
    """A zip archive that says of its file that it is encrypted."""
    content = bytearray(zipped("log.csv"))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1
    return bytes(content)


def database() -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("create table log (click)")
        return connection.serialize()


OBJECTS = [{"a": 1, "click": 0}, {"a": 2, "click": 1}]
NO_LINES = "a JSON document that does not hold one object a line"
FORMS = {
    "tar": (tar("w"), "a tar archive"),
    "tar.gz": (tar("w:gz"), "a tar archive"),
    "zip of two": (zipped("a.csv", "b.csv"), "a zip archive that holds 2 files (a.csv, b.csv)"),
    "zip of none": (zipped(), "a zip archive that holds no file"),
    "encrypted zip": (encrypted(), "a zip archive whose file is encrypted"),
    "xlsx": (zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an old Excel workbook (.xls)"),
    "Feather 1": (b"FEA1\0\0\0\0" + bytes(90) + b"FEA1", "a Feather file of version 1"),
    "SQLite": (database(), "a SQLite database"),
    "Avro": (b"Obj\x01" + bytes(90), "an Avro file"),
    "JSON array": (json.dumps(OBJECTS).encode(), NO_LINES),
    "long JSON array": (json.dumps(OBJECTS * 9_000).encode(), NO_LINES),
    "JSON array, a row a line": (b"[\n" + b",\n".join(json.dumps(row).encode() for row in OBJECTS) + b"\n]", NO_LINES),
    "indented JSON array": (b"\xef\xbb\xbf" + json.dumps(OBJECTS, indent=2).encode(), NO_LINES),
    "indented JSON objects": (b"\n".join(json.dumps(row, indent=2).encode() for row in OBJECTS), NO_LINES),
    "JSON by columns": (b'{"a": {"0": 1, "1": 2}, "click": {"0": 0, "1": 1}}\n', NO_LINES),
    "JSON rows under a name": (json.dumps({"data": OBJECTS}).encode(), NO_LINES),
    "web page": (b"\r\n<!DOCTYPE html>\n<html><body>404, not found</body></html>\n", "a web page"),
    "XML": (b"<?xml version='1.0'?>\n<rows><row a='1' click='0'/></rows>\n", "an XML document"),
    "Git LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "a Git LFS pointer in place of the file",
    ),
    "UTF-32": ("a,click\n1,0\n".encode("utf-32"), "text in UTF-32"),
}


@pytest.mark.parametrize("name", ["log.csv", "log.parquet", "log"])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_table_is_named_as_what_it_is_by_every_command(
    form: str, name: str, trained: Path, tmp_path: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, what = FORMS[form]
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    recipe, run = trained / "small.yaml", trained / "runs/small/latest"
    train = f"data.train={tmp_path / name}"
    for command in (
        ["init", name, "--label", "click"],
        ["ingest", recipe, "--set", train, "--work", tmp_path],
        ["train", recipe, "--set", train, "--work", tmp_path],
        ["predict", run, name, "-o", "scores.csv"],
        ["eval", run, name],
    ):
        code, out, err = widedeep(*command)
        assert (code, out) == (3, "")
        told = " ".join(err.split())
        assert f"{name}: {what}" in told
        assert "latin-1" not in told


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1, "click": 0}\n{"a": 2, "click": 1}\n',
        b'\n  {"a": 1, "click": 0}  \r\n\r\n{"a": 2, "click": 1}',
        b'{"a": 1, "click": 0, "device": {"os": "x"}, "path": [{"n": 1}]}\n',
        b'{"a": [1, 2], "click": [0]}\n',
        b'{"a": 1, "click": 0, "t": "' + b"x" * 80_000 + b'"}\n',
        b'[{"k": 1}]\t0\n[{"k": 2}]\t1\n',
        b'{"k": 1}|0\n',
        b"{a,b},0\n[a b],1\n",
        b'[{"k: 1}],0\n',
        b"<a>,click\nversion,0\n",
    ],
)
def test_rows_that_begin_with_brackets_are_rows(content: bytes) -> None:
    assert signature_of(content[:HEAD_BYTES]) is None


def test_a_kind_that_is_asked_for_and_is_not_that_of_the_bytes_is_refused(
    trained: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    pl.read_csv(trained / "new.csv").write_parquet(tmp_path / "new.csv")
    run = trained / "runs/small/latest"
    code, _, err = widedeep("predict", run, tmp_path / "new.csv", "-o", "-", "--input-format", "csv")
    assert code == 3
    assert "a Parquet file, which data.format.kind or --input-format says is csv" in " ".join(err.split())


@pytest.mark.parametrize("how", ["same", "symbolic link", "hard link", "second of a folder"])
def test_scores_never_replace_a_file_that_is_read(
    how: str, trained: Path, tmp_path: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    content = (trained / "new.csv").read_bytes()
    for name in ("in/a.csv", "in/b.csv"):
        Path(name).write_bytes(content)
    output = "in/b.csv" if how in ("same", "second of a folder") else "out.csv"
    if how == "symbolic link":
        os.symlink("in/b.csv", output)
    elif how == "hard link":
        os.link("in/b.csv", output)
    inputs = ["in"] if how == "second of a folder" else ["in/a.csv", "in/b.csv"]
    code, _, err = widedeep("predict", trained / "runs/small/latest", *inputs, "-o", output, "--force")
    assert code == 2
    assert f"{output}: is what is read (in/b.csv): name another file to write" in " ".join(err.split())
    code, _, err = widedeep("init", *inputs, "--label", "click", "-o", output, "--force")
    assert (code, "is what is read" in err) == (2, True)
    assert Path("in/b.csv").read_bytes() == content
