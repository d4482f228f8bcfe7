"""What a cross gains in a trained model, against the scorer's scores with the cross's weights taken off by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss

from widedeep.pipeline import experiment
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.scorer import Scorer
from widedeep.scoring.weights import wide_weights
from widedeep.table.parts import read_typed
from widedeep.table.typed_columns import LABEL, WEIGHT

RECIPE = """\
name: small
data:
  train: log.parquet
  label: {column: y, kind: KIND}
  weight: importance
  split: {kind: random, valid: 0.2, test: 0.2}
features:
  numeric: [{column: price, buckets: 4}]
  categorical: [color, shape]
  multi_valued:
    - {column: tags, separator: "|"}
    - {column: words, separator: "|", weight_separator: ":"}
crosses:
  - {fields: [shape, color], promised: [0.02, 0.01, 0.03]}
  - {fields: [price, color], granularity: {price: 8}}
  - {fields: [tags, color], promised: [0.005, -0.001, 0.011]}
  - {fields: [words, price], buckets: 64, promised: [1.0e-5, 0.0, 2.0e-5]}
model:
  kind: wide_deep
  wide: {crosses: LEARNT}
  deep: {hidden: [4]}
training: {epochs: 2, batch_size: 128, threads: 1}
"""
PROMISED = ["color x shape", "color x tags", "price x words"]


def write_log(path: Path, kind: str, rows: int = 3000) -> None:
    draw = np.random.default_rng(0)
    color, shape = draw.integers(0, 5, (2, rows))
    tags = [[f"t{tag}" for tag in draw.permutation(4)[: draw.integers(0, 3)]] for _ in range(rows)]
    logit = draw.normal(0, 1.2, (5, 5))[color, shape] + np.array(
        [0.8 * (("t1" in held) ^ (c % 2 == 0)) for held, c in zip(tags, color, strict=True)]
    )
    noise = draw.normal(0, 1, rows)
    pl.DataFrame(
        {
            "color": [f"c{value}" for value in color],
            "shape": [f"s{value}" for value in shape],
            "price": draw.lognormal(size=rows),
            "tags": ["|".join(held) or None for held in tags],
            "words": [
                "|".join(f"w{word}:{draw.integers(1, 5) / 4}" for word in draw.permutation(5)[: draw.integers(0, 3)])
                for _ in range(rows)
            ],
            "importance": draw.integers(1, 4, rows),
            "y": logit + noise if kind == "regression" else (draw.random(rows) < 1 / (1 + np.exp(-logit))).astype(int),
        }
    ).write_parquet(path)


def trained(folder: Path, kind: str, learnt: str, *options: str) -> Path:
    write_log(folder / "log.parquet", kind)
    (folder / "small.yaml").write_text(RECIPE.replace("KIND", kind).replace("LEARNT", learnt))
    return experiment.train(load_recipe(folder / "small.yaml", options), folder, Reporter()).run


def rows_of_test(run: Path) -> pl.DataFrame:
    (folder,) = run.parents[2].glob("stages/ingest/*")
    return read_typed(folder, "test")


def added(encoded: pl.DataFrame, name: str, weights: np.ndarray) -> np.ndarray:
    """What the cross adds to each row's logit, a row at a time."""
    sums = []
    for row in range(len(encoded)):
        indices = encoded[name][row]
        if isinstance(indices, int):
            sums.append(float(weights[indices]))
            continue
        factors = (
            encoded[f"{name}\x01weights"][row] if f"{name}\x01weights" in encoded.columns else [1.0] * len(indices)
        )
        sums.append(sum(float(weights[index]) * factor for index, factor in zip(indices, factors, strict=True)))
    return np.array(sums)


@pytest.mark.parametrize(
    ("kind", "learnt"), [("binary", "out_of_fold"), ("binary", "gradient"), ("regression", "out_of_fold")]
)
def test_a_realised_gain_is_the_fall_of_the_loss_as_the_crosss_weights_come_on_top_of_those_before(
    kind: str, learnt: str, tmp_path: Path
) -> None:
    run = trained(tmp_path, kind, learnt)
    gains: dict[str, Any] = json.loads((run / "metrics.json").read_text())["crosses"]
    scorer = Scorer.load(run)
    frame = rows_of_test(run)
    scores, encoded = scorer.score(frame)
    weights = wide_weights(RunDirectory(run), scorer.plan)
    label, importance = frame[LABEL].to_numpy(), frame[WEIGHT].to_numpy()
    logit = scores.astype(np.float64) if kind == "regression" else np.log(scores / (1 - scores.astype(np.float64)))
    by_name = {name: added(encoded, name, weights[name]) for name in PROMISED}

    def loss(logits: np.ndarray) -> float:
        if kind == "regression":
            return float(np.average((label - logits) ** 2, weights=importance))
        return float(log_loss(label, 1 / (1 + np.exp(-logits)), sample_weight=importance))

    assert [" x ".join(sorted(cross["columns"])) for cross in gains["crosses"]] == PROMISED
    present = logit - sum(by_name.values())
    for cross, name in zip(gains["crosses"], PROMISED, strict=True):
        value, low, high = cross["realised"]
        assert value == pytest.approx(loss(present) - loss(present + by_name[name]), abs=2e-5)
        assert low <= value <= high
        present = present + by_name[name]
    assert [cross["promised"] for cross in gains["crosses"]] == [
        [0.02, 0.01, 0.03],
        [0.005, -0.001, 0.011],
        [1e-5, 0, 2e-5],
    ]
    together = loss(logit - sum(by_name.values())) - loss(logit)
    assert gains["all"]["realised"][0] == pytest.approx(together, abs=2e-5)
    assert gains["all"]["promised"] == pytest.approx(0.02501)
    # The planted ones do gain; the third is of chance, and out of fold it is left out.
    assert all(cross["realised"][1] > 0 for cross in gains["crosses"][:2])


@pytest.mark.parametrize(
    "option", ["model.kind=deep", "crosses=[[color, shape]]", "crosses=[]"], ids=["deep", "no promise", "no crosses"]
)
def test_without_crosses_or_promises_nothing_is_realised(option: str, tmp_path: Path) -> None:
    run = trained(tmp_path, "binary", "gradient", option, "training.epochs=1")
    assert json.loads((run / "metrics.json").read_text())["crosses"] is None


def test_without_held_out_rows_nothing_is_realised(tmp_path: Path) -> None:
    options = ["data.split.valid=0.0", "data.split.test=0.0", "training.epochs=1"]
    assert (
        json.loads((trained(tmp_path, "binary", "gradient", *options) / "metrics.json").read_text())["crosses"] is None
    )
