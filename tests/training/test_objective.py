"""What the branches of a tower learn from the whole model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from widedeep.pipeline.experiment import train
from widedeep.recipe.data import LabelKind
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.training import loop
from widedeep.training.objective import distillation_loss


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_each_branch_learns_the_score_of_the_whole_which_learns_nothing_from_it(kind: LabelKind) -> None:
    generator = torch.Generator().manual_seed(1)
    wide, first, second = (torch.randn(4, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(3))
    weight = torch.tensor([1.0, 2.0, 0.0, 1.0], dtype=torch.float64)
    logit = wide + (first + second) / 2
    loss = distillation_loss(kind, logit, (first, second), weight)
    loss.backward()
    assert wide.grad is None or not wide.grad.any()
    expected = 0.0
    for branch in (first, second):
        alone, whole = (t.detach().numpy() for t in (wide + branch, logit))
        if kind == "binary":
            p, q = (1.0 / (1.0 + np.exp(-x)) for x in (alone, whole))
            losses, slope = -(q * np.log(p) + (1.0 - q) * np.log(1.0 - p)), p - q
        else:
            losses, slope = (alone - whole) ** 2, 2.0 * (alone - whole)
        expected += float((losses * weight.numpy()).sum() / 4.0)
        assert branch.grad is not None
        assert branch.grad.tolist() == pytest.approx((slope * weight.numpy() / 4.0).tolist(), abs=1e-12)
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("setting", "calls"), [("kind=finalnet", 1), ("finalnet={blocks: 1}", 0), ("kind=wide_deep", 0)]
)
def test_training_distils_at_every_step_where_a_tower_has_two_branches(
    setting: str, calls: int, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def counted(*arguments: Any) -> torch.Tensor:
        steps.append(1)
        return distillation_loss(*arguments)

    monkeypatch.setattr(loop, "distillation_loss", counted)
    overrides = ["model.kind=finalnet", f"model.{setting}", "training.epochs=1", "model.deep.hidden=[8]"]
    train(load_recipe(project / "small.yaml", overrides), project, Reporter())
    assert len(steps) == 11 * calls
