"""Every kind of model trained on a CUDA device scores as the same recipe trained on the CPU does. Waits for a device."""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch

from widedeep.recipe.kinds import KINDS

FIELDS = """
  multi_valued: [{column: tags, separator: "|"}]
"""
SETTINGS = (
    "model.deep.dropout=0",  # drawn on the device, in another order than on the CPU
    "training.epochs=1",
    "training.unknown_share=0.2",
    "training.wide.optimizer=ftrl",
)


def widedeep(*arguments: str | Path, cwd: Path, visible: bool) -> None:
    environment = os.environ if visible else {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "widedeep_cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_trained_on_cuda_scores_as_the_cpus_does(kind: str, project: Path) -> None:
    log = project / "log.csv"
    rows = pl.read_csv(log).with_columns(tags=pl.concat_str("color", "shape", separator="|", ignore_nulls=True))
    rows.write_csv(log)
    recipe = project / "small.yaml"
    recipe.write_text(recipe.read_text().replace("crosses:", f"{FIELDS.strip(chr(10))}\ncrosses:", 1))
    settings = [f"--set={setting}" for setting in (*SETTINGS, f"model.kind={kind}", "model.embeddings.dim=8")]
    if kind in ("wide", "fm"):
        settings = [setting for setting in settings if "model.deep" not in setting]
    if kind == "wide":
        settings = [setting for setting in settings if "embeddings" not in setting]
    if not KINDS[kind].has_wide(crosses=True):
        settings = [setting for setting in settings if "training.wide" not in setting]
    scores = {}
    for device in ("cuda", "cpu"):
        chosen = [*settings, f"--set=training.device={device}"]
        widedeep("train", "small.yaml", "--work", device, *chosen, cwd=project, visible=device == "cuda")
        # Trained there, scored on both: the arithmetic of training and of scoring are held apart.
        for scored_on in ("cuda", "cpu") if device == "cuda" else ("cpu",):
            output = project / f"{device}-{scored_on}.parquet"
            run = project / device / "runs" / "small" / "latest"
            widedeep("predict", run, "log.csv", "-o", output, cwd=project, visible=scored_on == "cuda")
            scores[device, scored_on] = pl.read_parquet(output)["score"]
    assert (scores["cuda", "cuda"] - scores["cuda", "cpu"]).abs().max() < 1e-5  # type: ignore[operator]
    assert (scores["cuda", "cpu"] - scores["cpu", "cpu"]).abs().max() < 1e-4  # type: ignore[operator]
