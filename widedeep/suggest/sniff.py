"""How an unknown delimited text is written, judged by its first lines: separator, quotes, encoding, header."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from widedeep.errors import DataError, UsageError
from widedeep.recipe.schema import FormatSettings
from widedeep.source.blocks import BLANKS, require_columns
from widedeep.source.csv_blocks import named_separator, with_names
from widedeep.source.csv_quotes import Dialect, complete_records

HEAD_BYTES = 1 << 20
"""Decompressed bytes at the front of a file that the judgement rests on."""
_RECORDS = 200
_SEPARATORS = (",", "\t", ";", "|", "\x01", " ")
"""In order of preference among those that cut the lines equally well."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_POSITION = re.compile(r"c([1-9]\d*)")
_INK = re.compile(rb"\S")


@dataclass(frozen=True)
class TextLayout:
    """How the files of a table are written."""

    settings: FormatSettings
    """Everything but `missing`, which rests on more than the first lines."""
    columns: tuple[str, ...]
    """The columns' names, in order."""

    def changed(self) -> dict[str, Any]:
        """The settings that are not the defaults, as a recipe writes them."""
        return self.settings.model_dump(exclude_defaults=True)


def sniff(head: bytes, name: str, label: str | None, *, whole: bool) -> TextLayout:
    """The layout of the text that starts with `head` (all of it if `whole`).

    A column called `label` makes the first line a header; `label` of the form `c3` names the third column of a file
    without one; None says that the label stands in the path. Raises DataError for what is no delimited text, UsageError
    for a file without a header, ColumnError.
    """
    if not head.strip():
        raise DataError(f"{name}: the file is empty")
    if head.startswith(_WIDE_MARKS) or b"\0" in head[:4096]:
        raise DataError(
            f"{name}: not delimited text in UTF-8 (it holds zero bytes); save it as UTF-8, or name its kind "
            "by its ending (.parquet, .arrow)"
        )
    encoding = "utf-8" if reads_as_utf8(head, whole=whole) else "latin-1"
    text = head.removeprefix(_BYTE_ORDER_MARK)
    named = named_separator(head)
    if named is not None:
        text = text[text.index(b"\n") + 1 :]
    if encoding == "latin-1":
        text = text.decode("latin-1").encode()
    if whole and not text.endswith(b"\n"):
        text += b"\n"
    remarks = _remarks(text)
    dialect, records = _best_dialect(text[sum(map(len, remarks)) :], (named,) if named is not None else _SEPARATORS)
    if not records:
        raise DataError(f"{name}: the first {len(head):,} bytes hold no whole line; is this delimited text?")
    changes: dict[str, Any] = {
        "encoding": encoding,
        "separator": dialect.separator.decode(),
        "quote": dialect.quote.decode() if dialect.quote is not None else None,
        "escape": dialect.escape.decode() if dialect.escape is not None else None,
    }
    remarks, records = _parted(remarks, records, dialect, label)
    if remarks:
        changes["skip_lines"] = len(remarks) + (named is not None)
    names = records[0]
    if label not in names:
        _refuse_double_separator(text, names, label, name)
        if _looks_like_data(names, records[1:]):
            names = _numbered_columns(records, label, name)
            changes |= {"header": False, "columns": tuple(names)}
    names = with_names(names)
    _refuse_doubled_names(names, name)
    require_columns([label] if label is not None else [], names, name)
    return TextLayout(FormatSettings(**changes), tuple(names))


def reads_as_utf8(data: bytes, *, whole: bool) -> bool:
    """Whether the bytes are UTF-8; a character cut off at the end is forgiven unless they are `whole`."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return not whole and error.reason == "unexpected end of data" and len(data) - error.start < 4
    return True


def _remarks(text: bytes) -> list[bytes]:
    """The lines at the front that begin with `#`, above one that does not."""
    remarks: list[bytes] = []
    start = 0
    while text.startswith(b"#", start):
        end = text.find(b"\n", start) + 1
        if not end or not _INK.search(text, end):
            return []
        remarks.append(text[start:end])
        start = end
    return remarks


def _parted(
    remarks: list[bytes], records: list[list[str]], dialect: Dialect, label: str | None
) -> tuple[list[bytes], list[list[str]]]:
    """The lines to skip, and the records: names and values may begin with `#` too, such as colours."""
    if label in records[0]:
        return remarks, records
    of_table: list[list[str]] = []
    for line in reversed(remarks):
        above = next(iter(_records(line, dialect)), [])
        if len(above) != len(records[0]):
            break
        of_table.append(above)
        if label in above:
            break
    return remarks[: len(remarks) - len(of_table)], [*reversed(of_table), *records]


def _best_dialect(text: bytes, separators: Sequence[str]) -> tuple[Dialect, list[list[str]]]:
    """Separator, quote and first records of the reading whose records are most alike."""
    best: tuple[tuple[float, int], Dialect, list[list[str]]] | None = None
    quotings: list[tuple[bytes | None, bytes | None]] = [(b'"', None)]
    if b'"' in text:
        quotings.append((None, None))
    if b'\\"' in text:
        quotings.insert(0, (b'"', b"\\"))
    for quote, escape in quotings:
        for separator in separators:
            dialect = Dialect(separator.encode(), quote, None, True, escape)
            records = _records(text, dialect)
            if not records:
                continue
            width, count = Counter(map(len, records)).most_common(1)[0]
            alike = count / len(records)
            # Blanks stand within values too: they separate only where they do so in every line.
            possible = width > 1 and (separator != " " or alike == 1.0)
            score = (alike if possible else 0.0, 1 if possible else 0)
            if best is None or score > best[0]:
                best = (score, dialect, records)
    return best[1:] if best is not None else (Dialect(b",", b'"', None, True), [])


def _records(text: bytes, dialect: Dialect) -> list[list[str]]:
    """The first records that are not blank, their values trimmed."""
    whole = complete_records(text, dialect).records
    records: list[list[str]] = []
    start = 0
    while start < len(whole) and len(records) < _RECORDS:
        values, end = dialect.of_rewritten.values_at(whole, start)
        if len(values) > 1 or (values and values[0].strip()):
            records.append([value.decode("utf-8", "replace").strip(BLANKS) for value in values])
        if end <= start:
            break
        start = end
    return records


def _looks_like_data(first: Sequence[str], others: Sequence[Sequence[str]]) -> bool:
    """Whether a first line holds values: a number above numbers, or texts that mostly come again below."""
    columns = [[record[at] for record in others if len(record) > at] for at in range(len(first))]
    for value, below in zip(first, columns, strict=True):
        if _NUMBER.fullmatch(value) and sum(bool(_NUMBER.fullmatch(other)) for other in below) * 2 > len(below):
            return True
    again = sum(value in below for value, below in zip(first, columns, strict=True))
    return len(others) >= 5 and again * 2 > len(first)


def _numbered_columns(records: Sequence[Sequence[str]], label: str | None, name: str) -> list[str]:
    first = records[0]
    numbered = [f"c{number}" for number in range(1, len(first) + 1)]
    if label is None or label in numbered:
        return numbered
    shown = ", ".join(first[:6]) + (", …" if len(first) > 6 else "")
    asked = _POSITION.fullmatch(label)
    if asked:
        raise UsageError(f"{name}: --label {label}: the file has {len(first)} columns, c1 to c{len(first)}")
    raise UsageError(
        f"{name}: the first line looks like data, not like column names ({shown}), so there is no column {label!r}: "
        "put a line of names on top, or say which column is the label by its number, --label c1 to --label "
        f"c{len(first)} (the last, c{len(first)}, holds {first[-1]!r} in the first line)"
    )


def _refuse_double_separator(text: bytes, names: Sequence[str], label: str | None, name: str) -> None:
    if len(names) == 1 and "::" in names[0] and label != names[0]:
        raise DataError(f"{name}: '::' seems to stand between the values, and a separator is one character: replace it")


def _refuse_doubled_names(names: Sequence[str], name: str) -> None:
    twice = next((column for column, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{name}: the header names column {twice!r} twice; rename one")
