"""Lazy and dense updates: exact where we say so, and a step that costs what the batch touches."""

import pytest
import torch

from widedeep.features.plan import IndexColumn
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network
from widedeep.recipe.schema import ModelSettings, TrainingSettings
from widedeep.training.objective import mean_loss
from widedeep.training.optimizers import Optimizers
from widedeep.training.schedule import Schedule

SIZE = 50
LAYOUT = InputLayout(
    (IndexColumn(name="a", kind="categorical", size=SIZE, fields=("a",), embedding_dim=4),),
    ("x",),
)


def train(kind: str, *, dense_rows: int, steps: int = 12, **training: object) -> dict[str, torch.Tensor]:
    settings = TrainingSettings.model_validate({"dense_rows": dense_rows, **training})
    torch.manual_seed(1)
    network = Network(LAYOUT, ModelSettings.model_validate({"kind": kind, "deep": {"hidden": [6]}}), bias=0.1)
    optimizers = Optimizers(network, settings)
    network.train()
    generator = torch.Generator().manual_seed(2)
    schedule = Schedule()
    for step in range(steps):
        indices = torch.randint(0, SIZE, (1, 16), generator=generator).int()
        numerics, label = torch.randn(1, 16, generator=generator), torch.rand(16, generator=generator).round()
        mean_loss("binary", network(indices, numerics), label, None).backward()
        optimizers.step(schedule.scale(settings, step), 16.0)
    optimizers.settle()
    return network.state_dict()


def assert_equal_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=2e-5, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(
    ("optimizer", "l2"), [("sgd", 0.0), ("sgd", 0.3), ("adagrad", 0.0)], ids=lambda value: str(value)
)
def test_lazy_updates_equal_dense_ones_where_we_call_them_exact(optimizer: str, l2: float) -> None:
    deep = {"optimizer": optimizer, "learning_rate": 0.05, "embedding_l2": l2}
    wide = {"optimizer": optimizer, "learning_rate": 0.05, "l2": l2}
    dense = train("wide_deep", dense_rows=10_000, deep=deep, wide=wide)
    lazy = train("wide_deep", dense_rows=0, deep=deep, wide=wide)
    assert_equal_weights(dense, lazy)


def test_lazily_decoupled_decay_reaches_the_rows_that_were_never_touched() -> None:
    deep = {"optimizer": "adamw", "learning_rate": 0.01, "embedding_l2": 0.5}
    before = train("deep", dense_rows=0, steps=0, deep=deep)["embeddings.tables.4.weight"]
    after = train("deep", dense_rows=0, steps=3, deep=deep)["embeddings.tables.4.weight"]
    shrunk = before * (1 - 0.01 * 0.5) ** 3
    untouched = (after - shrunk).abs().amax(1) < 1e-7
    assert untouched.sum() >= SIZE - 3 * 16
    assert not untouched.all()


def test_a_step_with_lazy_adam_leaves_the_other_rows_alone() -> None:
    deep = {"optimizer": "adam", "learning_rate": 0.01}
    before = train("deep", dense_rows=0, steps=0, deep=deep)["embeddings.tables.4.weight"]
    after = train("deep", dense_rows=0, steps=1, deep=deep)["embeddings.tables.4.weight"]
    assert 0 < int((before != after).any(1).sum()) <= 16


def test_ftrl_sees_the_sum_of_the_gradients_so_that_batch_size_does_not_stop_it_from_learning() -> None:
    once = train("wide", dense_rows=0, steps=1)
    # One step from zero: |w| = alpha*|g| / (beta + |g|) with g the *sum*; a mean over 16 rows would be 16 times smaller.
    assert once["wide.weights.weight"].abs().max() > 0.01


@pytest.mark.parametrize("optimizer", ["ftrl", "adagrad", "adam", "sgd"])
@pytest.mark.parametrize("dense_rows", [0, 10_000])
def test_state_taken_and_restored_goes_on_as_if_nothing_had_happened(optimizer: str, dense_rows: int) -> None:
    deep = {"optimizer": optimizer if optimizer != "ftrl" else "adamw", "learning_rate": 0.05, "embedding_l2": 0.1}
    wide = {"optimizer": optimizer, "learning_rate": 0.05, "l2": 0.1}
    settings = TrainingSettings.model_validate({"dense_rows": dense_rows, "deep": deep, "wide": wide})

    def make() -> tuple[Network, Optimizers]:
        torch.manual_seed(1)
        network = Network(LAYOUT, ModelSettings.model_validate({"deep": {"hidden": [6]}}), bias=0.1).train()
        return network, Optimizers(network, settings)

    def step(network: Network, optimizers: Optimizers, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        indices = torch.randint(0, SIZE, (1, 16), generator=generator).int()
        numerics, label = torch.randn(1, 16, generator=generator), torch.rand(16, generator=generator).round()
        mean_loss("binary", network(indices, numerics), label, None).backward()
        optimizers.step(1.0, 16.0)

    network, optimizers = make()
    for seed in range(5):
        step(network, optimizers, seed)
    tensors = {name: tensor.clone() for name, tensor in optimizers.tensors().items()}
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    resumed_network, resumed = make()
    resumed_network.load_state_dict(weights)
    resumed.restore(tensors, optimizers.numbers())
    for seed in range(5, 10):
        step(network, optimizers, seed)
        step(resumed_network, resumed, seed)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, resumed_network.state_dict()[name]), name


def test_the_bias_is_never_penalised() -> None:
    settings = {"optimizer": "sgd", "learning_rate": 0.05, "l2": 0.0}
    free = train("wide", dense_rows=10_000, steps=1, wide=settings)
    penalised = train("wide", dense_rows=10_000, steps=1, wide={**settings, "l2": 5.0})
    assert torch.equal(free["bias"], penalised["bias"])


def test_warm_up_rises_linearly_and_plateau_lowers_the_rate_when_the_metric_stalls() -> None:
    settings = TrainingSettings.model_validate({"warmup_steps": 4, "plateau": {"factor": 0.5, "patience": 1}})
    schedule = Schedule()
    assert [schedule.scale(settings, step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    scales = []
    for epoch, value in enumerate([0.7, 0.6, 0.6, 0.8, 0.7, 0.7], start=1):
        schedule.record(settings, epoch, value, "max")
        scales.append(schedule.plateau_scale)
    assert scales == [1.0, 1.0, 0.5, 0.5, 0.5, 0.25]
    assert (schedule.best_epoch, schedule.epochs_since_best) == (4, 2)
    assert schedule.should_stop(settings)
