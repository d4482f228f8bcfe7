#!/usr/bin/env bash
# category_encoders 2.11.2, pandas 3.1.1, numpy 2.4.6, scipy 1.17.1, scikit-learn 1.9.1
#
# One would expect: HashingEncoder gives each column n_components buckets (its docstring says per encoded column), and
# a value always the same bucket, as that is what lets it do without a dictionary.
# What happens: (1) all columns share ONE set of n_components buckets and only the value is hashed, not the column. A
# row with the values (x, y) and one with (y, x) are the same: sender and receiver, home and away, "yes" in any two
# columns. (2) What is hashed is the text of the value as the frame happens to hold it. A batch with one missing value
# makes pandas hold ids as float64, 101 becomes "101.0", and EVERY row of the batch lands in other buckets than it was
# trained on.
# What it costs: a model that cannot tell columns apart and, in production, batches whose scores are noise because
# another row lacked its id. In tests without missing values nothing shows.
# Instead: make ids text before (and say "" for missing), one encoder a column. In widedeep each hashed field has its
# own hash, and a number has one text whatever type holds it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet category_encoders==2.11.2 pandas==3.1.1 numpy==2.4.6 scikit-learn==1.9.1 \
    scipy==1.17.1
"$work/venv/bin/python" - <<'PYTHON'
import sys

import category_encoders
import pandas as pd
from category_encoders import HashingEncoder

print("category_encoders", category_encoders.__version__, "pandas", pd.__version__)
pairs = pd.DataFrame({"home": ["x", "y", "x"], "away": ["y", "x", "x"]})
codes = HashingEncoder(cols=["home", "away"], n_components=64, max_process=1).fit_transform(pairs)
swapped_alike = bool((codes.iloc[0] == codes.iloc[1]).all())
print(f"two columns, n_components=64: {codes.shape[1]} columns come out (expected 128)")
print(f"(x, y) and (y, x) are encoded alike: {swapped_alike} (expected False)")

ids = pd.DataFrame({"user": [101, 102, 103, 104]})
encoder = HashingEncoder(cols=["user"], n_components=64, max_process=1).fit(ids)

def buckets(frame):
    return encoder.transform(frame).to_numpy().argmax(axis=1).tolist()

whole, one_missing = buckets(ids), buckets(pd.DataFrame({"user": [101, 102, 103, None]}))
print("buckets of users 101, 102, 103:                          ", whole[:3])
print("the same in a batch whose fourth user is missing:        ", one_missing[:3], "(expected: as above)")
if codes.shape[1] != 64 or not swapped_alike or whole[:3] == one_missing[:3]:
    sys.exit("HashingEncoder no longer shares buckets between columns, or no longer shifts them with a batch's type.")
PYTHON
