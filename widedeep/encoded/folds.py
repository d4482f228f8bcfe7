"""Which fold each row of an encoded store belongs to, by its place in the store alone."""

import numpy as np
from numpy.typing import NDArray

from widedeep.draws import random_draws

MAX_FOLDS = 64
_SEED = 0x666F6C64
"""Of the draw of folds, so that it is not that of a random split ("fold" in ASCII)."""


def row_folds(start: int, rows: int, num_folds: int) -> NDArray[np.uint8]:
    """Folds from 0 to `num_folds` - 1 of `rows` consecutive rows from `start`, drawn at random: [rows]."""
    return (random_draws(_SEED, start, rows) * num_folds).astype(np.uint8)
