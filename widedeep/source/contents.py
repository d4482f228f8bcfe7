"""What a file is by its first bytes, whatever it is called."""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

Content = Literal["gzip", "zstd", "bzip2", "xz", "zip", "parquet", "arrow", "foreign"]

HEAD_BYTES = 1 << 16
"""So many first bytes are looked at."""


@dataclass(frozen=True)
class Signature:
    """How the files of one kind begin."""

    content: Content
    title: str
    """What a message calls it."""
    marks: tuple[bytes, ...]
    offset: int = 0
    advice: str = ""
    """What to do with a file that is not read."""


ENDINGS = (".gz", ".zst", ".bz2", ".xz", ".zip")
"""Of packed files: they stand behind the ending that says a file's kind."""
PACKED = ("gzip", "zstd", "bzip2", "xz", "zip")
"""Contents that hold others."""
_SAVE = "save its table as CSV or Parquet"
_UNPACK = "unpack it, and name the files in it"
_SIGNATURES = (
    Signature("gzip", "gzip data", (b"\x1f\x8b\x08",)),
    Signature("zstd", "Zstandard data", (b"\x28\xb5\x2f\xfd",)),
    Signature("bzip2", "bzip2 data", tuple(b"BZh%d1AY&SY" % level for level in range(1, 10))),
    Signature("xz", "xz data", (b"\xfd7zXZ\0",)),
    Signature("zip", "a zip archive", (b"PK\x03\x04", b"PK\x05\x06")),
    # Behind the mark stands the first page or, where there are no rows, the description of the file.
    Signature("parquet", "a Parquet file", (b"PAR1\x15",)),
    Signature("arrow", "an Arrow IPC file", (b"ARROW1\0\0",)),
    Signature("foreign", "a Feather file of version 1", (b"FEA1\0\0\0\0",), advice="write it as version 2 or Parquet"),
    Signature("foreign", "an old Excel workbook (.xls)", (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",), advice=_SAVE),
    Signature("foreign", "a tar archive", (b"ustar\0", b"ustar  \0"), offset=257, advice=_UNPACK),
    Signature("foreign", "a 7z archive", (b"7z\xbc\xaf\x27\x1c",), advice=_UNPACK),
    Signature("foreign", "LZ4 data", (b"\x04\x22\x4d\x18",), advice="decompress it, or use gzip or Zstandard"),
    Signature("foreign", "a SQLite database", (b"SQLite format 3\0",), advice=_SAVE),
    Signature("foreign", "an HDF5 file", (b"\x89HDF\r\n\x1a\n",), advice=_SAVE),
    Signature("foreign", "an Avro file", (b"Obj\x01",), advice=_SAVE),
    Signature("foreign", "a PDF document", (b"%PDF-",), advice=_SAVE),
    Signature("foreign", "text in UTF-32", (b"\xff\xfe\0\0", b"\0\0\xfe\xff"), advice="save it as UTF-8"),
)
_JSON_DOCUMENT = Signature(
    "foreign",
    "a JSON document that does not hold one object a line",
    (),
    advice="write its rows so, as `jq -c '.[]'` or pandas' to_json(orient='records', lines=True) do",
)
_PROSE = (
    (re.compile(rb"<(?:!doctype html|html)\b", re.I), Signature("foreign", "a web page", (), advice=_SAVE)),
    (re.compile(rb"<\?xml\b"), Signature("foreign", "an XML document", (), advice=_SAVE)),
    (
        re.compile(rb"version https://git-lfs\.github\.com/spec/v\d"),
        Signature("foreign", "a Git LFS pointer in place of the file", (), advice="fetch it (git lfs pull)"),
    ),
)
"""What documents in text begin with that are no table."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_ARROW_STREAM = b"\xff\xff\xff\xff"
_ARROW_STREAM_SIGNATURE = Signature("arrow", "an Arrow IPC stream", (_ARROW_STREAM,))
_LARGEST_SCHEMA = 1 << 26


def signature_of(head: bytes) -> Signature | None:
    """What the bytes at the front of a file are for certain; None for text and for what nobody can tell."""
    for signature in _SIGNATURES:
        if head.startswith(signature.marks, signature.offset):
            return signature
    # A stream begins with the size of its schema, a multiple of eight.
    size = int.from_bytes(head[4:8], "little")
    if head.startswith(_ARROW_STREAM) and 0 < size < _LARGEST_SCHEMA and size % 8 == 0:
        return _ARROW_STREAM_SIGNATURE
    text = head.removeprefix(_BYTE_ORDER_MARK).lstrip()
    for pattern, signature in _PROSE:
        if pattern.match(text):
            return signature
    return _JSON_DOCUMENT if _is_json_document(text, is_whole=len(head) < HEAD_BYTES) else None


def _is_json_document(text: bytes, *, is_whole: bool) -> bool:
    """Whether a text begins with JSON that is neither an object a line nor the first value of delimited text."""
    if not re.match(rb"\[\s*\{|\{", text):
        return False
    decoded = text.decode("utf-8", errors="replace")
    try:
        value, end = json.JSONDecoder().raw_decode(decoded)
    except (ValueError, RecursionError):
        # Of a row that is longer than the head nothing is known, but rows do not begin so.
        return not is_whole and re.match(rb"\[\s*\{|\{\s*\n", text) is not None
    rest = decoded[end:]
    if rest.strip() and not rest.lstrip(" \t\r").startswith("\n"):
        return False  # a separator: it is the first value of a line
    if isinstance(value, list) or "\n" in decoded[:end]:
        return True
    # All rows in one object, by column or under a name: as a row it would have no value that a field can be made of.
    return is_whole and not rest.strip() and bool(value) and all(map(_holds_values, value.values()))


def _holds_values(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict | list) for item in value))


def is_utf16(head: bytes) -> bool:
    """Whether the bytes begin with the byte order mark of UTF-16, as what Excel calls Unicode text does."""
    return head.startswith(_WIDE_MARKS) and signature_of(head) is None


def is_json_line(head: bytes) -> bool:
    """Whether the first line that is not blank is a whole JSON object."""
    line = head.removeprefix(_BYTE_ORDER_MARK).lstrip().partition(b"\n")[0]
    if not line.startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def ends_lines_by_return(head: bytes) -> bool:
    """Whether lines end by a carriage return alone, as on the first Macintoshes."""
    return b"\n" not in head and b"\r" in (head if len(head) < HEAD_BYTES else head[:-1])
