"""Sums over several numbers at once, in one register: Numba by itself adds the numbers of a table's row one by one."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 8
"""Number of penalties that `add_gains` takes at once."""


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, row: Any, vector: Any) -> Any:
    """The address of `array[row]` of a C-contiguous array, as that of a vector."""
    made = context.make_array(array_type)(context, builder, array)
    stride = builder.extract_value(made.strides, 0)
    address = builder.add(builder.ptrtoint(made.data, ir.IntType(64)), builder.mul(stride, row))
    return builder.inttoptr(address, vector.as_pointer())


def _add(builder: Any, pointer: Any, value: Any, align: int) -> Any:
    """Add the vector to the one at the address, which may be any multiple of `align`; returns what was there."""
    before = builder.load(pointer)
    before.align = align
    builder.store(builder.fadd(before, value), pointer).align = align
    return before


def _add_row(typing_context: Any, table: Any, row: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Add four float32 to `table[row]` of a C-contiguous [rows, 4] float32; returns the row's first number before."""
    signature = types.float32(table, types.uint64, *[types.float32] * 4)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, vector = ir.IntType(32), ir.VectorType(ir.FloatType(), 4)
        value = ir.Constant(vector, ir.Undefined)
        for place in range(4):
            value = builder.insert_element(value, arguments[2 + place], number(place))
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1], vector)
        return builder.extract_element(_add(builder, pointer, value, 4), number(0))

    return signature, generate


def _clear_row(typing_context: Any, table: Any, row: Any) -> Any:
    """Set `table[row]` of a C-contiguous [rows, 4] float32 to 0."""
    signature = types.void(table, types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), 4)
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1], vector)
        builder.store(ir.Constant(vector, [0.0] * 4), pointer).align = 4
        return context.get_dummy_value()

    return signature, generate


def _add_gains(
    typing_context: Any, totals: Any, row: Any, penalties: Any, curvature: Any, score: Any, bend: Any, spread: Any
) -> Any:
    """Add to `totals[row]`, [3, LANES] float64: gain, score and variance of a cell at each of LANES penalties.

    With d = 1 / (curvature + penalty) these are score d - bend d d, score d and spread d d.
    """
    signature = types.void(totals, types.uint64, penalties, *[types.float64] * 4)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, vector = ir.IntType(32), ir.VectorType(ir.DoubleType(), LANES)
        unknown = ir.Constant(vector, ir.Undefined)
        everywhere = ir.Constant(ir.VectorType(number, LANES), [0] * LANES)

        def spread_out(value: Any) -> Any:
            return builder.shuffle_vector(builder.insert_element(unknown, value, number(0)), unknown, everywhere)

        curvature, score, bend, spread = (spread_out(value) for value in arguments[3:])
        first = ir.IntType(64)(0)
        loaded = builder.load(_pointer(context, builder, signature.args[2], arguments[2], first, vector))
        loaded.align = 8
        d = builder.fdiv(ir.Constant(vector, [1.0] * LANES), builder.fadd(curvature, loaded))
        scored = builder.fmul(score, d)
        gain = builder.fsub(scored, builder.fmul(builder.fmul(bend, d), d))
        variance = builder.fmul(builder.fmul(spread, d), d)
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1], vector)
        for place, value in enumerate((gain, scored, variance)):
            _add(builder, builder.gep(pointer, [number(place)]), value, 8)
        return context.get_dummy_value()

    return signature, generate


add_row: Callable[..., Any] = intrinsic(_add_row)
clear_row: Callable[..., None] = intrinsic(_clear_row)
add_gains: Callable[..., None] = intrinsic(_add_gains)
