#!/usr/bin/env bash
# torchmetrics 1.9.0, torch 2.13.0
#
# One would expect: a metric gives the same value however its rows are cut into update() calls. The pages of
# BinaryAUROC, BinaryCalibrationError and others say that predictions with values outside [0, 1] are taken for logits
# and get a sigmoid per element.
# What happens: whether there is a value outside [0, 1] is asked of each update() anew, and what comes out of the
# batches is stored side by side. (1) One probability of 1.0000001 (a sum of float32 shares, an average of models)
# makes ALL others of its batch logits: 0.02 becomes 0.505, above nearly every row of the other batches. (2) Logits
# fed by request or user: lists whose logits all lie in [0, 1] stay as they are, the others become probabilities.
# What it costs: AUC and calibration error move with the batch size and with one row by a few ulps, with no warning;
# a model is taken for worse (or its calibration for broken) than it is.
# Instead: one form only: torch.sigmoid(logits) for logits, clamp(0, 1) for probabilities, before update(). widedeep's
# metrics take probabilities and change none.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import sys

import torch
import torchmetrics
from torchmetrics.classification import BinaryAUROC, BinaryCalibrationError

print("torchmetrics", torchmetrics.__version__, "torch", torch.__version__)
generator = torch.Generator().manual_seed(0)

def measured(scores, clicks, rows):
    """AUC and calibration error of the same rows, updated by `rows` at a time."""
    auc, error = BinaryAUROC(), BinaryCalibrationError(n_bins=20)
    for chosen in torch.arange(len(scores)).split(rows):
        auc.update(scores[chosen], clicks[chosen])
        error.update(scores[chosen], clicks[chosen])
    return round(auc.compute().item(), 3), round(error.compute().item(), 3)

logits = torch.randn(10_000, generator=generator) * 1.5 - 3
rates = torch.sigmoid(logits)
clicks = (torch.rand(10_000, generator=generator) < rates).int()
rates[0], clicks[0] = 1.0, 1
above = rates.clone()
above[0] = 1.0 + 2**-23
clean, mixed = measured(rates, clicks, 1000), measured(above, clicks, 1000)
print("10 batches of 1000 click rates, expected: one value 2**-23 above 1 changes next to nothing")
print("  largest rate 1.0000000:       AUC", clean[0], "calibration error", clean[1])
print("  largest rate 1.0000001:       AUC", mixed[0], "calibration error", mixed[1])

ranks = torch.randn(10_000, generator=generator) * 0.6 + 0.3
clicks = (torch.rand(10_000, generator=generator) < torch.sigmoid(2 * ranks)).int()
print("the same 10,000 logits, expected: one AUC")
seen = {rows: measured(ranks, clicks, rows)[0] for rows in (10_000, 4, 2, 1)}
for rows, auc in seen.items():
    print(f"  {rows:>6} rows an update:        AUC", auc)
if clean[0] - mixed[0] < 0.02 or mixed[1] < 2 * clean[1] or seen[10_000] - seen[2] < 0.02:
    sys.exit("A metric no longer asks each update anew whether its predictions are logits.")
PYTHON
