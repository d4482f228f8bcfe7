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
from widedeep.source.blocks import clean_texts
from widedeep.source.coded import CodedColumn

_NEWLINE = 10
_RUN_BYTES = 1 << 19
"""Bytes that are coded at once, column by column: few enough to stay in a core's cache until the last column."""
_BATCH = 64
"""Values whose hashes are computed before the first of them is looked up: their slots are fetched meanwhile."""
_BEHIND = 8
"""Bytes of any content behind joined texts: eight are copied at once."""
_FIRST_SLOTS = 256
_MORE_SLOTS = 4

Codes = NDArray[np.uint16] | NDArray[np.uint32]
Slots = NDArray[np.uint64]
"""A column's hash table (open addressing), [slots, 2]: a slot's hash; its code + 1 and, above 32 bits, the length
of its value, or 0 if the slot is empty."""


class Scratch:
    """Memory for coding a block, which the next block takes again: new pages cost as much as what is done in them."""

    def __init__(self) -> None:
        self._ends = np.empty(0, dtype=np.int32)
        self._firsts = np.empty((0, 0), dtype=np.int32)
        self._slots: list[Slots] = []

    def ends(self, size: int) -> NDArray[np.int32]:
        """[size], of any content."""
        if len(self._ends) < size:
            self._ends = np.empty(size + size // 8, dtype=np.int32)
        return self._ends[:size]

    def firsts(self, num_columns: int, num_rows: int) -> NDArray[np.int32]:
        """[num_columns, at least num_rows], of any content."""
        if len(self._firsts) != num_columns or self._firsts.shape[1] < num_rows:
            self._firsts = np.empty((num_columns, num_rows + num_rows // 8), dtype=np.int32)
        return self._firsts

    def slots(self, num_columns: int) -> list[Slots]:
        """An empty table for each column, as large as those that were there last."""
        if len(self._slots) != num_columns:
            self._slots = [np.zeros((_FIRST_SLOTS, 2), dtype=np.uint64) for _ in range(num_columns)]
        else:
            for slots in self._slots:
                slots.fill(0)
        return self._slots


def coded_columns(
    data: bytes, num_rows: int, width: int, columns: Sequence[int], settings: FormatSettings, scratch: Scratch
) -> list[CodedColumn] | None:
    """The `columns` (numbered from 0) of `num_rows` whole lines without quotes, comments or carriage returns.

    None if a line does not have `width` values.
    """
    array = np.frombuffer(data, dtype=np.uint8)
    ends = scratch.ends(num_rows * width)
    if not _find_values(array, ord(settings.separator), width, ends):
        return None
    # No column has more different values than rows: half the bytes often do, here and wherever the codes are taken.
    codes = np.empty((len(columns), num_rows), dtype=np.uint16 if num_rows <= 1 << 16 else np.uint32)
    firsts = scratch.firsts(len(columns), num_rows)
    slots = scratch.slots(len(columns))
    addresses, sizes = (np.array(of_each, dtype=np.uint64) for of_each in zip(*map(_place, slots), strict=True))
    numbers, counts, state = np.array(columns), np.zeros(len(columns), dtype=np.int64), np.zeros(3, dtype=np.int64)
    run_rows = max(1, _RUN_BYTES * num_rows // max(1, len(data)))
    coding = (codes, firsts, counts, addresses, sizes)
    while (full := _code_values(array, ends, width, numbers, run_rows, state, *coding)) >= 0:
        slots[full] = _with_more_slots(slots[full])
        addresses[full], sizes[full] = _place(slots[full])
    places = [
        firsts[number, :count].astype(np.int64) * width + columns[number]
        for number, count in enumerate(counts.tolist())
    ]
    # The texts of all columns at once: with dozens of columns, a call of Polars for each takes longer than its work.
    texts = clean_texts(_texts(array, ends, np.concatenate(places)).to_frame("text"), settings)["text"]
    offsets = np.cumsum([0, *counts]).tolist()
    return [
        CodedColumn(texts.slice(offsets[number], count), pl.Series(values=codes[number]))
        for number, count in enumerate(counts.tolist())
    ]


def _place(slots: Slots) -> tuple[int, int]:
    """Where a table lies in memory, and its number of slots."""
    return slots.ctypes.data, len(slots)


def _texts(data: NDArray[np.uint8], ends: NDArray[np.int32], places: NDArray[np.int64]) -> pl.Series:
    """The values that end at `ends[places]`."""
    stops = ends[places]
    starts = np.where(places > 0, ends[places - 1] + 1, 0)
    size = int((stops - starts + 1).sum())
    joined = np.empty(size + _BEHIND, dtype=np.uint8)
    _join(data, starts, stops, joined)
    # No value holds a line break, and Polars splits a long text far quicker than it takes many short ones.
    return pl.Series([str(joined[: size - 1].data, "utf-8")]).str.split("\n").explode()


# ------------------------------------------------------------------------------------------------------ compiled loops


def _load(typing_context: Any, data: Any, place: Any) -> Any:
    """Eight bytes from `data[place]` on as one little-endian UInt64, at any address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, place), generate


def _store(typing_context: Any, data: Any, place: Any, word: Any) -> Any:
    """Write a UInt64 to the eight bytes from `data[place]` on, at any address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(array.data, [arguments[1]])
        builder.store(arguments[2], builder.bitcast(address, ir.IntType(64).as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(data, place, types.uint64), generate


def _count_zeros(typing_context: Any, word: Any) -> Any:
    """The number of zero bits below the lowest set bit of a UInt64, which must not be 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.uint64), generate


def _word_at(typing_context: Any, address: Any) -> Any:
    """The UInt64 at an address, which must be aligned."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()))

    return types.uint64(types.uint64), generate


def _put_word(typing_context: Any, address: Any, word: Any) -> Any:
    """Write a UInt64 to an address, which must be aligned."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[1], builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()))
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), generate


def _fetch(typing_context: Any, address: Any) -> Any:
    """Ask for the cache line of an address, which is needed soon."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        hint = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        builder.call(hint, [builder.inttoptr(arguments[0], byte), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(types.uint64), generate


_eight_bytes: Callable[[Any, Any], Any] = intrinsic(_load)  # type: ignore[assignment]
_put_eight_bytes: Callable[[Any, Any, Any], None] = intrinsic(_store)  # type: ignore[assignment]
_lowest_bit: Callable[[Any], Any] = intrinsic(_count_zeros)  # type: ignore[assignment]
_word: Callable[[Any], Any] = intrinsic(_word_at)  # type: ignore[assignment]
_put: Callable[[Any, Any], None] = intrinsic(_put_word)  # type: ignore[assignment]
_prefetch: Callable[[Any], None] = intrinsic(_fetch)  # type: ignore[assignment]

_EACH = np.uint64(0x01010101_01010101)
_LOW_BITS = np.uint64(0x7F7F7F7F_7F7F7F7F)
_TOP_BIT = np.uint64(0x80)
_LENGTH_FACTOR = np.uint64(0x9E3779B9_7F4A7C15)
_FACTOR = np.uint64(0x9FB21C65_1E98DF25)
"""Odd, so that multiplying by it modulo 2^64 can be undone: different hashes stay different."""
_HALF = np.uint64(32)
_ONE = np.uint64(1)
_LOW_HALF = np.uint64(2**32 - 1)
_ENTRY = np.uint64(8)
"""Bytes from a slot's hash to its code and length."""
_SLOT = np.uint64(16)
"""Bytes of a slot."""


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
    columns: NDArray[np.int64],
    run_rows: int,
    state: NDArray[np.int64],
    codes: Codes,
    firsts: NDArray[np.int32],
    counts: NDArray[np.int64],
    addresses: NDArray[np.uint64],
    sizes: NDArray[np.uint64],
) -> int:
    """Number each column's values by first appearance: fill in the rows' `codes`, and each value's first row.

    Values of up to eight bytes are equal if hash and length are equal, since the hash of so short a value can be
    undone. Returns -1 when all is done; the number of a column whose table (at `addresses`, of `sizes`) needs more
    slots, after which it goes on from `state`: the run's first row, the column, its next row.
    """
    hashes, lengths = np.empty(_BATCH, dtype=np.uint64), np.empty(_BATCH, dtype=np.int64)
    num_rows = codes.shape[1]
    start, number, row = state[0], state[1], state[2]
    while start < num_rows:
        stop = min(start + run_rows, num_rows)
        while number < len(columns):
            column, table, mask = columns[number], addresses[number], sizes[number] - _ONE
            num_values = counts[number]
            while row < stop:
                last = min(row + _BATCH, stop)
                if 2 * (num_values + last - row) > np.int64(sizes[number]):
                    counts[number] = num_values
                    state[0], state[1], state[2] = start, number, row
                    return int(number)
                for i in range(row, last):
                    place = i * width + column
                    at = np.int64(ends[place - 1]) + 1 if place > 0 else np.int64(0)
                    length = np.int64(ends[place]) - at
                    hash_, left = np.uint64(length) * _LENGTH_FACTOR, length
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
                    hashes[i - row], lengths[i - row] = hash_, length
                    _prefetch(table + (hash_ & mask) * _SLOT)
                for i in range(row, last):
                    hash_, length = hashes[i - row], lengths[i - row]
                    slot = hash_ & mask
                    entry = _word(table + slot * _SLOT + _ENTRY)
                    while entry != 0:
                        if _word(table + slot * _SLOT) == hash_ and np.int64(entry >> _HALF) == length:
                            if length <= 8:
                                break
                            first = np.int64(firsts[number, np.int64(entry & _LOW_HALF) - 1]) * width + column
                            if _are_equal(data, ends[first] - length, ends[i * width + column] - length, length):
                                break
                        slot = (slot + _ONE) & mask
                        entry = _word(table + slot * _SLOT + _ENTRY)
                    if entry == 0:
                        firsts[number, num_values] = i
                        num_values += 1
                        entry = np.uint64(num_values) | (np.uint64(length) << _HALF)
                        _put(table + slot * _SLOT, hash_)
                        _put(table + slot * _SLOT + _ENTRY, entry)
                    codes[number, i] = (entry & _LOW_HALF) - _ONE
                row = last
            counts[number] = num_values
            number, row = number + 1, start
        start, number, row = stop, 0, stop
    return -1


@compiled
def _are_equal(data: NDArray[np.uint8], left: int, right: int, length: int) -> bool:
    """Whether the `length` bytes, more than eight, from `left` and from `right` on are the same."""
    for at in range(0, length - 8, 8):
        if _eight_bytes(data, left + at) != _eight_bytes(data, right + at):
            return False
    return bool(_eight_bytes(data, left + length - 8) == _eight_bytes(data, right + length - 8))


@compiled
def _with_more_slots(slots: Slots) -> Slots:
    new = np.zeros((_MORE_SLOTS * len(slots), 2), dtype=np.uint64)
    mask = np.uint64(len(new) - 1)
    for i in range(len(slots)):
        if slots[i, 1] != 0:
            slot = slots[i, 0] & mask
            while new[slot, 1] != 0:
                slot = (slot + _ONE) & mask
            new[slot, 0], new[slot, 1] = slots[i, 0], slots[i, 1]
    return new


@compiled
def _join(
    data: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64], joined: NDArray[np.uint8]
) -> None:
    """Copy the bytes from each start to before its stop, each followed by a line break; `joined` has _BEHIND more."""
    place = 0
    for i in range(len(starts)):
        at, stop = starts[i], stops[i]
        end = place + stop - at
        while place < end and at + 8 <= len(data):
            _put_eight_bytes(joined, place, _eight_bytes(data, at))
            place, at = place + 8, at + 8
        while place < end:
            joined[place] = data[at]
            place, at = place + 1, at + 1
        joined[end] = _NEWLINE
        place = end + 1
