"""The model: its sum, its sizes, what a step touches."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from widedeep.features.plan import IndexColumn
from widedeep.kernels.reference import summed_gradients
from widedeep.model.layout import InputLayout, automatic_dim
from widedeep.model.network import Network, Undrawn
from widedeep.model.table import Table
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.schema import ModelSettings


def column(name: str, size: int, kind: str = "categorical", dim: int | None = None) -> IndexColumn:
    return IndexColumn(name=name, kind=kind, size=size, fields=(name,), embedding_dim=dim)  # type: ignore[arg-type]


LAYOUT = InputLayout((column("a", 5), column("b", 9, dim=3), column("a x b", 12, "cross")), ("x", "x\x01missing"))


def batch(rows: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [c.size for c in LAYOUT.index_columns]
    indices = torch.stack([torch.randint(0, s, (rows,), generator=generator) for s in sizes]).int()
    return indices, torch.randn(2, rows, generator=generator)


def settings(kind: str) -> ModelSettings:
    # Crosses from memory have tests of their own, in test_cross_values.py.
    wide = {"crosses": "gradient"}
    return ModelSettings.model_validate({"kind": kind, "wide": wide, "deep": {"hidden": [8, 4]}})


def randomised(kind: str) -> Network:
    torch.manual_seed(3)
    network = Network(LAYOUT, settings(kind), bias=0.25)
    for module in network.modules():
        if isinstance(module, Table):
            torch.nn.init.normal_(module.weight)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    return network.eval()


def test_the_logit_is_the_sum_of_bias_wide_and_deep_read_off_one_row_at_a_time() -> None:
    network = randomised("wide_deep")
    indices, numerics = batch()
    with torch.no_grad():
        logits = network(indices, numerics)
        for row in range(indices.shape[1]):
            logit = network.bias.item()
            starts = [0, 5, 14]
            for position, start in enumerate(starts):
                logit += network.wide.weights.weight[start + int(indices[position, row]), 0].item()
            logit += float(numerics[:, row] @ network.wide.numeric)
            narrow = network.embeddings.tables["3"].weight[int(indices[1, row])]
            broad = network.embeddings.tables["4"].weight[int(indices[0, row])]
            logit += network.towers["deep"](torch.cat([narrow, broad, numerics[:, row]]).unsqueeze(0)).item()
            assert logits[row].item() == pytest.approx(logit, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("kind", "has_wide", "has_deep"), [("wide", 1, 0), ("deep", 0, 1), ("wide_deep", 1, 1)])
def test_each_kind_has_just_its_parts(kind: str, has_wide: int, has_deep: int) -> None:
    network = Network(LAYOUT, settings(kind))
    assert (network.wide is not None) == bool(has_wide)
    assert (network.embeddings is not None) == bool(has_deep)
    assert len(network.towers) == has_deep


@pytest.mark.parametrize("kind", ["wide", "deep", "wide_deep"])
def test_gradients_through_the_tables_equal_finite_differences(kind: str) -> None:
    network = randomised(kind).double()
    indices, numerics = batch()
    numerics = numerics.double()
    network.train()
    network(indices, numerics).square().sum().backward()
    for table in [m for m in network.modules() if isinstance(m, Table)]:
        touched = table.touched
        rows, gradients = summed_gradients(table.weight, touched.lookups, touched.gradient)
        for position, row in enumerate(rows.tolist()):
            original = table.weight[row, 0].item()
            values = []
            for shift in (1e-6, -1e-6):
                table.weight[row, 0] = original + shift
                with torch.no_grad():
                    network.eval()
                    values.append(network(indices, numerics).square().sum().item())
            table.weight[row, 0] = original
            assert gradients[position, 0].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-6)


def test_missing_and_unknown_start_without_an_opinion() -> None:
    network = Network(LAYOUT, settings("deep"))
    for table in network.embedding_tables():
        for start in table.columns.starts.tolist():
            assert (table.weight[start : start + 2] == 0).all()
            assert (table.weight[start + 2] != 0).any()


def test_the_automatic_width_grows_with_the_fourth_root_of_the_cardinality() -> None:
    assert [automatic_dim(n) for n in (1, 2, 20, 300, 5_000, 100_000, 10**8)] == [4, 4, 4, 8, 16, 32, 32]


def test_a_model_of_numerics_only_works_without_any_table() -> None:
    network = Network(InputLayout((), ("x",)), settings("wide_deep"))
    assert network(torch.zeros(0, 4, dtype=torch.int32), torch.ones(1, 4)).shape == (4,)


EVERY_PART = """
import torch
from widedeep.features.plan import IndexColumn
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network, Undrawn
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.schema import ModelSettings

columns = [IndexColumn(name, kind, 9, tuple(name.split(" x ")), None) for name, kind in
           [("a", "categorical"), ("b", "categorical"), ("a x b", "cross")]]
layout = InputLayout(tuple(columns), ("x",))
structures = [{}, {"dcn_v2": {"rank": 2, "experts": 2}}]
def models():
    for kind in KINDS:
        for more in structures[: 2 if "dcn_v2" in KINDS[kind].towers else 1]:
            deep = {"hidden": [8, 4], "batch_norm": True}
            yield ModelSettings.model_validate({"kind": kind, "embeddings": {"dim": 4}, "deep": deep, **more})
"""


def test_a_network_that_is_not_drawn_leaves_the_random_generator_as_it_is() -> None:
    names: dict[str, Any] = {}
    exec(EVERY_PART, names)
    torch.manual_seed(5)
    before = torch.get_rng_state()

    with Undrawn():
        built = [Network(names["layout"], model) for model in names["models"]()]

    assert len(built) > len(KINDS)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_on_the_meta_device_imports_no_compiler_of_torch() -> None:
    program = EVERY_PART + (
        "import sys\n"
        "with torch.device('meta'), Undrawn():\n"
        "    for model in models(): Network(layout, model)\n"
        "sys.exit(','.join({'torch._dynamo', 'sympy'} & set(sys.modules)) or None)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
