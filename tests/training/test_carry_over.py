"""Going on with larger tables: old rows move as if nothing had happened, new ones begin as unknown values."""

import numpy as np
import pytest
import torch

from widedeep.features.fields import UNKNOWN
from widedeep.features.plan import IndexColumn
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network
from widedeep.recipe.schema import ModelSettings, TrainingSettings
from widedeep.training.carry_over import carry_over
from widedeep.training.objective import mean_loss
from widedeep.training.optimizers import Optimizers

SMALL, GROWN = (7, 30), (9, 45)
BETWEEN = 40
"""A `dense_rows` between the sizes of their tables."""


def layout(sizes: tuple[int, int]) -> InputLayout:
    columns = zip("ab", sizes, strict=True)
    return InputLayout(tuple(IndexColumn(n, "categorical", size, (n,), embedding_dim=4) for n, size in columns), ("x",))


def built(sizes: tuple[int, int], settings: TrainingSettings, seed: int) -> tuple[Network, Optimizers]:
    torch.manual_seed(seed)
    # The gradient of a bias before a batch normalisation is noise, of which Adam makes steps: not in what is compared
    # between dense and lazy updates, which round differently.
    deep = {"hidden": [6], "batch_norm": settings.dense_rows != BETWEEN}
    network = Network(layout(sizes), ModelSettings.model_validate({"kind": "wide_deep", "deep": deep}), bias=0.1)
    return network.eval(), Optimizers(network, settings)


def learn(network: Network, optimizers: Optimizers, sizes: tuple[int, int], steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    network.train()
    for _ in range(steps):
        rows = [torch.randperm(64, generator=generator) % size for size in sizes]  # each value is in every batch
        numerics, label = torch.randn(1, 64, generator=generator), torch.rand(64, generator=generator).round()
        mean_loss("binary", network(torch.stack(rows).int(), numerics), label, None).backward()
        optimizers.step(1.0, 64.0)
    optimizers.settle()
    network.eval()


def logits(network: Network) -> torch.Tensor:
    """Of all pairs of old values."""
    rows = torch.cartesian_prod(*(torch.arange(size) for size in SMALL)).T.int().contiguous()
    with torch.no_grad():
        return network(rows, torch.linspace(-1, 1, rows.shape[1]).unsqueeze(0))


CASES = [
    ("ftrl", "adam"),
    ("ftrl", "adamw"),
    ("adam", "adagrad"),
    ("adagrad", "rowwise_adagrad"),
    ("sgd", "sgd"),
    ("adagrad", "adam"),
]


@pytest.mark.parametrize("dense_rows", [0, BETWEEN, 1000], ids=["lazy", "dense that outgrows it", "dense"])
@pytest.mark.parametrize(("wide", "deep"), CASES)
def test_old_rows_learn_on_with_the_state_of_their_optimizers(wide: str, deep: str, dense_rows: int) -> None:
    settings = TrainingSettings.model_validate(
        {"dense_rows": dense_rows, "wide": {"optimizer": wide}, "deep": {"optimizer": deep}}
    )
    old, old_optimizers = built(SMALL, settings, seed=1)
    learn(old, old_optimizers, SMALL, steps=12, seed=2)
    new, optimizers = built(GROWN, settings, seed=3)
    carry_over(old, old_optimizers, new, optimizers, shift=0.0, layout=layout(SMALL), kept={})
    before = logits(new)
    assert torch.equal(before, logits(old))
    learn(old, old_optimizers, SMALL, steps=3, seed=4)
    learn(new, optimizers, SMALL, steps=3, seed=4)
    tolerance = {"rtol": 1e-4, "atol": 1e-5}
    for name, tensor in old.state_dict().items():
        other = new.state_dict()[name]
        if tensor.shape != other.shape:
            for (start, size), (new_start, _) in zip(_ranges(old, name), _ranges(new, name), strict=True):
                here, there = tensor[start : start + size], other[new_start : new_start + size]
                torch.testing.assert_close(there, here, **tolerance)  # type: ignore[arg-type]
        else:
            torch.testing.assert_close(other, tensor, **tolerance)  # type: ignore[arg-type]
    assert not torch.equal(logits(new), before)


KEPT = np.array([0, 1, *range(3, 30, 2), 44])
"""The indices of `b` that stay where values are dropped."""
SHRUNK = (GROWN[0], len(KEPT) + 2)
"""Its table grows by two new values at the same time."""


@pytest.mark.parametrize("dense_rows", [0, BETWEEN, 1000], ids=["lazy", "lazy that shrinks to dense", "dense"])
@pytest.mark.parametrize(("wide", "deep"), CASES)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_rows_that_stay_where_others_are_dropped_learn_on_with_the_state_of_their_optimizers(
    wide: str, deep: str, dense_rows: int, decay: float
) -> None:
    settings = TrainingSettings.model_validate(
        {
            "dense_rows": dense_rows,
            "wide": {"optimizer": wide, "l2": decay},
            "deep": {"optimizer": deep, "embedding_l2": decay},
        }
    )
    old, old_optimizers = built(GROWN, settings, seed=1)
    learn(old, old_optimizers, GROWN, steps=12, seed=2)
    new, optimizers = built(SHRUNK, settings, seed=3)
    carry_over(old, old_optimizers, new, optimizers, shift=0.0, layout=layout(GROWN), kept={"b": KEPT})

    def logit(network: Network, b: list[int]) -> torch.Tensor:
        rows = torch.cartesian_prod(torch.arange(GROWN[0]), torch.tensor(b)).T.int().contiguous()
        with torch.no_grad():
            return network(rows, torch.linspace(-1, 1, rows.shape[1]).unsqueeze(0))

    places, stayed = list(range(len(KEPT))), KEPT.tolist()
    assert torch.equal(logit(new, places), logit(old, stayed))
    assert torch.equal(logit(new, [SHRUNK[1] - 2]), logit(old, [UNKNOWN]))
    for network, of_network, b in ((old, old_optimizers, stayed), (new, optimizers, places)):
        generator = torch.Generator().manual_seed(4)
        network.train()
        for _ in range(3):
            rows = torch.stack([torch.randperm(64, generator=generator) % size for size in (GROWN[0], len(b))])
            rows[1] = torch.tensor(b)[rows[1]]
            label = torch.rand(64, generator=generator).round()
            mean_loss("binary", network(rows.int(), torch.ones(1, 64)), label, None).backward()
            of_network.step(1.0, 64.0)
        of_network.settle()
        network.eval()
    torch.testing.assert_close(logit(new, places), logit(old, stayed), rtol=1e-4, atol=2e-5)


def _ranges(network: Network, name: str) -> list[tuple[int, int]]:
    table = network.get_submodule(name.removesuffix(".weight"))
    return table.ranges  # type: ignore[return-value]


@pytest.mark.parametrize(("wide", "deep"), CASES)
def test_new_values_score_as_unknown_ones_did_and_then_learn(wide: str, deep: str) -> None:
    settings = TrainingSettings.model_validate({"wide": {"optimizer": wide}, "deep": {"optimizer": deep}})
    old, old_optimizers = built(SMALL, settings, seed=1)
    learn(old, old_optimizers, SMALL, steps=12, seed=2)
    new, optimizers = built(GROWN, settings, seed=3)
    carry_over(old, old_optimizers, new, optimizers, shift=0.0, layout=layout(SMALL), kept={})
    numerics = torch.zeros(1, 1)
    with torch.no_grad():
        for added in range(SMALL[1], GROWN[1]):
            known = new(torch.tensor([[3], [added]], dtype=torch.int32), numerics)
            assert torch.equal(known, old(torch.tensor([[3], [UNKNOWN]], dtype=torch.int32), numerics))
    before = new.state_dict()["wide.weights.weight"].clone()
    learn(new, optimizers, GROWN, steps=1, seed=5)
    moved = (new.state_dict()["wide.weights.weight"] - before).abs()
    assert (moved > 0).sum() > 20
    # FTRL takes a weight from z alone: without the z that explains it, a first small gradient would throw it away.
    assert moved.max() < 0.5


def test_the_bias_keeps_the_shift_of_its_level_when_it_learns_on() -> None:
    settings = TrainingSettings()
    old, old_optimizers = built(SMALL, settings, seed=1)
    learn(old, old_optimizers, SMALL, steps=12, seed=2)
    twin, twin_optimizers = built(SMALL, settings, seed=7)
    carry_over(old, old_optimizers, twin, twin_optimizers, shift=0.0, layout=layout(SMALL), kept={})
    with torch.no_grad():
        old.bias.add_(2.0)
    new, optimizers = built(SMALL, settings, seed=8)
    carry_over(old, old_optimizers, new, optimizers, shift=2.0, layout=layout(SMALL), kept={})
    assert new.bias.item() == pytest.approx(twin.bias.item() + 2.0)
    for network, of_network in ((twin, twin_optimizers), (new, optimizers)):
        network.bias.grad = torch.tensor(1e-6)
        of_network.vectors["bias"].step(1.0)
    assert new.bias.item() == pytest.approx(twin.bias.item() + 2.0, abs=1e-5)
