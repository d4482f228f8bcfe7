"""Parts of a large file hold the records, lines and columns that the whole file has, wherever it is cut."""

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from widedeep.errors import DataError
from widedeep.recipe.schema import FormatSettings
from widedeep.source.csv_blocks import CsvCut
from widedeep.source.sources import cuts_of, read_blocks

QUOTED = [f'{number},"a ""b""\n\n{number % 3}",x' if number % 4 else f'{number},plain,5" wide' for number in range(60)]
FILES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "plain": ("\n".join(f"{n},b{n % 5},c" for n in range(99)).encode(), {}),
    "byte order mark, returns and blank lines": (
        b"\xef\xbb\xbf" + "\r\n\r\n".join(f"{n},b,c" for n in range(60)).encode() + b"\r\n",
        {},
    ),
    "quoted line breaks and odd quotes": ("\n".join(QUOTED).encode() + b"\n", {}),
    "remarks with quotes": ("\n".join(f'# so "\n{n},"b\nb",c' for n in range(60)).encode(), {"comment": "#"}),
    "escapes": ("\n".join(f'{n},"b\\" ,\n{n}",c' for n in range(60)).encode(), {"escape": "\\"}),
    "lines above the header": (b"made by hand\nin a hurry\n", {"skip_lines": 2}),
    "a header of its own": ("\n".join(f"{n},b,c" for n in range(60)).encode(), {"header": False}),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("cut_bytes", [64, 200])
def test_the_parts_of_a_file_are_the_file(name: str, cut_bytes: int, tmp_path: Path) -> None:
    content, settings = FILES[name]
    path = tmp_path / "log.csv"
    rows = content if "skip_lines" not in settings else b"\n".join(b"%d,b,c" % n for n in range(60))
    front = content if "skip_lines" in settings else b""
    mark = b"\xef\xbb\xbf" if content.startswith(b"\xef\xbb\xbf") else b""
    header = b"" if settings.get("header") is False else b"one,two,three\n"
    path.write_bytes(mark + front + header + rows.removeprefix(mark))
    names = {"columns": ["one", "two", "three"]} if settings.get("header") is False else {}
    form, columns = FormatSettings(**settings, **names), ["three", "one", "two"]

    cuts = list(cuts_of(path, form, columns, name="log.csv", cut_bytes=cut_bytes, block_bytes=50))

    assert len(cuts) >= 2
    assert all(isinstance(cut, CsvCut) for cut in cuts)
    whole = list(read_blocks(path, form, columns, name="log.csv"))
    parts = [block for cut in cuts for block in read_blocks(path, form, columns, name="log.csv", cut=cut)]
    assert pl.concat([block.frame for block in parts]).equals(pl.concat([block.frame for block in whole]))
    lines = [[block.line_of(row) for block in blocks for row in range(block.num_rows)] for blocks in (parts, whole)]
    assert lines[0] == lines[1]


def test_what_can_only_be_read_from_the_front_is_not_cut(tmp_path: Path) -> None:
    content = b"one,two\n" + b"1,2\n" * 500
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content))
    (tmp_path / "b.csv").write_bytes(content.decode().encode("utf-16"))
    (tmp_path / "c.ndjson").write_bytes(b'{"one": 1, "two": 2}\n' * 500)

    for path in sorted(tmp_path.iterdir()):
        assert list(cuts_of(path, FormatSettings(), ["one"], name="log", cut_bytes=10, block_bytes=50)) == []


def test_a_file_that_changes_after_it_was_cut_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"one,two\n" + b"1,2\n" * 500)
    *_, last = cuts_of(path, FormatSettings(), ["one"], name="log.csv", cut_bytes=100, block_bytes=50)
    path.write_bytes(b"one,two\n" + b"1,2\n" * 20)

    with pytest.raises(DataError, match=r"log\.csv: was changed while it was read"):
        list(read_blocks(path, FormatSettings(), ["one"], name="log.csv", cut=last))
