"""Which implementation of the sparse hot path serves a table: by device, and by what is worth its start."""

from functools import cache
from importlib.util import find_spec
from types import ModuleType

import torch

from widedeep.kernels import reference

FEW_ROWS = 8_192
"""Rows of a batch that is only read up to which torch is done before Numba would be imported."""


def kernels_for(device: torch.device, *, rows: int | None = None) -> ModuleType:
    """A module with `look_up`, `update`, `update_numbers`, `add_gradients` and `pay`, as in kernels.reference.

    `rows` is the size of a batch that is only read; None stands for training.
    """
    if device.type == "cuda" and _has_triton():
        from widedeep.kernels import cuda  # only here: Triton is there only where torch has CUDA

        return cuda
    if device.type != "cpu" or (rows is not None and rows <= FEW_ROWS):
        return reference
    from widedeep.kernels import cpu  # only here: see FEW_ROWS

    return cpu


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None
