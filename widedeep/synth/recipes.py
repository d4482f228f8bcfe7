"""Writes the recipes that lie beside the sample logs."""

from collections.abc import Mapping

from widedeep.synth.criteo import NUMERIC
from widedeep.synth.world import CATEGORICAL, LOW_RANK, NUMERIC_DIGITS, PLANTED

_RARE = ("user", "keyword", "page")
"""Columns that get a `min_count`: most of their values have too few rows to learn from."""


def clicks_recipe(rows: int, seed: int, best_auc: float) -> str:
    """The recipe of a click log."""
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


def criteo_recipe(rows: int, seed: int, best_auc: float, sizes: Mapping[str, int]) -> str:
    """The recipe of a Criteo-shaped log; `sizes` has the number of values of each categorical column."""
    numeric = "\n".join(f"    - {{column: {name}, buckets: 20}}" for name in NUMERIC)
    categorical = "\n".join(f"    - {_categorical_entry(name, size)}" for name, size in sizes.items())
    return f"""\
# Trains on the sample log beside it ({rows:,} rows, seed {seed}). The best AUC any model could reach: {best_auc:.3f}.
# Everything left out has a default; the run directory holds the recipe with all of them written out.
name: sample

data:
  train: log.parquet          # relative to this file
  label: label
  split:                      # rows have no time: any row may be held out
    kind: random
    valid: 0.1
    test: 0.1

features:
  numeric:                    # quantile buckets catch any smooth effect, not only a straight line
{numeric}
  categorical:                # below min_count a value shares the unknown row: too few rows to learn from
{categorical}

# No crosses: which columns matter together is for you to find. truth.json has the answer.
model:
  kind: wide_deep
  embeddings:
    dim: 16
  deep:
    hidden: [256, 128]

training:
  epochs: 6
  batch_size: 4096
  deep:
    learning_rate: 0.003
"""


def _categorical_entry(name: str, size: int) -> str:
    if size < 200:
        return name
    return f"{{column: {name}, min_count: {20 if size > 10_000 else 10}}}"
