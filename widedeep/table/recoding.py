"""Compiled loops over the codes of a column."""

import numpy as np
from numpy.typing import NDArray

from widedeep.compiled import compiled

Codes = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint32]


@compiled
def mark_used(codes: Codes, used: NDArray[np.bool_]) -> None:
    """Set `used` [values] of each code [rows] that occurs."""
    for i in range(len(codes)):
        used[codes[i]] = True


@compiled
def recode(codes: Codes, new: Codes, recoded: Codes) -> None:
    """Fill `recoded` [rows] with the code that `new` [values] has for each of `codes` [rows]."""
    for i in range(len(codes)):
        recoded[i] = new[codes[i]]
