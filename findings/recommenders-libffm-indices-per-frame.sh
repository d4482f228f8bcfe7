#!/usr/bin/env bash
# recommenders 1.2.1, pandas 2.3.3, numpy 2.4.6, scikit-learn 1.9.1, scipy 1.17.1
#
# One would expect: LibffmConverter().fit(training) and then transform() of training and test rows gives one id one
# index in both files. transform's docstring speaks of the same schema and of using the fitted converter, and the pair
# of methods is that of scikit-learn.
# What happens: fit() keeps the names of the columns and nothing else. Each transform() numbers what it finds from 1
# anew, so an id's index is its place in THAT frame, and all later columns move with the number of ids before them:
# even the index of a number column differs. (fit's docstring owns up to checking columns only, transform's does not.)
# The frame that is passed is overwritten as well: its columns hold "1:3:1" afterwards.
# What it costs: the files are valid and xDeepFM, libffm or xLearn read them without a word, the test file with the
# weights of other ids: AUC 0.45 below, where the same model has 0.76 on rows that were converted together. Fresh rows
# cannot be converted at all, for their order decides what they mean.
# Instead: transform training and test rows in one frame and cut it afterwards. widedeep's numbering of ids is a stage
# that is stored and used again for every later file.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pandas==2.3.3 numpy==2.4.6 scikit-learn==1.9.1 scipy==1.17.1
"$work/venv/bin/pip" install --quiet --no-deps recommenders==1.2.1
cd "$work"
venv/bin/python - <<'PYTHON'
import importlib.metadata
import sys

import numpy as np
import pandas as pd
from recommenders.datasets.pandas_df_utils import LibffmConverter
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

print("recommenders", importlib.metadata.version("recommenders"), "pandas", pd.__version__)
random = np.random.default_rng(0)
users, ads = random.integers(0, 600, 16000), random.integers(0, 40, 16000)
liking, charm = random.normal(0, 1, 600), random.normal(0, 1, 40)
rows = pd.DataFrame({
    "click": (random.random(16000) < 1 / (1 + np.exp(2 - liking[users] - charm[ads]))).astype(int),
    "user": [f"u{user}" for user in users], "ad": [f"ad{ad}" for ad in ads], "price": random.random(16000).round(2),
})
training, test = rows[:14000], rows[14000:]
converter = LibffmConverter().fit(training, col_rating="click")

def indices(converted, column):
    return converted[column].str.split(":").str[1].astype(int).to_numpy()

def matrix(converted):
    cells = np.concatenate([indices(converted, column) for column in ("user", "ad")])
    return csr_matrix((np.ones(len(cells)), (np.tile(np.arange(len(converted)), 2), cells)), (len(converted), 700))

apart = converter.transform(training.copy()), converter.transform(test.copy())
together = converter.transform(rows.copy())
together = together[:14000], together[14000:]
auc = {}
for name, (seen, held) in {"in one frame": together, "one after the other": apart}.items():
    model = LogisticRegression(max_iter=300).fit(matrix(seen), seen["click"])
    auc[name] = roc_auc_score(held["click"], model.predict_proba(matrix(held))[:, 1])
    ids = [indices(frame, "ad")[(rows == "ad7")["ad"].to_numpy()[start : start + len(frame)]][0]
           for frame, start in ((seen, 0), (held, 14000))]
    print(f"  converted {name}: ad7 is feature {ids[0]} in training and {ids[1]} in test, price is "
          f"{indices(seen, 'price')[0]} and {indices(held, 'price')[0]}; AUC {auc[name]:.3f}")
if auc["in one frame"] - auc["one after the other"] < 0.1:
    sys.exit("LibffmConverter now keeps the indices that it gave.")
PYTHON
