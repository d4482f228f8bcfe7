"""Finds where records end when values are quoted: fast where the quotes are plain, else value by value."""

import re
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

_NEWLINE = 10
_RETURN = 13


@dataclass(frozen=True)
class Dialect:
    """The special characters of a delimited text, as bytes."""

    separator: bytes
    quote: bytes | None
    comment: bytes | None
    trim: bool
    escape: bytes | None = None
    """Where given, a quote within quotes may have it in front instead of being doubled; the escape itself too."""

    @cached_property
    def of_rewritten(self) -> "Dialect":
        """That of records which `complete_records` made: their quotes are doubled."""
        return replace(self, escape=None)

    @cached_property
    def _plain_value(self) -> "re.Pattern[bytes]":
        return re.compile(rb"([^%b\n]*)([%b\n])" % (re.escape(self.separator), re.escape(self.separator)))

    @cached_property
    def _opening(self) -> "re.Pattern[bytes]":
        assert self.quote is not None
        blanks = b" \t".replace(self.separator, b"") if self.trim else b""
        return re.compile((b"[%b]*" % blanks if blanks else b"") + re.escape(self.quote))

    @cached_property
    def _quoted_value(self) -> "re.Pattern[bytes]":
        """From behind the opening quote: the value, what stands behind its closing quote, the delimiter."""
        assert self.quote is not None
        quote, separator = re.escape(self.quote), re.escape(self.separator)
        if self.escape is not None:
            escape = re.escape(self.escape)
            return re.compile(
                rb"((?:[^%b%b]|%b[\s\S]|%b%b)*)%b(?!%b)([^%b\n]*)([%b\n])"
                % (quote, escape, escape, quote, quote, quote, quote, separator, separator)
            )
        return re.compile(
            rb"([^%b]*(?:%b%b[^%b]*)*)%b(?!%b)([^%b\n]*)([%b\n])"
            % (quote, quote, quote, quote, quote, quote, separator, separator)
        )

    def values_at(self, data: bytes, start: int) -> tuple[list[bytes], int]:
        """The values of the record at `start`, unquoted, and where the next record starts.

        An unfinished record gives no values and the position of its unclosed quote, or `len(data)` if none is open.
        """
        values: list[bytes] = []
        position = start
        while True:
            opening = self._opening.match(data, position) if self.quote is not None else None
            pattern, begin = (self._quoted_value, opening.end()) if opening else (self._plain_value, position)
            match = pattern.match(data, begin)
            if match is None:
                return [], begin - 1 if opening else len(data)
            delimiter = match[match.lastindex or 0]
            value = match[1]
            if opening and self.quote is not None:
                rest = match[2].removesuffix(b"\r") if delimiter == b"\n" else match[2]
                value = self._unescaped(value) + rest
            elif delimiter == b"\n":
                value = value.removesuffix(b"\r")
            values.append(value)
            position = match.end()
            if delimiter == b"\n":
                return values, position

    def _unescaped(self, value: bytes) -> bytes:
        assert self.quote is not None
        if self.escape is None:
            return value.replace(self.quote * 2, self.quote)
        escape, quote = re.escape(self.escape), re.escape(self.quote)
        return re.sub(rb"%b([%b%b])|%b(%b)" % (escape, escape, quote, quote, quote), _escaped_character, value)


def _escaped_character(match: "re.Match[bytes]") -> bytes:
    character: bytes = match[1] or match[2]
    return character


@dataclass(frozen=True)
class RecordRun:
    """The whole records at the front of some bytes."""

    records: bytes
    """Whole records, in which quotes open at a value's start and close at its end; no line break is lost."""
    consumed: int
    """How many bytes of the input they are made from."""
    open_quote: int | None = None
    """Position of the quote that is still open at the end of the input, if any."""


def complete_records(data: bytes, dialect: Dialect) -> RecordRun:
    """Cut after the last record that ends within `data`, and rewrite unusual quotes.

    After that, a byte lies within quotes if and only if an odd number of quotes come before it.
    """
    if dialect.quote is None or dialect.quote not in data:
        end = data.rfind(b"\n") + 1
        return RecordRun(data[:end], end)
    # A comment may contain any number of quotes, so counting quotes does not work where there are comments.
    comment = dialect.comment
    has_comments = comment is not None and (data.startswith(comment) or b"\n" + comment in data)
    is_escaped = dialect.escape is not None and dialect.escape in data
    quotes = None if has_comments or is_escaped else _plain_quotes(data, dialect.separator[0], dialect.quote[0])
    if quotes is None:
        return _rewritten(data, dialect)
    end = data.rfind(b"\n")
    while end >= 0 and (num_before := int(np.searchsorted(quotes, end))) % 2:
        end = data.rfind(b"\n", 0, int(quotes[num_before - 1]))
    return RecordRun(data[: end + 1], end + 1, int(quotes[-1]) if len(quotes) % 2 else None)


def _plain_quotes(data: bytes, separator: int, quote: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]] | None":
    """Positions of all quotes if each opens at a value's start, closes at its end or is doubled within, else None."""
    framed = np.frombuffer(b"\n%b\n\n" % data, dtype=np.uint8)
    quotes = np.flatnonzero(framed == quote) - 1
    before = framed[quotes[0::2]]
    if not ((before == separator) | (before == _NEWLINE) | (before == quote)).all():
        return None
    after, second = framed[quotes[1::2] + 2], framed[quotes[1::2] + 3]
    line_ends = (after == _NEWLINE) | ((after == _RETURN) & (second == _NEWLINE))
    return quotes if (line_ends | (after == separator) | (after == quote)).all() else None


def _rewritten(data: bytes, dialect: Dialect) -> RecordRun:
    """Keep lines without a quote as they are; read other records value by value and quote every value."""
    quote = dialect.quote
    assert quote is not None
    pieces: list[bytes] = []
    position = 0
    while (quote_at := data.find(quote, position)) >= 0:
        start = max(data.rfind(b"\n", position, quote_at) + 1, position)
        pieces.append(data[position:start])
        if dialect.comment is not None and data.startswith(dialect.comment, start):
            end = data.find(b"\n", start) + 1
            if end == 0:
                return RecordRun(b"".join(pieces), start)
            pieces.append(data[start:end].replace(quote, b" "))
        else:
            values, end = dialect.values_at(data, start)
            if not values:
                return RecordRun(b"".join(pieces), start, end if end < len(data) else None)
            quoted = (quote + value.replace(quote, quote * 2) + quote for value in values)
            pieces.append(dialect.separator.join(quoted) + b"\n")
        position = end
    end = max(data.rfind(b"\n", position) + 1, position)
    pieces.append(data[position:end])
    return RecordRun(b"".join(pieces), end)
