#!/usr/bin/env bash
# torch-rechub 0.9.0, torch 2.13.0, numpy 2.4.6, pandas 3.1.1, scikit-learn 1.9.1, scipy 1.17.1, tqdm 4.70.1
#
# One would expect: CTRTrainer leaves the weights of the best epoch. Its docstring says of model_path that only the
# best weight in the validation data is saved, the page "Callbacks" that best weights are kept automatically, and the
# line that writes model.pth is commented as saving the best AUC's model.
# What happens: the best weights are put back only where patience runs out. Where the epochs end first, the model in
# memory and model.pth are the LAST epoch's, though the trainer holds the best ones. With the defaults (n_epoch=10,
# earlystop_patience=10) patience can never run out: epoch 1 always improves, nine are left.
# What it costs: click models overfit within an epoch or two, so the last epoch is the worst one: 0.72 below where 0.79
# was seen. Two trainings that differ in nothing but the number of epochs are judged by two rules.
# Instead: after fit(), model.load_state_dict(trainer.early_stopper.best_weights), and save that; or let the number of
# epochs exceed what patience can reach. widedeep keeps the best epoch's weights however the training ends.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 pandas==3.1.1 scikit-learn==1.9.1 scipy==1.17.1 \
  tqdm==4.70.1
"$work/venv/bin/pip" install --quiet --no-deps torch-rechub==0.9.0
cd "$work"
venv/bin/python - 2>/dev/null <<'PYTHON' | grep -v -e '^epoch' -e '^Current'
import importlib.metadata
import sys

import numpy as np
import torch
from torch_rechub.basic.features import SparseFeature
from torch_rechub.models.ranking import WideDeep
from torch_rechub.trainers import CTRTrainer
from torch_rechub.utils.data import DataGenerator

print("torch-rechub", importlib.metadata.version("torch-rechub"))
random = np.random.default_rng(0)
users, ads = random.integers(0, 1500, 6000), random.integers(0, 50, 6000)
clicks = (random.random(6000) < 1 / (1 + np.exp(2 - random.normal(0, 1.5, 50)[ads]))).astype(int)
rows = {"user": users, "ad": ads}
torch.manual_seed(0)
training, held, _ = DataGenerator(rows, clicks).generate_dataloader(split_ratio=[0.6, 0.4], batch_size=256)
worst = {}
for epochs, patience in ((10, 10), (10, 2)):
    torch.manual_seed(0)
    wide = [SparseFeature("user", 1500, embed_dim=8), SparseFeature("ad", 50, embed_dim=8)]
    model = WideDeep(wide, wide, mlp_params={"dims": [32], "dropout": 0})
    trainer = CTRTrainer(model, optimizer_params={"lr": 0.01}, n_epoch=epochs, earlystop_patience=patience)
    trainer.fit(training, held)
    model.load_state_dict(torch.load("model.pth"))
    saved = trainer.evaluate(model, held)
    best = trainer.early_stopper.best_auc
    worst[patience] = best - saved
    print(f"n_epoch={epochs}, earlystop_patience={patience}: best AUC {best:.4f}, that of model.pth {saved:.4f}")
if worst[10] < 0.005 or worst[2] > 1e-6:
    print("CTRTrainer now saves the best weights, or saves others when patience runs out.")
    sys.exit(1)
PYTHON
