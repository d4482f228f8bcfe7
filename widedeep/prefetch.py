"""A hint to the processor that a table row is needed soon. Without it, it waits for random rows one by one."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_FOR_WRITING, _KEEP_CLOSE, _DATA = 1, 3, 1


def _prefetch(typing_context: Any, table: Any, row: Any) -> Any:
    """Ask for the first cache line of `table[row]` of a C-contiguous array; a row out of range does no harm."""
    signature = types.void(table, row)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        stride = builder.extract_value(array.strides, 0)
        address = builder.add(builder.ptrtoint(array.data, ir.IntType(64)), builder.mul(stride, arguments[1]))
        byte_pointer = ir.IntType(8).as_pointer()
        number = ir.IntType(32)
        hint = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte_pointer], ir.FunctionType(ir.VoidType(), [byte_pointer, number, number, number])
        )
        builder.call(
            hint, [builder.inttoptr(address, byte_pointer), number(_FOR_WRITING), number(_KEEP_CLOSE), number(_DATA)]
        )
        return context.get_dummy_value()

    return signature, generate


prefetch: Callable[[Any, Any], None] = intrinsic(_prefetch)  # type: ignore[assignment]
