"""Writes the sample click log: rows drawn from a known model, so that the best possible figures are known, and a recipe for them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import UsageError, WriteError
from widedeep.reporting import Reporter
from widedeep.table.synth_world import CATEGORICAL, LOW_RANK, NUMERIC_DIGITS, PLANTED, World, values_of

MIN_ROWS = 100

_BLOCK_ROWS = 100_000
"""Rows drawn and written at once. The bytes do not depend on it: every draw is a hash of seed, name and row number."""

_RARE = ("user", "keyword", "page")
"""Columns whose tails the recipe cuts: most of their values have too few rows to learn from."""


@dataclass(frozen=True)
class SampleLog:
    """What was written, and the best that any model can reach on it."""

    rows: int
    best_auc: float
    """AUC of the true click probabilities against the labels drawn from them."""
    best_log_loss: float
    planted: list[tuple[str, str]]
    low_rank: list[tuple[str, str]]
    files: list[Path]


def write_sample_log(out_dir: Path, rows: int, seed: int, reporter: Reporter) -> SampleLog:
    """Write `log.csv`, `truth.json` (with the planted weights) and `recipe.yaml` into the existing folder `out_dir`.

    Equal (rows, seed) give equal bytes. Memory is bounded but for 9 bytes a row, kept for the exact best AUC. Raises
    UsageError for fewer than 100 rows or a negative seed, WriteError where the files cannot be written.
    """
    if rows < MIN_ROWS:
        raise UsageError(f"--rows must be at least {MIN_ROWS}, not {rows}: fewer cannot be split and learnt from")
    if seed < 0:
        raise UsageError(f"--seed must not be negative, not {seed}")
    files = [out_dir / name for name in ("log.csv", "truth.json", "recipe.yaml")]
    world = World(seed)
    try:
        probability, click = _write_rows(files[0], rows, world, reporter)
        best_auc = _auc(click, probability)
        best_log_loss = float(-np.log(np.where(click, probability, 1.0 - probability)).mean())
        truth = {
            "rows": rows,
            "seed": seed,
            "ctr": float(click.mean()),
            "planted": PLANTED,
            "low_rank": LOW_RANK,
            "best_auc": best_auc,
            "best_log_loss": best_log_loss,
            "weights": {" x ".join(pair): _weights(world, pair) for pair in PLANTED},
        }
        files[1].write_text(json.dumps(truth) + "\n", encoding="utf-8")
        files[2].write_text(_recipe(rows, seed, best_auc), encoding="utf-8")
    except OSError as error:
        raise WriteError(f"{out_dir}: cannot write the sample log: {error.strerror or error}") from error
    return SampleLog(rows, best_auc, best_log_loss, list(PLANTED), list(LOW_RANK), files)


def _write_rows(
    path: Path, rows: int, world: World, reporter: Reporter
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    probability, click = np.empty(rows), np.empty(rows, dtype=np.bool_)
    with path.open("wb") as file, reporter.work("writing the sample log", rows, "rows") as meter:
        for start in range(0, rows, _BLOCK_ROWS):
            part = slice(start, min(start + _BLOCK_ROWS, rows))
            index = np.arange(part.start, part.stop, dtype=np.uint64)
            drawn = world.draw(index, rows)
            probability[part] = 1.0 / (1.0 + np.exp(-world.logit(drawn)))
            click[part] = world.uniform("click", index) < probability[part]
            frame = drawn.frame().with_columns(click=pl.Series(click[part].astype(np.int8)))
            file.write(frame.write_csv(include_header=start == 0).encode())
            meter.update(part.stop)
    return probability, click


def _weights(world: World, pair: tuple[str, str]) -> dict[str, dict[str, float]]:
    """Value of the first column → value of the second → what the combination adds to the logit."""
    table = world.planted_weights(*pair)
    left, right = (values_of(column) for column in pair)
    return {
        a: {b: round(float(w), 4) for b, w in zip(right, row, strict=True)} for a, row in zip(left, table, strict=True)
    }


def _auc(click: NDArray[np.bool_], probability: NDArray[np.float64]) -> float:
    """Chance that a clicked row has the higher probability of a random pair (a tie counts half)."""
    positive, negative = np.sort(probability[click]), np.sort(probability[~click])
    below = np.searchsorted(negative, positive, "left").sum() + np.searchsorted(negative, positive, "right").sum()
    return float(below) / 2.0 / len(positive) / len(negative)


# ----------------------------------------------------------------------------------------------------- its recipe


def _recipe(rows: int, seed: int, best_auc: float) -> str:
    names = [column.name for column in CATEGORICAL] + ["hour"]
    entries = [f"{{column: {name}, min_count: 20}}" if name in _RARE else name for name in names]
    categorical = "\n".join(f"    - {entry}" for entry in entries)
    numeric = "\n".join(f"    - {name}" for name in NUMERIC_DIGITS)
    crosses = "\n".join(f"  - [{left}, {right}]" for left, right in PLANTED)
    pairs = ", ".join(f"{left} x {right}" for left, right in LOW_RANK)
    return f"""\
# Trains on the sample log beside it ({rows:,} rows, seed {seed}). The best AUC any model could reach: {best_auc:.3f}.
# Everything left out has a default; the run directory holds the recipe with all of them written out.
name: sample

data:
  train: log.csv              # relative to this file
  label: click
  time: time
  split:                      # the last days are held out, as in production: the past predicts the future
    kind: time
    valid: 0.1
    test: 0.1

features:
  numeric:
{numeric}
  categorical:                # below min_count a value shares the unknown row: too few rows to learn from
{categorical}
  multi_valued:               # several values in one cell, as in video|live|premium
    - {{column: tags, separator: "|"}}

# What the log was made with: these pairs have a weight of their own for every combination of values.
# Take one out and watch the wide part lose it.
crosses:
{crosses}

# The log also has pairs with too many combinations to memorise, which embeddings can generalise over:
# {pairs}.
model:
  kind: wide_deep             # try wide and deep too: neither half reaches the whole
  embeddings:
    dim: 8
  deep:
    hidden: [128, 64]

training:
  epochs: 4
  batch_size: 1024
"""
