"""Turns columns of lists into the bags that the model reads; the size of batches outside training."""

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from widedeep.kernels.lookups import Bag
from widedeep.lists import Lists

BATCH_ROWS = 16_384
"""Rows scored at a time, outside training."""


def bag_from(part: Lists, put: Callable[[NDArray[Any]], Tensor]) -> Bag:
    """A column of lists as the model reads it; `put` brings an array to the device."""
    return Bag(put(part.values), put(part.bounds), None if part.weights is None else put(part.weights))


def bag_of(part: Lists, device: torch.device) -> Bag:
    """A column of lists as the model reads it, on `device`."""
    return bag_from(part, lambda array: torch.from_numpy(array).to(device))
