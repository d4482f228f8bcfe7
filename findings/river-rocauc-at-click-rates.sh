#!/usr/bin/env bash
# river 0.26.1, numpy 2.4.6, scipy 1.17.1, narwhals 2.29.0
#
# One would expect: river.metrics.ROCAUC, fed with calibrated probabilities, comes close to the true AUC. Its
# docstring calls it an approximation whose error does not matter where probabilities are well calibrated, and says
# that models can be compared by it in any case; it warns of scores that are no probabilities.
# What happens: the curve has ten thresholds at equal distances from 0 to 1. Calibrated click rates of about one per
# cent all lie below the second of them, so that the metric says 0.52 of a model whose AUC is 0.77, and 0.5 of a
# constant. The same scores times 20, which are wrong as probabilities, get 0.76. Even 100 thresholds miss 0.04.
# What it costs: the better a click model is calibrated, the more it looks like chance. Compared by this metric, a
# model that says twenty times the true rates wins, and a progressive validation never shows that anything is learnt.
# Instead: metrics.RollingROCAUC, which ranks, or n_thresholds in the thousands. widedeep ranks the scores of all
# rows.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet river==0.26.1 numpy==2.4.6 scipy==1.17.1 narwhals==2.29.0
"$work/venv/bin/python" - <<'PYTHON'
import math
import random
import sys

import river
from river import metrics

draw = random.Random(0)
rates = [1 / (1 + math.exp(5 - draw.gauss(0, 1))) for _ in range(20_000)]
clicks = [draw.random() < rate for rate in rates]

def true_auc(scores):
    """The share of pairs of a click and no click that the scores put in order; no two scores are equal here."""
    order = sorted(range(len(scores)), key=scores.__getitem__)
    ranks = sum(rank for rank, row in enumerate(order, 1) if clicks[row])
    hits = sum(clicks)
    return (ranks - hits * (hits + 1) / 2) / (hits * (len(scores) - hits))

def by_river(scores, thresholds=10):
    metric = metrics.ROCAUC(n_thresholds=thresholds)
    for click, score in zip(clicks, scores):
        metric.update(click, score)
    return float(metric.get())

print("river", river.__version__)
print(f"{sum(clicks)} clicks in {len(clicks)} rows; scores are the very rates the clicks were drawn with")
expected, seen, hundred = true_auc(rates), by_river(rates), by_river(rates, 100)
inflated = by_river([min(1.0, 20 * rate) for rate in rates])
print(f"  true AUC {expected:.3f} (expected)\n  ROCAUC() {seen:.3f}\n  ROCAUC(n_thresholds=100) {hundred:.3f}")
print(f"  ROCAUC() of a constant {by_river([0.01] * len(rates)):.3f}, of the rates times 20 {inflated:.3f}")
if expected < 0.74 or seen > 0.55 or hundred > expected - 0.03 or inflated < seen + 0.1:
    sys.exit("ROCAUC no longer takes calibrated click rates for chance.")
PYTHON
