#!/usr/bin/env bash
# skl2onnx 1.20.0, onnx 1.23.2, onnxruntime 1.32.0, scikit-learn 1.9.1, numpy 2.4.6
#
# One would expect: a pipeline that to_onnx() converts without a word scores as it did. In scikit-learn NaN is a
# category of its own: TargetEncoder gives it the click rate of the rows that had none, OrdinalEncoder passes it on as
# NaN or as encoded_missing_value. The page of supported operators names both encoders and makes no exception.
# What happens: known and unknown ids are converted as they are, NaN is not: it gets what an UNKNOWN id gets, the mean
# of all rows or unknown_value. That NaN was among the categories of the training rows changes nothing.
# What it costs: a device type that is missing means something (bots, an old app), and the row is scored as if it meant
# nothing: 0.05 becomes 0.16 below, and 0.01 becomes 0.10 where a tree follows. The check that one writes first, on the
# ids of the training rows, passes to the last bit; one on unknown ids passes too.
# Instead: fill NaN with a number that is no id (SimpleImputer(strategy="constant", fill_value=-1)) in front of the
# encoder, which the script shows to be converted right, and have a missing row among those that an export is checked
# with. In widedeep a missing id has a row of its own in the tables that are exported.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet skl2onnx==1.20.0 onnx==1.23.2 onnxruntime==1.32.0 scikit-learn==1.9.1 numpy==2.4.6
cd "$work"
venv/bin/python -W ignore - <<'PYTHON'
import sys

import numpy as np
import onnxruntime
import skl2onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, TargetEncoder
from sklearn.tree import DecisionTreeClassifier

print("skl2onnx", skl2onnx.__version__)
random = np.random.default_rng(0)
device = random.integers(0, 4, 8000).astype(np.float32)
missing = random.random(8000) < 0.2
clicks = (random.random(8000) < np.where(missing, 0.01, 0.1 + 0.1 * device)).astype(int)
device = np.where(missing, np.nan, device)[:, None].astype(np.float32)
asked = np.array([[0], [3], [9], [np.nan]], dtype=np.float32)
ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=4)
models = {
    "TargetEncoder": (TargetEncoder(random_state=0), LogisticRegression(C=1000)),
    "OrdinalEncoder": (ordinal, DecisionTreeClassifier(max_depth=5)),
    "SimpleImputer, then TargetEncoder": (
        SimpleImputer(strategy="constant", fill_value=-1), TargetEncoder(random_state=0), LogisticRegression(C=1000)
    ),
}
apart = {}
print("click rates for devices 0, 3, 9 (unknown) and NaN; rows without a device click at 0.01")
for name, steps in models.items():
    model = make_pipeline(*steps).fit(device, clicks)
    numbers = [("device", FloatTensorType([None, 1]))]
    converted = skl2onnx.to_onnx(model, initial_types=numbers, options={"zipmap": False})
    session = onnxruntime.InferenceSession(converted.SerializeToString())
    rates, exported = model.predict_proba(asked)[:, 1], session.run(None, {"device": asked})[1][:, 1]
    apart[name] = abs(rates - exported)
    print(f"  {name}: scikit-learn {rates.round(3)}, ONNX {exported.round(3)}")
target, tree, filled = apart.values()
if not (target[3] > 0.05 and tree[3] > 0.05 and max(target[:3].max(), tree[:3].max(), filled.max()) < 0.001):
    sys.exit("skl2onnx now converts encoders that have NaN among their categories, or others wrongly.")
PYTHON
