"""Compiled kernels where nothing can be kept: they still run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "widedeep"
PROGRAM = """
import numpy as np
from widedeep.kernels import counts
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
    shutil.copytree(
        PACKAGE / "kernels", tmp_path / "widedeep" / "kernels", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "widedeep" / "kernels" / "__pycache__").touch()
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
    assert run(installed, Path("/dev/null")) == f"{installed}/widedeep/kernels/counts.py 0 1 2"


def test_kernels_of_a_package_that_cannot_be_written_are_kept_in_the_users_cache_folder(installed: Path) -> None:
    (installed / "home").mkdir()
    assert run(installed, installed / "home").endswith(" 0 1 2")
    assert list((installed / "home").rglob("counts.count_rows*.nbc"))
