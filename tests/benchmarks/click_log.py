"""The log that the bench measures on: Criteo's shape with planted crosses, as CSV, and the recipes for it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDEDEEP = str(Path(sys.executable).with_name("widedeep"))
"""The command line, as it is installed beside this Python."""

SEED = 1
NUMERIC = [f"I{number}" for number in range(1, 14)]
CATEGORICAL = [f"C{number}" for number in range(1, 27)]
CROSSES = [
    ["C2", "C9"],
    ["C5", "C20"],
    ["C6", "C11"],
    ["C9", "C13"],
    ["C5", "C23"],
    ["C19", "C23"],
    ["C1", "C20"],
    ["C11", "C17"],
]
"""Those planted in the log of planted.yaml, for a log that does not say which it has."""


@dataclass(frozen=True)
class ClickLog:
    """Two CSV files with a `label`, 13 numbers and 26 categorical columns."""

    train: Path
    test: Path
    crosses: Sequence[Sequence[str]]
    """Eight pairs of columns."""


def open_log(folder: Path) -> ClickLog:
    """The log in a folder with `train.csv` and `test.csv`; `truth.json`, where there is one, says which crosses it has."""
    for name in ("train.csv", "test.csv"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: a log needs train.csv and test.csv here; {name} is missing")
    truth = folder / "truth.json"
    crosses = json.loads(truth.read_text())["crosses"] if truth.exists() else CROSSES
    return ClickLog(folder / "train.csv", folder / "test.csv", crosses)


def make_log(folder: Path, train_rows: int, test_rows: int) -> ClickLog:
    """The log in `folder`, drawn with `widedeep synth` unless it is there; its last rows are the test rows."""
    if not (folder / "truth.json").exists():
        import polars as pl

        drawn = folder / "drawn"
        command = [WIDEDEEP, "synth", "--shape", "criteo", "--rows", str(train_rows + test_rows), "--seed", str(SEED)]
        subprocess.run([*command, "--force", "-o", drawn], check=True, stdout=subprocess.DEVNULL)
        rows = pl.scan_parquet(drawn / "log.parquet")
        rows.head(train_rows).sink_csv(folder / "train.csv")
        rows.slice(train_rows).sink_csv(folder / "test.csv")
        (drawn / "log.parquet").unlink()
        os.replace(drawn / "truth.json", folder / "truth.json")
    return open_log(folder)


def write_recipe(path: Path, log: ClickLog, *, with_test: bool = False, **sections: Any) -> Path:
    """Write the recipe of one epoch over `log`: embedding 16, MLP 400 x 3, batch 4096. `sections` replace or add to it."""
    import yaml

    data: dict[str, Any] = {
        "train": str(log.train),
        "label": "label",
        "split": {"kind": "random", "valid": 0, "test": 0},
    }
    recipe = {
        "name": path.stem,
        "data": data | ({"test": str(log.test)} if with_test else {}),
        "features": {"numeric": NUMERIC, "categorical": CATEGORICAL},
        "model": {"kind": "wide_deep", "embeddings": {"dim": 16}, "deep": {"hidden": [400, 400, 400]}},
        "training": {"epochs": 1, "batch_size": 4096},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(recipe | sections, sort_keys=False))
    return path
