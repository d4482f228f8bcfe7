"""The wheel in dist/, in a fresh environment and a folder of its own: `make package` builds it and runs this."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.package


def done(command: Sequence[str | Path], folder: Path) -> str:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_wheel_works_in_a_fresh_environment_far_from_the_checkout(tmp_path: Path) -> None:
    (wheel,) = (ROOT / "dist").glob("widedeep-*.whl")
    environment = tmp_path / "environment"
    done([sys.executable, "-m", "venv", environment], tmp_path)
    python, widedeep = environment / "bin" / "python", environment / "bin" / "widedeep"
    done([python, "-m", "pip", "install", "--quiet", wheel, "-c", ROOT / "constraints.txt"], tmp_path)

    done([python, "-m", "pip", "check"], tmp_path)
    assert wheel.name.split("-")[1] in done([widedeep, "--version"], tmp_path)
    where = done([python, "-c", "import widedeep; print(widedeep.__file__)"], tmp_path)
    assert where.startswith(str(environment))
    done([widedeep, "synth", "-o", "sample", "--rows", "5000", "--seed", "1"], tmp_path)
    done([widedeep, "train", "sample/recipe.yaml", "--set", "training.epochs=1"], tmp_path)
    done([widedeep, "predict", "runs/sample/latest", "sample/log.csv", "-o", "scores.csv"], tmp_path)
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 5001
