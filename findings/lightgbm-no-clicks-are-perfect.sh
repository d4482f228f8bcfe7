#!/usr/bin/env bash
# lightgbm 4.7.0, numpy 2.4.6, scikit-learn 1.9.1, scipy 1.17.1
#
# One would expect: an AUC without a click is not defined (scikit-learn: NaN and a warning), an average precision
# without a click is 0, and a list of ads in which nothing was clicked says nothing of a ranking. The page "Parameters"
# names auc, average_precision, ndcg and map, and no special case.
# What happens: each of them is 1, the best value that there is, without a warning. auc and average_precision of a
# validation set without clicks are 1 from the first round on; ndcg and map count each list without a click as a
# perfectly ranked one, and the mean is taken over all lists. (XGBoost's page names the same choice for ndcg and map
# and has "ndcg-" to undo it; LightGBM has no such name.)
# What it costs: (1) validated on a quiet hour or a small campaign, early stopping keeps ONE tree: no later round can
# beat 1. (2) where 3 % of lists have a click, a model that ranks by chance has NDCG 0.98. Two models that differ by
# 0.3 on the lists that matter differ by 0.01 in the log.
# Instead: count the clicks of a validation set before it decides anything, use binary_logloss to stop, and drop the
# lists without a click from validation sets. In widedeep a metric without clicks is null, never a number.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet lightgbm==4.7.0 numpy==2.4.6 scikit-learn==1.9.1 scipy==1.17.1
cd "$work"
venv/bin/python -W ignore - <<'PYTHON'
import sys

import lightgbm
import numpy as np
from lightgbm import Dataset
from sklearn.metrics import average_precision_score, roc_auc_score

print("lightgbm", lightgbm.__version__)
random = np.random.default_rng(0)
numbers = random.normal(size=(4000, 5))
clicks = (random.random(4000) < 1 / (1 + np.exp(3 - numbers[:, 0]))).astype(int)
settings = {"num_threads": 1, "verbose": -1, "seed": 1}
shown = Dataset(numbers, clicks)
quiet = Dataset(random.normal(size=(200, 5)), np.zeros(200), reference=shown)
log = {}
model = lightgbm.train(
    {**settings, "objective": "binary", "metric": ["auc", "average_precision"]}, shown, 50, [quiet], ["quiet"],
    callbacks=[lightgbm.record_evaluation(log), lightgbm.early_stopping(10, verbose=False)],
)
auc, precision = (log["quiet"][name][0] for name in ("auc", "average_precision"))
none = np.zeros(200)
print(f"validation set without clicks: auc {auc}, average_precision {precision}, best of 50 rounds: "
      f"{model.best_iteration} (scikit-learn: {roc_auc_score(none, random.random(200))}, "
      f"{average_precision_score(none, random.random(200))})")

lists = np.full(400, 10)
one_click = np.zeros((400, 10))
one_click[:12, 0] = 1
means = {}
for which, rows in (("all 400 lists", slice(None)), ("the 12 lists with a click", slice(0, 12))):
    noise = random.normal(size=(400, 10, 1))[rows].reshape(-1, 1)
    training = Dataset(numbers[:, :1], one_click.ravel(), group=lists)
    held = Dataset(noise, one_click[rows].ravel(), group=lists[rows], reference=training)
    log = {}
    lightgbm.train({**settings, "objective": "lambdarank", "metric": ["ndcg", "map"], "eval_at": [5]}, training, 1,
                   [held], ["held"], callbacks=[lightgbm.record_evaluation(log)])
    means[which] = log["held"]["ndcg@5"][0]
    print(f"ranked by noise, {which}: ndcg@5 {means[which]:.3f}, map@5 {log['held']['map@5'][0]:.3f}")
if not (auc == precision == 1 and model.best_iteration == 1 and means["all 400 lists"] > 0.95):
    sys.exit("LightGBM no longer gives 1 to what holds no clicks.")
PYTHON
