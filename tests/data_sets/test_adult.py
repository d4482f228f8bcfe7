"""On Adult, where WIDEDEEP_DATA has it: the bundled recipe, and the wide part against scikit-learn's optimum."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from widedeep.api.recipes import bundled_recipes
from widedeep.api.runs import Run
from widedeep.encoded.batches import BatchStream
from widedeep.encoded.store import EncodedStore
from widedeep.features.plan import FeaturePlan
from widedeep.pipeline.experiment import train
from widedeep.pipeline.stages import build_crosses
from widedeep.recipe.load import LoadedRecipe, load_recipe
from widedeep.reporting import Reporter

DATA = Path(os.environ.get("WIDEDEEP_DATA", "data"))
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not (DATA / "adult" / "adult.data").exists(), reason="Adult is not under WIDEDEEP_DATA"),
]
L2 = 1e-2


def adult(*overrides: str) -> LoadedRecipe:
    return load_recipe(bundled_recipes()["adult"], overrides, base_dir=Path.cwd())


def encoded_matrix(loaded: LoadedRecipe, work: Path) -> tuple[csr_matrix, np.ndarray]:
    """The train rows as the wide part sees them: one-hot indices, then the numerics."""
    stage = build_crosses(loaded, work, Reporter())
    plan = FeaturePlan.load(stage.path / "plan")
    store = EncodedStore.open(stage.path / "train")
    names = [column.name for column in plan.index_columns]
    (batch,) = BatchStream(store, names, plan.numeric_columns, store.rows, seed=None)
    starts = np.cumsum([0, *(column.size for column in plan.index_columns)])
    hot = (batch.indices.T + starts[:-1]).ravel()
    rows = np.repeat(np.arange(store.rows), len(names))
    one_hot = csr_matrix((np.ones(len(hot)), (rows, hot)), shape=(store.rows, starts[-1]))
    return hstack([one_hot, batch.numerics.T]).tocsr(), batch.label


def test_wide_by_full_batch_sgd_reaches_the_optimum_that_scikit_learn_finds(tmp_path: Path) -> None:
    loaded = adult(
        "model.kind=wide",
        "model.wide.crosses=gradient",  # the oracle learns one weight per combination
        "data.split={kind: random, valid: 0}",
        "training.batch_size=40000",
        "training.epochs=1000",
        f"training.wide={{optimizer: sgd, learning_rate: 0.4, l2: {L2}}}",
    )
    run = train(loaded, tmp_path, Reporter()).run
    ours = Run(run, work_dir=tmp_path).evaluate(split="train").metrics["log_loss"]
    matrix, label = encoded_matrix(loaded, tmp_path)
    oracle = LogisticRegression(C=1 / (L2 * len(label)), tol=1e-8, max_iter=5000).fit(matrix, label)
    assert ours == pytest.approx(log_loss(label, oracle.predict_proba(matrix)[:, 1]), abs=1e-3)


def test_the_bundled_recipe_reaches_an_auc_of_0_92(tmp_path: Path) -> None:
    metrics = train(adult(), tmp_path, Reporter()).metrics
    assert metrics["test"]["auc"] is not None
    assert metrics["test"]["auc"] >= 0.920
