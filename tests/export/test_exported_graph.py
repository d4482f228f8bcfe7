"""Every kind of model gives the network's scores as ONNX, whatever the size of the batch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from widedeep.errors import ArtefactError
from widedeep.export import onnx_model
from widedeep.export.check import arrays_of, inputs_of
from widedeep.export.graph import ServedNetwork
from widedeep.export.onnx_model import (
    IR_VERSION,
    OPSET,
    TRACED_ROWS,
    read_onnx,
    read_program,
    traced,
    write_onnx,
    write_program,
)
from widedeep.features.plan import IndexColumn
from widedeep.kernels.lookups import Bag
from widedeep.lists import Lists
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network, score
from widedeep.model.towers import TOWERS
from widedeep.recipe.data import LabelKind
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.schema import ModelSettings

DIM = 4
SINGLE = (
    IndexColumn("a", "categorical", 7, ("a",), None, shared="s"),
    IndexColumn("b", "categorical", 9, ("b",), None),
    IndexColumn("c", "categorical", 7, ("c",), None, shared="s"),
    IndexColumn("n#buckets", "bucketed", 6, ("n",), None),
    IndexColumn("a x b", "cross", 40, ("a", "b"), None),
)
LISTS = (
    IndexColumn("tags", "categorical", 11, ("tags",), None, pooling="mean", weights="tags#weights"),
    IndexColumn("words", "categorical", 7, ("words",), None, shared="s", pooling="max"),
    IndexColumn("sites", "categorical", 5, ("sites",), None, pooling="sum"),
    IndexColumn("a x tags", "cross", 30, ("a", "tags"), None, pooling="sum", weights="a x tags#weights"),
)
NUMERICS = ("n", "n#missing")
WHOLE = InputLayout(SINGLE, NUMERICS, LISTS)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


CASES: dict[str, tuple[str, InputLayout, dict[str, Any]]] = {
    **{kind: (kind, WHOLE, {}) for kind in KINDS},
    "crosses from memory": ("wide", WHOLE, {"wide": {"crosses": "out_of_fold"}}),
    "dcn_v2 of experts": ("dcn_v2", InputLayout(SINGLE, NUMERICS), {"dcn_v2": {"rank": 2, "experts": 3}}),
    "finalmlp by context": ("finalmlp", WHOLE, {"finalmlp": {"heads": 2, "first_context": ["b", "tags"]}}),
    "crosses of lists from memory": (
        "wide_deep",
        InputLayout(SINGLE[:2], NUMERICS, LISTS),
        {"wide": {"crosses": "out_of_fold"}},
    ),
    "fm without numbers": ("fm", InputLayout(SINGLE, ()), {}),
    "fm of numbers alone": ("fm", InputLayout((), NUMERICS), {}),
    "dcn of one number": ("dcn", InputLayout((), ("n",)), {}),
    "lists alone": ("wide_deep", InputLayout((), (), LISTS[:2]), {}),
    "numbers alone": ("wide_deep", InputLayout((), NUMERICS), {}),
    "widths by cardinality": ("deep", WHOLE, {"embeddings": {"dim": "auto"}}),
}
QUICK = ("lists alone", "numbers alone", "crosses of lists from memory")
"""The others take two seconds each: see the marker `export`. A model of all towers at once stands for them."""


def network_of(case: str, layout: InputLayout | None = None) -> Network:
    """With all of its weights, and the statistics of normalisation, drawn at random."""
    kind, own_layout, sections = CASES[case]
    layout = layout or own_layout
    deep = {"hidden": [6, 4], "batch_norm": True, "dropout": 0.3}
    base = {"kind": kind, "deep": deep, "embeddings": {"dim": DIM}, "wide": {"crosses": "gradient"}}
    torch.manual_seed(1)
    network = Network(layout, ModelSettings.model_validate({**base, **sections}), bias=0.3, correction=-0.7).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            nn.init.uniform_(buffer, 0.5, 2.0) if "var" in name else nn.init.normal_(buffer, std=0.3)
    if network.cross_memory is not None:
        num_rows = network.cross_memory.num_rows
        network.cross_memory.remember(torch.randn(num_rows), torch.randint(0, 8, (num_rows,)).to(torch.uint8))
    return network


def drawn_rows(layout: InputLayout, num_rows: int) -> tuple[np.ndarray, np.ndarray, list[Lists]]:
    draw = np.random.default_rng(num_rows)
    indices = np.array([draw.integers(0, c.size, num_rows) for c in layout.index_columns], dtype=np.int32)
    numerics = draw.normal(size=(len(layout.numeric_columns), num_rows)).astype(np.float32)
    lists = []
    for column in layout.list_columns:
        lengths = draw.integers(1, 5, num_rows)
        values = draw.integers(0, column.size, lengths.sum()).astype(np.int32)
        weights = draw.uniform(0, 2, len(values)).astype(np.float32) if column.weights else None
        lists.append(Lists(values, lengths, weights))
    return indices.reshape(len(layout.index_columns), num_rows), numerics, lists


@torch.inference_mode()
def scores_of(network: Network, kind: LabelKind, indices: np.ndarray, numerics: np.ndarray, lists: list[Lists]) -> Any:
    bags = [Bag.of(column, torch.from_numpy) for column in lists]
    return score(kind, network(torch.from_numpy(indices), torch.from_numpy(numerics), bags)).numpy()


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in QUICK else pytest.mark.export) for case in CASES]
)
def test_the_onnx_model_scores_batches_of_any_size_as_the_network(case: str, tmp_path: Path) -> None:
    network, layout, path = network_of(case), CASES[case][1], tmp_path / "model.onnx"
    weighted = [column.weights is not None for column in layout.list_columns]

    write_onnx(traced(ServedNetwork(network, "binary", weighted), layout), path, "1")

    onnx.checker.check_model(path, full_check=True)
    run = read_onnx(path)
    for num_rows in (1, 2, TRACED_ROWS, 33, 300):
        rows = drawn_rows(layout, num_rows)
        scores = run(arrays_of(*rows))
        np.testing.assert_allclose(scores, scores_of(network, "binary", *rows), rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def of_all_towers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Path]:
    """A model with crosses from memory that adds up the towers of all kinds, and where it was exported."""
    folder = tmp_path_factory.mktemp("all")
    network = network_of("crosses from memory")
    network.embeddings = network_of("deep").embeddings
    for kind in ("dcn", "fm", "dcn_v2", "finalmlp", "finalnet", "dcn_v2 of experts", "finalmlp by context"):
        of_kind = network_of(kind, WHOLE)
        network.towers.update({f"{kind} {name}": tower for name, tower in of_kind.towers.items()})
    assert {name.rpartition(" ")[2] for name in network.towers} == {*TOWERS}
    program = traced(ServedNetwork(network, "binary", [column.weights is not None for column in LISTS]), WHOLE)
    write_onnx(program, folder / "model.onnx", "1.2")
    write_program(program, folder / "model.pt2")
    return network, folder


def test_a_model_of_all_towers_scores_as_onnx_and_as_torchs_program_as_the_network(
    of_all_towers: tuple[Network, Path],
) -> None:
    network, folder = of_all_towers
    run_onnx = read_onnx(folder / "model.onnx")
    run = read_program(folder / "model.pt2")

    onnx.checker.check_model(folder / "model.onnx", full_check=True)
    for num_rows in (1, 2, TRACED_ROWS, 300):
        rows = drawn_rows(WHOLE, num_rows)
        wanted = scores_of(network, "binary", *rows)
        np.testing.assert_allclose(run_onnx(arrays_of(*rows)), wanted, rtol=0, atol=2e-6)
        np.testing.assert_allclose(run(inputs_of(arrays_of(*rows))).numpy(), wanted, rtol=0, atol=2e-6)


def test_a_row_without_values_scores_as_by_the_network(of_all_towers: tuple[Network, Path]) -> None:
    network, folder = of_all_towers
    indices, numerics, lists = drawn_rows(WHOLE, 40)
    for place, rows in enumerate(([-1], [-2, -1], [0], [7, 8])):  # no encoder of ours gives such lists
        lengths = lists[place].lengths.copy()
        lengths[rows] = 0
        weights = lists[place].weights
        lists[place] = Lists(
            lists[place].values[: lengths.sum()], lengths, None if weights is None else weights[: lengths.sum()]
        )

    scores = read_onnx(folder / "model.onnx")(arrays_of(indices, numerics, lists))

    np.testing.assert_allclose(scores, scores_of(network, "binary", indices, numerics, lists), rtol=0, atol=2e-6)


def test_the_model_names_its_sizes_and_versions_and_nothing_of_this_machine(
    of_all_towers: tuple[Network, Path],
) -> None:
    path = of_all_towers[1] / "model.onnx"

    model = onnx.load(path)

    sizes = {of.name: [d.dim_param or d.dim_value for d in of.type.tensor_type.shape.dim] for of in model.graph.input}
    assert sizes["indices"] == ["batch", 5]
    assert sizes["numerics"] == ["batch", 2]
    assert [(of.domain, of.version) for of in model.opset_import] == [("", OPSET)]
    assert (model.ir_version, model.producer_name, model.producer_version) == (IR_VERSION, "widedeep", "1.2")
    for place in (str(Path(torch.__file__).parent), str(Path(__file__).parents[2]), "site-packages", ".py"):
        assert place.encode() not in path.read_bytes()


def test_the_weights_of_a_large_model_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, layout = network_of("numbers alone"), CASES["numbers alone"][1]
    monkeypatch.setattr(onnx_model, "_MOST_BYTES_INSIDE", 16)

    write_onnx(traced(ServedNetwork(network, "regression", []), layout), tmp_path / "model.onnx", "1")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    rows = drawn_rows(layout, 7)
    scores = read_onnx(moved / "model.onnx")(arrays_of(*rows))
    np.testing.assert_allclose(scores, scores_of(network, "regression", *rows), rtol=1e-5, atol=1e-6)


def test_a_network_that_torch_cannot_trace_is_told_in_one_sentence() -> None:
    network = network_of("numbers alone")
    network.towers["odd"] = _AsksForAValue()

    with pytest.raises(ArtefactError, match=r"^torch \S+ cannot export the model: .{10,300}$"):
        traced(ServedNetwork(network, "binary", []), CASES["numbers alone"][1])


class _AsksForAValue(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(dim=1) if x.sum() > 0 else x.sum(dim=1) + 1
