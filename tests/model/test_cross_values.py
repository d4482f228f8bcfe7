"""Crosses from memory in the network: what they add, row by row, in training and in scoring."""

import numpy as np
import pytest
import torch

from widedeep.features.plan import IndexColumn
from widedeep.kernels.lookups import Bag
from widedeep.memory.cross_memory import SIGNS, SUPPORT_BUCKETS, contribution
from widedeep.model.layout import InputLayout
from widedeep.model.memory import CrossValues
from widedeep.model.wide import Wide
from widedeep.recipe.schema import WideSettings

SIZES = (7, 5, 6)
"""Two crosses of single values and one of lists."""
FOLDS = 3
ROWS = 8


def memory() -> CrossValues:
    generator = torch.Generator().manual_seed(0)
    crosses = CrossValues(SIZES, 2)
    rows = sum(SIZES)
    crosses.remember(
        torch.randn(rows, generator=generator), torch.randint(0, SUPPORT_BUCKETS, (rows,), generator=generator)
    )
    crosses.train_on_folds(
        torch.randn(FOLDS, rows, generator=generator),
        torch.randint(0, SUPPORT_BUCKETS, (FOLDS, rows), generator=generator, dtype=torch.uint8),
    )
    crosses.start_from(
        torch.randn(len(SIZES), SUPPORT_BUCKETS, SIGNS, generator=generator),
        torch.randn(len(SIZES), SUPPORT_BUCKETS, generator=generator),
    )
    return crosses


def inputs() -> tuple[torch.Tensor, Bag, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    indices = torch.stack([torch.randint(0, size, (ROWS,), generator=generator) for size in SIZES[:2]]).int()
    bounds = torch.tensor([0, *(torch.arange(ROWS) % 3 + 1)]).cumsum(0)
    values = torch.randint(0, SIZES[2], (int(bounds[-1]),), generator=generator).int()
    bag = Bag(values, bounds, torch.rand(len(values), generator=generator) + 0.5)
    return indices, bag, torch.randint(0, FOLDS, (ROWS,), generator=generator)


def expected(crosses: CrossValues, *, in_folds: bool) -> list[float]:
    """One row and one value at a time, by what memory/cross_memory.py says that a value adds."""
    indices, bag, folds = inputs()
    assert bag.weights is not None
    scale = crosses.scale.detach().numpy().reshape(len(SIZES), SUPPORT_BUCKETS, SIGNS)
    offset = crosses.offset.detach().numpy().reshape(len(SIZES), SUPPORT_BUCKETS)
    starts = np.cumsum([0, *SIZES])
    logits = []
    for row in range(ROWS):
        value, support = crosses.value.numpy(), crosses.support.numpy()
        if in_folds:
            value = crosses.fold_value.view(FOLDS, -1).numpy()[folds[row]]
            support = crosses.fold_support.view(FOLDS, -1).numpy()[folds[row]]
        held = [(cross, int(indices[cross, row]), 1.0) for cross in range(2)]
        held += [(2, int(bag.values[i]), float(bag.weights[i])) for i in np.flatnonzero(bag.rows.numpy() == row)]
        logit = 0.0
        for cross, index, weight in held:
            place = slice(starts[cross] + index, starts[cross] + index + 1)
            logit += weight * float(contribution(value[place], support[place], scale[cross], offset[cross])[0])
        logits.append(logit)
    return logits


@pytest.mark.parametrize("in_folds", [False, True])
def test_a_row_gets_its_values_scaled_and_shifted_by_support_and_sign(in_folds: bool) -> None:
    crosses = memory()
    indices, bag, folds = inputs()
    logit = crosses(indices, [bag], folds if in_folds else None)
    assert logit.tolist() == pytest.approx(expected(crosses, in_folds=in_folds), rel=1e-5, abs=1e-6)


def test_only_scales_and_offsets_are_learnt_and_stored_in_a_checkpoint() -> None:
    crosses = memory()
    indices, bag, folds = inputs()
    crosses(indices, [bag], folds).sum().backward()
    assert {name for name, _ in crosses.named_parameters()} == set(crosses.state_dict()) == {"scale", "offset"}
    assert crosses.scale.grad.count_nonzero() > 0
    assert crosses.offset.grad.sum().item() == pytest.approx(2 * ROWS + bag.weights.sum().item(), rel=1e-5)


def test_everything_that_is_looked_up_moves_to_the_device_of_the_module() -> None:
    moved = memory().to("meta")
    tensors = [
        value for value in (*vars(moved).values(), *moved.buffers(), *moved.parameters()) if torch.is_tensor(value)
    ]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.fold_value.device.type == moved.fold_support.device.type == "meta"


def cross(name: str, size: int, pooling: str | None = None) -> IndexColumn:
    return IndexColumn(name, "cross", size, (name,), None, pooling=pooling)  # type: ignore[arg-type]


def test_in_the_wide_part_each_cross_meets_its_own_memory_wherever_it_stands_among_the_columns() -> None:
    field = IndexColumn("field", "categorical", 9, ("field",), None)
    tags = IndexColumn("tags", "categorical", 4, ("tags",), None, pooling="sum")
    columns = (cross("a", SIZES[0]), field, cross("lists", SIZES[2], "sum"), cross("b", SIZES[1]), tags)
    wide = Wide(InputLayout.of(columns, ["n"]), WideSettings()).eval()
    assert wide.memory is not None
    assert wide.weights is not None
    own = memory()
    wide.memory.load_state_dict(own.state_dict())
    wide.memory.remember(own.value, own.support)
    with torch.no_grad():
        wide.weights.weight.copy_(torch.arange(13.0).unsqueeze(1))
        wide.numeric.fill_(0.25)
    indices, bag, _ = inputs()
    fields = torch.arange(ROWS).int()
    tag = Bag(torch.tensor([3, 1]).int(), torch.tensor([0, 1, 1, 1, 1, 1, 2, 2, 2]), None)
    numerics = torch.arange(float(ROWS)).unsqueeze(0)
    logit = wide(torch.stack([indices[0], fields, indices[1]]), numerics, [bag, tag])
    rest = 0.25 * torch.arange(ROWS) + torch.arange(ROWS) + torch.tensor([12.0, 0, 0, 0, 0, 10, 0, 0])
    assert logit.tolist() == pytest.approx((own(indices, [bag]) + rest).tolist(), rel=1e-5)


def test_crosses_learnt_by_gradient_have_no_memory_and_a_wide_part_of_crosses_alone_no_table() -> None:
    layout = InputLayout.of((cross("a", 7),), [])
    by_gradient = Wide(layout, WideSettings(crosses="gradient"))
    assert by_gradient.memory is None
    assert by_gradient.weights is not None
    assert len(by_gradient.weights.weight) == 7
    remembered = Wide(layout, WideSettings())
    assert remembered.weights is None
    assert remembered(torch.zeros(1, 3, dtype=torch.int32), torch.zeros(0, 3)).tolist() == [0.0, 0.0, 0.0]
