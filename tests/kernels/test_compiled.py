"""Compiled kernels: what is kept of them, for how long, and that they run where nothing can be kept."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from widedeep.compiled import compiled

PACKAGE = Path(__file__).parents[2] / "widedeep"
PROGRAM = """
import numpy as np
from widedeep.memory import counts
rows = np.zeros(3, dtype=np.int64)
counts.count_rows(np.array([0, 1, 2, 2], dtype=np.int32), 1, np.ones(4, dtype=np.bool_), rows)
print(counts.__file__, *rows)
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A copy of the kernels beside which nothing can be written, even by root: a file lies where the cache would."""
    (tmp_path / "widedeep").mkdir()
    (tmp_path / "widedeep" / "__init__.py").touch()
    shutil.copy(PACKAGE / "compiled.py", tmp_path / "widedeep")
    shutil.copytree(PACKAGE / "memory", tmp_path / "widedeep" / "memory", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "widedeep" / "memory" / "__pycache__").touch()
    return tmp_path


def run(installed: Path, home: Path) -> str:
    # XDG_CACHE_HOME would stand for the home folder's cache.
    names = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"HOME": str(home), "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=installed, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_kernels_run_where_neither_the_package_nor_the_home_folder_can_be_written(installed: Path) -> None:
    assert run(installed, Path("/dev/null")) == f"{installed}/widedeep/memory/counts.py 0 1 2"


def test_kernels_of_a_package_that_cannot_be_written_are_kept_in_the_users_cache_folder(installed: Path) -> None:
    (installed / "home").mkdir()
    assert run(installed, installed / "home").endswith(" 0 1 2")
    assert list((installed / "home").rglob("counts.count_rows*.nbc"))


CALLEE = """
from typing import NamedTuple

import numpy as np
from numba.extending import intrinsic

from widedeep.compiled import compiled

FACTOR = np.float32(2.0)
PAIR = 1, 2


class Both(NamedTuple):
    first: int
    second: int


@intrinsic
def one(context):
    from numba import types

    def generate(context, builder, signature, arguments):
        return context.get_constant(types.int64, 1)

    return types.int64(), generate


@compiled
def inner(x):
    return x + 1
"""
CALLER = """
from callee import FACTOR, PAIR, Both, inner, one
from widedeep.compiled import compiled


@compiled
def middle(x):
    return inner(x)


@compiled
def outer(x, both):
    return middle(x) * FACTOR + PAIR[1] + 100 * one() + 1000 * both.first
"""
CALL = """
import sys
from caller import Both, middle, outer
# What it gives for an integer and for a real number, and for how many of them its machine code had been kept.
for x in (1, 0.5)[: int(sys.argv[1])]:
    print(outer(x, Both(3, 4)), end=" ")
print(sum(outer.stats.cache_hits.values()))
"""


@pytest.fixture
def two_files(tmp_path: Path) -> Path:
    """A kernel in caller.py that calls one in callee.py by way of another, and reads a constant, a tuple and a type of it."""
    (tmp_path / "callee.py").write_text(CALLEE)
    (tmp_path / "caller.py").write_text(CALLER)
    return tmp_path


def call(folder: Path, num_types: int = 1) -> list[float]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder), str(PACKAGE.parent)]),
        "NUMBA_CACHE_DIR": str(folder / "kept"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-c", CALL, str(num_types)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [float(word) for word in done.stdout.split()]


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        ("return x + 1", "return x + 2", 3108.0),
        ("FACTOR = np.float32(2.0)", "FACTOR = np.float32(3.0)", 3108.0),
        ("PAIR = 1, 2", "PAIR = 1, 5", 3109.0),
        ("types.int64, 1)", "types.int64, 2)", 3206.0),
        ("first: int\n    second: int", "second: int\n    first: int", 4106.0),
    ],
    ids=["kernel", "number", "tuple", "intrinsic", "order of a named tuple's entries"],
)
def test_a_kernel_is_compiled_anew_when_what_it_takes_from_another_file_changes(
    two_files: Path, old: str, new: str, result: float
) -> None:
    assert call(two_files) == [3106.0, 0]
    assert CALLEE.count(old) == 1
    (two_files / "callee.py").write_text(CALLEE.replace(old, new))
    assert call(two_files) == [result, 0]


def test_a_kernel_is_kept_while_what_it_is_made_of_stays(two_files: Path) -> None:
    assert call(two_files, num_types=2) == [3106.0, 3105.0, 0]
    (two_files / "caller.py").write_text("# moved down by a line\n" + CALLER)
    (two_files / "callee.py").write_text(CALLEE + "\n\n@compiled\ndef of_no_matter(x):\n    return x\n")
    assert call(two_files, num_types=2) == [3106.0, 3105.0, 2]


def test_machine_code_of_an_earlier_source_is_not_kept(two_files: Path) -> None:
    def kept() -> list[Path]:
        return list((two_files / "kept").rglob("caller.outer*"))

    call(two_files, num_types=2)
    assert len(kept()) == 2
    for number in range(3):
        (two_files / "callee.py").write_text(CALLEE.replace("return x + 1", f"return x + {number}"))
        call(two_files, num_types=2)
    assert len(kept()) == 2


def test_a_kernel_that_reads_what_cannot_be_told_from_another_is_refused() -> None:
    names: dict[str, Any] = {"__name__": "here", "__file__": __file__, "TABLE": {"a": 1}}
    exec(compile("def reads(x):\n    return TABLE", __file__, "exec"), names)
    with pytest.raises(TypeError, match=r"here\.TABLE is \{'a': 1\}: a kernel reads numbers"):
        compiled(names["reads"])(1)
