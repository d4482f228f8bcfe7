"""What workers cost and save: CPU and wall time of `ingest`, `crosses`, `crosses --discover`, `predict` and `eval`
alone and with 1, 2, … workers, per row.

    python tests/benchmarks/workers.py --rows 2000000 --workers 1 2

Each command runs in a process and a work directory of its own; the sample log is written once, and a run is trained on
its first rows to score all of them. On a busy machine only the CPU time means something. In a fresh checkout, the
first call also compiles the loops, which takes over a second of the first stage: there, call it once with few rows
(400,000 or more, so that the loops are used) and then again.
"""

import argparse
import hashlib
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WIDEDEEP = [sys.executable, "-m", "widedeep_cli"]
STAGES = ("ingest", "crosses", "discover", "predict", "eval")
TRAINED_ROWS = 50_000


def main() -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--shape", default="clicks", choices=["clicks", "criteo"])
    # Workers of `crosses` also make the memory of crosses, which one process leaves to `train`.
    settings = ["model.wide.crosses=gradient"]
    parser.add_argument("--set", action="append", default=settings, dest="settings", help="as of the commands")
    parser.add_argument("--workers", nargs="*", default=["1", "2"], help="numbers or addresses, as of --workers")
    parser.add_argument("--stages", nargs="*", default=list(STAGES), choices=STAGES)
    parser.add_argument("--data", type=Path, help="keep the sample log here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        log = arguments.data or folder / "log"
        if not (log / "recipe.yaml").exists():
            command = [
                "synth",
                "-o",
                str(log),
                "--rows",
                str(arguments.rows),
                "--seed",
                "1",
                "--shape",
                arguments.shape,
            ]
            subprocess.run([*WIDEDEEP, *command], check=True, capture_output=True)
        settings = [word for setting in arguments.settings for word in ("--set", setting)]
        print(f"{'workers':>24} {'stage':>8} {'CPU s':>8} {'us/row':>8} {'wall s':>8} {'CPU':>6} {'wall':>6}")
        alone: dict[str, tuple[float, float]] = {}
        digests, scores, searches = set(), set(), set()
        scored = [stage for stage in arguments.stages if stage in ("predict", "eval")]
        run = trained(log, folder / "trained") if scored else None
        for number, workers in enumerate([None, *arguments.workers]):
            work = folder / f"work-{number}"
            for stage in arguments.stages:
                of_stage = {
                    "predict": [str(run), str(log / "log.csv"), "-o", str(work / "scores.csv")],
                    "eval": [str(run), str(log / "log.csv")],
                }.get(stage, [str(log / "recipe.yaml"), *settings])
                options = [] if workers is None else ["--workers", workers]
                work.mkdir(exist_ok=True)
                words = ["crosses", "--discover"] if stage == "discover" else [stage]
                cpu, wall, facts = measured([*WIDEDEEP, *words, *of_stage, "--work", str(work), "--json", *options])
                alone.setdefault(stage, (cpu, wall))
                ratios = f"{cpu / alone[stage][0]:6.2f} {wall / alone[stage][1]:6.2f}"
                per_row = 1e6 * cpu / arguments.rows
                print(f"{workers or 'none':>24} {stage:>8} {cpu:8.2f} {per_row:8.2f} {wall:8.2f} {ratios}", flush=True)
                if stage == "crosses":
                    report = json.loads((Path(facts["path"]) / "report.json").read_text())
                    digests.add(report["plan_digest"])
                elif stage == "discover":
                    searches.add(json.dumps({**facts, "seconds": None}))
                elif stage == "predict":
                    scores.add(hashlib.sha256((work / "scores.csv").read_bytes()).hexdigest()[:16])
                elif stage == "eval":
                    scores.add(json.dumps(facts["metrics"]))
            shutil.rmtree(work)
        print(f"plan digests: {', '.join(digests)}")
        print(f"different results of discovery: {len(searches)}")
        print(f"scores and metrics: {'; '.join(sorted(scores))}")


def trained(log: Path, folder: Path) -> Path:
    """A run that is trained on the first rows of the log."""
    folder.mkdir()
    with (log / "log.csv").open() as file, (folder / "log.csv").open("w") as first:
        first.writelines(itertools.islice(file, TRAINED_ROWS))
    shutil.copy(log / "recipe.yaml", folder)
    command = ["train", str(folder / "recipe.yaml"), "--work", str(folder), "--set", "training.epochs=1"]
    subprocess.run([*WIDEDEEP, *command], check=True, capture_output=True)
    return next(folder.glob("runs/*/latest")).resolve()


def measured(command: list[str]) -> tuple[float, float, dict[str, Any]]:
    """CPU and wall seconds of a command with all that it starts, and what it printed."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall, json.loads(done.stdout)


if __name__ == "__main__":
    main()
