"""The fuzzer sees each kind of fault, and a case's name repeats the case. Its cases run by `make fuzz` and `make test`."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / "fuzz"
PLANTED = {
    "raise RuntimeError": "a traceback, exit 1",
    "os.kill(os.getpid(), signal.SIGABRT)": "died by SIGABRT",
    "Path('.s.csv.tmp-1').touch()": "left a temporary file behind",
    "sys.exit(1)": "exit 1, expected one of",
    "time.sleep(60)": "still running after 0 s",
    "pass": "no find",
}
PROGRAM = """
import contextlib, os, signal, sys, time
from pathlib import Path
import cases

@contextlib.contextmanager
def fault():
    {fault}
    yield

cases.HANG = 0.0 if "sleep" in {fault!r} else 60.0
try:
    cases.Case("planted-1-0", Path({folder!r}), Path()).widedeep("--version", within=fault())
    print("no find")
except cases.Find as find:
    print(find)
"""


def run(program: str) -> str:
    # In a process of its own: a fork of this one would lack the threads of its libraries.
    done = subprocess.run([sys.executable, "-c", program], cwd=FUZZ, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("fault", PLANTED)
def test_the_fuzzer_sees_a_planted_fault(fault: str, tmp_path: Path) -> None:
    printed = run(PROGRAM.format(fault=fault, folder=str(tmp_path / "case")))
    assert printed.startswith(PLANTED[fault])


def test_a_name_repeats_its_case_and_another_seed_gives_another(tmp_path: Path) -> None:
    draw = "import cases; from pathlib import Path; print(cases.Case({!r}, Path({!r}), Path()).draw.random())"
    names = ["tables-1-0", "tables-1-0", "tables-2-0", "edits-1-0"]
    first, again, *others = (run(draw.format(name, str(tmp_path / str(place)))) for place, name in enumerate(names))
    assert first == again
    assert first not in others
