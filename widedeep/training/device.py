"""Where the arithmetic happens: cpu or cuda, how many threads, which precision, how much memory."""

import os
import resource
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from widedeep.errors import TrainingError


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """`auto` takes a CUDA device where there is one. Raises TrainingError when cuda is asked for in vain."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise TrainingError("training.device: cuda is asked for and torch sees no CUDA device; set it to auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def set_threads(threads: int | None) -> int:
    """Fix torch's number of CPU threads (equal bytes need an equal number) and return it."""
    count = (
        threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else threads or os.cpu_count() or 1
    )
    torch.set_num_threads(count)
    return count


def training_precision(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 autocast on cuda (Hopper's matrix units double their rate); float32 on cpu, where bfloat16 is slower."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
