"""Chooses the implementation of the kernels for a table, by its device and by the size of the batch."""

from functools import cache
from importlib.util import find_spec
from types import ModuleType

import torch

from widedeep.kernels import reference

FEW_ROWS = 8_192
"""Up to this size of a batch that is only read, torch is done before Numba would be imported."""


def kernels_for(device: torch.device, *, rows: int | None = None) -> ModuleType:
    """A module with `look_up`, `update`, `update_numbers`, `add_gradients` and `pay`, as in kernels.reference.

    `rows` is the size of a batch that is only read, and None in training.
    """
    if device.type == "cuda" and _has_triton():
        from widedeep.kernels import cuda  # not at the top: Triton is installed only with a torch that has CUDA

        return cuda
    if device.type != "cpu" or (rows is not None and rows <= FEW_ROWS):
        return reference
    from widedeep.kernels import cpu  # not at the top: see FEW_ROWS

    return cpu


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None
