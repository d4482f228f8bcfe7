"""The first twenty losses on a fixed log, recorded: work that must not change results is held to them."""

import json
from pathlib import Path

import pytest

from widedeep.pipeline.experiment import train
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.training import loop

GOLDEN = Path(__file__).with_name("golden_curve.json")


def twenty_losses(
    project: Path, monkeypatch: pytest.MonkeyPatch, kind: str, crosses: str, precision: str
) -> list[float]:
    """Mean train loss from the epoch's start up to each of the first 20 steps."""
    monkeypatch.setattr(loop, "LOG_STEPS", 1)
    overrides = [
        f"model.kind={kind}",
        f"model.wide.crosses={crosses}",
        f"training.precision={precision}",
        "training.epochs=1",
        "training.batch_size=60",
        "training.dense_rows=20",
        "data.split={kind: random, valid: 0.15, test: 0.15}",
    ]
    result = train(load_recipe(project / "small.yaml", overrides), project, Reporter())
    events = [json.loads(line) for line in (result.run / "events.jsonl").read_text().splitlines()]
    losses = [event["loss"] for event in events if event["event"] == "step"]
    return losses[:20]


@pytest.mark.parametrize(
    ("kind", "crosses"),
    [
        ("wide", "gradient"),
        ("deep", "gradient"),
        ("wide_deep", "gradient"),
        ("wide", "out_of_fold"),
        ("wide_deep", "out_of_fold"),
    ],
)
def test_the_first_twenty_steps_repeat_the_recorded_losses(
    kind: str, crosses: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = json.loads(GOLDEN.read_text())[kind if crosses == "gradient" else f"{kind}, out of fold"]
    assert twenty_losses(project, monkeypatch, kind, crosses, "float32") == pytest.approx(golden, rel=1e-4)


@pytest.mark.parametrize("kind", ["deep", "wide_deep"])
def test_the_first_twenty_steps_in_bfloat16_repeat_theirs(
    kind: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = json.loads(GOLDEN.read_text())[f"{kind}, bfloat16"]
    losses = twenty_losses(project, monkeypatch, kind, "gradient", "bfloat16")
    # Processors sum in other orders, and a sum near a half is then rounded the other way, by 2^-8 of it.
    assert losses == pytest.approx(golden, rel=1e-3)
