"""The examples in the docstrings of the front door run, on a sample log."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import widedeep as wd
from widedeep.synth.sample_log import write_sample_log


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sample log and its finished run."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "sample").mkdir()
    write_sample_log(folder / "sample", rows=1000, seed=1, reporter=wd.Reporter())
    wd.train(folder / "sample" / "recipe.yaml", work_dir=folder)
    return folder


@pytest.mark.parametrize("name", ["", ".recipes", ".runs", ".experiments"])
def test_the_examples_of_the_front_door_run(
    name: str, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module(f"widedeep.api{name}")
    monkeypatch.chdir(sample if name else tmp_path)  # that of the package writes a log of its own

    ran = doctest.testmod(module)

    assert ran.attempted > 0
    assert ran.failed == 0
