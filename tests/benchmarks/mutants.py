"""Plants small faults in the code, one at a time, and sees whether the tests that concern them notice. Run by hand:

    python tests/benchmarks/mutants.py plant OUT.json [--seed 1] [--each 25] [--rooms suggest,profile,scoring,table]
    python tests/benchmarks/mutants.py report "TITLE=OUT.json" …        writes results/mutants.md

Faults are planted in copies of the tree: the working tree is never touched. Which faults a seed chooses in a function does
not depend on the code around it, so that the same are planted again after tests were added.
"""

import argparse
import ast
import copy
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from machine import machine_facts

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results" / "mutants.md"

TESTS = {
    "suggest": ("tests/suggest", "tests/profile/test_leaks.py", "tests/cli/test_init.py"),
    "profile": ("tests/profile", "tests/cli/test_profile.py"),
    "scoring": (
        "tests/scoring/test_outputs.py",
        "tests/scoring/test_scorer.py",
        "tests/scoring",
        "tests/cli/test_weights.py",
        "tests/cli/test_odd_cases.py",
    ),
    "table": ("tests/table", "tests/profile/test_ingest.py", "tests/cli/test_joining.py"),
}
"""The tests that concern a room, the quickest first."""

EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "widedeep/profile/ingest.py",
        "name, done = str(source), 0",
        "0 → -1",
    ): "every source yields a block, which sets it anew, or is refused",
    (
        "widedeep/scoring/scored_blocks.py",
        "LEAVE_SECONDS = 1.0",
        "1.0 → 0.5",
    ): "how long an early end waits for a silent pipe: no result depends on it, and no test may end by the clock",
    (
        "widedeep/suggest/look.py",
        'values, _ = list_values(RawBlock(raw.alias("t").to_frame(), "", 0, 0), field, data, ListTally())',
        "0 → -1",
    ): "where a row stands is said in messages only, and this call has none",
    (
        "widedeep/suggest/look_times.py",
        "_TRIED_FIRST = 200",
        "200 → 100",
    ): "how many values are tried before all are: what is found is the same, only sooner or later",
    (
        "widedeep/profile/columns.py",
        "for column, (profile, evidence) in zip(shown, map_in_order(profiled, shown), strict=True):",
        "True → False",
    ): "a check of the code by itself: there is one profile for each column",
    (
        "widedeep/profile/single_column.py",
        "explained = [1.0 - left / whole if whole > 0 else 0.0 for left, whole in zip(error, deviation, strict=True)]",
        "True → False",
    ): "a check of the code by itself: there are two halves of each",
    (
        "widedeep/scoring/outputs.py",
        "while piece := file.read(1 << 20):",
        "20 → 10",
    ): "how many bytes are copied at a time",
    (
        "widedeep/table/side_tables.py",
        "frame = pl.DataFrame([keys.alias(_KEY), *joined]).with_columns(pl.lit(True).alias(_MATCHED))",
        "True → False",
    ): "the mark of a row that was found: only whether it is null is looked at",
    (
        "widedeep/table/split.py",
        "if shift < 48:",
        "shift < 48 → shift <= 48",
    ): "of the first 16 bits nothing is known yet: a number shifted by all of its bits is 0, as the prefix is",
    (
        "widedeep/table/typed.py",
        'bad &= (raw != "").fill_null(False)',
        "False → True",
    ): "what is null was no bad number before this line",
}
"""(file, line of code, fault) → why no test can notice."""

_HANG = 20.0
"""A fault hangs where its tests take so many times as long as they do without one, and five minutes at least."""
_COPIED = ("widedeep", "cli", "recipes", "tests", "pyproject.toml", "README.md", "CONTRIBUTING.md", "MANIFEST.in")
_LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "*.nbc", "*.nbi", ".hypothesis", "results", "peers")


@dataclass(frozen=True)
class Fault:
    """One small change of one place."""

    room: str
    file: str
    line: int
    code: str
    """The line as it stands."""
    change: str
    """What becomes what."""
    place: int
    """Number of the syntax node in its file, in the order of `ast.walk`."""
    option: int
    """Which of the node's faults."""

    @property
    def name(self) -> tuple[str, str, str]:
        """How `EQUIVALENT` names it."""
        return self.file, self.code, self.change


# ------------------------------------------------------------------------------------------------------------- faults

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


def faulty(node: ast.AST) -> list[ast.AST]:
    """What the node may be changed to: comparison, and/or, not, operator, constant, condition or returned value."""
    match node:
        case ast.Compare(ops=[operator]):
            return [_with(node, ops=[other()]) for other in _COMPARISONS[type(operator)]]
        case ast.BoolOp(op=operator):
            return [_with(node, op=ast.Or() if isinstance(operator, ast.And) else ast.And())]
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
            return [operand]
        case ast.BinOp(op=operator) if type(operator) in _OPERATORS:
            return [_with(node, op=_OPERATORS[type(operator)]())]
        case ast.Constant(value=bool(value)):
            return [ast.Constant(not value)]
        case ast.Constant(value=int(value)) if abs(value) <= 2:
            return [ast.Constant(value + 1), ast.Constant(value - 1)]
        case ast.Constant(value=float(value)) if value == 0.0:
            return [ast.Constant(1.0)]
        case ast.Constant(value=int() | float() as value):
            return [ast.Constant(value * 2), ast.Constant(value // 2 if isinstance(value, int) else value / 2)]
        case ast.If(test=test) | ast.IfExp(test=test):
            return [_with(node, test=ast.UnaryOp(ast.Not(), test))]
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            return [ast.Return(ast.Constant(None))]
    return []


def _with(node: ast.AST, **changes: Any) -> ast.AST:
    changed = copy.copy(node)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def _code(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every node with the name of its function; no docstrings, messages, type hints, imports or assertions."""

    def below(node: ast.AST, where: str) -> Iterator[tuple[str, ast.AST]]:
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "type_comment"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if not isinstance(child, ast.AST) or isinstance(child, _PASSED_OVER):
                    continue
                if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                    continue
                inner = f"{where}.{child.name}" if isinstance(child, ast.FunctionDef | ast.ClassDef) else where
                yield inner, child
                yield from below(child, inner)

    return below(tree, "")


_PASSED_OVER = (ast.Import, ast.ImportFrom, ast.Raise, ast.Assert, ast.JoinedStr)


def faults_of(room: str) -> dict[bytes, Fault]:
    """Every fault that can be planted in a room, under a digest of what and where it is."""
    faults = {}
    for path in sorted((ROOT / "widedeep" / room).glob("**/*.py")):
        source = path.read_text()
        file, lines = path.relative_to(ROOT).as_posix(), source.splitlines()
        tree = ast.parse(source)
        places = {id(node): place for place, node in enumerate(ast.walk(tree))}
        met: dict[str, int] = {}
        for where, node in _code(tree):
            for option, other in enumerate(faulty(node)):
                change = f"{_shown(node)} → {_shown(other)}"
                name = f"{file} {where} {change}"
                met[name] = met.get(name, 0) + 1
                digest = hashlib.blake2b(f"{name} {met[name]}".encode()).digest()
                line = node.lineno  # type: ignore[attr-defined]
                faults[digest] = Fault(room, file, line, lines[line - 1].strip(), change, places[id(node)], option)
    return faults


def _shown(node: ast.AST) -> str:
    if isinstance(node, ast.If):
        return f"if {ast.unparse(node.test)}"
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else text[:89] + "…"


def chosen(room: str, seed: int, each: int) -> list[Fault]:
    """`each` of a room's faults, all equally likely."""
    faults = faults_of(room)
    ranked = sorted(faults, key=lambda digest: hashlib.blake2b(digest, key=str(seed).encode()).digest())
    return [faults[digest] for digest in ranked[:each]]


def with_fault(source: str, fault: Fault) -> str:
    """The module with the fault in it."""
    tree = ast.parse(source)
    node = list(ast.walk(tree))[fault.place]
    other = ast.copy_location(faulty(node)[fault.option], node)
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, field, other)
            elif isinstance(value, list) and any(child is node for child in value):
                setattr(parent, field, [other if child is node else child for child in value])
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


# -------------------------------------------------------------------------------------------------------------- tests


class Tree:
    """A copy of the tree, in which one fault after the other is planted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=_LEFT_BEHIND)
            else:
                shutil.copy(source, folder / name)
        shutil.copytree(folder / "cli", folder / "installed" / "widedeep_cli")
        shutil.copytree(folder / "recipes", folder / "installed" / "widedeep_cli" / "recipes")
        self._environment = {
            **os.environ,
            "PYTHONPATH": f"{folder}:{folder / 'installed'}",
            # No bytecode of another fault; machine code is kept under a digest of what it is made of.
            "PYTHONDONTWRITEBYTECODE": "1",
            "NUMBA_CACHE_DIR": str(folder / "compiled"),
        }
        self.seconds: dict[str, float] = {}
        """What a room's tests take without a fault, the first compilation included."""

    def check(self, rooms: list[str]) -> None:
        """Raise SystemExit unless the copy is what is tested, and passes."""
        where = [sys.executable, "-c", "import widedeep, widedeep_cli; print(widedeep.__file__, widedeep_cli.__file__)"]
        found = subprocess.run(
            where, cwd=self.folder, env=self._environment, capture_output=True, text=True, check=True
        )
        if any(not name.startswith(str(self.folder)) for name in found.stdout.split()):
            raise SystemExit(f"another tree would be tested: {found.stdout}")
        for room in rooms:
            start = time.monotonic()
            outcome = self.tested(room, 3600.0)
            self.seconds[room] = time.monotonic() - start
            if outcome != "survived":
                raise SystemExit(f"{room}: the tests fail without a fault: {self.last_words}")

    def tested(self, room: str, seconds: float) -> str:
        """`survived` where the tests pass, else how the fault was noticed."""
        paths = [path for path in TESTS[room] if (self.folder / path).exists()]
        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--no-header", "--tb=no"]
        shutil.rmtree(self.folder / ".hypothesis", ignore_errors=True)
        with (self.folder / "out.txt").open("w+") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *options, *paths],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_hear_interrupts,
            )
            start = time.monotonic()
            while process.poll() is None:
                if time.monotonic() - start > seconds:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    return "hung"
                time.sleep(0.05)
            out.seek(0)
            self.last_words = out.read()[-500:]
        if process.returncode == 0:
            return "survived"
        if process.returncode in (3, 4, 5):
            raise SystemExit(f"{room}: pytest did not run ({process.returncode}): {self.last_words}")
        failed = [line for line in self.last_words.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return (failed[-1] if failed else f"exit {process.returncode}")[:200]

    def outcome_of(self, fault: Fault) -> str:
        """Plant the fault, run its tests, take it out again."""
        path = self.folder / fault.file
        source = path.read_text()
        try:
            path.write_text(with_fault(source, fault))
            return self.tested(fault.room, max(300.0, _HANG * self.seconds[fault.room]))
        finally:
            path.write_text(source)


def _hear_interrupts() -> None:
    # A shell lets what it starts in the background ignore Ctrl-C, and tests that send it would wait for ever.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def plant(rooms: list[str], seed: int, each: int, workers: int, only: set[tuple[str, str, str]]) -> dict[str, Any]:
    """The outcome of every fault that the seed chooses; of those in `only` if there are any."""
    faults = [fault for room in rooms for fault in chosen(room, seed, each)]
    if only:
        faults = [fault for fault in faults if fault.name in only]
    with tempfile.TemporaryDirectory() as temporary:
        trees: SimpleQueue[Tree] = SimpleQueue()
        prepared = [Tree(Path(temporary) / str(number)) for number in range(workers)]

        def outcome_of(fault: Fault) -> str:
            tree = trees.get()
            try:
                outcome = tree.outcome_of(fault)
            finally:
                trees.put(tree)
            print(f"{fault.file}:{fault.line}: {fault.change}: {outcome}", file=sys.stderr, flush=True)
            return outcome

        with ThreadPoolExecutor(workers) as pool:
            for tree, _ in zip(prepared, pool.map(lambda tree: tree.check(rooms), prepared), strict=True):
                trees.put(tree)
            outcomes = list(pool.map(outcome_of, faults))
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine_facts()["machine"],
        "command": f"python tests/benchmarks/mutants.py plant OUT.json --seed {seed} --each {each} --rooms {','.join(rooms)}",
        "faults": [asdict(fault) | {"outcome": outcome} for fault, outcome in zip(faults, outcomes, strict=True)],
    }


# ------------------------------------------------------------------------------------------------------------- report


def report(runs: dict[str, dict[str, Any]]) -> str:
    """The page of all runs: a table, and the survivors of each."""
    lines = [
        "# Planted faults",
        "",
        "Small faults planted one at a time (a comparison, and/or, a dropped not, an operator, a constant, a condition, a",
        "returned value), and whether a test notices; written by `tests/benchmarks/mutants.py`, which says which tests concern",
        "a room. A fault is not counted where no test can notice it (listed in the script, with the reason).",
        "",
        "| run | room | planted | noticed | survived | not counted | noticed of those counted |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, run in runs.items():
        rooms = list(dict.fromkeys(fault["room"] for fault in run["faults"]))
        for room in [*rooms, "all"]:
            outcomes = [_outcome(fault) for fault in run["faults"] if room in ("all", fault["room"])]
            survived, equivalent = outcomes.count("survived"), outcomes.count("equivalent")
            counted = len(outcomes) - equivalent
            noticed = counted - survived
            figures = f"{len(outcomes)} | {noticed} | {survived} | {equivalent} | {noticed / max(counted, 1):.0%}"
            lines.append(f"| {title} | {room} | {figures} |")
    for title, run in runs.items():
        lines += ["", f"## {title}", "", f"{run['date']}, {run['machine']}: `{run['command']}`"]
        for outcome, head in (("survived", "Survived"), ("equivalent", "Not counted")):
            rows = [fault for fault in run["faults"] if _outcome(fault) == outcome]
            lines += ["", f"{head}:" if rows else f"{head}: none.", ""]
            for fault in rows:
                change = fault["change"].replace("`", "'")
                reason = f": {EQUIVALENT[_name(fault)]}" if outcome == "equivalent" else ""
                lines.append(f"- {fault['file']}:{fault['line']} `{change}`{reason}")
    return "\n".join(lines).rstrip() + "\n"


def _name(fault: dict[str, Any]) -> tuple[str, str, str]:
    return fault["file"], fault["code"], fault["change"]


def _outcome(fault: dict[str, Any]) -> str:
    return "equivalent" if fault["outcome"] == "survived" and _name(fault) in EQUIVALENT else fault["outcome"]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    planting = commands.add_parser("plant")
    planting.add_argument("out", type=Path)
    planting.add_argument("--seed", type=int, default=1)
    planting.add_argument("--each", type=int, default=25, help="faults in each room")
    planting.add_argument("--rooms", default=",".join(TESTS))
    planting.add_argument("--workers", type=int, default=2)
    planting.add_argument(
        "--survivors-of", type=Path, help="plant only what survived in that run; others keep their outcome"
    )
    reporting = commands.add_parser("report")
    reporting.add_argument("runs", nargs="+", help="TITLE=OUT.json")
    arguments = parser.parse_args()
    if arguments.command == "report":
        runs = {
            title: json.loads(Path(path).read_text()) for title, path in (one.split("=", 1) for one in arguments.runs)
        }
        RESULTS.write_text(report(runs))
        return
    before = json.loads(arguments.survivors_of.read_text())["faults"] if arguments.survivors_of else []
    only = {_name(fault) for fault in before if fault["outcome"] == "survived"}
    result = plant(arguments.rooms.split(","), arguments.seed, arguments.each, arguments.workers, only)
    result["faults"] += [fault for fault in before if _name(fault) not in only]
    arguments.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
