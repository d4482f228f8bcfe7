"""Delimited text: equal to Python's csv reader for any block size, with exact lines, and strict about its shape."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import NamedTemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.errors import ColumnError, DataError, RecipeError
from widedeep.recipe.schema import FormatSettings
from widedeep.source import csv_blocks
from widedeep.source.blocks import RawBlock
from widedeep.source.csv_codes import Scratch
from widedeep.source.sources import read_blocks

AS_IT_IS = {"trim": False, "missing": ()}


def blocks_of(content: bytes, block_bytes: int = 1 << 20, columns=None, **settings) -> list[RawBlock]:
    form = FormatSettings(**settings)
    return list(read_blocks(io.BytesIO(content), form, columns, name="log.csv", block_bytes=block_bytes))


def rows_of(content: bytes, block_bytes: int = 1 << 20, **settings) -> list[tuple[str | None, ...]]:
    return [row for block in blocks_of(content, block_bytes, **settings) for row in block.frame.rows()]


def lines_of(content: bytes, block_bytes: int = 1 << 20, **settings) -> list[int | None]:
    found = blocks_of(content, block_bytes, **settings)
    return [block.line_of(row) for block in found for row in range(block.frame.height)]


def refusal(content: bytes, **settings) -> str:
    with pytest.raises(DataError) as caught:
        blocks_of(content, **settings)
    return str(caught.value)


VALUES = st.text(st.sampled_from('ab ,;"\n\r\t#é€😀\x00') | st.characters(exclude_categories=["Cs"]), max_size=6)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(VALUES, min_size=width, max_size=width), min_size=1, max_size=12)
)


@given(
    table=TABLES,
    block_bytes=st.integers(1, 80),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    separator=st.sampled_from([",", "\t", ";", "|", "^", "-", "]"]),
)
def test_what_pythons_csv_writes_comes_back_equal_with_its_lines_for_any_block_size(
    table, block_bytes, quoting, line_end, separator
):
    if any("\r" in value for row in table for value in row):
        quoting = csv.QUOTE_ALL  # the writer of Python 3.11 leaves a lone \r bare, where it reads as part of a line end
    text = io.StringIO()
    writer = csv.writer(text, quoting=quoting, lineterminator=line_end, delimiter=separator)
    writer.writerow([f"c{number}" for number in range(len(table[0]))])
    lines = []
    for row in table:
        lines.append(text.getvalue().count("\n") + 1)
        writer.writerow(row)
    content = text.getvalue().encode()
    assert rows_of(content, block_bytes, separator=separator, **AS_IT_IS) == [tuple(row) for row in table]
    assert lines_of(content, block_bytes, separator=separator, **AS_IT_IS) == lines


@given(
    body=st.text(st.sampled_from(['"', ",", "\n", "a", "b"]), max_size=40),
    block_bytes=st.integers(1, 50),
    comment=st.booleans(),
)
def test_stray_quotes_are_read_as_pythons_csv_reads_them_and_ragged_or_open_ones_are_refused(
    body, block_bytes, comment
):
    settings = {**AS_IT_IS, "comment": "#" if comment else None}
    content = f"x,y\n{body}".encode()
    parsed = list(csv.reader(io.StringIO(f"{body}\nEND", newline="")))
    rows = [tuple(row) for row in parsed[:-1] if row]
    quote_is_open = not parsed or parsed[-1] != ["END"]
    if quote_is_open or not rows or any(len(row) != 2 for row in rows):
        with pytest.raises(DataError):
            rows_of(content, block_bytes, **settings)
    else:
        assert rows_of(content, block_bytes, **settings) == rows


def as_spark_writes(value: str) -> str:
    if not set(value) & set(',"\n'):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(
    table=st.lists(st.lists(st.text('a,"\\\n', max_size=5), min_size=2, max_size=2), min_size=1, max_size=10),
    block_bytes=st.integers(1, 60),
)
def test_what_spark_writes_with_backslashes_comes_back_equal_for_any_block_size(table, block_bytes):
    content = "".join(",".join(map(as_spark_writes, row)) + "\n" for row in [["x", "y"], *table])
    wanted = [tuple(row) for row in table]
    assert rows_of(content.encode(), block_bytes, escape="\\", **AS_IT_IS) == wanted


def test_a_doubled_quote_reads_as_one_whether_or_not_a_backslash_stands_near():
    for rest in (b"", b'"\\"",2\n'):
        assert rows_of(b'x,y\n"a""b",1\n' + rest, escape="\\")[0] == ('a"b', "1")
    assert rows_of(b'x,y\n"a\\",1\n') == [("a\\", "1")]


def test_the_separator_that_a_first_line_names_must_be_the_recipes_and_the_line_is_no_row():
    content = b"sep=;\r\nx;y\r\n1;2\r\n"
    assert rows_of(content, 3, separator=";") == [("1", "2")]
    assert lines_of(content, 3, separator=";") == [3]
    assert rows_of(content, separator=";", skip_lines=1) == [("1", "2")]
    assert refusal(content) == "log.csv:1: the first line names ';' as separator: set data.format.separator to it"


@pytest.mark.parametrize("block_bytes", [1, 5, 1000])
def test_lines_that_end_by_a_return_alone_are_lines_and_blanks_that_do_not_break_are_blanks(block_bytes):
    content = "\ufeffx,\u00a0y\r1\u00a0,\u00a0a\u00a0b \u00a0\r2,\r".encode()
    assert rows_of(content, block_bytes) == [("1", "a\u00a0b"), ("2", None)]
    assert lines_of(content, block_bytes) == [2, 3]


def test_byte_order_mark_crlf_blank_lines_and_a_missing_last_line_end_do_not_disturb():
    content = b"\xef\xbb\xbfa,b\r\n\r\n1,2\r\n   \r\n3,4"
    assert rows_of(content) == [("1", "2"), ("3", "4")]
    assert lines_of(content) == [3, 5]


def test_a_blank_line_in_a_table_of_one_column_is_a_missing_value():
    assert rows_of(b"a\n1\n\n2\n") == [("1",), (None,), ("2",)]


def test_skipped_lines_and_comments_may_hold_any_quotes_and_lines_stay_true():
    content = b'made by "x\n# it\'s 5" wide\n# "\na,b\n1,"# no, ""value"""\n#,"\n2,3\n'
    settings = {"skip_lines": 1, "comment": "#"}
    for block_bytes in (1, 7, 1000):
        assert rows_of(content, block_bytes, **settings) == [("1", '# no, "value"'), ("2", "3")]
        assert lines_of(content, block_bytes, **settings) == [5, 7]


def test_blanks_are_trimmed_before_values_are_compared_with_the_missing_texts():
    assert rows_of(b'a, b ,c\n ? ,\tx y, " q, r "\n', missing=["", "?"]) == [(None, "x y", "q, r")]
    assert rows_of(b" a,b\n ?,\n", trim=False, missing=["?"]) == [(" ?", "")]
    assert blocks_of(b" a, b \n1,2\n")[0].frame.columns == ["a", "b"]


def test_a_quoted_empty_text_and_an_empty_text_are_the_same():
    assert rows_of(b'a,b\n"",\n') == [(None, None)]
    assert rows_of(b'a,b\n"",\n', missing=[]) == [("", "")]


def test_without_a_quote_character_quotes_are_plain():
    assert rows_of(b'a,b\n"1,2"\n', quote=None) == [('"1', '2"')]


def test_a_headerless_file_takes_its_names_from_the_recipe():
    form = FormatSettings(header=False, columns=("x", "y"), separator="\t")
    (block,) = read_blocks(io.BytesIO(b"1\t2\n"), form, ["y"], name="log.tsv")
    assert block.frame.to_dicts() == [{"y": "2"}]
    with pytest.raises(DataError, match=r"log.tsv:1: 3 values where the table has 2 columns"):
        list(read_blocks(io.BytesIO(b"1\t2\t3\n"), form, None, name="log.tsv"))


def test_only_the_wanted_columns_come_in_the_order_asked_for():
    (block,) = blocks_of(b"a,b,c\n1,2,3\n", columns=["c", "a"])
    assert block.frame.to_dict(as_series=False) == {"c": ["3"], "a": ["1"]}


@pytest.mark.parametrize("block_bytes", [1, 16, 1 << 20])
@pytest.mark.parametrize(("line", "found"), [("1", "1 value "), ("1,2,3,4", "4 values"), ('"a,b",2', "2 values")])
def test_a_short_or_long_row_is_refused_with_its_line_and_both_counts(line, found, block_bytes):
    content = f'a,b,c\n1,"two\nlines",3\n\n{line}\n1,2,3\n'.encode()
    with pytest.raises(DataError, match=rf"log.csv:5: {found}.*has 3 columns"):
        blocks_of(content, block_bytes)


@pytest.mark.parametrize("block_bytes", [1, 5, 1 << 20])
def test_a_quote_that_is_never_closed_is_refused_with_the_line_where_it_opened(block_bytes):
    with pytest.raises(DataError, match=r"log.csv:4: a quoted value is never closed"):
        blocks_of(b'a,b\n"1\n",2\n3,"x\ny,z\n', block_bytes)
    with pytest.raises(DataError, match=r"log.csv:3: a quoted value is never closed"):
        blocks_of(b'a,b\n5" disk,2\n3, "x\ny,z\n', block_bytes)


@pytest.mark.parametrize("block_bytes", [1, 6, 1 << 20])
def test_bytes_that_are_no_utf8_are_refused_with_their_line(block_bytes):
    with pytest.raises(DataError, match=r"log.csv:3: byte 0xff is not valid UTF-8"):
        blocks_of("a,b\né,2\n".encode() + b"\xff,3\n", block_bytes)


def test_files_without_content_are_refused_each_with_its_reason():
    assert refusal(b"") == "log.csv: the file is empty"
    assert refusal(b"a,b\n") == "log.csv: the file has a header and no rows"
    assert "neither header nor rows" in refusal(b"\n# x\n", comment="#")
    assert "neither header nor rows" in refusal(b"a,b\n", skip_lines=5)


def test_a_header_that_names_a_column_twice_is_refused():
    assert "log.csv:2: the header names column 'a' twice" in refusal(b"\na,b, a\n1,2,3\n")


def test_columns_without_a_name_may_be_several():
    (block,) = blocks_of(b",, a,\n1,x,2,\n3,y,4,\n")
    assert block.frame.columns == ["", "Unnamed: 1", "a", "Unnamed: 3"]
    assert block.frame["a"].to_list() == ["2", "4"]
    assert "names column 'Unnamed: 1' twice" in refusal(b",,Unnamed: 1\n1,2,3\n")


def test_an_absent_column_is_named_with_what_the_file_has():
    with pytest.raises(ColumnError, match=r"log.csv: no column 'agee'; did you mean 'age'\? It has: age, sex"):
        blocks_of(b"age,sex\n1,2\n", columns=["sex", "agee"])
    with pytest.raises(ColumnError, match=r"is `data.format.separator` right"):
        blocks_of(b"age\tsex\n1\t2\n", columns=["sex"])


def test_a_separator_that_is_no_single_byte_is_a_recipe_fault():
    with pytest.raises(RecipeError, match=r"data.format.separator: must be one ASCII character"):
        blocks_of(b"a\n1\n", separator="§")


class Endless(io.RawIOBase):
    """A log without end."""

    def __init__(self, start: bytes, again: bytes) -> None:
        self.parts: Iterator[bytes] = iter([start])
        self.again = again

    def read(self, size: int = -1) -> bytes:
        return next(self.parts, self.again * (size // len(self.again) + 1))


def test_an_endless_stream_is_read_block_by_block():
    reader = read_blocks(Endless(b"a,b\n", b'1,"2"\n'), FormatSettings(), None, name="<stdin>", block_bytes=4096)
    heights = [next(reader).frame.height for _ in range(3)]
    assert all(0 < height < 2000 for height in heights)


def test_a_lone_opening_quote_does_not_read_an_endless_stream_into_memory(monkeypatch):
    monkeypatch.setattr("widedeep.source.csv_blocks._RECORD_LIMIT", 1 << 20)
    stream = Endless(b'a,b\n1,2\n1,"', b"3,4\n")
    with pytest.raises(DataError, match=r"<stdin>:3: a quoted value is not closed within 1 MiB"):
        list(read_blocks(stream, FormatSettings(), None, name="<stdin>", block_bytes=4096))
    with pytest.raises(DataError, match=r"<stdin>:1: a line longer than 1 MiB"):
        list(read_blocks(Endless(b"", b"x"), FormatSettings(), None, name="<stdin>", block_bytes=4096))


@given(
    lines=st.lists(st.text(st.sampled_from("a,, \t\r\x00é#"), max_size=6), min_size=1, max_size=8),
    width=st.integers(2, 4),
    block_bytes=st.integers(1, 60),
    comment=st.sampled_from([None, "#"]),
)
def test_what_compiled_loops_read_is_what_is_read_without_them(lines, width, block_bytes, comment):
    content = ("\n".join([",".join(f"c{number}" for number in range(width)), *lines]) + "\n").encode()
    outcomes = []
    for compiled_bytes in (0, len(content) + 1):
        with pytest.MonkeyPatch.context() as patch, NamedTemporaryFile() as file:
            patch.setattr(csv_blocks, "_COMPILED_BYTES", compiled_bytes)
            file.write(content)
            file.flush()
            form = FormatSettings(kind="csv", comment=comment)
            try:
                found = list(read_blocks(Path(file.name), form, None, name="log.csv", block_bytes=block_bytes))
                outcomes.append(
                    [(block.line_of(i), row) for block in found for i, row in enumerate(block.frame.rows())]
                )
            except DataError as error:
                outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


def test_values_of_any_length_are_told_apart_by_their_bytes(tmp_path, monkeypatch):
    draw = Random(0)
    # Few different characters and lengths around the eight bytes that are looked at together: many values nearly equal.
    values = [
        "".join(draw.choices("\x00\x01\x07ab", k=draw.choice([0, 1, 7, 8, 9, 15, 16, 17, 24]))) for _ in range(4000)
    ]
    values += [f"{'same beginning' * 3}{number}" for number in range(1000)]
    rows = [(value, f"{number}", value[::-1]) for number, value in enumerate(values)]
    (tmp_path / "log.csv").write_text("a,b,c\n" + "".join(",".join(row) + "\n" for row in rows))
    monkeypatch.setattr(csv_blocks, "_COMPILED_BYTES", 0)
    for block_bytes in (1000, 1 << 20):
        form = FormatSettings(**AS_IT_IS)
        blocks = list(read_blocks(tmp_path / "log.csv", form, None, name="log.csv", block_bytes=block_bytes))
        assert [row for block in blocks for row in block.frame.rows()] == rows


def test_a_block_is_coded_while_another_thread_takes_the_spare_memory() -> None:
    class Contended(list[Scratch]):
        def __bool__(self) -> bool:
            was_there = len(self) > 0
            self.clear()  # as another thread may, as soon as this one has looked
            return was_there

    settings = FormatSettings()
    table = csv_blocks._Table(settings, csv_blocks.dialect_of(settings), ["a"], "log.csv", ["a"], compiled=True)
    table.names = ["a", "b"]
    table._spare = Contended([Scratch()])
    for _ in range(2):
        coded = table._coded_texts(csv_blocks._Run(b"x,1\ny,2\nx,3\n", num_lines=3, line=1, bytes_done=12), [0])
        assert coded is not None
        assert coded[0].of_rows().to_list() == ["x", "y", "x"]
