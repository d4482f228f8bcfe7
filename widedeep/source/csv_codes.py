"""Compiled loops that turn plain delimited text into codes: each distinct text of a column is looked at once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from widedeep.compiled import compiled
from widedeep.recipe.schema import FormatSettings
from widedeep.source.blocks import clean_texts, count_newlines
from widedeep.source.coded import CodedColumn

_NEWLINE = 10
_RUN_BYTES = 2 << 20
"""Bytes that are coded at once, column by column: few enough to stay in a core's cache until the last column."""
_FIRST_SLOTS = 256

Table = tuple[NDArray[np.uint64], NDArray[np.int32]]
"""A column's hash table (open addressing): the hash in each slot, and its code + 1, or 0 if the slot is empty."""


def coded_columns(
    data: bytes, width: int, columns: Sequence[int], settings: FormatSettings
) -> list[CodedColumn] | None:
    """The `columns` (numbered from 0) of whole lines without quotes, comments or carriage returns.

    None if a line does not have `width` values.
    """
    array = np.frombuffer(data, dtype=np.uint8)
    num_rows = count_newlines(array)
    ends = np.empty(num_rows * width, dtype=np.int32)
    if not _find_values(array, ord(settings.separator), width, ends):
        return None
    codes = np.empty((len(columns), num_rows), dtype=np.uint32)
    firsts = np.empty((len(columns), num_rows), dtype=np.int32)
    lengths = np.empty((len(columns), num_rows), dtype=np.int32)
    tables: list[Table] = [
        (np.empty(_FIRST_SLOTS, dtype=np.uint64), np.zeros(_FIRST_SLOTS, dtype=np.int32)) for _ in columns
    ]
    counts = [0 for _ in columns]
    run_rows = max(1, _RUN_BYTES * num_rows // max(1, len(data)))
    for start in range(0, num_rows, run_rows):
        stop = min(start + run_rows, num_rows)
        for number, column in enumerate(columns):
            row, coding = start, (codes[number], firsts[number], lengths[number])
            while row < stop:
                place = (width, column, row, stop)
                row, counts[number] = _code_values(array, ends, *place, *coding, *tables[number], counts[number])
                if row < stop:
                    tables[number] = _with_more_slots(*tables[number])
    places = [firsts[number, :count].astype(np.int64) * width + columns[number] for number, count in enumerate(counts)]
    # The texts of all columns at once: with dozens of columns, a call of Polars for each takes longer than its work.
    texts = clean_texts(_texts(array, ends, np.concatenate(places)).to_frame("text"), settings)["text"]
    offsets = np.cumsum([0, *counts])
    return [
        CodedColumn(texts.slice(offsets[number], count), pl.Series(values=codes[number]))
        for number, count in enumerate(counts)
    ]


def _texts(data: NDArray[np.uint8], ends: NDArray[np.int32], places: NDArray[np.int64]) -> pl.Series:
    """The values that end at `ends[places]`."""
    stops = ends[places]
    starts = np.where(places > 0, ends[places - 1] + 1, 0)
    joined = np.empty(int((stops - starts + 1).sum()), dtype=np.uint8)
    _join(data, starts, stops, joined)
    # No value holds a line break, and Polars splits a long text far quicker than it takes many short ones.
    return pl.Series([joined[:-1].tobytes().decode()]).str.split("\n").explode()


# ------------------------------------------------------------------------------------------------------ compiled loops


def _load(typing_context: Any, data: Any, place: Any) -> Any:
    """Eight bytes from `data[place]` on as one little-endian UInt64, at any address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, place), generate


def _count_zeros(typing_context: Any, word: Any) -> Any:
    """The number of zero bits below the lowest set bit of a UInt64, which must not be 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.uint64), generate


_eight_bytes: Callable[[Any, Any], Any] = intrinsic(_load)  # type: ignore[assignment]
_lowest_bit: Callable[[Any], Any] = intrinsic(_count_zeros)  # type: ignore[assignment]

_EACH = np.uint64(0x01010101_01010101)
_LOW_BITS = np.uint64(0x7F7F7F7F_7F7F7F7F)
_TOP_BIT = np.uint64(0x80)
_LENGTH_FACTOR = np.uint64(0x9E3779B9_7F4A7C15)
_FACTOR = np.uint64(0x9FB21C65_1E98DF25)
"""Odd, so that multiplying by it modulo 2^64 can be undone: different hashes stay different."""
_HALF = np.uint64(32)


@compiled
def _find_values(data: NDArray[np.uint8], separator: int, width: int, ends: NDArray[np.int32]) -> bool:
    """Fill in where each value of each line ends [lines * width]; returns False if a line does not have `width` values.

    Eight bytes are compared at once: a byte that equals the separator becomes 0 by the XOR. Adding 127 to a byte's low
    seven bits leaves the top bit 0 only if they are all 0.
    """
    separators, newlines = np.uint64(separator) * _EACH, np.uint64(_NEWLINE) * _EACH
    num_found, column, i = 0, 0, 0
    while i < len(data):
        hits = np.uint64(0)
        if i + 8 <= len(data):
            word = _eight_bytes(data, i)
            from_separator, from_newline = word ^ separators, word ^ newlines
            hits = ~(((from_separator & _LOW_BITS) + _LOW_BITS) | from_separator | _LOW_BITS)
            hits |= ~(((from_newline & _LOW_BITS) + _LOW_BITS) | from_newline | _LOW_BITS)
        else:
            for j in range(len(data) - i):
                if data[i + j] == separator or data[i + j] == _NEWLINE:
                    hits |= _TOP_BIT << np.uint64(8 * j)
        while hits != 0:
            at = i + (_lowest_bit(hits) >> 3)
            hits &= hits - np.uint64(1)
            column += 1
            if (data[at] == _NEWLINE) != (column == width):
                return False
            if column == width:
                column = 0
            ends[num_found] = at
            num_found += 1
        i += 8
    return True


@compiled
def _code_values(
    data: NDArray[np.uint8],
    ends: NDArray[np.int32],
    width: int,
    column: int,
    start_row: int,
    stop_row: int,
    codes: NDArray[np.uint32],
    firsts: NDArray[np.int32],
    lengths: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    entries: NDArray[np.int32],
    num_values: int,
) -> tuple[int, int]:
    """Number a column's values by first appearance: fill in the rows' `codes`, and each value's `firsts` and `lengths`.

    `firsts` is the first row that has the value. Values of up to eight bytes are equal if hash and length are equal,
    since the hash of so short a value can be undone. Returns the row at which it stopped (before `stop_row` if the
    table needs more slots) and the number of values so far.
    """
    mask = np.uint64(len(hashes) - 1)
    for row in range(start_row, stop_row):
        place = row * width + column
        start = np.int64(ends[place - 1]) + 1 if place > 0 else np.int64(0)
        length = np.int64(ends[place]) - start
        hash_ = np.uint64(length) * _LENGTH_FACTOR
        at, left = start, length
        while left > 8:
            hash_ = (hash_ ^ _eight_bytes(data, at)) * _FACTOR
            hash_ ^= hash_ >> _HALF
            at, left = at + 8, left - 8
        word = np.uint64(0)
        if left > 0 and at + 8 <= len(data):
            word = _eight_bytes(data, at) << np.uint64(8 * (8 - left))
        else:
            for j in range(left):
                word |= np.uint64(data[at + j]) << np.uint64(8 * (8 - left + j))
        hash_ = (hash_ ^ word) * _FACTOR
        hash_ ^= hash_ >> _HALF
        hash_ *= _FACTOR
        hash_ ^= hash_ >> _HALF
        slot = hash_ & mask
        while entries[slot] != 0:
            code = entries[slot] - 1
            if hashes[slot] == hash_ and lengths[code] == length:
                if length <= 8:
                    break
                first = np.int64(firsts[code]) * width + column
                known = np.int64(ends[first - 1]) + 1 if first > 0 else np.int64(0)
                if (data[start : start + length] == data[known : known + length]).all():
                    break
            slot = (slot + np.uint64(1)) & mask
        if entries[slot] != 0:
            codes[row] = entries[slot] - 1
            continue
        if 4 * num_values > 3 * len(hashes):
            return row, num_values
        codes[row], firsts[num_values], lengths[num_values] = num_values, row, length
        num_values += 1
        hashes[slot], entries[slot] = hash_, num_values
    return stop_row, num_values


@compiled
def _with_more_slots(hashes: NDArray[np.uint64], entries: NDArray[np.int32]) -> Table:
    size = 2 * len(hashes)
    new_hashes, new_entries = np.empty(size, dtype=np.uint64), np.zeros(size, dtype=np.int32)
    for i in range(len(hashes)):
        if entries[i] != 0:
            slot = hashes[i] & np.uint64(size - 1)
            while new_entries[slot] != 0:
                slot = (slot + np.uint64(1)) & np.uint64(size - 1)
            new_hashes[slot], new_entries[slot] = hashes[i], entries[i]
    return new_hashes, new_entries


@compiled
def _join(
    data: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64], joined: NDArray[np.uint8]
) -> None:
    """Copy the bytes from each start to before its stop, each followed by a line break."""
    place = 0
    for i in range(len(starts)):
        for at in range(starts[i], stops[i]):
            joined[place] = data[at]
            place += 1
        joined[place] = _NEWLINE
        place += 1
