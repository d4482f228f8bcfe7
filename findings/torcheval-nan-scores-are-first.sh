#!/usr/bin/env bash
# torcheval 0.0.7, torch 2.13.0, numpy 2.4.6
#
# One would expect: a hit rate counts whether the clicked ad is "among the top predicted classes" (pages hit_rate and
# reciprocal_rank; neither says a word of equal scores or of NaN). A model that cannot tell ten ads apart gets about
# 0.1 for the first place.
# What happens: the rank of the clicked ad is the number of ads with a GREATER score. Whoever shares its score does not
# count, and nothing is greater than NaN. So a model that gives all ads one score, and one whose scores are NaN, have
# hit rate 1 and reciprocal rank 1; and rounding the scores of a fair model makes it better, for the clicked ad wins
# every tie that the rounding makes.
# What it costs: the run that diverged tops the table and is what "keep the best" keeps. Rounded, quantised and clipped
# scores look better than those that they were made from, and a model whose sigmoids are saturated looks perfect.
# Instead: check that scores are finite; count ties as half (rank = greater + equal / 2), or break them by chance.
# widedeep takes the expected value over all orders of a tie, and stops where a score is not finite.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$work/venv/bin/pip" install --quiet torcheval==0.0.7
cd "$work"
venv/bin/python - <<'PYTHON'
import sys

import torch
import torcheval
from torcheval.metrics import HitRate, ReciprocalRank

print("torcheval", torcheval.__version__)
torch.manual_seed(0)
logits = torch.randn(5000, 10) - 3
clicked = torch.distributions.Categorical(logits=logits).sample()
rates = torch.sigmoid(logits)
models = {
    "float32 rates": rates,
    "the same rates in bfloat16": rates.bfloat16(),
    "the same rates, two decimals": rates.round(decimals=2),
    "one rate for all ads": torch.full_like(rates, 0.05),
    "NaN for all ads": torch.full_like(rates, float("nan")),
}
hits = {}
print("hit rate at 1 and reciprocal rank; chance is 0.1 and 0.293")
for name, scores in models.items():
    hit, rank = HitRate(k=1), ReciprocalRank()
    for batch in range(0, 5000, 1000):
        for metric in (hit, rank):
            metric.update(scores[batch : batch + 1000], clicked[batch : batch + 1000])
    hits[name] = hit.compute().mean().item()
    print(f"  {name}: {hits[name]:.3f}, {rank.compute().mean().item():.3f}")
fair, half, rounded, flat, broken = hits.values()
if not (flat == broken == 1.0 and rounded > half > fair):
    sys.exit("Equal and NaN scores no longer win the first place.")
PYTHON
