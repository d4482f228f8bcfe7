"""The fold of each row of an encoded store, which depends only on the row's number in the store."""

import numpy as np
from numpy.typing import NDArray

from widedeep.draws import random_draws

MAX_FOLDS = 64
_SEED = 0x666F6C64
"""Seed of the draw of folds ("fold" in ASCII), so that folds do not repeat the draw of a random split."""


def row_folds(start: int, rows: int, num_folds: int) -> NDArray[np.uint8]:
    """Random folds from 0 to `num_folds` - 1 for `rows` consecutive rows from `start`: [rows]."""
    return (random_draws(_SEED, start, rows) * num_folds).astype(np.uint8)
