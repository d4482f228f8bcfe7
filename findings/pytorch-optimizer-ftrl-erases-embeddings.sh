#!/usr/bin/env bash
# pytorch_optimizer 4.1.0, torch 2.13.0, numpy 2.4.6
#
# One would expect: FTRL, the optimizer of click models, takes a model from the weights that it has, as every other
# optimizer of the package does; without penalties (lambda_1 = lambda_2 = 0, the default) a row of an embedding without
# a gradient stays as it is. The page calls beta an offset in the denominator of the update, and warns of nothing.
# What happens: FTRL writes each weight anew from its sum of gradients, and the weights that a model starts with are
# not in that sum. (1) All rows that the first batch does not hold are exactly 0 after the first step. (2) With beta,
# which the paper on FTRL sets to 1, the rows that it does hold shrink too. In a linear model that starts at 0 nobody
# notices. A product of two embeddings that are both 0 has gradient 0: such a pair is learnt only by way of others. The
# package takes no sparse gradients here, so that rows cannot be kept out of the step.
# What it costs: pretrained embeddings are gone after one step, new ids have no random start, and a factor model with
# beta = 1 learns nothing: AUC 0.52 below where Adam has 0.76. The loss falls to that of the base rate and stays there.
# Instead: FTRL for the wide, linear part alone, and Adam or Adagrad for embeddings and layers. widedeep starts FTRL's
# weights at 0 and has another optimizer for the deep part.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$work/venv/bin/pip" install --quiet --no-deps pytorch_optimizer==4.1.0
cd "$work"
venv/bin/python - <<'PYTHON'
import importlib.metadata
import sys

import torch
from pytorch_optimizer import FTRL
from torch.nn.functional import binary_cross_entropy_with_logits

print("pytorch_optimizer", importlib.metadata.version("pytorch_optimizer"))
torch.manual_seed(0)
users, ads = torch.randint(400, (20000,)), torch.randint(100, (20000,))
tastes, themes = torch.randn(400, 4), torch.randn(100, 4)
clicks = (torch.rand(20000) < torch.sigmoid((tastes[users] * themes[ads]).sum(1) - 1)).float()

def auc(scores, clicks):
    ranks = torch.empty_like(scores)
    ranks[scores.argsort()] = torch.arange(1, len(scores) + 1).float()
    shown = clicks.sum()
    return float((ranks[clicks == 1].sum() - shown * (shown + 1) / 2) / (shown * (len(clicks) - shown)))

figures = {}
for name, made in {
    "FTRL, beta 0": lambda weights: FTRL(weights, lr=0.1),
    "FTRL, beta 1": lambda weights: FTRL(weights, lr=0.1, beta=1.0),
    "Adam": lambda weights: torch.optim.Adam(weights, lr=0.01),
}.items():
    torch.manual_seed(1)
    user, ad, bias = (torch.nn.Parameter(0.3 * torch.randn(*shape)) for shape in ((400, 4), (100, 4), (1,)))
    started = user.detach().clone()
    optimizer = made([user, ad, bias])
    zero = None
    for epoch in range(5):
        for batch in torch.arange(16000).split(32):
            logits = (user[users[batch]] * ad[ads[batch]]).sum(1) + bias
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(logits, clicks[batch]).backward()
            optimizer.step()
            if zero is None:
                zero = int((user == 0).all(1).sum())
                seen = users[batch].unique()
                kept = float((user[seen].norm() / started[seen].norm()).detach())
    with torch.no_grad():
        held = auc((user[users[16000:]] * ad[ads[16000:]]).sum(1), clicks[16000:])
    figures[name] = zero, held
    print(f"  {name}: after one step {zero} of 400 users are 0 and the others {kept:.2f} times as long; AUC {held:.3f}")
if not (figures["FTRL, beta 0"][0] > 300 and figures["FTRL, beta 1"][1] < 0.55 < figures["Adam"][1]):
    sys.exit("FTRL no longer erases the weights that a model starts with.")
PYTHON
