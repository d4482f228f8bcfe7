"""Blocks of typed rows with their scores: one thread reads ahead, as many as torch has encode and score, in order."""

import threading
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, Queue

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from widedeep.scoring.scorer import Scorer
from widedeep.scoring.tally import OddValues, PartCounts

PART_ROWS = 1 << 15
"""Rows that a thread encodes and scores at a time: Polars takes milliseconds to set a query up, for few rows too."""
LEAVE_SECONDS = 1.0
"""How long an early end waits for the reading thread: a pipe may never speak, and nothing can wake its reader."""
WAKE_SECONDS = 0.1
"""How often the caller's thread looks for signals while it waits for rows."""

TypedBlocks = Generator[tuple[pl.DataFrame, pl.DataFrame]]
"""(Raw columns, typed ones) of the same rows."""
_Part = Future[tuple[NDArray[np.float32], PartCounts]]
_Read = tuple[pl.DataFrame, pl.DataFrame, list[_Part]] | BaseException | None
"""A block and its parts under way, what ended the reading early, or the end."""


@dataclass(frozen=True)
class ScoredBlock:
    """Consecutive rows and their scores."""

    raw: pl.DataFrame
    typed: pl.DataFrame
    scores: NDArray[np.float32]
    """[N]."""


def scored_blocks(scorer: Scorer, blocks: TypedBlocks, odd_values: OddValues) -> Generator[ScoredBlock]:
    """Score `blocks` in order, a few of them ahead, and count their odd values. What `blocks` raises is raised here,
    after the rows before it.

    Close it (`contextlib.closing`): an early end stops the threads, but one that waits for a silent pipe, which ends
    with its next block or with the process.
    """
    num_threads = torch.get_num_threads()
    with (
        one_thread_each(),
        ThreadPoolExecutor(num_threads, thread_name_prefix="widedeep-score") as workers,
        closing(_Reader(scorer, blocks, odd_values, workers, blocks_ahead=max(1, num_threads // 4))) as reader,
    ):
        for raw, typed, parts in reader:
            scores = []
            for part in parts:
                of_part, counts = part.result()
                scores.append(of_part)
                odd_values.add_part(counts, of_part)
            yield ScoredBlock(raw, typed, np.concatenate(scores) if scores else np.empty(0, dtype=np.float32))


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Torch computes on the calling thread alone."""
    # Threads that each score a part of their own never wait for each other; those that share one matrix product do.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Reader:
    """Takes blocks on a thread of its own and hands their parts to the workers; iterates over both in order."""

    def __init__(
        self,
        scorer: Scorer,
        blocks: TypedBlocks,
        odd_values: OddValues,
        workers: ThreadPoolExecutor,
        *,
        blocks_ahead: int,
    ) -> None:
        self._scorer, self._blocks, self._odd_values, self._workers = scorer, blocks, odd_values, workers
        self._read: Queue[_Read] = Queue(blocks_ahead)
        self._left = threading.Event()
        # A daemon, since the process must not wait for one that waits for a silent pipe.
        self._thread = threading.Thread(target=self._run, name="widedeep-read", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame, list[_Part]]]:
        while (block := self._next()) is not None:
            if isinstance(block, BaseException):
                raise block
            yield block

    def _next(self) -> _Read:
        # Polars' handler of SIGINT lets a wait go on: one without an end would never hear of Ctrl-C.
        while True:
            with suppress(Empty):
                return self._read.get(timeout=WAKE_SECONDS)

    def close(self) -> None:
        """Let the thread and the workers end, whatever they have still to do."""
        self._left.set()
        # With the queue empty the thread can put what it holds, and then sees that nobody wants more.
        with suppress(Empty):
            while True:
                self._read.get_nowait()
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._thread.join(LEAVE_SECONDS)

    def _run(self) -> None:
        end: BaseException | None = None
        try:
            with closing(self._blocks):
                for raw, typed in self._blocks:
                    parts = [self._workers.submit(self._score, part) for part in typed.iter_slices(PART_ROWS)]
                    self._read.put((raw, typed, parts))
                    if self._left.is_set():
                        return
        except BaseException as error:
            end = error
        if not self._left.is_set():
            self._read.put(end)

    def _score(self, part: pl.DataFrame) -> tuple[NDArray[np.float32], PartCounts]:
        scores, encoded = self._scorer.score(part)
        return scores, self._odd_values.count(self._scorer.plan, part, encoded)
