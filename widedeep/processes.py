"""Processes of ours, and their end: with the process that has started them, and by signals to all."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def end_with_parent(parent: int) -> None:
    """Let this process end with the one that has started it, process `parent`, however that ends."""
    if sys.platform == "linux":
        import ctypes  # not at the top: only a started process needs it

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit(1)  # it had ended before


@contextmanager
def holding_back(*signals: signal.Signals) -> Iterator[None]:
    """Hold signals back from this thread, and from processes that it starts meanwhile until these let them through.

    Ctrl-C, for one, reaches all processes of a terminal: one that is still importing would end with a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_to_parent(*signals: signal.Signals) -> None:
    """Ignore signals that were held back so far: the process that has started this one gets them too, and ends it."""
    for number in signals:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
