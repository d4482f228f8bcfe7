"""The processes that train one model together, their exchanges, and which of them is to blame when one fails."""

import atexit
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from widedeep.errors import TrainingError

Words = NDArray[np.int32]
"""What is sent: 32-bit words, integers or the bits of float32 numbers."""

_BEAT_SECONDS = 1.0
"""Seconds between two signs of life of a process."""
_DEAD_SECONDS = 4.0
"""A process without a sign of life for so long has ended, or stands still."""
_END_SECONDS = 0.5
"""A process whose connection breaks is found to have ended within so long, by whoever has started it."""
_JOIN_SECONDS = 120.0
"""Least seconds that a process has to start, however short the timeout."""
_POLL_SECONDS = 0.05
_SPARE_SHARE, _SPARE_WORDS = 16, 64
"""The room of a message is larger than the one that it is made for by such a share and so many words."""
_STORE_SECONDS = 20.0
"""Seconds that the store of keys, which rank 0 or its agent keeps, has for an answer."""


def distributed() -> Any:
    """torch.distributed, which a process alone need not wait for. Raises TrainingError if torch was built without."""
    import torch.distributed

    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        raise TrainingError("this torch was built without torch.distributed or gloo: train in one process")
    return torch.distributed


class AgreedError(TrainingError):
    """Training cannot go on, and all ranks know it: rank 0 tells it for all."""


class Ranks:
    """One process among `world`, which all take the same steps; alone, by default. All make every call."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world
        self.bytes_sent = 0
        """Bytes sent to other processes so far."""

    def exchange(
        self, messages: Sequence[Words], sizes: Sequence[int] | None = None, *, kind: str | None = None
    ) -> list[Words]:
        """Send `messages[r]` to rank r, and give what each rank has sent here, in order of ranks.

        `sizes` are the sizes of what comes, if they are known. Messages of one `kind` have about the same size each
        time, so that nobody needs to tell it first. What is given lasts until the next exchange of the same kind.
        """
        return list(messages)

    def told(self, value: Callable[[], Any]) -> Any:
        """What `value` gives in rank 0, as plain data; the other ranks wait for it as long as rank 0 is alive."""
        return value()

    def wait(self) -> None:
        """Wait until all ranks are here."""


class _Rooms:
    """The place that messages of one kind have in what each rank sends to each other: a word for the length, and room.

    Both sides know the sizes, as they follow from the messages before. The room of a message that was too long grows.
    """

    def __init__(self, sent: Sequence[int], coming: Sequence[int], rank: int) -> None:
        """By rank: the words of the messages that `rank` has sent, and of those that have come."""
        self._rank = rank
        self.sent, self.coming = [0] * len(sent), [0] * len(coming)
        """Words by rank, with the one for the length; none for the rank itself."""
        self.enlarge(sent, coming)

    def enlarge(self, sent: Sequence[int], coming: Sequence[int]) -> None:
        """Make room for messages of these sizes, where there is not enough."""
        for rooms, sizes in ((self.sent, sent), (self.coming, coming)):
            for rank, size in enumerate(sizes):
                if size >= rooms[rank] and rank != self._rank:
                    rooms[rank] = 1 + size + size // _SPARE_SHARE + _SPARE_WORDS
        self.out, self.into = (np.zeros(sum(rooms), dtype=np.int32) for rooms in (self.sent, self.coming))
        self._places = np.cumsum([0, *self.sent]).tolist()

    def fill(self, rank: int, message: Words) -> None:
        """Put a message to a rank in its place in `out`, as far as there is room."""
        start, end = self._places[rank : rank + 2]
        fitting = message[: end - start - 1]
        self.out[start] = len(message)
        self.out[start + 1 : start + 1 + len(fitting)] = fitting


class JoinedRanks(Ranks):
    """Ranks that reach each other by torch.distributed's gloo, and by a store of keys."""

    def __init__(
        self, store: Any, rank: int, world: int, timeout: float, ended: Callable[[], str | None] = lambda: None
    ) -> None:
        """`store` is one of torch.distributed, empty and for this training alone. Waits for the others to join.

        `ended` tells which of the others has ended, if that is known here. Raises TrainingError if one has, or does not
        join within `timeout` seconds; so do all calls.
        """
        super().__init__(rank, world)
        dist = distributed()
        self._store, self._timeout, self._told = store, timeout, 0
        self._dist, self._ended = dist, ended
        self._done = 0
        """Exchanges that this process has begun."""
        self._rooms: dict[str, _Rooms] = {}
        self._pulse = _Pulse(store, rank, lambda: self._done)
        with self._blaming("join"):
            self._await_others(time.monotonic() + max(timeout, _JOIN_SECONDS))
            dist.init_process_group(
                "gloo", store=store, rank=rank, world_size=world, timeout=timedelta(seconds=timeout)
            )

    def _await_others(self, deadline: float) -> None:
        keys = [f"pulse/{rank}" for rank in range(self.world)]
        while not self._store.check(keys):
            if self._ended() is not None or time.monotonic() > deadline:
                raise RuntimeError("not all ranks have joined")
            time.sleep(_POLL_SECONDS)

    def exchange(
        self, messages: Sequence[Words], sizes: Sequence[int] | None = None, *, kind: str | None = None
    ) -> list[Words]:
        sent = [0 if rank == self.rank else len(message) for rank, message in enumerate(messages)]
        with self._blaming("exchange"):
            if kind in self._rooms:
                received = self._exchange_in(self._rooms[kind], messages)
            else:
                coming = self._sizes_of(sent) if sizes is None else [*sizes]
                coming[self.rank] = 0
                out = np.concatenate([message[:size] for message, size in zip(messages, sent, strict=True)])
                received = self._all_to_all(out, sent, coming)
                self.bytes_sent += 4 * sum(sent)
                if kind is not None:
                    self._rooms[kind] = _Rooms(sent, coming, self.rank)
        received[self.rank] = messages[self.rank]
        return received

    def _sizes_of(self, sent: Sequence[int]) -> list[int]:
        """The sizes of what the other ranks send here."""
        coming = torch.empty(self.world, dtype=torch.int64)
        self._dist.all_to_all_single(coming, torch.tensor(sent))
        sizes: list[int] = coming.tolist()
        return sizes

    def _all_to_all(self, out: Words, sent: list[int], coming: list[int], into: Words | None = None) -> list[Words]:
        into = np.empty(sum(coming), dtype=np.int32) if into is None else into
        self._dist.all_to_all_single(torch.from_numpy(into), torch.from_numpy(out), coming, sent)
        return np.split(into, np.cumsum(coming)[:-1])

    def _exchange_in(self, rooms: "_Rooms", messages: Sequence[Words]) -> list[Words]:
        """Exchange messages that each have a room of a size known to both sides; what has no place in it follows."""
        others = [rank for rank in range(self.world) if rank != self.rank]
        for rank in others:
            rooms.fill(rank, messages[rank])
        received = self._all_to_all(rooms.out, rooms.sent, rooms.coming, rooms.into)
        self.bytes_sent += 4 * sum(rooms.sent)
        late = []
        for rank in others:
            length, room = int(received[rank][0]), rooms.coming[rank] - 1
            received[rank] = received[rank][1 : 1 + length]
            if length > room:
                received[rank] = np.concatenate([received[rank], np.empty(length - room, dtype=np.int32)])
                late.append(self._dist.irecv(torch.from_numpy(received[rank][room:]), rank))
        for rank in others:
            rest = messages[rank][rooms.sent[rank] - 1 :]
            if len(rest):
                late.append(self._dist.isend(torch.from_numpy(rest), rank))
                self.bytes_sent += 4 * len(rest)
        for work in late:
            work.wait()
        if late:
            rooms.enlarge([len(message) for message in messages], [len(message) for message in received])
        return received

    def told(self, value: Callable[[], Any]) -> Any:
        self._told += 1
        key = f"told/{self._told}"
        if self.rank == 0:
            told = value()
            with self._blaming("tell"):
                self._store.set(key, json.dumps(told))
            return told
        with self._blaming("wait for rank 0"):
            pause = _POLL_SECONDS / 32
            while not self._store.check([key]):
                if self._pulse.silence_of(0) > self._timeout:
                    raise RuntimeError("no sign of life from rank 0")
                time.sleep(pause)
                pause = min(2 * pause, _POLL_SECONDS)
            return json.loads(self._store.get(key))

    def wait(self) -> None:
        self.exchange([np.empty(0, np.int32)] * self.world)

    def leave(self) -> None:
        """Leave the others; no call follows, but for this one."""
        self._pulse.stop()
        if self._dist.is_initialized():
            with suppress(RuntimeError):
                self._dist.destroy_process_group()

    @contextmanager
    def _blaming(self, what: str) -> Iterator[None]:
        self._done += 1
        try:
            yield
        except (RuntimeError, OSError) as error:
            raise TrainingError(self._blame(what, error)) from error

    def _blame(self, what: str, error: Exception) -> str:
        """Which rank is to blame that an exchange failed: one that gives no sign of life, or that is behind."""
        reason = str(error).split("\n")[0][:200]
        deadline = time.monotonic() + _END_SECONDS
        while (ended := self._ended()) is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if ended is not None:
            return f"{ended}; {_ADVICE}"
        try:
            before = [self._pulse.of(rank) for rank in range(self.world)]
            time.sleep(_DEAD_SECONDS)
            if (ended := self._ended()) is not None:  # on a busy machine a process takes its time to end
                return f"{ended}; {_ADVICE}"
            after = [self._pulse.of(rank) for rank in range(self.world)]
        except (RuntimeError, OSError):
            return f"rank {self.rank}: rank 0 has ended or cannot be reached ({what}: {reason}); {_ADVICE}"
        others = [rank for rank in range(self.world) if rank != self.rank]
        named = {rank: f"rank {rank}" + (f" ({pulse.place})" if pulse else "") for rank, pulse in enumerate(after)}
        silent = [named[rank] for rank in others if after[rank] is None or after[rank] == before[rank]]
        if silent:
            return f"{' and '.join(silent)} has ended or stands still ({what}: {reason}); {_ADVICE}"
        behind = [r for r in others if (pulse := after[r]) is not None and pulse.done < self._done]
        if behind:
            waited = f"{self._timeout:g} seconds (training.timeout)"
            return f"{' and '.join(named[r] for r in behind)} did not take part in a step within {waited}; {_ADVICE}"
        return f"rank {self.rank}: the ranks lost each other ({what}: {reason}); {_ADVICE}"


_ADVICE = "train again with --resume, with as many processes as you like"


class _Sign:
    """A sign of life: where a process runs, and how far it is."""

    def __init__(self, text: str) -> None:
        self._text = text
        place, _, number = text.rpartition("|")
        self.place, _, count = place.rpartition("|")
        self.beat, self.done = int(number), int(count)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Sign) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class _Pulse:
    """Gives signs of life on a thread, and looks for those of others."""

    def __init__(self, store: Any, rank: int, done: Callable[[], int]) -> None:
        self._rank, self._done = rank, done
        self._store = store.clone()  # a connection of its own, which no long answer holds up
        self._read = store.clone()
        self._read.set_timeout(timedelta(seconds=_STORE_SECONDS))
        self._place = f"{socket.gethostname()}, process {os.getpid()}"
        self._seen: dict[int, tuple[_Sign | None, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="widedeep-pulse", daemon=True)
        self._thread.start()
        # A thread that is within a call of the store while Python ends would abort the process.
        atexit.register(self.stop)

    def _beat(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                self._store.set(f"pulse/{self._rank}", f"{self._place}|{self._done()}|{number}")
            except (RuntimeError, OSError):
                return  # who keeps the store has gone; whoever needs it is told so
            self._stop.wait(_BEAT_SECONDS)

    def of(self, rank: int) -> _Sign | None:
        """The last sign of a rank; None before its first."""
        key = f"pulse/{rank}"
        return _Sign(self._read.get(key).decode()) if self._read.check([key]) else None

    def silence_of(self, rank: int) -> float:
        """Seconds since this process first saw the last sign of a rank."""
        now, sign = time.monotonic(), self.of(rank)
        if rank not in self._seen or self._seen[rank][0] != sign:
            self._seen[rank] = sign, now
        return now - self._seen[rank][1]

    def stop(self) -> None:
        """Give no more signs. One that cannot be given, as no one answers, is not waited for."""
        atexit.unregister(self.stop)
        self._stop.set()
        self._thread.join(_DEAD_SECONDS)
