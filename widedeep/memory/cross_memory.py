"""The memory of crosses: values that a row is trained with were fitted without that row, and how far to trust them.

The train rows are divided into folds. For each fold an additive model (main effects and crosses, see additive.py) is
fitted on the other folds (see remember.py). The fold's rows are trained with the cross weights and supports of that
model, and new rows are scored with those of a model of all rows. In the network, a cross contributes to each row

    scale[support, sign] * value + offset[support]

The few scales and offsets are learnt jointly with everything else. Training thus resembles serving, and a value that
was fitted on a handful of rows is trusted no more than such values deserve.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from widedeep.errors import ArtefactError
from widedeep.files import check_readable, plain_name, replacing_file

SUPPORT_BUCKETS = 8
SIGNS = 2
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class CrossMemory:
    """The memory of all C crosses of a layout, one cross after the other, with R indices in all."""

    value: Floats
    """[R]: in logits, fitted on all train rows; 0 where nothing is known."""
    support: NDArray[np.uint8]
    """[R]: buckets of the number of train rows, see `support_bucket`."""
    scale: Floats
    """[C, SUPPORT_BUCKETS, SIGNS]: the factors of values at the start of training; sign 1 is for negative values."""
    offset: Floats
    """[C, SUPPORT_BUCKETS]: the offsets at the start of training."""

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        with replacing_file(path) as temporary:
            save_file(
                {"value": self.value, "support": self.support, "scale": self.scale, "offset": self.offset}, temporary
            )

    @classmethod
    def load(cls, path: Path) -> "CrossMemory":
        """Read what `save` wrote. Raises ArtefactError for a missing or damaged file."""
        memory = cls(**_loaded(path, {"value", "support", "scale", "offset"}))
        crosses = len(memory.offset) if memory.offset.ndim else 0
        shapes = memory.scale.shape, memory.offset.shape, memory.value.ndim
        if shapes != ((crosses, SUPPORT_BUCKETS, SIGNS), (crosses, SUPPORT_BUCKETS), 1):
            raise ArtefactError(f"{path}: not a memory of crosses: its values are of other shapes: train again")
        return memory


@dataclass(frozen=True)
class FoldMemory:
    """Values and supports for the rows of each of K folds, fitted without these rows."""

    value: Floats
    """[K, R]."""
    support: NDArray[np.uint8]
    """[K, R]."""

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        with replacing_file(path) as temporary:
            save_file({"value": self.value, "support": self.support}, temporary)

    @classmethod
    def load(cls, path: Path) -> "FoldMemory":
        """Read what `save` wrote. Raises ArtefactError for a missing or damaged file."""
        return cls(**_loaded(path, {"value", "support"}))


def read_tensors(path: Path, what: str) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file, which holds `what`. Raises ArtefactError for a missing or damaged file."""
    check_readable(path)
    try:
        with plain_name(path) as name:
            tensors: dict[str, NDArray[Any]] = load_file(name)
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{path}: no readable {what} ({error}): train again") from error
    return tensors


def _loaded(path: Path, names: set[str]) -> dict[str, NDArray[Any]]:
    tensors = read_tensors(path, "memory of crosses")
    if tensors.keys() != names:
        raise ArtefactError(f"{path}: not a memory of crosses, it holds {', '.join(sorted(tensors))}: train again")
    support = tensors["support"]
    types = {name: np.dtype(np.uint8 if name == "support" else np.float32) for name in names}
    if any(tensors[name].dtype != types[name] for name in names) or support.shape != tensors["value"].shape:
        raise ArtefactError(f"{path}: not a memory of crosses: its values are of other types or numbers: train again")
    if support.size and support.max() >= SUPPORT_BUCKETS:
        raise ArtefactError(f"{path}: not a memory of crosses: it has supports that do not exist: train again")
    return tensors


def support_bucket(support: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The bucket of each number of rows: 0 for no row, 1 for 1, 2 for 2 and 3, 3 for 4 to 7, … 7 for 64 and more."""
    bits = np.ceil(np.log2(support.astype(np.float64) + 1.0))
    return np.minimum(bits, SUPPORT_BUCKETS - 1).astype(np.uint8)


def contribution(value: Floats, support: NDArray[np.uint8], scale: Floats, offset: Floats) -> Floats:
    """The contribution of each index of a cross to the logit, as in model/memory.py: scale * value + offset, [R].

    `value` and `support` (buckets) are [R], `scale` is [SUPPORT_BUCKETS, SIGNS], `offset` [SUPPORT_BUCKETS].
    """
    return scale[support, (value < 0).astype(np.int64)] * value + offset[support]
