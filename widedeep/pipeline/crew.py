"""The processes that train a run together: this one alone, more of this machine, or those that torchrun has started.

Rank 0 runs everything but training by itself. The others wait for an assignment, build what they hold of its model, and
take the same steps.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from widedeep.errors import Interrupted, TrainingError, UsageError, WidedeepError
from widedeep.figures import visible_message
from widedeep.pipeline.parted import Assignment, parted_trainer
from widedeep.processes import end_with_parent, holding_back, leave_to_parent
from widedeep.reporting import Reporter
from widedeep.training.ranks import AgreedError, JoinedRanks, Ranks, distributed

_POLL_SECONDS = 0.05
_END_SECONDS = 10.0
"""Seconds that the other processes have to end once training has."""
_STOPPING = signal.SIGINT, signal.SIGTERM
"""Signals that end training, which a terminal, or who ends a group of processes, sends to all of them."""
_STORE_SECONDS = 300.0
"""Seconds that all processes have to find the store of keys."""


class Crew:
    """Processes that train, of which this one is rank 0. By default it is alone."""

    world = 1

    @contextmanager
    def at_work(self, assignment: Assignment, timeout: float) -> Iterator[Ranks]:
        """Tell all processes what to train, and yield this one's place among them.

        Raises TrainingError if another one ends, or does not answer for `timeout` seconds.
        """
        yield Ranks()

    def dismiss(self) -> None:
        """Tell the others that there is nothing more to train."""


class StartedCrew(Crew):
    """Processes of this machine, started for each training and ended with it."""

    def __init__(self, world: int) -> None:
        self.world = world

    @contextmanager
    def at_work(self, assignment: Assignment, timeout: float) -> Iterator[Ranks]:
        dist = distributed()
        _use_loopback()
        # By itself, the store would listen on all addresses of this machine.
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            store = dist.TCPStore(
                "127.0.0.1",
                port,
                None,
                True,
                timedelta(seconds=timeout),
                wait_for_workers=False,
                master_listen_fd=listening.detach(),  # the store closes it
            )
        _assign(store, 1, assignment, timeout)
        _assign(store, 2, None, timeout)
        children = _Children(self.world, port)
        ranks = None
        try:
            ranks = JoinedRanks(dist.PrefixStore("run/1", store), 0, self.world, timeout, ended=children.ended)
            yield ranks
            ranks.leave()
            children.wait()
        finally:
            children.kill()
            if ranks is not None:
                # After an error too: a thread of gloo's that still lets go of an exchange while Python ends aborts the
                # process. What it exchanges with the others has broken off by now.
                ranks.leave()


def crew_of(processes: int) -> Crew:
    """This process alone, or so many of this machine."""
    return StartedCrew(processes) if processes > 1 else Crew()


class _Children:
    """The other ranks, which this process has started."""

    def __init__(self, world: int, port: int) -> None:
        environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
        command = [sys.executable, "-m", "widedeep.pipeline.crew"]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        try:
            for rank in range(1, world):
                settings = {**environment, "RANK": str(rank), "WIDEDEEP_PARENT": str(os.getpid())}
                with holding_back(*_STOPPING):
                    self._processes[rank] = subprocess.Popen(command, env=settings, stdin=subprocess.DEVNULL)
        except OSError as error:
            self.kill()
            raise TrainingError(
                f"cannot start rank {rank}: {error.strerror or error}; start fewer processes"
            ) from error

    def ended(self) -> str | None:
        """Which of them has ended, in words; None while all are there."""
        for rank, process in self._processes.items():
            if (code := process.poll()) is None:
                continue
            how = (
                f"was ended by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"
            )
            return f"rank {rank} (process {process.pid}) {how}"
        return None

    def wait(self) -> None:
        deadline = time.monotonic() + _END_SECONDS
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))

    def kill(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()


class JoinedCrew(Crew):
    """The processes that torchrun, or anything else that sets its variables, has started."""

    def __init__(self, store: Any, world: int) -> None:
        self.world = world
        self._store, self._number = store, 0

    @contextmanager
    def at_work(self, assignment: Assignment, timeout: float) -> Iterator[Ranks]:
        self._number += 1
        _assign(self._store, self._number, assignment, timeout)
        ranks = JoinedRanks(distributed().PrefixStore(f"run/{self._number}", self._store), 0, self.world, timeout)
        yield ranks
        ranks.leave()

    def dismiss(self) -> None:
        _assign(self._store, self._number + 1, None, 0.0)
        # Whoever keeps the store must outlive those that have yet to read this.
        deadline = time.monotonic() + _END_SECONDS
        others = [f"left/{rank}" for rank in range(1, self.world)]
        with suppress(RuntimeError):
            while not self._store.check(others) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)


def crew_of_environment(processes: int | None, environment: Mapping[str, str] = os.environ) -> Crew | int:
    """The crew that the variables of torchrun tell of; in a rank other than 0, the exit code once it has done its part
    of all trainings.

    Raises UsageError for variables that do not fit, or if `processes` are to be started too.
    """
    if processes is not None:
        raise UsageError(
            "--processes with RANK and WORLD_SIZE in the environment: torchrun has started the processes already; "
            "leave --processes out"
        )
    rank, world = _number_of(environment, "RANK"), _number_of(environment, "WORLD_SIZE")
    if not 0 <= rank < world:
        raise UsageError(
            f"RANK is {rank} and WORLD_SIZE {world} in the environment: a rank is from 0 to WORLD_SIZE - 1"
        )
    if world == 1:
        return Crew()
    store = _store(environment, rank, world)
    return JoinedCrew(store, world) if rank == 0 else follow(store, rank, world)


def _number_of(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not text.isdigit():
        raise UsageError(f"{name} is {text[:40]!r} in the environment, must be a whole number, as torchrun sets it")
    return int(text)


def _store(environment: Mapping[str, str], rank: int, world: int) -> Any:
    """The store of keys that all processes of this attempt share."""
    dist = distributed()
    host, port = environment.get("MASTER_ADDR", ""), _number_of(environment, "MASTER_PORT")
    if not host:
        raise UsageError("MASTER_ADDR is not in the environment: it names the machine of rank 0, as torchrun sets it")
    agents = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    try:
        store = dist.TCPStore(host, port, world, rank == 0 and not agents, timedelta(seconds=_STORE_SECONDS))
    except (RuntimeError, OSError) as error:
        reason = str(error).split("\n")[0][:200]
        raise TrainingError(
            f"rank {rank}: cannot reach rank 0 at {host}:{port} (MASTER_ADDR, MASTER_PORT): {reason}"
        ) from error
    # An agent that starts its processes again keeps the store of those that failed, with all that they told.
    attempt = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"widedeep/{environment.get('TORCHELASTIC_RUN_ID', '')}/{attempt}", store)


def _assign(store: Any, number: int, assignment: Assignment | None, timeout: float) -> None:
    work = None if assignment is None else assignment.to_json()
    store.set(f"work/{number}", json.dumps({"work": work, "timeout": timeout}))


def follow(store: Any, rank: int, world: int) -> int:
    """Train what rank 0 assigns, until it has no more; gives an exit code.

    Waits for assignments as long as rank 0 takes. Raises what ends this rank alone, with its number; what ends all is
    told by rank 0.
    """
    number = 0
    while True:
        number += 1
        try:
            while not store.check([f"work/{number}"]):
                time.sleep(_POLL_SECONDS)
            told = json.loads(store.get(f"work/{number}"))
        except (RuntimeError, OSError) as error:
            raise TrainingError(f"rank {rank}: rank 0 has ended before it told what to train") from error
        if told["work"] is None:
            with suppress(RuntimeError):
                store.set(f"left/{rank}", "")
            return 0
        try:
            ranks = JoinedRanks(distributed().PrefixStore(f"run/{number}", store), rank, world, told["timeout"])
            parted_trainer(Assignment(**told["work"]), ranks, Reporter()).run(resume=told["work"]["resume"])
            ranks.leave()
        except (Interrupted, AgreedError) as error:
            return error.exit_code
        except WidedeepError as error:
            raise type(error)(f"rank {rank}: {str(error).removeprefix(f'rank {rank}: ')}") from error


def _use_loopback() -> None:
    """Let processes of one machine reach each other without its name, which may lead nowhere."""
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def _main() -> int:
    """A process that StartedCrew has started."""
    end_with_parent(int(os.environ["WIDEDEEP_PARENT"]))
    # Rank 0 gets them too. In the middle of an epoch all agree on where to stop; at any other time it ends this one.
    leave_to_parent(*_STOPPING)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    try:
        store = distributed().TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), None, False)
        return follow(store, rank, world)
    except WidedeepError as error:
        sys.stderr.write(f"widedeep: error: {visible_message(str(error))}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(_main())
