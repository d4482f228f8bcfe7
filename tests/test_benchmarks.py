"""The bench cannot rot: its rows run on tiny inputs, without peers. No time is asserted."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import bench  # noqa: E402
import rows  # noqa: E402
from click_log import CATEGORICAL, NUMERIC, ClickLog, make_log, open_log, write_recipe  # noqa: E402
from figures import Failure, Figure, table  # noqa: E402

from widedeep.recipe.load import load_recipe  # noqa: E402


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> ClickLog:
    return make_log(tmp_path_factory.mktemp("log"), 400, 100)
