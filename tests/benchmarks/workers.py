"""What workers cost and save: CPU and wall time of `ingest`, `crosses` and `crosses --discover` alone and with 1, 2, … workers, per row.

    python tests/benchmarks/workers.py --rows 2000000 --workers 1 2

Each command runs in a process and a work directory of its own; the sample log is written once. On a busy machine only
the CPU time means something.
"""

import argparse
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


def main() -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--shape", default="clicks", choices=["clicks", "criteo"])
    parser.add_argument("--set", action="append", default=[], dest="settings", help="as of the commands")
    parser.add_argument("--workers", nargs="*", default=["1", "2"], help="numbers or addresses, as of --workers")
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
        digests, searches = set(), set()
        for number, workers in enumerate([None, *arguments.workers]):
            work, facts = folder / f"work-{number}", dict[str, dict[str, Any]]()
            for stage in ("ingest", "crosses", "discover"):
                options = [] if workers is None else ["--workers", workers]
                command = [
                    *WIDEDEEP,
                    *(["crosses", "--discover"] if stage == "discover" else [stage]),
                    str(log / "recipe.yaml"),
                    "--work",
                    str(work),
                    "--json",
                    *settings,
                    *options,
                ]
                cpu, wall, facts[stage] = measured(command)
                alone.setdefault(stage, (cpu, wall))
                ratios = f"{cpu / alone[stage][0]:6.2f} {wall / alone[stage][1]:6.2f}"
                per_row = 1e6 * cpu / arguments.rows
                print(f"{workers or 'none':>24} {stage:>8} {cpu:8.2f} {per_row:8.2f} {wall:8.2f} {ratios}", flush=True)
            report = json.loads((Path(facts["crosses"]["path"]) / "report.json").read_text())
            digests.add(report["plan_digest"])
            searches.add(json.dumps({**facts["discover"], "seconds": None}))
            shutil.rmtree(work)
        print(f"plan digests: {', '.join(digests)}; results of discovery that differ: {len(searches) - 1}")


def measured(command: list[str]) -> tuple[float, float, dict[str, Any]]:
    """CPU and wall seconds of a command with all that it starts, and what it printed."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall, json.loads(done.stdout)


if __name__ == "__main__":
    main()
