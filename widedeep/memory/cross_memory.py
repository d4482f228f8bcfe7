"""What each cross says about a row as it would without that row: out-of-fold values, and how far to trust them.

The train rows are parted into folds. For each fold an additive model (main effects and crosses, see additive.py) is
fitted on the other folds (see remember.py); its cross weights and supports are what the fold's rows are trained with.
The model of all rows is what new rows are scored with. In the network a cross then contributes, per row,

    scale[support, sign] * value + offset[support]

whose few scales and offsets are learnt jointly with everything else: training looks like serving, and a value that
rests on a handful of rows is trusted as far as such values deserve.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from widedeep.errors import ArtefactError
from widedeep.files import check_readable, replacing_file

SUPPORT_BUCKETS = 8
SIGNS = 2
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class CrossMemory:
    """The memory of all crosses of a layout, their rows behind each other as in a stored table of R rows."""

    value: Floats
    """[R], fitted on all train rows, in logits; 0 where nothing is known."""
    support: NDArray[np.uint8]
    """[R] buckets of the number of train rows, see `support_bucket`."""
    scale: Floats
    """[C, SUPPORT_BUCKETS, SIGNS]: what a value is multiplied by at the start of training; sign 1 is of negative values."""
    offset: Floats
    """[C, SUPPORT_BUCKETS]: what is added."""

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        with replacing_file(path) as temporary:
            save_file(
                {"value": self.value, "support": self.support, "scale": self.scale, "offset": self.offset}, temporary
            )

    @classmethod
    def load(cls, path: Path) -> "CrossMemory":
        """Read what `save` wrote. Raises ArtefactError for a missing or damaged file."""
        return cls(**_loaded(path, {"value", "support", "scale", "offset"}))


@dataclass(frozen=True)
class FoldMemory:
    """The same values and supports, for each fold fitted without its rows."""

    value: Floats
    """[K, R]"""
    support: NDArray[np.uint8]
    """[K, R]"""

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        with replacing_file(path) as temporary:
            save_file({"value": self.value, "support": self.support}, temporary)

    @classmethod
    def load(cls, path: Path) -> "FoldMemory":
        """Read what `save` wrote. Raises ArtefactError for a missing or damaged file."""
        return cls(**_loaded(path, {"value", "support"}))


def _loaded(path: Path, names: set[str]) -> dict[str, NDArray[Any]]:
    check_readable(path)
    try:
        tensors: dict[str, NDArray[Any]] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{path}: no readable memory of crosses ({error}): train again") from error
    if tensors.keys() != names:
        raise ArtefactError(f"{path}: no memory of crosses: it holds {', '.join(sorted(tensors))}; train again")
    return tensors


def support_bucket(support: NDArray[np.int64]) -> NDArray[np.uint8]:
    """0 for no row, 1 for one, 2 for 2 and 3, 3 for 4 to 7, … 7 for 64 and more."""
    bits = np.ceil(np.log2(support.astype(np.float64) + 1.0))
    return np.minimum(bits, SUPPORT_BUCKETS - 1).astype(np.uint8)


def contribution(value: Floats, support: NDArray[np.uint8], scale: Floats, offset: Floats) -> Floats:
    """What rows of one cross, values and support buckets [R], add to the logit: scale * value + offset, [R].

    `scale` is [SUPPORT_BUCKETS, SIGNS], `offset` [SUPPORT_BUCKETS]; as model/memory.py computes it.
    """
    return scale[support, (value < 0).astype(np.int64)] * value + offset[support]
