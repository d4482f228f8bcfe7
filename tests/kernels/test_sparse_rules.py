"""The optimizer rules on touched rows: against per-coordinate float64 references, torch's optimizers and themselves."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.kernels import reference

ROWS, WIDTH = 7, 3


def random_batches(seed: int, steps: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(steps):
        count = int(torch.randint(1, ROWS + 1, (), generator=generator))
        rows = torch.randperm(ROWS, generator=generator)[:count]
        batches.append((rows, torch.randn(count, WIDTH, generator=generator)))
    return batches


def ftrl_by_the_paper(
    batches: list[tuple[torch.Tensor, torch.Tensor]], *, alpha: float, beta: float, l1: float, l2: float
) -> np.ndarray:
    """McMahan et al., KDD 2013, Algorithm 1, one coordinate at a time, in Python's float64."""
    w, z, n = (np.zeros((ROWS, WIDTH)) for _ in range(3))
    for rows, gradients in batches:
        for row, gradient in zip(rows.tolist(), gradients.double().tolist(), strict=True):
            for i, g in enumerate(gradient):
                sigma = (math.sqrt(n[row, i] + g * g) - math.sqrt(n[row, i])) / alpha
                z[row, i] += g - sigma * w[row, i]
                n[row, i] += g * g
                sign = math.copysign(1.0, z[row, i])
                if abs(z[row, i]) <= l1:
                    w[row, i] = 0.0
                else:
                    w[row, i] = -(z[row, i] - sign * l1) / ((beta + math.sqrt(n[row, i])) / alpha + l2)
    return w


@given(
    seed=st.integers(0, 2**31),
    alpha=st.floats(0.01, 1.0),
    beta=st.floats(0.0, 2.0),
    l1=st.sampled_from([0.0, 0.1, 1.0]),
    l2=st.sampled_from([0.0, 0.5]),
)
@settings(max_examples=60)
def test_ftrl_equals_algorithm_1_in_float64(seed: int, alpha: float, beta: float, l1: float, l2: float) -> None:
    batches = random_batches(seed, 8)
    table, z, n = (torch.zeros(ROWS, WIDTH) for _ in range(3))
    for rows, gradients in batches:
        reference.ftrl(table, z, n, rows, gradients, alpha=alpha, beta=beta, l1=l1, l2=l2)
    expected = ftrl_by_the_paper(batches, alpha=alpha, beta=beta, l1=l1, l2=l2)
    # z is a sum with cancellation, so 1e-5 is relative to the largest weight.
    np.testing.assert_allclose(table.numpy(), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max(initial=1e-3))


def test_ftrl_l1_keeps_a_weight_at_exactly_zero_until_the_evidence_exceeds_it() -> None:
    table, z, n = (torch.zeros(2, 1) for _ in range(3))
    for _ in range(3):
        reference.ftrl(
            table, z, n, torch.tensor([0, 1]), torch.tensor([[0.3], [0.6]]), alpha=0.1, beta=1.0, l1=1.0, l2=0.0
        )
    assert table[0].item() == 0.0
    assert table[1].item() < 0.0


@pytest.mark.parametrize("rule", ["adagrad", "adam", "sgd"])
def test_with_every_row_touched_a_rule_is_torchs_own_optimizer(rule: str) -> None:
    generator = torch.Generator().manual_seed(5)
    start = torch.randn(ROWS, WIDTH, generator=generator)
    parameter = torch.nn.Parameter(start.clone())
    oracle = {
        "adagrad": lambda: torch.optim.Adagrad([parameter], lr=0.1, weight_decay=0.01),
        "adam": lambda: torch.optim.Adam([parameter], lr=0.1, weight_decay=0.01),
        "sgd": lambda: torch.optim.SGD([parameter], lr=0.1),
    }[rule]()
    table, rows = start.clone(), torch.arange(ROWS)
    first, second = torch.zeros(ROWS, WIDTH), torch.zeros(ROWS, WIDTH)
    for step in range(1, 11):
        gradients = torch.randn(ROWS, WIDTH, generator=generator)
        parameter.grad = gradients.clone()
        oracle.step()
        if rule == "adagrad":
            reference.adagrad(table, first, rows, gradients, learning_rate=0.1, l2=0.01)
        elif rule == "adam":
            reference.adam(table, first, second, rows, gradients, learning_rate=0.1, step=step, l2=0.01)
        else:
            reference.sgd(table, rows, gradients, learning_rate=0.1)
    torch.testing.assert_close(table, parameter.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", ["ftrl", "adagrad", "adam", "sgd"])
def test_rows_that_the_batch_did_not_touch_stay_as_they_are(rule: str) -> None:
    table, first, second = torch.ones(ROWS, WIDTH), torch.ones(ROWS, WIDTH), torch.ones(ROWS, WIDTH)
    rows, gradients = torch.tensor([2, 5]), torch.ones(2, WIDTH)
    if rule == "ftrl":
        reference.ftrl(table, first, second, rows, gradients, alpha=0.1, beta=1.0, l1=0.0, l2=0.0)
    elif rule == "adagrad":
        reference.adagrad(table, first, rows, gradients, learning_rate=0.1, l2=0.1)
    elif rule == "adam":
        reference.adam(table, first, second, rows, gradients, learning_rate=0.1, step=3, l2=0.1)
    else:
        reference.sgd(table, rows, gradients, learning_rate=0.1)
    untouched = [0, 1, 3, 4, 6]
    for tensor in (table, first, second):
        assert (tensor[untouched] == 1.0).all()
    assert (table[rows] != 1.0).all()


@given(st.integers(0, 2**31), st.integers(1, 40))
@settings(max_examples=40)
def test_duplicates_are_summed_before_the_rule_sees_them(seed: int, lookups: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, ROWS, (lookups,), generator=generator)
    gradients = torch.randn(lookups, WIDTH, generator=generator)
    unique, inverse = torch.unique(rows, return_inverse=True)
    summed = reference.sum_duplicates(inverse, gradients, len(unique))
    for position, row in enumerate(unique.tolist()):
        expected = gradients[rows == row].double().sum(0)
        torch.testing.assert_close(summed[position].double(), expected, rtol=1e-5, atol=1e-5)
