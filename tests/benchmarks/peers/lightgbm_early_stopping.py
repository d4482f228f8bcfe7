"""LightGBM with early stopping: lightgbm_early_stopping.py FOLDER SEEDS SETTINGS, a JSON object.

FOLDER holds train, valid and test rows (X_SPLIT.npy, float64, categories as numbers, NaN where a value is missing or
unknown to the train rows; y_SPLIT.npy) and columns.json, which says what columns are categories. Test scores go there.
"""

import json
import sys
import time
from pathlib import Path

import lightgbm
import numpy as np

folder, seeds, given = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
columns = json.loads((folder / "columns.json").read_text())
rows = {split: np.load(folder / f"X_{split}.npy") for split in ("train", "valid", "test")}
labels = {split: np.load(folder / f"y_{split}.npy") for split in ("train", "valid")}
categories = [number for number, column in enumerate(columns) if column["categorical"]]

found: dict[str, list] = {"valid_auc": [], "rounds": [], "leaves": [], "seconds": [], "test_scores": []}
for seed in range(seeds):
    settings = {"objective": "binary", "metric": "auc", "verbosity": -1, **given, "seed": seed}
    train = lightgbm.Dataset(rows["train"], labels["train"], categorical_feature=categories)
    valid = lightgbm.Dataset(rows["valid"], labels["valid"], reference=train)
    started = time.perf_counter()
    stopping = lightgbm.early_stopping(100, verbose=False)
    model = lightgbm.train(settings, train, 5000, valid_sets=[valid], callbacks=[stopping])
    path = folder / f"scores-{seed}.npy"
    np.save(path, model.predict(rows["test"], num_iteration=model.best_iteration).astype(np.float32))
    trees = model.dump_model(num_iteration=model.best_iteration)["tree_info"]
    found["seconds"].append(time.perf_counter() - started)
    found["valid_auc"].append(model.best_score["valid_0"]["auc"])
    found["rounds"].append(model.best_iteration)
    found["leaves"].append(sum(tree["num_leaves"] for tree in trees))
    found["test_scores"].append(str(path))
print(json.dumps(found))
