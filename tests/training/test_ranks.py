"""What processes exchange by gloo arrives whole, whatever the sizes of the messages before."""

import os
import subprocess
import sys
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch.distributed as dist

from widedeep.training import ranks as module
from widedeep.training.ranks import JoinedRanks

WORLD = 3
RANK = """
import sys
import numpy as np
import torch.distributed as dist
from widedeep.training.ranks import JoinedRanks

rank, world, port = map(int, sys.argv[1:])

def message(step, sender, receiver):
    draw = np.random.default_rng([step, sender, receiver])
    size = draw.choice([0, 1, 60, 70, 500, 3_000, 200_000], p=[0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1])
    return draw.integers(-9, 9, size, dtype=np.int32)

ranks = JoinedRanks(dist.TCPStore("127.0.0.1", port, None, False), rank, world, 300.0)
for step in range(60):
    sent_before = ranks.bytes_sent
    messages = [message(step, rank, other) for other in range(world)]
    received = ranks.exchange(messages, kind=("these", "those", None)[step % 3])
    for sender, came in enumerate(received):
        assert np.array_equal(came, message(step, sender, rank)), (step, sender)
    assert ranks.bytes_sent - sent_before >= sum(m.nbytes for other, m in enumerate(messages) if other != rank)
ranks.leave()
"""


def test_messages_of_a_kind_arrive_whole_where_they_outgrow_the_room_that_they_had() -> None:
    store = dist.TCPStore("127.0.0.1", 0, None, True, timedelta(seconds=300), wait_for_workers=False)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    command = [sys.executable, "-c", RANK]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(WORLD), str(store.port)], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in range(WORLD)
    ]
    told = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * WORLD, "\n".join(told)


def test_a_rank_that_takes_long_to_end_on_a_busy_machine_is_blamed_with_its_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: now))
    ranks = object.__new__(JoinedRanks)
    ranks.rank, ranks.world = 0, 2
    ranks._pulse = SimpleNamespace(of=lambda rank: None)  # type: ignore[assignment]
    ranks._ended = lambda: "rank 1 was ended by signal 9" if now > 2 * module._END_SECONDS else None
    assert ranks._blame("exchange", RuntimeError("reset by peer")).startswith("rank 1 was ended by signal 9; ")
