"""Ranks that are threads of one process, for tests of what they exchange."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any

import numpy as np

from widedeep.training.ranks import Ranks, Words


class ThreadRanks(Ranks):
    """One of several threads."""

    def __init__(self, rank: int, queues: Sequence[Sequence["Queue[Any]"]]) -> None:
        super().__init__(rank, len(queues))
        self._queues = queues

    def exchange(
        self, messages: Sequence[Words], sizes: Sequence[int] | None = None, *, kind: str | None = None
    ) -> list[Words]:
        for other, message in enumerate(messages):
            self._queues[self.rank][other].put(message)
        received = [self._queues[other][self.rank].get() for other in range(self.world)]
        assert all(message is not None for message in received), "another thread has failed"
        assert sizes is None or [len(message) for message in received] == list(sizes)
        return received

    def told(self, value: Callable[[], Any]) -> Any:
        told = value() if self.rank == 0 else None
        self.wait()
        return told

    def wait(self) -> None:
        self.exchange([np.empty(0, dtype=np.int32)] * self.world)


def in_ranks(world: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """What `work` gives in each of `world` ranks."""
    queues = [[Queue[Any]() for _ in range(world)] for _ in range(world)]

    def working(rank: int) -> Any:
        try:
            return work(ThreadRanks(rank, queues))
        except BaseException:
            for queue in queues[rank]:
                queue.put(None)  # or the others would wait for ever
            raise

    with ThreadPoolExecutor(world) as threads:
        return list(threads.map(working, range(world)))
