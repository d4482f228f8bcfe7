"""How a delimited text is written, judged by its first lines."""

from typing import Any

import pytest

from widedeep.errors import ColumnError, DataError, UsageError
from widedeep.source.csv_blocks import dialect_of
from widedeep.suggest import sniff as sniff_module
from widedeep.suggest.sniff import TextLayout, reads_as_utf8, sniff


def layout(text: str | bytes, label: str = "y", *, whole: bool = True) -> TextLayout:
    return sniff(text.encode() if isinstance(text, str) else text, "log.csv", label, whole=whole)


@pytest.mark.parametrize("separator", [",", "\t", ";", "|", "\x01", " "])
def test_the_separator_is_what_cuts_all_lines_alike(separator: str) -> None:
    text = "".join(separator.join(row) + "\n" for row in (("a", "b", "y"), ("1", "x", "0"), ("2", "z", "1")))
    found = layout(text)
    assert found.columns == ("a", "b", "y")
    assert found.changed() == ({} if separator == "," else {"separator": separator})


@pytest.mark.parametrize(
    ("text", "columns", "changed"),
    [
        ("a;b,c;y\n1;x,z;0\n2;x;1\n", ("a", "b,c", "y"), {"separator": ";"}),
        ("a b,y\nx y z,0\nx,1\n", ("a b", "y"), {}),
        ("a b y\n1 2 0\n1 2  0\n", ("a b y",), {}),
        ('a,y\n"x, z",0\n"x ""q""",1\n', ("a", "y"), {}),
        ('a,b,y\n"x,1,0\nz,"q,1\nw,e,1\n', ("a", "b", "y"), {"quote": None}),
        ("a , y\n x,0\n", ("a", "y"), {}),
        ("\ufeffa,y\n1,0\n", ("a", "y"), {}),
        ("\n\na,y\n\n1,0\n", ("a", "y"), {}),
        ("a,y\r\n1,0\r\n", ("a", "y"), {}),
        ("y\n1\n0\n", ("y",), {}),
        ("a,y\n1,0", ("a", "y"), {}),
    ],
)
def test_quotes_blanks_and_marks_are_understood(
    text: str, columns: tuple[str, ...], changed: dict[str, object]
) -> None:
    label = columns[-1]
    found = layout(text, label)
    assert (found.columns, found.changed()) == (columns, changed)


@pytest.mark.parametrize(
    ("text", "label", "columns", "changed"),
    [
        ("# by x\na,y\n1,0\n2,1\n", "y", ("a", "y"), {"skip_lines": 1}),
        ("# by x, y\n#\n\na,y\n1,0\n2,1\n", "y", ("a", "y"), {"skip_lines": 2}),
        ('#,"x\na,y\n1,0\n2,1\n', "y", ("a", "y"), {"skip_lines": 1}),
        ("sep=;\n# by x\na;y\n1;0\n", "y", ("a", "y"), {"separator": ";", "skip_lines": 2}),
        ("# by x\n4,0\n5,1\n", "c2", ("c1", "c2"), {"header": False, "columns": ("c1", "c2"), "skip_lines": 1}),
        # Names and values begin so too.
        ("#a,y\n1,0\n2,1\n", "y", ("#a", "y"), {}),
        ("#y\n1\n0\n", "#y", ("#y",), {}),
        ("# by x\n#a,y\n#1,0\n2,1\n", "y", ("#a", "y"), {"skip_lines": 1}),
        ("#a,y\n#1,0\n#2,1\n", "y", ("#a", "y"), {}),
        ("#f,1\n#0,0\nx,1\n", "c2", ("c1", "c2"), {"header": False, "columns": ("c1", "c2")}),
    ],
)
def test_remarks_above_the_table_are_skipped(
    text: str, label: str, columns: tuple[str, ...], changed: dict[str, object]
) -> None:
    found = layout(text, label)
    assert (found.columns, found.changed()) == (columns, changed)


def test_values_that_begin_like_remarks_are_looked_at_once_each() -> None:
    class Counted(bytes):
        taken = 0

        def __getitem__(self, place: Any) -> Any:
            part = super().__getitem__(place)
            Counted.taken += len(part) if isinstance(place, slice) else 1
            return part

    colours = b"".join(b"#%06x,%d\n" % (37 * row, row % 2) for row in range(2000))
    assert len(sniff_module._remarks(Counted(colours + b"red,1\n"))) == 2000
    assert Counted.taken <= 2 * len(colours)
    assert sniff_module._remarks(colours + b" \n") == []
    assert layout(colours.decode() + "red,1\n", "c2").changed() == {"header": False, "columns": ("c1", "c2")}


def test_text_that_is_no_utf_8_is_latin_1() -> None:
    found = layout("caf\xe9,y\nx,0\n".encode("latin-1"))
    assert (found.columns, found.changed()) == (("caf\xe9", "y"), {"encoding": "latin-1"})


@pytest.mark.parametrize(
    ("data", "whole", "reads"),
    [
        ("é".encode(), True, True),
        ("aé".encode()[:-1], False, True),
        ("aé".encode()[:-1], True, False),
        ("a😀".encode()[:-1], False, True),
        (b"a\xe9bcd", False, False),
        (b"a\xff", False, False),
        (b"\xe9" + b"a" * 9, False, False),
    ],
)
def test_a_character_cut_off_at_the_end_is_forgiven(data: bytes, whole: bool, reads: bool) -> None:
    assert reads_as_utf8(data, whole=whole) == reads


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("39,Private,0\n40,State,1\n41,State,1\n", "c3"),
        ("x,2.5\ny,3\n", "c2"),
        ("a,b,c\nd,b,c\na,e,c\na,b,f\nd,b,c\na,b,c\n", "c1"),
        ("-1e5,x\n2,x\n", "c2"),
        (".5,x\n2,x\n", "c2"),
    ],
)
def test_a_first_line_of_values_is_no_header_and_columns_are_numbered(text: str, label: str) -> None:
    found = layout(text, label)
    width = text.split("\n")[0].count(",") + 1
    assert found.columns == tuple(f"c{number}" for number in range(1, width + 1))
    assert found.changed() == {"header": False, "columns": found.columns}


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,x\n2,x\n",
        "2019,b\nq,x\nr,x\n",  # a year as a name
        "a,b\na,x\na,y\na,z\nq,u\n",  # four lines say too little
        "a,b,c\nq,r,c\ns,t,c\nu,v,c\nw,x,c\nw,x,c\n",  # one of three comes again
    ],
)
def test_a_first_line_of_names_without_the_label_is_a_header(text: str) -> None:
    with pytest.raises(ColumnError, match="no column 'y'"):
        layout(text)


@pytest.mark.parametrize(
    ("text", "label", "message"),
    [
        (
            "39,Private,0\n40,State,1\n",
            "y",
            "log.csv: the first line looks like data, not like column names (39, Private, 0), so there is no column 'y': put a "
            "line of names on top, or say which column is the label by its number, --label c1 to --label c3 (the last, c3, "
            "holds '0' in the first line)",
        ),
        ("1,2,3,4,5,6,7\n" * 3, "y", "(1, 2, 3, 4, 5, 6, …)"),
        ("1,2,3,4,5,6\n" * 3, "y", "(1, 2, 3, 4, 5, 6), so"),
        ("1,2\n3,4\n", "c3", "log.csv: --label c3: the file has 2 columns, c1 to c2"),
        ("1,2\n3,4\n", "c0", "the first line looks like data"),
    ],
)
def test_a_label_that_a_file_without_a_header_lacks_is_refused(text: str, label: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        layout(text, label)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "log.csv: the file is empty"),
        (b" \n\n ", "log.csv: the file is empty"),
        ("a,y\n1,0\n".encode("utf-16"), "log.csv: not delimited text in UTF-8 (it holds zero bytes)"),
        (b"\xfe\xffab", "not delimited text"),
        (b"a,y\n1\x00,0\n", "not delimited text"),
        (
            b"a::y\n1::0\n",
            "log.csv: '::' seems to stand between the values, and a separator is one character: replace it",
        ),
        (b"a,a,y\n1,2,0\n", "log.csv: the header names column 'a' twice; rename one"),
    ],
)
def test_what_is_no_table_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        layout(data)
    assert message in str(caught.value)


def test_a_head_without_a_whole_line_is_refused() -> None:
    with pytest.raises(DataError, match="the first 5 bytes hold no whole line; is this delimited text"):
        layout(b"a,b,y", whole=False)


def test_a_name_with_colons_may_be_the_label_and_the_line_that_was_cut_off_is_not_read() -> None:
    assert layout(b"a::b\n1\n0\n", "a::b").columns == ("a::b",)
    assert layout(b"a,y\n1,0\n2,1,3,4", whole=False).columns == ("a", "y")


def test_the_dialect_is_that_of_the_settings() -> None:
    found = dialect_of(layout("a;y\n1;0\n").settings)
    assert (found.separator, found.quote) == (b";", b'"')
    assert dialect_of(layout('a,b,y\n"x,1,0\nz,"q,1\nw,e,1\n').settings).quote is None
