"""Runs of format 1, whose crosses were all learnt by gradient and whose recipes do not say so, score as they did.

`run-format-1` was made by the version before crosses from memory, and so were the scores of the rows beside it.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from widedeep.features.plan import FeaturePlan
from widedeep.runs import RunDirectory
from widedeep.scoring.weights import wide_weights

CommandLine = Callable[..., tuple[int, str, str]]
RUN = Path(__file__).with_name("run-format-1")
ROWS = Path(__file__).with_name("run-format-1-scores.csv")
LOG_LOSS = 0.5884648504665216
"""Of the rows, by the version that made the run."""


def test_the_run_is_of_format_1_and_its_recipe_says_nothing_of_how_crosses_are_learnt() -> None:
    assert RunDirectory(RUN).manifest()["format"] == 1
    assert "wide:" not in RunDirectory(RUN).recipe_path.read_text().partition("training:")[0]


def test_predict_gives_the_scores_that_the_version_of_the_run_gave(widedeep: CommandLine, tmp_path: Path) -> None:
    code, _, err = widedeep("predict", RUN, ROWS, "-o", tmp_path / "scores.csv")
    assert code == 0, err
    expected = pl.read_csv(ROWS)["score"].to_numpy()
    assert pl.read_csv(tmp_path / "scores.csv")["score"].to_numpy() == pytest.approx(expected, abs=1e-6)


def test_eval_gives_the_loss_that_the_version_of_the_run_gave(widedeep: CommandLine) -> None:
    code, out, err = widedeep("eval", RUN, ROWS, "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"]["log_loss"] == pytest.approx(LOG_LOSS, rel=1e-6)


def test_its_wide_weights_are_those_of_the_checkpoint() -> None:
    weights = wide_weights(RunDirectory(RUN), FeaturePlan.load(RUN / "plan"))
    stored = load_file(RunDirectory(RUN).best_path)["model.wide.weights.weight"]
    assert list(weights) == [
        "color",
        "shape",
        "price\x01buckets",
        "color x shape",
        "price x shape",
        "tags",
        "color x tags",
    ]
    assert np.concatenate(list(weights.values())).tolist() == stored[:, 0].tolist()
