"""How loops over rows become machine code: on first use, kept for the next process wherever there is a place to keep it."""

from typing import Any

import numba


def compiled(function: Any) -> Any:
    """A kernel out of a Python function; it releases the GIL while it runs, and division by zero gives inf or nan.

    The machine code is kept beside the source, else in the user's cache folder (`NUMBA_CACHE_DIR` names another place).
    Where neither can be written, every process compiles anew.
    """
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        # What Numba raises where no folder can be written: a slower start is no reason to fail.
        return numba.njit(nogil=True, error_model="numpy")(function)
