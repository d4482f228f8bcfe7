"""Look-ups and optimizer rules in plain torch: the oracle for every faster implementation.

Shapes of the rules: `table` and each state [R, D] float32; `rows` [U] int64 without duplicates;
`gradients` [U, D] float32, the batch's duplicates already summed. Only the named rows are read or written.
"""

import torch
from torch import Tensor

from widedeep.kernels.lookups import Bag, Column, Columns, Lookups, Pooling
from widedeep.kernels.rules import BETA1, BETA2, EPSILON, TINY, Adagrad, Adam, Ftrl, Rule, Sgd


def sum_duplicates(inverse: Tensor, gradients: Tensor, num_rows: int) -> Tensor:
    """Sum the gradients [N, D] of each of `num_rows` rows; `inverse` [N] holds their rows. Returns [num_rows, D]."""
    return torch.zeros(num_rows, gradients.shape[1], dtype=gradients.dtype, device=gradients.device).index_add_(
        0, inverse, gradients
    )


def ftrl(
    table: Tensor,
    z: Tensor,
    n: Tensor,
    rows: Tensor | slice,
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


def update_numbers(rule: Ftrl, weights: Tensor, z: Tensor, n: Tensor, gradients: Tensor) -> None:
    """Apply FTRL-Proximal to every number of a small vector, with summed gradients. All [N] float32."""
    ftrl(
        weights.view(-1, 1),
        z.view(-1, 1),
        n.view(-1, 1),
        slice(None),
        gradients.view(-1, 1),
        alpha=rule.alpha,
        beta=rule.beta,
        l1=rule.l1,
        l2=rule.l2,
    )


def adagrad(
    table: Tensor,
    n: Tensor,
    rows: Tensor,
    gradients: Tensor,
    *,
    learning_rate: float,
    l2: float,
) -> None:
    """AdaGrad, element-wise (Duchi et al., JMLR 2011) or, with a state `n` [R, 1], row-wise (rules.RowwiseAdagrad).

    `l2` acts on the touched rows.
    """
    weights = table[rows]
    gradients = gradients.add(weights, alpha=l2) if l2 else gradients
    squares = gradients * gradients
    new_n = n[rows] + (squares if n.shape == table.shape else squares.mean(dim=1, keepdim=True))
    table[rows] = weights - learning_rate * gradients / (new_n.sqrt() + TINY)
    n[rows] = new_n


def adam(
    table: Tensor,
    m: Tensor,
    v: Tensor,
    rows: Tensor,
    gradients: Tensor,
    *,
    learning_rate: float,
    step: int | Tensor,
    l2: float,
) -> None:
    """Lazy Adam (Kingma and Ba, ICLR 2015), which leaves the moments of untouched rows as they are.

    `l2` acts on the touched rows. `step` is the number of the update, from 1, the same for every row.
    """
    weights = table[rows]
    gradients = gradients.add(weights, alpha=l2) if l2 else gradients
    new_m = m[rows].lerp(gradients, 1.0 - BETA1)
    new_v = v[rows] * BETA2 + gradients * gradients * (1.0 - BETA2)
    denominator = (new_v / (1.0 - BETA2**step)).sqrt_().add_(EPSILON)
    table[rows] = weights - (learning_rate / (1.0 - BETA1**step)) * new_m / denominator
    m[rows] = new_m
    v[rows] = new_v


def sgd(table: Tensor, rows: Tensor, gradients: Tensor, *, learning_rate: float) -> None:
    """Plain gradient descent."""
    table[rows] = table[rows] - learning_rate * gradients


# ------------------------------------------------------------------------------------------------ whole look-ups


def look_up(table: Tensor, lookups: Lookups, out: Tensor) -> None:
    """Fill the columns of `out` [B, W] that belong to the table (see Lookups)."""
    columns, width = lookups.columns, table.shape[1]
    with torch.no_grad():
        if columns.summed:
            out.zero_()
        for position, start, place in _dense(columns):
            vectors = table[lookups.indices[position].long() + start]
            if columns.summed:
                out += vectors
            else:
                out[:, place : place + width] = vectors
        for column in columns.bags:
            pooled = _pooled(table[lookups.bags[column.position].values.long() + column.start], column, lookups)
            if columns.summed:
                out += pooled
            else:
                out[:, column.place : column.place + width] = pooled


def update(
    rule: Rule,
    table: Tensor,
    states: list[Tensor],
    lookups: Lookups,
    gradient: Tensor,
    *,
    factor: float | Tensor = 1.0,
) -> None:
    """Apply `rule` in place to the rows that `look_up` read; the gradients of each row are summed first.

    `gradient` [B, W] is the gradient of the loss with respect to the output of `look_up`; it is multiplied by `factor`.
    `states` are those that the rule names, in its order.
    """
    rows, gradients = summed_gradients(table, lookups, gradient)
    gradients = gradients * factor
    match rule:
        case Ftrl():
            z, n = states
            ftrl(table, z, n, rows, gradients, alpha=rule.alpha, beta=rule.beta, l1=rule.l1, l2=rule.l2)
        case Adagrad():
            (n,) = states
            adagrad(table, n, rows, gradients, learning_rate=rule.learning_rate, l2=rule.l2)
        case Adam():
            m, v = states
            adam(table, m, v, rows, gradients, learning_rate=rule.learning_rate, step=rule.step, l2=rule.l2)
        case Sgd():
            sgd(table, rows, gradients, learning_rate=rule.learning_rate)


def add_gradients(dense: Tensor, table: Tensor, lookups: Lookups, gradient: Tensor) -> None:
    """Set the rows of `dense` [R, D] that the batch touched to the sums of their gradients."""
    rows, gradients = summed_gradients(table, lookups, gradient)
    dense[rows] = gradients


def pay(table: Tensor, received: Tensor, lookups: Lookups, decay: float | Tensor) -> None:
    """Multiply the rows that the batch reads by exp(decay - received), and set their `received` to `decay`.

    `received` [R] float64 holds the logarithms of the shrinkage that rows have received so far.
    """
    rows = [lookups.indices[position].long() + start for position, start, _ in _dense(lookups.columns)]
    rows += [lookups.bags[column.position].values.long() + column.start for column in lookups.columns.bags]
    touched = torch.unique(torch.cat(rows))
    table[touched] *= (decay - received[touched]).exp().to(table.dtype).unsqueeze(-1)
    received[touched] = decay


def pool(vectors: Tensor, bag: Bag, num_rows: int, how: Pooling) -> Tensor:
    """Pool the vectors [N, D] of a bag's values, row by row. Returns [B, D]; zeros for a row without values.

    `sum` adds weight times vector. `mean` divides that by the sum of the weights (0 if they sum to 0). `max` takes the
    largest of weight times vector, element by element.
    """
    weighted = vectors if bag.weights is None else vectors * bag.weights.unsqueeze(1).to(vectors.dtype)
    zeros = torch.zeros(num_rows, vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
    if how == "max":
        rows = bag.rows.unsqueeze(1).expand_as(weighted)
        return zeros.scatter_reduce(0, rows, weighted, "amax", include_self=False)
    summed = zeros.index_add(0, bag.rows, weighted)
    if how == "sum":
        return summed
    ones = torch.ones_like(bag.rows, dtype=vectors.dtype) if bag.weights is None else bag.weights.to(vectors.dtype)
    total = torch.zeros(num_rows, dtype=vectors.dtype, device=vectors.device).index_add(0, bag.rows, ones)
    return summed / torch.where(total > 0, total, 1.0).unsqueeze(1)


def _dense(columns: Columns) -> list[tuple[int, int, int]]:
    return list(zip(columns.positions.tolist(), columns.starts.tolist(), columns.places.tolist(), strict=True))


def _pooled(vectors: Tensor, column: Column, lookups: Lookups) -> Tensor:
    return pool(vectors, lookups.bags[column.position], lookups.num_rows, column.pooling or "sum")


def summed_gradients(table: Tensor, lookups: Lookups, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The rows [U] int64 that the batch read, without duplicates, and their gradients [U, D]."""
    columns, width = lookups.columns, table.shape[1]
    gradient = gradient.to(table.dtype)  # it is bfloat16 under autocast, where sums would be rounded again
    rows, gradients = [], []
    for position, start, place in _dense(columns):
        rows.append(lookups.indices[position].long() + start)
        gradients.append(gradient[:, place : place + width])
    for column in columns.bags:
        bag = lookups.bags[column.position]
        rows.append(bag.values.long() + column.start)
        with torch.enable_grad():
            vectors = table[rows[-1]].requires_grad_()
            pooled = _pooled(vectors, column, lookups)
        gradients += torch.autograd.grad(pooled, vectors, gradient[:, column.place : column.place + width])
    unique, inverse = torch.unique(torch.cat(rows), return_inverse=True)
    return unique, sum_duplicates(inverse, torch.cat(gradients), len(unique))
