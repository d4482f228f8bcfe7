"""Measures what the model of scale.md is fitted to and held to: CPU, time and bytes of each stage by workers and processes.

    python tests/benchmarks/scale_measure.py tests/benchmarks/results/scale.json

takes a quarter of an hour on a quiet machine with two cores. `scale_model.py` reads the file.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from machine import machine_facts
from scale_training import measure_exchanges, measure_training

COMMAND = [sys.executable, "-m", "widedeep_cli"]
STAGES = ("ingest", "crosses", "predict")
GRADIENT = ("--set", "model.wide.crosses=gradient")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Taken:
    """What a command took."""

    cpu: float
    """Seconds of all its processes together."""
    parent: float
    """Seconds of the command's own process: what no worker can share."""
    wall: float


def taken(command: Sequence[str]) -> Taken:
    """Run a command. Raises SystemExit with its output if it fails."""
    started, parent = time.perf_counter(), 0.0
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        while True:
            parent = max(parent, _own_seconds(process.pid))
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            time.sleep(0.02)
        wall = time.perf_counter() - started
        if status:
            out.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{out.read().decode()}")
    return Taken(usage.ru_utime + usage.ru_stime, parent, wall)


def _own_seconds(process: int) -> float:
    """CPU seconds of a process so far, without those of its children."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Log:
    """A sample log, and the commands on it."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.rows, self._folder = rows, folder
        subprocess.run(
            [*COMMAND, "synth", "-o", str(folder / "log"), "--rows", str(rows)], check=True, capture_output=True
        )
        self.recipe, self.data = folder / "log" / "recipe.yaml", folder / "log" / "log.csv"

    def stage(self, stage: str, workers: int | None, work: Path, run: Path | None = None) -> list[str]:
        """The command of a stage; `predict` writes Parquet."""
        more = [] if workers is None else ["--workers", str(workers)]
        if stage == "predict":
            out = str(work / f"scores-{workers}.parquet")
            return [*COMMAND, "predict", str(run), str(self.data), "-o", out, "--force", *more]
        # Without workers, `crosses` leaves the memory of crosses to `train`: so that all do the same, nobody makes it here.
        return [*COMMAND, stage, str(self.recipe), "--work", str(work), *GRADIENT, *more]

    def trained(self, work: Path) -> Path:
        """A run of one epoch, for `predict`."""
        command = [
            *COMMAND,
            "train",
            str(self.recipe),
            "--work",
            str(work),
            "--quiet",
            *GRADIENT,
            "--set",
            "training.epochs=1",
        ]
        subprocess.run(command, check=True, capture_output=True)
        return work / "runs" / "sample" / "latest"


def measure_maps(folder: Path, sizes: Sequence[int], workers: Sequence[int], repeats: int) -> dict[str, Any]:
    """CPU and time of the stages: the smaller logs with one worker only; the largest without, and with each number."""
    measured: list[dict[str, Any]] = []
    contention: dict[str, float] = {}
    sizes_on_disk: dict[str, float] = {}
    for rows in sorted(sizes):
        log = Log(folder / str(rows), rows)
        run = log.trained(folder / f"run-{rows}")
        largest = rows == max(sizes)
        for stage in STAGES:
            for number in [None, *workers] if largest else [1]:
                times = []
                for repeat in range(repeats):
                    work = folder / f"work-{rows}-{number}-{repeat}"
                    work.mkdir(exist_ok=True)
                    times.append(taken(log.stage(stage, number, work, run)))
                best = min(times, key=lambda one: one.cpu)
                measured.append({"stage": stage, "rows": rows, "workers": number, **asdict(best)})
                print(measured[-1], flush=True)
            if largest:
                contention[stage] = _contention(log, stage, folder, run) / _of(measured, stage, rows, 1)["cpu"]
                print(stage, "beside another", contention[stage], flush=True)
        if largest:
            work = folder / f"work-{rows}-1-0"
            sizes_on_disk = {
                "log": log.data.stat().st_size / rows,
                "ingest": _bytes_of(work / "stages" / "ingest") / rows,
                "crosses": (_bytes_of(work / "stages") - _bytes_of(work / "stages" / "ingest")) / rows,
            }
    return {"stages": measured, "contention": contention, "bytes_a_row": sizes_on_disk}


def _of(measured: Sequence[dict[str, Any]], stage: str, rows: int, workers: int | None) -> dict[str, Any]:
    return next(m for m in measured if (m["stage"], m["rows"], m["workers"]) == (stage, rows, workers))


def _contention(log: Log, stage: str, folder: Path, run: Path) -> float:
    """Mean CPU seconds of a stage by one worker while another command does the same beside it."""
    works = [folder / f"beside-{number}" for number in range(2)]
    for work in works:
        work.mkdir(exist_ok=True)
    processes = [
        subprocess.Popen(log.stage(stage, 1, work, run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for work in works
    ]
    seconds = 0.0
    for process in processes:
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{stage}: exit status {status}")
        seconds += usage.ru_utime + usage.ru_stime
    return seconds / len(processes)


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Measure all, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, nargs=2, default=[1_500_000, 6_000_000], help="of two logs")
    parser.add_argument("--training-rows", type=int, default=400_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        facts = {"date": date.today().isoformat(), **machine_facts()}
        exchanges = measure_exchanges(arguments.workers)
        training = measure_training(Path(name), arguments.training_rows, arguments.workers, arguments.repeats)
        maps = measure_maps(Path(name), arguments.rows, arguments.workers, arguments.repeats)
    result = {"facts": facts, **maps, "exchanges": exchanges, "training": training}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
