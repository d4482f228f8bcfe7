"""Optimizers of whole parameters move them as torch's own do, to the bit, without loading torch's compiler."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.training.dense import DenseOptimizer, Group

ORACLES: dict[str, Any] = {
    "adam": lambda groups, rate: torch.optim.Adam(groups, lr=rate, fused=True),
    "adamw": lambda groups, rate: torch.optim.AdamW(groups, lr=rate, fused=True),
    "adagrad": lambda groups, rate: torch.optim.Adagrad(groups, lr=rate),
    "sgd": lambda groups, rate: torch.optim.SGD(groups, lr=rate),
}
RULES = sorted(ORACLES)


def parameters(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(5, 3), (4,), (2, 2), (0, 3)]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def gradients(seed: int, step: int) -> list[torch.Tensor | None]:
    """Of a step; now and then a parameter has none."""
    generator = torch.Generator().manual_seed(seed * 100 + step)
    drawn = [torch.randn(p.shape, generator=generator) for p in parameters(seed)]
    return [None if number == 2 and step % 2 else g for number, g in enumerate(drawn)]


@pytest.mark.parametrize("rule", RULES)
@given(st.integers(0, 2**16), st.floats(1e-4, 1.0), st.sampled_from([0.0, 0.01, 0.3]), st.integers(1, 6))
@settings(max_examples=25)
def test_every_rule_moves_parameters_as_torchs_optimizer_does(
    rule: str, seed: int, rate: float, decay: float, steps: int
) -> None:
    ours, theirs = parameters(seed), parameters(seed)
    optimizer = DenseOptimizer(rule, [Group(ours[:1], decay), Group(ours[1:])])  # type: ignore[arg-type]
    groups = [{"params": theirs[:1], "weight_decay": decay}, {"params": theirs[1:], "weight_decay": 0.0}]
    oracle = ORACLES[rule](groups, rate)
    for step in range(steps):
        for mine, other, gradient in zip(ours, theirs, gradients(seed, step), strict=True):
            mine.grad = None if gradient is None else gradient.clone()
            other.grad = None if gradient is None else gradient.clone()
        scale = 1.0 / (1 + step)
        for group in oracle.param_groups:
            group["lr"] = rate * scale
        optimizer.step(rate * scale)
        oracle.step()
        assert all(parameter.grad is None for parameter in ours)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)
    known = oracle.state_dict()["state"]
    for number, state in optimizer.numbered().items():
        assert {name: t for name, t in known[number].items() if t is not None}.keys() == state.keys()
        assert all(torch.equal(tensor, known[number][name]) for name, tensor in state.items())


@pytest.mark.parametrize("rule", RULES)
def test_a_restored_optimizer_goes_on_as_if_nothing_had_happened(rule: str) -> None:
    kept, moved = parameters(1), parameters(1)
    optimizers = [DenseOptimizer(rule, [Group(own)]) for own in (kept, moved)]  # type: ignore[arg-type]
    for step in range(4):
        if step == 2:
            saved = {n: {k: t.clone() for k, t in state.items()} for n, state in optimizers[1].numbered().items()}
            optimizers[1] = DenseOptimizer(rule, [Group(moved)])  # type: ignore[arg-type]
            optimizers[1].restore(saved)
        for own, optimizer in zip((kept, moved), optimizers, strict=True):
            for parameter, gradient in zip(own, gradients(1, step), strict=True):
                parameter.grad = gradient
            optimizer.step(0.1)
    assert all(torch.equal(a, b) for a, b in zip(kept, moved, strict=True))


@pytest.mark.parametrize(
    "states",
    [
        {0: {"step": torch.zeros(()), "sum": torch.zeros(5, 3)}},
        {0: {"step": torch.zeros(()), "exp_avg": torch.zeros(5, 3), "exp_avg_sq": torch.zeros(3, 5)}},
        {9: {"step": torch.zeros(()), "exp_avg": torch.zeros(5, 3), "exp_avg_sq": torch.zeros(5, 3)}},
    ],
)
def test_states_of_another_rule_shape_or_model_are_refused(states: dict[int, dict[str, torch.Tensor]]) -> None:
    with pytest.raises(ValueError, match="of other names or shapes"):
        DenseOptimizer("adam", [Group(parameters(0))]).restore(states)


def test_no_optimizer_loads_torchs_compiler() -> None:
    script = """
import sys, torch
from widedeep.training.dense import DenseOptimizer, Group
for rule in ("adam", "adamw", "adagrad", "sgd"):
    weight = torch.zeros(3, requires_grad=True)
    weight.sum().backward()
    DenseOptimizer(rule, [Group([weight])]).step(0.1)
assert weight.sum() < 0
assert "torch._dynamo" not in sys.modules and "sympy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
