"""Tries odd recipes, tables, run directories, kills and full disks, and keeps every case that breaks a rule.

    python tests/fuzz/fuzz.py --seconds 600 --seed 7       # every kind in turn, until the time is over
    python tests/fuzz/fuzz.py --rounds 4 --seed 7          # a number of cases that is the same everywhere
    python tests/fuzz/fuzz.py --only tables --cases 5000   # one kind
    python tests/fuzz/fuzz.py --repeat tables-7-123        # one case, whose folder is kept

A case is named by its kind, the seed and a number: equal names, equal cases. Exit 0 without a find, 1 with one.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import base
import edit_cases
import recipe_cases
import table_cases
import work_cases
from cases import Case, Find, Unfit
from forks import prepare

KINDS: dict[str, tuple[Callable[[Case], None], int]] = {
    "recipes": (recipe_cases.run, 32),
    "tables": (table_cases.run, 16),
    "edits": (edit_cases.run, 4),
    "kills": (work_cases.run_kill, 2),
    "disks": (work_cases.run_full, 1),
}
"""Kind -> what runs a case of it, and how many of it there are in a round."""


@dataclass
class Tally:
    """What became of the cases of one kind."""

    cases: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    unfit: int = 0
    finds: list[str] = field(default_factory=list)


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    # Equal names, equal cases: the data sets of bundled recipes are nowhere, wherever the tests find them.
    os.environ.pop("WIDEDEEP_DATA", None)
    prepare()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        root = Path(scratch)
        try:
            base.build(Case("base", root / "base", root / "base"))
        except (Find, Unfit) as error:
            print(f"fuzz: what all cases start from cannot be made: {error}", file=sys.stderr)
            return 2
        if options.repeat is not None:
            return _repeat(options.repeat, root, options.finds)
        print(f"fuzz: seed {options.seed}", flush=True)
        tallies = _run_all(_names(options), root, options)
    for kind, tally in tallies.items():
        codes = ", ".join(f"exit {code}: {count:,}" for code, count in sorted(tally.codes.items()))
        print(f"{kind:8} {tally.cases:6,} cases, {len(tally.finds)} finds ({codes}; unfit: {tally.unfit:,})")
    found = [name for tally in tallies.values() for name in tally.finds]
    if found:
        print(f"finds lie in {options.finds}; repeat one with --repeat {found[0]}")
    return int(bool(found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: drawn")
    parser.add_argument("--seconds", type=float, help="stop then")
    parser.add_argument("--rounds", type=int, help="stop after so many rounds of every kind")
    parser.add_argument("--only", choices=KINDS, help="one kind of case")
    parser.add_argument("--cases", type=int, help="with --only: stop after so many")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time (default: 2)")
    parser.add_argument("--finds", type=Path, default=Path("fuzz-finds"), help="where finds go (default: fuzz-finds)")
    parser.add_argument("--repeat", metavar="CASE", help="run this one case, such as tables-7-123")
    options = parser.parse_args()
    if not (options.repeat or options.seconds or options.rounds or (options.only and options.cases)):
        parser.error("say when to stop: --seconds, --rounds, or --only KIND --cases N")
    return options


def _names(options: argparse.Namespace) -> Iterator[str]:
    """The names of the cases, round by round."""
    kinds = [options.only] if options.only else list(KINDS)
    end = time.monotonic() + options.seconds if options.seconds else float("inf")
    numbers = dict.fromkeys(kinds, 0)
    rounds = 0
    while not options.rounds or rounds < options.rounds:
        for kind in kinds:
            for _ in range(KINDS[kind][1]):
                if time.monotonic() > end or numbers[kind] == options.cases:
                    return
                yield f"{kind}-{options.seed}-{numbers[kind]}"
                numbers[kind] += 1
        rounds += 1


def _run_all(names: Iterator[str], root: Path, options: argparse.Namespace) -> dict[str, Tally]:
    tallies = {kind: Tally() for kind in KINDS if options.only in (None, kind)}
    running: dict[int, str] = {}
    while True:
        name = next(names, None)
        if name is None and not running:
            return tallies
        if name is not None:
            running[_start(name, root)] = name
        if name is None or len(running) >= options.jobs:
            child, _ = os.wait()
            _count(running.pop(child), root, options.finds, tallies)


def _start(name: str, root: Path) -> int:
    """Run a case in a child, which leaves its report in the case's folder."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        verdict = _try(name, root / name, root / "base")
        (root / f"{name}.verdict").write_text(verdict, encoding="utf-8", errors="backslashreplace")
        os._exit(0)
    return child


def _try(name: str, folder: Path, base_folder: Path) -> str:
    """Run a case. The first line of what it returns is `ok`, `unfit` or the find, the second the exit codes."""
    case = Case(name, folder, base_folder)
    try:
        KINDS[name.split("-")[0]][0](case)
        verdict = "ok"
    except Unfit:
        verdict = "unfit"
    except Find as find:
        verdict = " ".join(str(find).split()) or "find"
    except Exception:
        verdict = "the fuzzer itself failed"
        case.say(traceback.format_exc())
    return "\n".join([verdict, " ".join(map(str, case.codes)), *case.log])


def _count(name: str, root: Path, finds: Path, tallies: dict[str, Tally]) -> None:
    tally, folder, report = tallies[name.split("-")[0]], root / name, root / f"{name}.verdict"
    text = report.read_text(encoding="utf-8") if report.exists() else "the case's process died\n\n"
    verdict, codes, *_ = text.split("\n")
    tally.cases += 1
    tally.codes.update(map(int, codes.split()))
    if verdict == "unfit":
        tally.unfit += 1
    elif verdict != "ok":
        tally.finds.append(name)
        print(f"{name}: {verdict[:300]}", flush=True)
        finds.mkdir(parents=True, exist_ok=True)
        (finds / f"{name}.txt").write_text(text, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    report.unlink(missing_ok=True)


def _repeat(name: str, root: Path, finds: Path) -> int:
    folder = finds / name
    shutil.rmtree(folder, ignore_errors=True)
    text = _try(name, folder.absolute(), root / "base")
    print(text)
    print(f"its folder: {folder}")
    return int(text.split("\n")[0] not in ("ok", "unfit"))


if __name__ == "__main__":
    sys.exit(main())
