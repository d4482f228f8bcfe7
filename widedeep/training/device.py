"""The device that computes (cpu or cuda), its threads, its precision and its memory."""

import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from widedeep.errors import TrainingError, is_out_of_memory
from widedeep.kernels.products import vendor
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.schema import Recipe

Precision = Literal["float32", "bfloat16"]
BATCH_ROWS = 16_384
"""Rows scored at a time, outside training."""


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device to train on; `auto` takes a CUDA device if there is one. Raises TrainingError if `cuda` has none."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise TrainingError("training.device is cuda, but torch sees no CUDA device; set it to auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def set_threads(threads: int | None) -> int:
    """Set torch's number of CPU threads and return it. Equal bytes need an equal number."""
    count = (
        threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else threads or os.cpu_count() or 1
    )
    torch.set_num_threads(count)
    return count


def choose_precision(recipe: Recipe, device: torch.device) -> Precision:
    """The type in which the layers multiply in training; `auto` takes bfloat16 where that was measured to be faster.

    That is on CUDA and on CPUs with AMX tiles or, of AMD, with AVX512-BF16 (docs/training.md). Nothing is timed here. A
    model without layers (`wide`, `fm`) is float32.
    """
    wanted = recipe.training.precision
    if wanted == "float32" or set(KINDS[recipe.model.kind].towers) <= {"fm"}:
        return "float32"
    return "bfloat16" if wanted == "bfloat16" or device.type == "cuda" or _multiplies_bfloat16() else "float32"


def _multiplies_bfloat16() -> bool:
    amx, avx512 = torch.cpu._is_amx_tile_supported(), torch.cpu._is_avx512_bf16_supported()
    return torch._C._has_mkldnn and (amx or (avx512 and vendor() == "AuthenticAMD"))


def layers_in(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """A context in which the layers multiply in `precision`; their weights stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext()


def put_on(device: torch.device) -> Callable[[NDArray[Any]], Tensor]:
    """A function that brings an array to the device; on the CPU the tensor shares its memory."""
    return lambda array: torch.from_numpy(array).to(device)


@contextmanager
def telling_out_of_memory() -> Iterator[None]:
    """Turn an error about exhausted memory, of device or machine, into a TrainingError that tells what to try."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            "out of memory: try a smaller training.batch_size or model.embeddings.dim, or a larger min_count (or "
            "`buckets`) on the largest fields"
        ) from error


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
