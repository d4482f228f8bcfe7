"""What the Triton kernels promise beyond the common contract. Without a CUDA device they run in Triton's interpreter."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from test_look_ups import RULES, Case, assert_same_update, implementation

from widedeep.features.plan import IndexColumn
from widedeep.kernels import reference
from widedeep.kernels.lookups import Bag
from widedeep.kernels.rules import Adam, Rule, Sgd
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network
from widedeep.recipe.schema import ModelSettings, TrainingSettings
from widedeep.training.objective import mean_loss
from widedeep.training.optimizers import Optimizers

pytest.importorskip("triton", reason="triton is not installed (Linux only)")
KERNELS, DEVICE = implementation("cuda")
POOLINGS = ["sum", "mean", "max"]


def test_a_row_that_fills_more_chunks_than_are_added_at_a_time_gets_all_of_its_gradients() -> None:
    case = Case(3, 2_100, 2, summed=False, sizes=[2], bags=[]).on(DEVICE)
    rows, _ = case.lookups.sorted_rows
    longest = int(torch.bincount(rows).max())
    assert longest > (64 + 1) * 32, "a run must be longer than one span of chunks"
    assert_same_update(KERNELS, Sgd(0.01), case, 1.0)


def test_the_deep_input_may_be_bfloat16_while_sums_and_tables_stay_float32() -> None:
    case = Case(5, 20, 10, summed=False, sizes=[3, 50], bags=POOLINGS).on(DEVICE)
    out = case.read(KERNELS, torch.bfloat16)
    # Half a unit of bfloat16's last place on a device; the interpreter cuts off instead of rounding.
    torch.testing.assert_close(out.float(), case.read(reference), rtol=2**-7, atol=1e-6)
    case.gradient = case.gradient.bfloat16()
    assert_same_update(KERNELS, Adam(0.01, 3), case, 1.0)


@pytest.mark.parametrize("rule", [Adam(0.01, 7, 0.02), Sgd(0.1)], ids=["Adam", "Sgd"])
def test_numbers_that_move_may_lie_on_the_device_so_that_a_captured_step_reads_them_anew(rule: Rule) -> None:
    case = Case(6, 9, 4, summed=False, sizes=[3, 50], bags=[]).on(DEVICE)
    moving = torch.tensor([7.0, 16.0, -0.5], dtype=torch.float64, device=DEVICE)
    other = Adam(0.01, moving[0], 0.02) if isinstance(rule, Adam) else rule
    assert_same_update(KERNELS, rule, case, 16.0, other)
    results = []
    for decay in (-0.5, moving[2]):
        table, received = case.table.clone(), torch.zeros(len(case.table), dtype=torch.float64, device=DEVICE)
        KERNELS.pay(table, received, case.lookups, decay)
        results.append((table, received))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_equal_inputs_give_equal_bytes(rule: Rule) -> None:
    case = Case(8, 9, 4, summed=False, sizes=[2, 50], bags=["max"]).on(DEVICE)
    states, results = case.states(rule), []
    for _ in range(2):
        table, own = case.table.clone(), [state.clone() for state in states]
        KERNELS.update(rule, table, own, case.lookups, case.gradient)
        results.append([table, *own])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def trained(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, **optimizer: object
) -> dict[str, torch.Tensor]:
    """The weights after a few steps of a small Wide & Deep with these kernels and a deep input of this type."""
    columns = [("a", 5, None), ("b", 40, None), ("l", 9, "mean")]
    layout = InputLayout.of(
        [
            IndexColumn(name, "categorical", size, (name,), 4, pooling=pooling)  # type: ignore[arg-type]
            for name, size, pooling in columns
        ],
        ["x"],
    )
    for module in ("model.table", "training.lazy", "training.optimizers"):
        monkeypatch.setattr(f"widedeep.{module}.kernels_for", lambda _device, **_: kernels)
    generator = torch.Generator().manual_seed(2)
    torch.manual_seed(1)
    network = Network(layout, ModelSettings.model_validate({"deep": {"hidden": [6]}}), bias=0.1).to(DEVICE)
    optimizers = Optimizers(network, TrainingSettings.model_validate({"deep": optimizer, "dense_rows": 0}))
    network.train()
    for _ in range(4):
        lengths = torch.randint(1, 4, (8,), generator=generator)
        bounds = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        values = torch.randint(0, 9, (int(bounds[-1]),), generator=generator).int()
        indices = torch.stack([torch.randint(0, size, (8,), generator=generator) for size in (5, 40)]).int()
        numerics, label = torch.randn(1, 8, generator=generator), torch.rand(8, generator=generator).round()
        with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            bag = Bag(values.to(DEVICE), bounds.to(DEVICE), None)
            logit = network(indices.to(DEVICE), numerics.to(DEVICE), [bag])
        touched = network.embedding_tables()[0].touched
        assert touched is not None
        assert touched.output.dtype == dtype
        mean_loss("binary", logit.float(), label.to(DEVICE), None).backward()
        optimizers.step(1.0, 8.0)
    optimizers.settle()
    return network.state_dict()


OPTIMIZERS = [{"optimizer": "sgd", "embedding_l2": 0.3}, {"optimizer": "adamw", "embedding_l2": 0.3}]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: optimizer["optimizer"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_network_learns_by_the_tiles_what_it_learns_in_plain_torch(
    dtype: torch.dtype, optimizer: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"learning_rate": 0.02, **optimizer}
    expected, given = (trained(kernels, monkeypatch, dtype, **settings) for kernels in (reference, KERNELS))
    # The interpreter cuts bfloat16 off where torch rounds, which the steps carry on.
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    for name, weights in expected.items():
        bound = tolerance * float(weights.abs().max())
        torch.testing.assert_close(given[name], weights, rtol=0, atol=bound, msg=lambda m, name=name: f"{name}: {m}")


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from widedeep.kernels import tiles

TYPES = {
    "indices": "*i32", "values": "*i32", "bounds": "*i64", "positions": "*i64", "starts": "*i64", "places": "*i64",
    "sorted_rows": "*i64", "order": "*i64", "out": "*bf16", "gradient": "*bf16", "weights": "*fp32", "table": "*fp32",
    "first_state": "*fp32", "second_state": "*fp32", "partial_sums": "*fp32", "spread_gradients": "*fp32",
    "numbers": "*fp32", "received": "*fp64", "decay": "*fp64",
}

def compiled(kernel, **constants):
    names = [parameter.name for parameter in kernel.params]
    signature = {name: "constexpr" if name in constants else TYPES.get(name, "i32") for name in names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"], kernel
    print(kernel.__name__)

compiled(tiles.gather, BLOCK_B=32, BLOCK_D=16)
compiled(tiles.gather_sum, BLOCK_B=256)
for how in range(3):
    compiled(tiles.pool, HOW=how, WEIGHTED=how > 0, ADDED=how == 0, BLOCK_B=16, BLOCK_D=16)
    compiled(tiles.spread, HOW=how, WEIGHTED=how > 0, BLOCK_B=16, BLOCK_D=16)
for rule in range(6):
    compiled(tiles.sum_chunk, RULE=rule, CHUNK=32, BLOCK_D=16)
    compiled(tiles.finish, RULE=rule, CHUNK=32, BLOCK_D=16)
compiled(tiles.pay, BLOCK=32, BLOCK_D=16)
# Triton compiles a 1 into the kernel: the wide part's table is one wide, and a batch may have one row.
compiled(tiles.gather_sum, BLOCK_B=256, table_stride=1, num_columns=1, num_rows=1)
compiled(tiles.pool, HOW=0, WEIGHTED=True, ADDED=True, BLOCK_B=16, BLOCK_D=16, width=1, table_stride=1, out_stride=1)
compiled(tiles.spread, HOW=0, WEIGHTED=True, BLOCK_B=16, BLOCK_D=16, width=1, table_stride=1, gradient_stride=1)
one = {"RULE": 0, "CHUNK": 32, "BLOCK_D": 16, "width": 1, "num_entries": 1}
compiled(tiles.sum_chunk, **one, gradient_stride=1, num_rows=1, num_dense=1)
compiled(tiles.finish, **one)
compiled(tiles.pay, BLOCK=32, BLOCK_D=16, width=1, num_entries=1)
"""


def test_every_kernel_compiles_for_hopper_cards(tmp_path: Path) -> None:
    # The interpreter takes more than the compiler does; the compiler needs no device.
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    program = tmp_path / "compile.py"
    program.write_text(COMPILE)
    run = subprocess.run(
        [sys.executable, str(program)],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-4_000:]
    assert len(run.stdout.split()) == 27
