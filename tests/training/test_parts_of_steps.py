"""Steps in parts: the rows of each part, and what the parts give together, whoever computes them."""

from threading import Lock
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from thread_ranks import in_ranks
from torch import Tensor

from widedeep.features.plan import IndexColumn
from widedeep.kernels.lookups import Bag
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network
from widedeep.model.table import Share, Table
from widedeep.recipe.schema import ModelSettings, TrainingSettings
from widedeep.training.feed import DeviceBatch
from widedeep.training.objective import mean_loss
from widedeep.training.optimizers import Optimizers
from widedeep.training.parts import DenseParts, TableParts, own_parts, part_ranges, part_sizes
from widedeep.training.ranks import Ranks

PARTS, STEPS = 5, 2
_SEEDED = Lock()


def _column(name: str, size: int, pooling: Literal["mean"] | None = None) -> IndexColumn:
    return IndexColumn(name, "categorical", size, (name,), None, pooling=pooling)


LAYOUT = InputLayout((_column("user", 40), _column("item", 23)), ("price",), (_column("tags", 17, "mean"),))
NOTHING = np.empty(0, dtype=np.int32)


@given(rows=st.integers(1, 300), batch_size=st.integers(2, 50), parts=st.integers(1, 9))
def test_parts_share_the_rows_of_the_store_and_end_together(rows: int, batch_size: int, parts: int) -> None:
    ranges = part_ranges(rows, batch_size, parts)
    assert [row for part in ranges for row in part] == list(range(rows))
    steps = -(-rows // batch_size)
    for step in range(steps):
        in_step = min(batch_size, rows - step * batch_size)
        sizes, full = part_sizes(in_step, parts), part_sizes(batch_size, parts)
        for part, size in enumerate(sizes):
            assert size == min(full[part], max(0, len(ranges[part]) - step * full[part]))


@given(parts=st.integers(1, 20), world=st.integers(1, 20))
def test_every_part_has_one_owner(parts: int, world: int) -> None:
    owned = [part for rank in range(world) for part in own_parts(parts, rank, world)]
    assert owned == list(range(parts))


def batch_of(step: int, rows: int) -> DeviceBatch:
    draw = np.random.default_rng(step)
    lengths = draw.integers(0, 4, rows)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    tags = Bag(_ints(draw.integers(0, 17, bounds[-1])), torch.from_numpy(bounds), None)
    indices = torch.stack([_ints(draw.integers(0, 40, rows)), _ints(draw.integers(0, 23, rows))])
    numerics = torch.from_numpy(draw.normal(size=(1, rows)).astype(np.float32))
    label = torch.from_numpy(draw.integers(0, 2, rows).astype(np.float32))
    weight = torch.from_numpy(draw.uniform(0.5, 2.0, rows).astype(np.float32))
    return DeviceBatch(indices, numerics, label, weight, float(weight.sum()), (tags,))


def _ints(numbers: Any) -> Tensor:
    return torch.from_numpy(numbers.astype(np.int32))


def cut(batch: DeviceBatch, start: int, end: int) -> DeviceBatch:
    (bag,) = batch.bags
    first, last = int(bag.bounds[start]), int(bag.bounds[end])
    tags = Bag(bag.values[first:last], bag.bounds[start : end + 1] - first, None)
    assert batch.weight is not None
    weight = batch.weight[start:end]
    numbers = batch.indices[:, start:end], batch.numerics[:, start:end], batch.label[start:end]
    return DeviceBatch(*numbers, weight, float(weight.sum()), (tags,))


def loss_of(network: Network, batch: DeviceBatch) -> Tensor:
    logit = network(batch.indices, batch.numerics.clone(), batch.bags)
    return mean_loss("binary", logit, batch.label, batch.weight)


def network_for(model: ModelSettings, ranks: Ranks, dense_rows: int) -> Network:
    with _SEEDED:  # threads share torch's generator
        torch.manual_seed(1)
        return Network(LAYOUT, model, share=Share(3, dense_rows, ranks.rank, ranks.world)).train()


def trained_by_parts(model: ModelSettings, training: TrainingSettings, ranks: Ranks) -> dict[str, Tensor]:
    """The weights and states of this rank after some steps."""
    network = network_for(model, ranks, training.dense_rows)
    optimizers = Optimizers(network, training)
    tables, dense = TableParts(network, ranks), DenseParts(network)
    for step in range(STEPS):
        batch = batch_of(step, 37)
        ends = np.cumsum([0, *part_sizes(len(batch), PARTS)]).tolist()
        own = [cut(batch, ends[part], ends[part + 1]) for part in own_parts(PARTS, ranks.rank, ranks.world)]
        tables.read(own)
        dense.begin()
        numbers = []
        for place, part in enumerate(own):
            tables.give(place)
            loss = loss_of(network, part) * (part.weight_sum / batch.weight_sum)
            loss.backward()  # type: ignore[no-untyped-call]
            numbers.append(dense.collect(loss))
            tables.collect()
        shared, _ = tables.share(numbers, dense.size, [NOTHING] * ranks.world)
        dense.add_up(shared)
        optimizers.step(1.0, batch.weight_sum)
    optimizers.settle()
    return {**network.state_dict(), **optimizers.tensors()}


RULES = [
    {"wide": {"optimizer": "ftrl", "l1": 0.01}, "deep": {"optimizer": "adam"}},
    {"wide": {"optimizer": "adagrad"}, "deep": {"optimizer": "rowwise_adagrad"}},
    {"wide": {"optimizer": "sgd", "l2": 0.01}, "deep": {"optimizer": "adamw", "embedding_l2": 0.1}},
    {"wide": {"optimizer": "adam"}, "deep": {"optimizer": "adagrad", "embedding_l2": 0.1}},
    {"wide": {"optimizer": "ftrl"}, "deep": {"optimizer": "sgd", "embedding_l2": 0.1}},
]


@pytest.mark.parametrize("dense_rows", [0, 50])
@pytest.mark.parametrize("rules", RULES)
def test_any_number_of_ranks_gives_the_same_bytes(rules: dict[str, object], dense_rows: int) -> None:
    model = ModelSettings.model_validate({"embeddings": {"dim": 3}, "deep": {"hidden": [8], "batch_norm": True}})
    training = TrainingSettings.model_validate({**rules, "dense_rows": dense_rows})
    alone = trained_by_parts(model, training, Ranks())
    for world in (2, PARTS):
        ranks = in_ranks(world, lambda ranks: trained_by_parts(model, training, ranks))
        for name, tensor in alone.items():
            shares = [of_rank[name] for of_rank in ranks]
            if tensor.dim() and len(shares[0]) < len(tensor):  # a large table's
                assert len(tensor) > dense_rows
                whole = torch.empty_like(tensor)
                for rank, share in enumerate(shares):
                    whole[rank::world] = share
                shares = [whole]
            assert all(torch.equal(share, tensor) for share in shares), name


@pytest.mark.parametrize("rules", RULES)
def test_parts_give_what_a_whole_step_gives_but_for_rounding(rules: dict[str, object]) -> None:
    model = ModelSettings.model_validate({"embeddings": {"dim": 3}, "deep": {"hidden": [8]}})
    training = TrainingSettings.model_validate({**rules, "dense_rows": 50})
    network = network_for(model, Ranks(), 50)
    optimizers = Optimizers(network, training)
    for step in range(STEPS):
        batch = batch_of(step, 37)
        loss_of(network, batch).backward()  # type: ignore[no-untyped-call]
        optimizers.step(1.0, batch.weight_sum)
    optimizers.settle()
    by_parts = trained_by_parts(model, training, Ranks())
    for name, tensor in {**network.state_dict(), **optimizers.tensors()}.items():
        assert torch.allclose(by_parts[name], tensor, rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize("world", [2, 3, 100])
def test_ranks_draw_the_rows_of_a_table_that_one_process_draws(world: int) -> None:
    model = ModelSettings.model_validate({"kind": "deep", "embeddings": {"dim": 5}, "deep": {"hidden": [8]}})
    (alone,) = network_for(model, Ranks(), 0).embedding_tables()
    assert 0.008 < float(alone.weight[2:40].std()) < 0.012
    assert not alone.weight[[0, 1, 40, 41]].any()
    for rank in range(world):
        (share,) = network_for(model, Ranks(rank, world), 0).embedding_tables()
        assert isinstance(share, Table)
        assert torch.equal(share.weight, alone.weight[rank::world])
