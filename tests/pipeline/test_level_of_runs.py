"""A finished run stands at the level of its valid rows, and a finish that is taken up again moves nothing twice."""

import json
from pathlib import Path

import pytest

from widedeep.pipeline.experiment import Asked, train
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.training.checkpoints import load_checkpoint

OVERRIDES = ["training.epochs=2", "training.wide.learning_rate=0.5"]


def test_the_best_checkpoint_is_shifted_and_its_metrics_are_those_of_the_shifted_model(project: Path) -> None:
    run = train(load_recipe(project / "small.yaml", OVERRIDES), project, Reporter()).run
    facts = json.loads((run / "metrics.json").read_text())
    tensors, state = load_checkpoint(run / "checkpoints" / "best.safetensors")
    assert facts["level_shift"] == state["level_shift"] != 0.0
    epochs = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    (best,) = [event for event in epochs if event["event"] == "epoch" and event["epoch"] == facts["best_epoch"]]
    before, after = best["valid"]["calibration"], facts["metrics"]["valid"]["calibration"]
    assert abs(after - 1.0) < abs(before - 1.0)
    assert facts["metrics"]["valid"]["auc"] == pytest.approx(best["valid"]["auc"], abs=1e-6)
    assert "model.bias" in tensors


def test_a_finish_that_is_taken_up_again_gives_the_same_bytes(project: Path) -> None:
    recipe = load_recipe(project / "small.yaml", OVERRIDES)
    run = train(recipe, project, Reporter()).run
    best = run / "checkpoints" / "best.safetensors"
    expected = best.read_bytes()
    for name in ("DONE", "metrics.json", "golden.parquet"):
        (run / name).unlink()
    again = train(recipe, project, Reporter(), Asked(resume=True))
    assert again.run == run
    assert best.read_bytes() == expected


@pytest.mark.parametrize("override", ["data.label.kind=regression", "data.split={kind: random, valid: 0.0, test: 0.2}"])
def test_without_valid_rows_or_classes_nothing_is_shifted(project: Path, override: str) -> None:
    run = train(load_recipe(project / "small.yaml", [*OVERRIDES, override]), project, Reporter()).run
    assert json.loads((run / "metrics.json").read_text())["level_shift"] == 0.0
