"""Plain-torch optimizer rules on some rows of a table, in place: the oracle for every faster implementation.

Shapes, in all of them: `table` and each state [R, D] float32; `rows` [U] int64 without duplicates;
`gradients` [U, D] float32, the batch's duplicates already summed. Only the named rows are read or written.
"""

import torch
from torch import Tensor


def sum_duplicates(inverse: Tensor, gradients: Tensor, num_rows: int) -> Tensor:
    """Sum the gradients [N, D] that belong to the same of `num_rows` rows; `inverse` [N] says which. Returns [U, D]."""
    return torch.zeros(num_rows, gradients.shape[1], dtype=gradients.dtype, device=gradients.device).index_add_(
        0, inverse, gradients
    )


def ftrl(
    table: Tensor,
    z: Tensor,
    n: Tensor,
    rows: Tensor,
    gradients: Tensor,
    *,
    alpha: float,
    beta: float,
    l1: float,
    l2: float,
) -> None:
    """FTRL-Proximal per coordinate, on summed gradients (McMahan et al., KDD 2013, Algorithm 1)."""
    old_n = n[rows]
    new_n = old_n + gradients * gradients
    sigma = (new_n.sqrt() - old_n.sqrt()) / alpha
    new_z = z[rows] + gradients - sigma * table[rows]
    shrunk = (new_z.abs() - l1).clamp_min_(0.0) * new_z.sign()
    table[rows] = -shrunk / ((beta + new_n.sqrt()) / alpha + l2)
    z[rows] = new_z
    n[rows] = new_n


def adagrad(
    table: Tensor,
    n: Tensor,
    rows: Tensor,
    gradients: Tensor,
    *,
    learning_rate: float,
    l2: float,
    epsilon: float = 1e-10,
) -> None:
    """AdaGrad, element-wise (Duchi et al., JMLR 2011); `l2` acts on the touched rows."""
    weights = table[rows]
    gradients = gradients.add(weights, alpha=l2) if l2 else gradients
    new_n = n[rows] + gradients * gradients
    table[rows] = weights - learning_rate * gradients / (new_n.sqrt() + epsilon)
    n[rows] = new_n


def adam(
    table: Tensor,
    m: Tensor,
    v: Tensor,
    rows: Tensor,
    gradients: Tensor,
    *,
    learning_rate: float,
    step: int,
    l2: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> None:
    """Lazy Adam (Kingma and Ba, ICLR 2015, moments of untouched rows left alone); `l2` acts on the touched rows.

    `step` is the 1-based number of the update, the same for every row.
    """
    weights = table[rows]
    gradients = gradients.add(weights, alpha=l2) if l2 else gradients
    new_m = m[rows].lerp(gradients, 1.0 - beta1)
    new_v = v[rows] * beta2 + gradients * gradients * (1.0 - beta2)
    denominator = (new_v / (1.0 - beta2**step)).sqrt_().add_(epsilon)
    table[rows] = weights - (learning_rate / (1.0 - beta1**step)) * new_m / denominator
    m[rows] = new_m
    v[rows] = new_v


def sgd(table: Tensor, rows: Tensor, gradients: Tensor, *, learning_rate: float) -> None:
    """Plain gradient descent."""
    table[rows] = table[rows] - learning_rate * gradients
