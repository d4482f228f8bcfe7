"""A sweep of Adult: what side-by-side trials cost, and whether kills change how many there are.

python tests/benchmarks/sweep.py                 # 24 trials, two workers: wall time against the sum of the trainings
python tests/benchmarks/sweep.py --kills 5       # the same, killed by SIGKILL five times at random moments and rerun
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

SPACE = (
    "training.deep.learning_rate=log(1e-4,1e-2)",
    "training.wide.learning_rate=log(0.02,1)",
    "model.deep.hidden=[[128, 64], [64, 32], [256, 128, 64]]",
    "model.deep.dropout=float(0,0.5)",
    "training.deep.embedding_l2=log(1e-5,1e-2)",
)
LEAST_SECONDS = 1.0
"""No sweep is killed earlier after its start."""


def command(work: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "widedeep_cli", *words, "--work", work, "--quiet", "--json"]


def run(words: list[str]) -> dict[str, Any]:
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, cwd=words[words.index("--work") + 1])
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def left_behind(work: str) -> list[str]:
    """Processes that still work in the folder, which is the current one of the sweep and of what it starts."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "cwd").readlink() == Path(work):
                found.append((folder / "cmdline").read_bytes().decode(errors="replace").replace("\0", " "))
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--trials", type=int, default=24)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--epochs", type=int, default=6)
    options.add_argument("--kills", type=int, default=0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--pruner", choices=("median", "none"), default="none")
    given = options.parse_args()
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="sweep-") as work:
        sets = ["--set", f"training.epochs={given.epochs}"]
        started = time.monotonic()
        bundled = run(command(work, "train", "adult", *sets))
        own_seconds = time.monotonic() - started
        print(f"bundled recipe: valid AUC {bundled['metrics']['valid']['auc']:.5f}, {own_seconds:.1f} s")
        words = command(work, "sweep", "adult", *sets, *(word for text in SPACE for word in ("--space", text)))
        words += ["--trials", str(given.trials), "--workers", str(given.workers), "--pruner", given.pruner]
        most_seconds = own_seconds * given.trials / given.workers / (given.kills + 1) / 2
        for number in range(1, given.kills + 1):
            after = draw.uniform(LEAST_SECONDS, most_seconds)
            with subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=work) as process:
                time.sleep(after)
                process.send_signal(signal.SIGKILL)
            print(f"kill {number}, after {after:.1f} s: exit {process.returncode}; left a second later: ", end="")
            time.sleep(1.0)
            print(left_behind(work) or "nothing")
        started = time.monotonic()
        result = run(words)
        wall = time.monotonic() - started
        states = [trial["state"] for trial in result["trials"]]
        print({state: states.count(state) for state in sorted(set(states))}, f"finished: {result['finished']}")
        gain = result["best"]["value"] - bundled["metrics"]["valid"]["auc"]
        print(f"best: valid AUC {result['best']['value']:.5f}, {gain:+.5f} against the bundled recipe's")
        own = sum(
            json.loads((Path(work) / trial["run"] / "metrics.json").read_text())["seconds"]
            for trial in result["trials"]
            if trial["state"] == "trained"
        )
        whole = sum(trial["seconds"] for trial in result["trials"] if trial["state"] != "failed")
        if not given.kills:
            half = whole / given.workers
            print(f"wall {wall:.1f} s; its trials {whole:.1f} s from start to end, {own:.1f} s of these in training")
            print(f"wall / (trials / {given.workers}): {wall / half:.3f}")


if __name__ == "__main__":
    main()
