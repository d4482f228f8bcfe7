"""Compiles loops over rows to machine code (Numba) on first use, and keeps the code for later processes."""

import hashlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
from numba.core.caching import FunctionCache, IndexDataCacheFile


def compiled(function: Any) -> Any:
    """Turn a Python function into a kernel that releases the GIL while it runs; division by zero gives inf or nan.

    The machine code is kept beside the source, or else in the user's cache folder (`NUMBA_CACHE_DIR` names another
    place). Its name holds a digest of everything that the code depends on. Where neither folder can be written, every
    process compiles anew.
    """
    kernel: Any = numba.njit(nogil=True, error_model="numpy")(function)
    # Numba raises RuntimeError if no folder can be written. The only harm is a slower start.
    with suppress(RuntimeError):
        kernel._cache = _Cache(function, kernel.targetoptions)
    return kernel


class _Cache(FunctionCache):
    """Numba's cache, with a stricter rule for when machine code is out of date.

    Numba compiles again only if the function's own file changes. But the machine code also contains what the function
    calls and the constants that it reads, which may come from other files: they count here too.
    """

    def __init__(self, function: FunctionType, options: dict[str, Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        name = f"{Path(function.__code__.co_filename).stem}.{function.__qualname__}.{sys.implementation.cache_tag}"
        self._cache_file = _CodeFiles(self._cache_path, name, None)  # type: ignore[no-untyped-call]
        self._kernel_name, self._options = name, options
        self._source = ""

    def _index_key(self, signature: Any, codegen: Any) -> str:
        """The name of the machine code's file: the kernel, a digest of its source, a digest of types and processor."""
        if not self._source:
            options = [numba.__version__, repr(sorted(self._options.items()))]
            self._source = _digest([*options, *sorted(_parts(self._py_func, set()))])
        # The text of a type is complete, except that it leaves out the field names of a named tuple.
        types = [(str(entry), getattr(entry, "fields", ())) for entry in signature]
        return f"{self._kernel_name}.{self._source}.{_digest([repr(types), repr(codegen.magic_tuple())])}.nbc"


class _CodeFiles(IndexDataCacheFile):
    """One file for each version of the machine code.

    Numba numbers the files in an index instead; processes that compile at the same time overwrite each other's index.
    """

    def load(self, name: str) -> Any:
        try:
            return self._load_data(name)  # type: ignore[no-untyped-call]
        except FileNotFoundError:
            return None

    def save(self, name: str, data: Any) -> None:
        self._save_data(name, data)  # type: ignore[no-untyped-call]
        kernel, source, _, _ = name.rsplit(".", 3)
        for path in Path(self._cache_path).glob(f"{kernel}.*.nbc"):
            if not path.name.startswith(f"{kernel}.{source}."):
                # Compiled from an older source. Another process may still use that source: it then compiles again. The
                # file may belong to another user, who alone may delete it.
                with suppress(OSError):
                    path.unlink()


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _parts(value: Any, seen: set[int], name: str = "") -> Iterator[str]:
    """Texts that change whenever machine code that uses `value`, a global called `name`, would change."""
    value = inspect.unwrap(value)
    if isinstance(value, FunctionType):
        if id(value) not in seen:
            seen.add(id(value))
            yield f"{name}: {value.__defaults__}"
            for inner, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
                yield from _parts(cell.cell_contents, seen, f"{name}.{inner}")
            yield from _parts_of_code(value.__code__, value.__globals__, seen)
    elif isinstance(value, tuple):
        for position, entry in enumerate(value):
            yield from _parts(entry, seen, f"{name}[{position}]")
    elif isinstance(value, ModuleType):
        yield f"{name}: {value.__name__}"
    elif isinstance(value, type | BuiltinFunctionType):
        yield f"{name}: {value.__module__}.{value.__qualname__} {getattr(value, '_fields', '')}"
    elif value is None or isinstance(value, bool | int | float | str | np.generic):
        yield f"{name}: {type(value).__name__} {value!r}"
    else:
        raise TypeError(
            f"{name} is {value!r}: a kernel reads numbers, texts, tuples, modules, types and functions only"
        )


def _parts_of_code(code: CodeType, names: dict[str, Any], seen: set[int]) -> Iterator[str]:
    constants = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_freevars} {constants}"
    for name in code.co_names:
        if name in names:
            yield from _parts(names[name], seen, f"{names['__name__']}.{name}")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _parts_of_code(constant, names, seen)
