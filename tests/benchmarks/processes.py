"""Training in several processes against one: CPU per row, bytes sent, memory of tables, bytes of the result.

`python tests/benchmarks/processes.py cost` and `… memory` print Markdown. CPU is user and system time of all processes,
the difference of a training of twelve epochs and one of two, so that starting and encoding do not count.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from machine import machine_facts

COMMAND = [sys.executable, "-m", "widedeep_cli"]
EPOCHS = (2, 12)
KINDS = ("wide", "wide_deep", "dcn_v2")
PARTS = 2
_LEAST_BYTES = 50_000_000
"""A process that trains takes more than this; one that asks for the commit does not."""


@dataclass(frozen=True)
class Trained:
    """One training."""

    cpu: float
    """Seconds of all processes together."""
    digest: str
    """Of the checkpoints' bytes."""
    bytes_sent: int
    """Bytes that rank 0 sent to the others in a step."""
    peaks: list[int]
    """Largest resident memory of each process, rank 0 first, in bytes."""


def train(recipe: Path, stages: Path, work: Path, processes: int, settings: Sequence[str]) -> Trained:
    """Train in a fresh work directory with the stages of another one."""
    work.mkdir()
    (work / "stages").symlink_to(stages)
    command = [*COMMAND, "train", str(recipe), "--work", str(work), "--quiet"]
    command += ["--processes", str(processes), *(word for setting in settings for word in ("--set", setting))]
    peaks: dict[int, int] = {}
    with (work / "out.txt").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        while True:
            for number in [process.pid, *_children(process.pid)]:
                peaks[number] = max(peaks.get(number, 0), _anonymous_bytes(number))
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            time.sleep(0.1)
    if status:
        raise SystemExit(f"{' '.join(command)}\n{(work / 'out.txt').read_text()}")
    (run,) = [path for path in (work / "runs" / "sample").iterdir() if not path.is_symlink()]
    digest = blake2b(digest_size=8)
    for file in sorted((run / "checkpoints").iterdir()):
        digest.update(file.read_bytes())
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    sent = [event["bytes_sent_a_step"] for event in events if event["event"] == "exchange"]
    shutil.rmtree(work)
    ranks = [peak for peak in peaks.values() if peak > _LEAST_BYTES]
    return Trained(usage.ru_utime + usage.ru_stime, digest.hexdigest(), sent[-1] if sent else 0, ranks)


def _children(process: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def _anonymous_bytes(process: int) -> int:
    """Resident memory without that of files, which the system can take back."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def cost(folder: Path, kinds: Sequence[str], rows: int, batch_size: int, repeats: int) -> None:
    """Print CPU per row and bytes per step of each kind, in turn, and whether the bytes are equal."""
    subprocess.run(
        [*COMMAND, "synth", "-o", str(folder / "sample"), "--rows", str(rows)], check=True, capture_output=True
    )
    recipe, stages = folder / "sample" / "recipe.yaml", folder / "stages"
    print(
        "| kind | one process, parts: 1 | one process | two | two / parts: 1 | two / one | sent a step | equal bytes |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for kind in kinds:
        settings = [f"model.kind={kind}", "model.wide.crosses=gradient", "training.dense_rows=1000"]
        settings += [f"training.batch_size={batch_size}", "training.threads=1"]
        settings += ["training.early_stopping.patience=99", "training.unknown_share=0"]
        subprocess.run(
            [*COMMAND, "crosses", str(recipe), "--work", str(folder), *(w for s in settings for w in ("--set", s))],
            check=True,
            capture_output=True,
        )
        ways = {"serial": (1, 1), "one": (1, PARTS), "two": (2, PARTS)}
        cpu: dict[str, list[float]] = {name: [] for name in ways}
        last: dict[str, Trained] = {}
        for _ in range(repeats):
            for name, (processes, parts) in ways.items():
                seconds = []
                for epochs in EPOCHS:
                    varied = [*settings, f"training.epochs={epochs}", f"training.parts={parts}"]
                    last[name] = train(recipe, stages, folder / "work", processes, varied)
                    seconds.append(last[name].cpu)
                cpu[name].append((seconds[1] - seconds[0]) / ((EPOCHS[1] - EPOCHS[0]) * rows * 0.8) * 1e6)
        best = {name: min(values) for name, values in cpu.items()}
        equal = "yes" if last["one"].digest == last["two"].digest else "NO"
        print(
            f"| {kind} | {best['serial']:.2f} µs | {best['one']:.2f} µs | {best['two']:.2f} µs | "
            f"{best['two'] / best['serial']:.2f} | {best['two'] / best['one']:.2f} | "
            f"{last['two'].bytes_sent / 1e6:.2f} MB | {equal} |",
            flush=True,
        )


def memory(folder: Path, buckets: int) -> None:
    """Print the memory of each process with a table of `buckets` rows, at one process and at two."""
    subprocess.run(
        [*COMMAND, "synth", "-o", str(folder / "sample"), "--rows", "20000"], check=True, capture_output=True
    )
    recipe = folder / "sample" / "recipe.yaml"
    text = recipe.read_text().replace("{column: user, min_count: 20}", "{column: user, buckets: BUCKETS}")
    peaks: dict[int, dict[int, list[int]]] = {}
    for size in (1000, buckets):
        recipe.write_text(text.replace("BUCKETS", str(size)))
        settings = ["model.kind=deep", "training.epochs=1", "training.parts=2", "training.dense_rows=10000"]
        settings += ["model.embeddings.dim=4", "training.unknown_share=0"]
        subprocess.run(
            [*COMMAND, "crosses", str(recipe), "--work", str(folder), *(w for s in settings for w in ("--set", s))],
            check=True,
            capture_output=True,
        )
        peaks[size] = {n: train(recipe, folder / "stages", folder / "work", n, settings).peaks for n in (1, 2)}
    print("| processes | memory for the table, of each process |\n|---|---|")
    for number in (1, 2):
        more = [large - small for large, small in zip(peaks[buckets][number], peaks[1000][number], strict=True)]
        print(f"| {number} | {', '.join(f'{size / 1e6:,.0f} MB' for size in more)} |", flush=True)


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["cost", "memory"])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--batch-size", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--buckets", type=int, default=20_000_000)
    arguments = parser.parse_args()
    print("\n".join(f"- {name}: {fact}" for name, fact in machine_facts().items()), end="\n\n")
    with tempfile.TemporaryDirectory() as name:
        if arguments.what == "cost":
            cost(Path(name), arguments.kinds, arguments.rows, arguments.batch_size, arguments.repeats)
        else:
            memory(Path(name), arguments.buckets)


if __name__ == "__main__":
    main()
