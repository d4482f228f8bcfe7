"""Processes of ours that end with the one that has started them."""

import os
import signal
import sys


def end_with_parent(parent: int) -> None:
    """Let this process end with the one that has started it, process `parent`, however that ends."""
    if sys.platform == "linux":
        import ctypes  # not at the top: only a started process needs it

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit(1)  # it had ended before
