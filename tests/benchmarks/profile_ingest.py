"""Where the clock of `ingest` and `encode` goes: what the main thread does meanwhile, and how much of the cores lies idle.

python tests/benchmarks/profile_ingest.py {ingest,encode} TRAIN.csv [--repeats 3]

The stage runs once before it is looked at, so that all is compiled and imported. Every millisecond a thread notes what
stands on each thread's stack, and what CPU time all threads of the process took since. A machine that is shared says
little of idle cores: there, as root, `chrt --fifo 1` before the command keeps the others away.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from ingest_rows import planted_recipe

from widedeep.pipeline.ingest_stage import ingest
from widedeep.pipeline.stages import build_crosses
from widedeep.reporting import Reporter

_OURS = f"{os.sep}widedeep{os.sep}"
_SECONDS = 0.001


@dataclass
class Profile:
    """What the samples sum up to, in seconds."""

    clock: float = 0.0
    cpu: float = 0.0
    by_place: dict[str, Counter[str]] = field(default_factory=dict)
    """What the main thread did → `clock`, `cpu` of all threads, `own` of the main thread, `idle` of the cores."""
    of_threads: Counter[str] = field(default_factory=Counter)
    """What the other threads that run Python did, when they did not wait → clock; two at once count twice."""


@contextmanager
def sampled(profile: Profile) -> Iterator[None]:
    """Sample this process into `profile` while the block runs."""
    main, done, cores = threading.current_thread(), threading.Event(), len(os.sched_getaffinity(0))

    def sample() -> None:
        with suppress(PermissionError):  # above what it looks at, which may be above all else
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))
        clock, cpu, own = time.perf_counter(), time.process_time(), _seconds_of(main)
        while not done.is_set():
            time.sleep(_SECONDS)
            frames = sys._current_frames()
            since, clock = clock, time.perf_counter()
            cpu_since, cpu = cpu, time.process_time()
            own_since, own = own, _seconds_of(main)
            place = profile.by_place.setdefault(_place(frames[main.ident or 0]), Counter())
            place.update(  # type: ignore[call-overload]
                {
                    "clock": clock - since,
                    "cpu": cpu - cpu_since,
                    "own": own - own_since,
                    "idle": cores * (clock - since) - (cpu - cpu_since),
                }
            )
            profile.clock += clock - since
            profile.cpu += cpu - cpu_since
            for ident, frame in frames.items():
                if ident not in (main.ident, threading.get_ident()) and not _waits(frame):
                    profile.of_threads[_place(frame)] += clock - since  # type: ignore[assignment]

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield
    finally:
        done.set()
        sampler.join()


def _seconds_of(thread: threading.Thread) -> float:
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0))


def _waits(frame: FrameType) -> bool:
    return os.path.basename(frame.f_code.co_filename) in ("threading.py", "thread.py", "queue.py")


def _place(frame: FrameType) -> str:
    """The innermost two functions of ours on a stack, outermost first, and how far the inner one has come."""
    ours: list[str] = []
    here: FrameType | None = frame
    while here is not None and len(ours) < 2:
        if _OURS in here.f_code.co_filename:
            line = f":{here.f_lineno}" if not ours else ""
            ours.append(f"{Path(here.f_code.co_filename).stem}.{here.f_code.co_name}{line}")
        here = here.f_back
    return " > ".join(reversed(ours)) or frame.f_code.co_name


def profile_stage(stage: Callable[[Path], object], repeats: int) -> Profile:
    """`repeats` runs of a stage, each into a fresh folder, after one that is not sampled."""
    profile = Profile()
    with tempfile.TemporaryDirectory() as name:
        stage(Path(name) / "first")
        for number in range(repeats):
            with sampled(profile):
                stage(Path(name) / str(number))
    return profile


def lines(profile: Profile, repeats: int, most: int = 30) -> Iterator[str]:
    """The profile as text: seconds of one run, places by their idle time."""
    yield f"clock {profile.clock / repeats:.3f} s, CPU {profile.cpu / repeats:.3f} s, of one run"
    yield f"{'clock':>8}{'own':>8}{'cpu':>8}{'idle':>8}  the main thread is in"
    for place, sums in sorted(profile.by_place.items(), key=lambda entry: -entry[1]["idle"])[:most]:
        yield "".join(f"{sums[key] / repeats:8.3f}" for key in ("clock", "own", "cpu", "idle")) + f"  {place}"
    yield f"{'clock':>8}  other threads are in"
    for place, seconds in profile.of_threads.most_common(most):
        yield f"{seconds / repeats:8.3f}  {place}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("ingest", "encode"))
    parser.add_argument("csv", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    loaded = planted_recipe(arguments.csv, [])
    build = ingest if arguments.stage == "ingest" else build_crosses
    profile = profile_stage(lambda folder: build(loaded, folder, Reporter()), arguments.repeats)
    print("\n".join(lines(profile, arguments.repeats)))


if __name__ == "__main__":
    main()
