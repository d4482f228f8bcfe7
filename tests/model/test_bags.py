"""Pooling of bags against torch's EmbeddingBag, and tables that several columns share."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.kernels.lookups import Bag
from widedeep.kernels.reference import pool, summed_gradients
from widedeep.model.table import Table, TableColumn


def random_bag(lengths: list[int], weighted: bool, size: int = 7) -> Bag:
    generator = torch.Generator().manual_seed(sum(lengths))
    values = torch.randint(0, size, (sum(lengths),), generator=generator, dtype=torch.int32)
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    return Bag(values, bounds, torch.rand(len(values), generator=generator) if weighted else None)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.booleans(), st.sampled_from(["sum", "mean", "max"]))
def test_pooling_equals_torchs_embedding_bag(lengths: list[int], weighted: bool, how: str) -> None:
    bag = random_bag(lengths, weighted and how == "sum")
    table = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    pooled = pool(table[bag.values], bag, len(lengths), how)  # type: ignore[arg-type]
    starts = torch.tensor(lengths).cumsum(0) - torch.tensor(lengths)
    expected = torch.nn.functional.embedding_bag(
        bag.values.long(), table, starts, mode=how, per_sample_weights=bag.weights
    )
    torch.testing.assert_close(pooled, expected)


def test_a_weighted_mean_divides_by_the_weights_and_a_weightless_row_is_zero() -> None:
    bag = Bag(torch.tensor([0, 1, 0]), torch.tensor([0, 2, 3]), torch.tensor([1.0, 3.0, 0.0]))
    vectors = torch.tensor([[4.0], [8.0], [4.0]])
    assert pool(vectors, bag, 2, "mean").tolist() == [[7.0], [0.0]]


@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_pooling_has_the_gradient_that_differences_say(how: str) -> None:
    bag = random_bag([2, 1, 3], weighted=True)
    vectors = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: pool(v, bag, 3, how), (vectors,))  # type: ignore[arg-type]


def test_columns_of_one_vocabulary_read_and_update_the_same_rows() -> None:
    item, other = TableColumn(0, 5, 0, shared="item"), TableColumn(1, 4, 2)
    table = Table([item, other, TableColumn(0, 5, 4, "sum", "item")], 2)
    assert table.weight.shape == (9, 2)
    table.initialise(1.0)
    indices = torch.tensor([[3], [1]], dtype=torch.int32)
    bag = Bag(torch.tensor([3], dtype=torch.int32), torch.tensor([0, 1]), None)
    out = torch.empty(1, 6)
    table.eval().fill(indices, [bag], out)
    assert torch.equal(out[0, :2], out[0, 4:])
    assert torch.equal(out[0, :2], table.weight[3])
    table.train().fill(indices, [bag], out)
    out.requires_grad_()
    (out[0, :2].sum() + 2 * out[0, 4:].sum()).backward()
    assert table.touched is not None
    rows, gradients = summed_gradients(table.weight, table.touched.lookups, table.touched.gradient)
    assert dict(zip(rows.tolist(), gradients.tolist(), strict=True)) == {3: [3.0, 3.0], 6: [0.0, 0.0]}
