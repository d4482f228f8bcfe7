#!/usr/bin/env bash
# datasketches 5.2.0, numpy 2.4.6
#
# One would expect: a sketch of distinct values counts a NumPy float32 as it counts a Python float of the same value.
# The docstring of update() lists an int, a float and a str; the package requires NumPy, and its quantile sketches
# take arrays.
# What happens: only float64 is a Python float. A float32 or float16 is taken by the overload for integers, which cuts
# it to its whole part with no error: a thousand different scores in [0, 1) count as ONE, in HLL, theta and CPC alike,
# and a thousand prices below 100 as one hundred. Iterating a float32 array or column (what models give and Parquet
# holds) is enough.
# What it costs: distinct counts of prices or scores are too low by orders of magnitude and look plausible, so a
# column of thousands of prices is taken for a category of a hundred values.
# Instead: array.astype("float64") or .tolist() first. widedeep tells values apart by their texts, whatever their
# width.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet datasketches==5.2.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from datasketches import cpc_sketch, hll_sketch, update_theta_sketch

def distinct(values):
    """The estimates of three sketches; each is within a few per cent of the truth at these sizes."""
    sketches = {"hll": hll_sketch(12), "theta": update_theta_sketch(14), "cpc": cpc_sketch(12)}
    for sketch in sketches.values():
        for value in values:
            sketch.update(value)
    return {name: round(sketch.get_estimate()) for name, sketch in sketches.items()}

print("datasketches", version("datasketches"))
scores = np.random.default_rng(0).random(1000).astype("float32")
prices = scores * np.float32(100)
seen = {
    "scores, float64": distinct(scores.astype("float64")),
    "scores, float32": distinct(scores),
    "scores, float32.tolist()": distinct(scores.tolist()),
    "prices, float32": distinct(prices),
}
print(f"expected: {len(set(scores.tolist()))} distinct scores and {len(set(prices.tolist()))} distinct prices")
for what, counts in seen.items():
    print(f"  {what}: {counts}")
right, cut = seen["scores, float64"], seen["scores, float32"]
if set(cut.values()) != {1} or min(right.values()) < 900 or max(seen["prices, float32"].values()) > 110:
    sys.exit("float32 values are no longer cut to whole numbers.")
PYTHON
