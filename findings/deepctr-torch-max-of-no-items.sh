#!/usr/bin/env bash
# deepctr-torch 0.3.0, torch 2.13.0, pandas 3.1.1, requests 2.34.2, scikit-learn 1.9.1
#
# One would expect: a row whose list is empty gets a neutral vector from the pooling of that list, whatever the
# combiner. The documentation (Features, VarLenSparseFeat) offers sum, mean and max, and says that without a length
# column 0 is reserved for padding, which its examples rely on.
# What happens: for sum and mean an empty list gives zeros. For max, padding is lowered by 1e9 before the maximum is
# taken, and where there is nothing but padding the "embedding" IS -1e9 in each place. The row's score is 0 or 1
# exactly, and where that is wrong its loss is 100, at which torch cuts the logarithm.
# What it costs: new users have no history. Loss and validation log loss are many times those of a constant, they
# hardly move, and every such user gets one certain score. AUC hides it: 0 is a rank.
# Instead: combiner="mean", or a real id of its own for "nothing". In widedeep an empty list holds one value,
# "missing".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet deepctr-torch==0.3.0 pandas==3.1.1 requests==2.34.2 scikit-learn==1.9.1 \
    numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import contextlib
import io
import sys
from importlib.metadata import version

import numpy as np
import torch

torch.set_num_threads(2)
with contextlib.redirect_stdout(io.StringIO()):
    from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat
    from deepctr_torch.models import WDL

def trained(combiner):
    """The scores of an empty list and of a list of one item, the last epoch's loss, and that of the base rate."""
    draw = np.random.default_rng(0)
    rows, places = 4000, 3
    lists = draw.integers(1, 5, (rows, places)) * (np.arange(places) < draw.integers(0, places + 1, (rows, 1)))
    clicks = (draw.random(rows) < np.where((lists == 2).any(1), 0.6, 0.2)).astype(float)
    columns = [VarLenSparseFeat(SparseFeat("viewed", 5, embedding_dim=4), maxlen=places, combiner=combiner)]
    with contextlib.redirect_stdout(io.StringIO()):
        model = WDL(columns, columns, dnn_hidden_units=(8,), task="binary", device="cpu", seed=1)
        model.compile("adam", "binary_crossentropy")
        history = model.fit({"viewed": lists}, clicks, batch_size=200, epochs=20, verbose=0).history
    empty, one = model.predict({"viewed": np.array([[0, 0, 0], [2, 0, 0]])}).ravel()
    rate = clicks.mean()
    return float(empty), float(one), history["loss"][-1], float(-rate * np.log(rate) - (1 - rate) * np.log(1 - rate))

print("deepctr-torch", version("deepctr-torch"), "on torch", torch.__version__.split("+")[0])
found = {combiner: trained(combiner) for combiner in ("mean", "max")}
for combiner, (empty, one, loss, of_rate) in found.items():
    print(f"  {combiner}: an empty list scores {empty:.4g} (truth 0.2), the list [2] {one:.2f} (truth 0.6);",
          f"loss {loss:.2f}, that of the base rate {of_rate:.2f}")
if found["max"][0] not in (0.0, 1.0) or not 0.1 < found["mean"][0] < 0.4 or found["max"][2] < 2 * found["max"][3]:
    sys.exit("An empty list under combiner='max' no longer gives a certain score.")
PYTHON
