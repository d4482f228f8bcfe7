"""The row of the whole: from a CSV file to a trained model and scored test rows, start-up included, against other tools."""

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from click_log import CATEGORICAL, NUMERIC, WIDEDEEP, ClickLog, write_recipe
from peer_environments import peer_python, run_peer
from sklearn.metrics import roc_auc_score

LEARNING_RATE = 0.003
"""Of the deep part. Chosen on a tenth of the train rows: one epoch at the default of 0.001 stops short. The peers have the
rates of their documentation."""
PEERS = {"deepctr-torch": "deepctr_torch_wdl.py", "fuxictr": "fuxictr_wide_deep.py"}


@dataclass(frozen=True)
class Whole:
    """One way from CSV to scored test rows."""

    seconds: float
    auc: float
    """On the test rows."""
    peak_bytes: int = 0
    """Resident memory of the larger of the two commands at its peak."""


def run_command(command: list[str | Path]) -> int:
    """Run it and give its peak of resident memory in bytes. Raises RuntimeError with what it complained of."""
    complaints = subprocess.PIPE
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=complaints, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed with {process.returncode}:\n{said}")
    return usage.ru_maxrss * 1024


def ours(log: ClickLog, work: Path, **sections: Any) -> Whole:
    """`widedeep train` and `widedeep predict` in an empty work directory; `sections` go into the recipe."""
    shutil.rmtree(work, ignore_errors=True)
    recipe = write_recipe(work / "whole.yaml", log, **sections)
    scores = work / "scores.parquet"
    run = work / "runs" / "whole" / "latest"
    started = time.perf_counter()
    peak = run_command([WIDEDEEP, "train", recipe, "--work", work])
    peak = max(peak, run_command([WIDEDEEP, "predict", run, log.test, "-o", scores, "--keep", "label"]))
    seconds = time.perf_counter() - started
    scored = pl.read_parquet(scores)
    return Whole(seconds, float(roc_auc_score(scored["label"], scored["score"])), peak)


def theirs(name: str, log: ClickLog, work: Path, scratch: Path) -> Whole:
    """The peer's script, in its own environment."""
    peer_python(scratch, name)
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    scores = folder / "scores.npy"
    started = time.perf_counter()
    run_peer(scratch, name, PEERS[name], log.train, log.test, scores)
    seconds = time.perf_counter() - started
    label = pl.scan_csv(log.test).select("label").collect()["label"]
    return Whole(seconds, float(roc_auc_score(label, np.load(scores))))


@dataclass(frozen=True)
class Comparison:
    """All of them on one log; peers run once."""

    ours: list[Whole]
    linear: list[Whole]
    """Ours without a tower: the quickest of our kinds, with the crosses of the log."""
    peers: dict[str, Whole]
    failed: dict[str, str]
    """Peers that gave no figure, and why."""
    recipe: str


def whole_against_peers(log: ClickLog, work: Path, scratch: Path, runs: int = 3) -> Comparison:
    """Ours several times, the peers once, after the first of ours. Raises RuntimeError where no peer runs."""
    training = {"epochs": 1, "batch_size": 4096, "deep": {"learning_rate": LEARNING_RATE}}
    linear = {
        "features": {"numeric": [{"column": name, "buckets": 20} for name in NUMERIC], "categorical": CATEGORICAL},
        "crosses": [list(cross) for cross in log.crosses],
        "model": {"kind": "wide", "wide": {"crosses": "gradient"}},
    }
    measured = [ours(log, work / "ours", training=training)]
    alone = [ours(log, work / "linear", **linear)]
    peers: dict[str, Whole] = {}
    failed: dict[str, str] = {}
    for name in PEERS:
        try:
            peers[name] = theirs(name, log, work, scratch)
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            failed[name] = str(error)
    if not peers:
        raise RuntimeError("no peer could be run: " + "; ".join(failed.values()))
    for _ in range(runs - 1):
        measured.append(ours(log, work / "ours", training=training))
        alone.append(ours(log, work / "linear", **linear))
    return Comparison(measured, alone, peers, failed, (work / "ours/runs/whole/latest/recipe.yaml").read_text())
