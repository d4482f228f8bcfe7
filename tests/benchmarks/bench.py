"""`make bench`: every row of the speed table, each in a process of its own, printed and written with what it was measured on.

    python tests/benchmarks/bench.py [--rows NAME …] [--log DIR]

Run it on a quiet machine. Each figure is a ratio within one run unless it says otherwise. The log is drawn, and the tools
that widedeep is measured against are installed, in $WIDEDEEP_BENCH (kept for the next time) or a temporary folder.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

# Nothing heavy is imported here: a process's peak memory counts what the process that started it had.
from click_log import SEED, ClickLog, make_log, open_log
from figures import Failure, Figure, table
from machine import machine_facts
from peer_environments import peer_versions
from rows import ROWS, Bench, Measured

RESULTS = Path(__file__).parent / "results" / "bench.md"
TRAIN_ROWS, TEST_ROWS = 1_000_000, 250_000


# --------------------------------------------------------------------------------------------------- how they are run


def measure(row: str, bench: Bench) -> Measured | Failure:
    """The row, in this process; a failure is told on stderr and given back."""
    shutil.rmtree(bench.work, ignore_errors=True)
    bench.work.mkdir(parents=True)
    try:
        return ROWS[row](bench)
    except Exception as error:
        traceback.print_exc()
        return Failure(row, f"{type(error).__name__}: {error}")
    finally:
        shutil.rmtree(bench.work, ignore_errors=True)


def in_own_process(row: str, bench: Bench) -> Measured | Failure:
    """The row, in a fresh process: memory, threads and imports of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(measure, row, bench).result()
        except BrokenProcessPool:
            return Failure(row, "the process was killed: out of memory?")


def run(rows: Sequence[str], log: ClickLog, scratch: Path, runs: int) -> tuple[list[Figure | Failure], dict[str, str]]:
    """The lines of the table, in order, and the resolved recipes; progress goes to stderr."""
    lines: list[Figure | Failure] = []
    recipes: dict[str, str] = {}
    for row in rows:
        started = time.monotonic()
        measured = in_own_process(row, Bench(log, scratch, scratch / "work" / row, runs))
        new = [measured] if isinstance(measured, Failure) else measured.figures
        lines += new
        recipes |= {} if isinstance(measured, Failure) else measured.recipes
        for one in new:
            print(one.line(), file=sys.stderr)
        print(f"({row}: {time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
    return lines, recipes


# -------------------------------------------------------------------------------------------------------- what is told


def report(lines: Sequence[Figure | Failure], recipes: dict[str, str], scratch: Path, log: str, command: str) -> str:
    """The table, with versions, hardware and recipes, in Markdown."""
    facts = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        **machine_facts(),
        "peers": peer_versions(scratch) or "none installed",
        "log": log,
        "command": f"`{command}`",
    }
    parts = [
        "# make bench",
        "Each figure is a ratio within one run unless it has a unit; a peer runs once where its own row says so.",
        table(lines),
        "\n".join(f"- {name}: {fact}" for name, fact in facts.items()),
        *(f"Resolved recipe, `{name}`:\n\n```yaml\n{recipe.rstrip()}\n```" for name, recipe in recipes.items()),
    ]
    return "\n\n".join(parts) + "\n"


def without_places(text: str, log: Path, scratch: Path) -> str:
    """The text without the paths of this machine: results are read elsewhere."""
    for place, name in {
        log: "LOG",
        scratch: "$WIDEDEEP_BENCH",
        Path(__file__).parents[2]: ".",
        Path.home(): "~",
    }.items():
        text = text.replace(str(place), name)
    return text


def main() -> int:
    """Exit code 0, or 1 where a row could not be measured; a missed target is no failure."""
    asked = _asked()
    # As the command line does (cli/main.py); the rows' processes get it.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # As an installed package has it, ours and the peers': no start compiles the source anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="widedeep-bench-") as temporary:
        scratch = Path(os.environ.get("WIDEDEEP_BENCH", temporary)).resolve()
        shutil.rmtree(scratch / "work", ignore_errors=True)
        if asked.log is None:
            log = _drawn(scratch / "log")
            said = (
                f"{TRAIN_ROWS:,} train rows, {TEST_ROWS:,} test rows, by `widedeep synth --shape criteo --seed {SEED}`"
            )
        else:
            log = open_log(asked.log.resolve())
            said = f"`{asked.log.name}`"
        lines, recipes = run(asked.rows or list(ROWS), log, scratch, asked.runs)
        text = report(lines, recipes, scratch, said, " ".join(["python", *sys.argv]))
        text = without_places(text, log.train.parent, scratch)
        shutil.rmtree(scratch / "work", ignore_errors=True)
    print(text)
    if asked.rows is None:
        RESULTS.write_text(text)
    return 1 if any(isinstance(line, Failure) for line in lines) else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure speed; print the table and write it to results/bench.md.")
    rows = f"only these, printed and not written: {', '.join(ROWS)}"
    parser.add_argument("--rows", nargs="+", choices=ROWS, metavar="NAME", help=rows)
    log = "a folder with train.csv and test.csv, instead of a log that is drawn"
    parser.add_argument("--log", type=Path, metavar="DIR", help=log)
    parser.add_argument("--runs", type=int, default=3, help="repetitions of what is not said to run once (default: 3)")
    return parser.parse_args()


def _drawn(folder: Path) -> ClickLog:
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(make_log, folder, TRAIN_ROWS, TEST_ROWS).result()


if __name__ == "__main__":
    sys.exit(main())
