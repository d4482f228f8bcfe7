"""The device that computes (cpu or cuda), its threads, its precision and its memory."""

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch

from widedeep.errors import TrainingError, is_out_of_memory


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


def training_precision(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 autocast on cuda (Hopper's matrix units double their rate); float32 on cpu, where bfloat16 is slower."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


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
