"""The time of `widedeep crosses RECIPE --discover` against another build of it, in turns. To run it:

    git worktree add OTHER COMMIT
    python tests/benchmarks/discovery_turns.py OTHER RECIPE [TURNS]

Each build has a first turn that makes stages and machine code, and is not counted. The results must be equal.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COMMAND = "import sys; from widedeep_cli.main import main; sys.exit(main())"
ROOT = Path(__file__).parents[2]


def turn(tree: Path, recipe: Path, work: Path) -> tuple[float, float, dict[str, Any]]:
    """Seconds of the processor, seconds on the clock, and what was found, without its own time."""
    packages = work / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    for name, folder in (("widedeep", "widedeep"), ("widedeep_cli", "cli")):
        if not (packages / name).exists():
            (packages / name).symlink_to(tree.resolve() / folder)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    told = subprocess.run(
        [sys.executable, "-P", "-c", COMMAND, "crosses", recipe, "--work", work, "--discover", "--json"],
        env={**os.environ, "PYTHONPATH": str(packages)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    ).stdout
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    found = json.loads(told)
    del found["seconds"]
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, seconds, found


def main(other: Path, recipe: Path, turns: int) -> None:
    """Print each turn, and the ratios of the medians."""
    builds = {"other": other, "this": ROOT}
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in builds}
    with tempfile.TemporaryDirectory() as work:
        for number in range(turns + 1):
            found = {}
            for name, tree in builds.items():
                processor, clock, found[name] = turn(tree, recipe, Path(work) / name)
                if number:
                    rows[name].append((processor, clock))
                    print(f"{name}: {processor:.1f} s of the processor, {clock:.1f} s on the clock", flush=True)
            if found["this"] != found["other"]:
                raise SystemExit("the results differ")
    for place, title in enumerate(("of the processor", "on the clock")):
        this, than = (statistics.median(row[place] for row in rows[name]) for name in ("this", "other"))
        print(f"seconds {title}: {this:.1f} against {than:.1f}, {this / than:.2f} of it")
    crosses = len(found["this"]["crosses"])
    print(f"{crosses} crosses, the same gains to the last digit in both")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 3)
