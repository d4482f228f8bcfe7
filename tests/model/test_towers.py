"""One contract for all kinds of model: the formula read literally, gradients, overfitting, state, sizes, devices."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call

from widedeep.features.plan import IndexColumn
from widedeep.kernels.lookups import Bag
from widedeep.model.layout import DeepInput, InputLayout
from widedeep.model.network import Network
from widedeep.model.towers import TOWERS
from widedeep.recipe.data import LabelKind
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.schema import ModelSettings, TrainingSettings
from widedeep.training.checkpoints import load_checkpoint, model_tensors, restore_model, save_checkpoint
from widedeep.training.objective import mean_loss
from widedeep.training.optimizers import Optimizers

Array = NDArray[np.float64]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small matrices: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


ROWS, DIM = 5, 4
VECTORS = {"a": (0, DIM), "b": (DIM, DIM), "tags": (2 * DIM, DIM)}
GIVEN = DeepInput(VECTORS, num_numerics=2)

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "deep": ("deep", {}),
    "fm": ("fm", {}),
    "cross_network": ("cross_network", {"cross_network": {"layers": 2}}),
    "dcn_v2 parallel": ("dcn_v2", {}),
    "dcn_v2 stacked": ("dcn_v2", {"dcn_v2": {"structure": "stacked"}, "cross_network": {"layers": 2}}),
    "dcn_v2 mixed": ("dcn_v2", {"dcn_v2": {"rank": 2, "experts": 3}}),
    "finalmlp": ("finalmlp", {}),
    "finalmlp by context": (
        "finalmlp",
        {
            "finalmlp": {
                "second": {"hidden": [4], "activation": "tanh"},
                "heads": 2,
                "gate_hidden": [3],
                "first_context": ["b", "a"],
                "second_context": ["tags"],
            }
        },
    ),
    "finalnet": ("finalnet", {}),
    "finalnet of one block, summed": ("finalnet", {"finalnet": {"blocks": 1, "residual": "sum"}}),
    "finalnet of two widths": ("finalnet", {"finalnet": {"second": {"hidden": [2]}}}),
}
"""The towers, by what is set: name → the tower and the settings of the model."""


def settings(kind: str = "wide_deep", **sections: Any) -> ModelSettings:
    deep = {"hidden": [6, 4], "batch_norm": True}
    base = {"kind": kind, "deep": deep, "embeddings": {"dim": DIM}, "wide": {"crosses": "gradient"}}
    return ModelSettings.model_validate({**base, **sections})


def tower_of(case: str) -> nn.Module:
    """In float64, all weights and the normalisation's statistics drawn at random."""
    name, sections = CASES[case]
    torch.manual_seed(1)
    tower = TOWERS[name](GIVEN, settings(**sections)).double().eval()
    for parameter in tower.parameters():
        nn.init.normal_(parameter, std=0.7)
    for buffer_name, buffer in tower.named_buffers():
        if buffer.is_floating_point():
            nn.init.uniform_(buffer, 0.5, 2.0) if "var" in buffer_name else nn.init.normal_(buffer)
    return tower


def deep_inputs() -> torch.Tensor:
    return torch.randn(ROWS, GIVEN.dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


# ------------------------------------------------------------------- the formulas, one row and one product at a time


def apply(layers: nn.Sequential, x: Array) -> Array:
    """What feed-forward layers make of one row, layer by layer."""
    for layer in layers:
        state = {name: value.numpy() for name, value in layer.state_dict().items()}
        match layer:
            case nn.Linear():
                x = np.array([sum(w * v for w, v in zip(row, x, strict=True)) for row in state["weight"]])
                x = x + state.get("bias", 0.0)
            case nn.BatchNorm1d():
                x = (x - state["running_mean"]) / np.sqrt(state["running_var"] + layer.eps)
                x = x * state["weight"] + state["bias"]
            case nn.ReLU():
                x = np.array([max(0.0, v) for v in x])
            case nn.Tanh():
                x = np.tanh(x)
            case nn.Flatten():
                pass
            case _:  # FinalNet's layer
                (h,) = (apply(nn.Sequential(layer.linear), x),)
                half, factor = h[: len(h) // 2], h[len(h) // 2 :]
                x = np.concatenate([half, factor * half]) if layer.concat else half + factor * half
    return x


def numbers(tower: nn.Module) -> dict[str, Array]:
    return {name: tensor.numpy() for name, tensor in tower.state_dict().items()}


def literal_deep(tower: Any, x: Array) -> float:
    return float(apply(tower, x)[0])


def literal_fm(tower: Any, x: Array) -> float:
    vectors = [x[start : start + width] for start, width in VECTORS.values()]
    vectors += [x[3 * DIM + i] * vector for i, vector in enumerate(numbers(tower)["numeric_vectors"])]
    pairs = [(i, j) for i in range(len(vectors)) for j in range(i)]
    return float(sum(vectors[i] @ vectors[j] for i, j in pairs))


def literal_cross_network(tower: Any, x_0: Array) -> float:
    state, x = numbers(tower), x_0
    for layer in range(len(tower.weights)):
        w, b = state[f"weights.{layer}.weight"][0], state[f"biases.{layer}"]
        x = np.outer(x_0, x) @ w + b + x
    return float(state["last.weight"][0] @ x)


def literal_dcn_v2(tower: Any, x_0: Array) -> float:
    state, x = numbers(tower), x_0
    for layer in range(len(tower.cross)):
        own = {key.removeprefix(f"cross.{layer}."): v for key, v in state.items() if key.startswith(f"cross.{layer}.")}
        if "linear.weight" in own:
            x = x_0 * (own["linear.weight"] @ x + own["linear.bias"]) + x
            continue
        gates = np.exp(own["gate.weight"] @ x)
        gates /= gates.sum()
        mixed = np.zeros_like(x)
        for gate, v, c, u in zip(gates, own["v_EDR"], own["c_ERR"], own["u_ERD"], strict=True):
            expert = x_0 * (u.T @ np.tanh(c.T @ np.tanh(v.T @ x)) + own["bias"])
            mixed += gate * expert
        x = mixed + x
    ends = apply(tower.deep, x) if tower.stacked else np.concatenate([x, apply(tower.deep, x_0)])
    return float(state["last.weight"][0] @ ends)


def literal_finalmlp(tower: Any, x: Array) -> float:
    state, outputs = numbers(tower), []
    for name, context in (("first", ["b", "a"]), ("second", ["tags"])):
        gate = getattr(tower, f"{name}_gate")
        if "constant" in gate.state_dict():
            opening = state[f"{name}_gate.constant"]
        else:
            chosen = np.concatenate([x[VECTORS[field][0] : VECTORS[field][0] + DIM] for field in context])
            opening = apply(gate.network, chosen)
        outputs.append(apply(getattr(tower, name), x * 2.0 / (1.0 + np.exp(-opening))))
    first, second = outputs
    logit = state["first_last.weight"][0] @ first + state["second_last.weight"][0] @ second
    heads = state["products"]
    for first_part, w, second_part in zip(
        np.split(first, len(heads)), heads, np.split(second, len(heads)), strict=True
    ):
        logit += first_part @ w @ second_part
    return float(logit)


def literal_finalnet(tower: Any, x: Array) -> float:
    return float(np.mean([apply(block, x)[0] for block in tower.blocks]))


LITERAL: dict[str, Callable[[Any, Array], float]] = {
    "deep": literal_deep,
    "fm": literal_fm,
    "cross_network": literal_cross_network,
    "dcn_v2": literal_dcn_v2,
    "finalmlp": literal_finalmlp,
    "finalnet": literal_finalnet,
}


@pytest.mark.parametrize("case", CASES)
def test_a_tower_gives_what_its_formula_says_row_by_row(case: str) -> None:
    tower, inputs = tower_of(case), deep_inputs()
    expected = [LITERAL[CASES[case][0]](tower, row) for row in inputs.numpy()]
    assert np.ptp(expected) > 0.1
    with torch.no_grad():
        assert tower(inputs).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_gradients_by_inputs_and_all_weights_equal_finite_differences(case: str) -> None:
    tower = tower_of(case)
    names, weights = zip(*tower.named_parameters(), strict=True)

    def logit(inputs: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = functional_call(tower, dict(zip(names, values, strict=True)), (inputs,))
        return result

    inputs = deep_inputs()[:2].requires_grad_()
    assert torch.autograd.gradcheck(logit, (inputs, *weights), eps=1e-6, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_a_tower_follows_its_module_to_any_device_and_never_waits_for_it(case: str) -> None:
    tower = tower_of(case).to("meta").train()  # nothing can be read back from there
    assert tower(torch.empty(ROWS, GIVEN.dim, dtype=torch.float64, device="meta")).shape == (ROWS,)


@pytest.mark.parametrize("case", ["fm", "deep", "cross_network", "dcn_v2 parallel", "finalmlp", "finalnet"])
def test_a_tower_works_on_numerics_alone_and_on_vectors_alone(case: str) -> None:
    name, sections = CASES[case]
    for given in (DeepInput({}, 2), DeepInput(VECTORS, 0)):
        tower = TOWERS[name](given, settings(**sections)).eval()
        assert tower(torch.ones(ROWS, given.dim)).shape == (ROWS,)


# --------------------------------------------------------------------------------------------------- whole models

CATEGORIES = 8


def column(name: str, size: int, kind: str = "categorical", pooling: str | None = None) -> IndexColumn:
    return IndexColumn(name, kind, size, (name,), None, pooling=pooling)  # type: ignore[arg-type]


FIELDS = (column("a", CATEGORIES), column("b", CATEGORIES), column("tags", 6, pooling="mean"))
CROSS = column("a x b", CATEGORIES * CATEGORIES, "cross")


def network_of(kind: str, *, crosses: bool, **sections: Any) -> Network:
    layout = InputLayout.of((*FIELDS, *([CROSS] if crosses else [])), ["n"])
    torch.manual_seed(4)
    deep = {"hidden": [32, 16]}
    return Network(layout, settings(kind, deep=deep, embeddings={"dim": CATEGORIES}, **sections))


def batch(*, crosses: bool) -> tuple[torch.Tensor, torch.Tensor, list[Bag]]:
    """The 64 pairs of values of a and b, which nothing else tells apart."""
    a, b = torch.arange(CATEGORIES).repeat_interleave(CATEGORIES), torch.arange(CATEGORIES).repeat(CATEGORIES)
    indices = torch.stack([a, b, a * CATEGORIES + b][: 3 if crosses else 2]).int()
    rows = indices.shape[1]
    bag = Bag(torch.full((rows,), 3, dtype=torch.int32), torch.arange(rows + 1), None)
    return indices, torch.full((1, rows), 0.5), [bag]


def test_the_kinds_of_the_schema_are_those_of_the_table_and_made_of_known_parts() -> None:
    assert set(get_args(ModelSettings.model_fields["kind"].annotation)) == set(KINDS)
    assert {tower for kind in KINDS.values() for tower in kind.towers} == set(TOWERS)
    sections = {section for kind in KINDS.values() for section in kind.settings}
    assert sections == set(ModelSettings.model_fields) - {"kind", "wide", "embeddings"}


@pytest.mark.parametrize("crosses", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_logit_is_the_sum_of_the_parts_and_crosses_bring_the_wide_part_along(kind: str, crosses: bool) -> None:
    network = network_of(kind, crosses=crosses).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    inputs = batch(crosses=crosses)
    published_without = ("dcn", "dcn_v2", "finalmlp", "finalnet")
    assert (network.wide is not None) == (kind != "deep" and (crosses or kind not in published_without))
    assert list(network.towers) == list(KINDS[kind].towers)
    with torch.no_grad():
        logit = network.bias.expand(CATEGORIES**2).clone()
        if network.wide is not None:
            nn.init.normal_(network.wide.weights.weight)
            logit += network.wide(*inputs)
        for tower in network.towers.values():
            logit += tower(network.embeddings(*inputs))
        assert network(*inputs).tolist() == pytest.approx(logit.tolist(), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("label", ["binary", "regression"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_64_rows_by_heart(kind: str, label: LabelKind) -> None:
    crosses = kind == "wide"  # which has nothing else to tell the pairs by
    network = network_of(kind, crosses=crosses).train()
    optimizer = {"optimizer": "adam", "learning_rate": 0.02}
    optimizers = Optimizers(network, TrainingSettings.model_validate({"wide": optimizer, "deep": optimizer}))
    inputs = batch(crosses=crosses)
    answers = torch.randint(0, 2, (CATEGORIES**2,), generator=torch.Generator().manual_seed(5)).float()
    losses = []
    for _ in range(300):
        loss = mean_loss(label, network(*inputs), answers, None)
        loss.backward()
        optimizers.step(1.0, len(answers))
        losses.append(loss.item())
    assert losses[0] > 0.2
    assert losses[-1] < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_written_and_read_back_says_the_same(kind: str, tmp_path: Path) -> None:
    network, other = network_of(kind, crosses=True).eval(), network_of(kind, crosses=True).eval()
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.1, 0.9)
    save_checkpoint(tmp_path / "model", model_tensors(network), {})
    inputs = batch(crosses=True)
    assert not torch.equal(other(*inputs), network(*inputs))
    restore_model(other, load_checkpoint(tmp_path / "model")[0], tmp_path / "model")
    assert torch.equal(other(*inputs), network(*inputs))


@pytest.mark.parametrize("case", CASES)
def test_weight_decay_reaches_every_matrix_of_a_tower_and_no_bias(case: str) -> None:
    name, sections = CASES[case]
    kind = next(kind for kind, parts in KINDS.items() if name in parts.towers)
    network = network_of(kind, crosses=False, **sections)
    deep = {"optimizer": "sgd", "learning_rate": 0.1, "l2": 0.5}
    optimizers = Optimizers(network, TrainingSettings.model_validate({"deep": deep}))
    decays = {id(p): group.decay for group in optimizers.dense["deep"].groups for p in group.parameters}
    for parameter_name, parameter in network.towers[name].named_parameters():
        free = parameter_name.endswith((".bias", ".constant")) or parameter_name.startswith("biases.")
        assert decays[id(parameter)] == (0.0 if free else 0.5), parameter_name
