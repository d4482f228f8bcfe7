"""The tools that widedeep is measured against, each installed from the package index into an environment of its own."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

REQUIREMENTS = {
    "vowpal-wabbit": ["vowpalwabbit==9.11.9"],
    # pandas and requests are imported by it, but not among what it requires.
    "deepctr-torch": ["deepctr-torch==0.3.0", "pandas", "requests"],
    # It names an argument that Polars 2 has removed.
    "fuxictr": ["fuxictr==2.3.10", "polars<2"],
    "lightgbm": ["lightgbm==4.7.0"],
}
_WITH_TORCH = ("deepctr-torch", "fuxictr")
SCRIPTS = Path(__file__).parent / "peers"
_SHOWN = ("vowpalwabbit", "deepctr-torch", "fuxictr", "lightgbm", "torch", "numpy", "pandas", "polars")


def peer_python(scratch: Path, name: str) -> Path:
    """The Python of the peer's environment, which is made first where it is missing.

    torch is of this environment's version and build: equal arithmetic, and no second download of it. Raises
    CalledProcessError where the package index does not give what is asked for.
    """
    folder = scratch / "peers" / name
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        needed = REQUIREMENTS[name]
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet"]
        constraints = folder / "constraints.txt"
        constraints.write_text(f"torch=={version('torch')}\n")
        if name in _WITH_TORCH:
            subprocess.run([*pip, f"torch=={version('torch')}"], check=True)
        subprocess.run([*pip, "--constraint", constraints, *needed], check=True)
        done.touch()
    return python


def peer_versions(scratch: Path) -> str:
    """What is installed in the environments that there are, in one line."""
    peers = []
    for name in REQUIREMENTS:
        if (scratch / "peers" / name / "installed").exists():
            command: list[str | Path] = [peer_python(scratch, name), "-m", "pip", "list", "--format", "json"]
            listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            versions = {one["name"].lower(): one["version"] for one in listed}
            peers.append(", ".join(f"{one} {versions[one]}" for one in _SHOWN if one in versions))
    return "; ".join(peers)


def run_peer(scratch: Path, name: str, script: str, *arguments: str | Path) -> Any:
    """What the peer's script prints as its last line, parsed as JSON. Raises RuntimeError with what it complained of."""
    command: list[str | Path] = [peer_python(scratch, name), SCRIPTS / script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])
