"""One contract for every implementation of the sparse hot path: what it reads and updates is what plain torch says."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.kernels import cpu, reference
from widedeep.kernels.lookups import Bag, Column, Columns, Lookups
from widedeep.kernels.rules import Adagrad, Adam, Ftrl, RowwiseAdagrad, Rule, Sgd

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed (Linux only)")
IMPLEMENTATIONS = ["cpu", pytest.param("cuda", marks=needs_triton)]
RULES: list[Rule] = [
    Ftrl(0.1, 1.0, 0.02, 0.3),
    Adagrad(0.1, 0.01),
    RowwiseAdagrad(0.1, 0.01),
    Adam(0.01, 3, 0.02),
    Sgd(0.1),
]


def implementation(name: str) -> tuple[ModuleType, str]:
    """The module and the device that it is tested on; without a CUDA device Triton's interpreter works on the CPU."""
    return import_module(f"widedeep.kernels.{name}"), "cuda" if name == "cuda" and torch.cuda.is_available() else "cpu"


class Case:
    """Random look-ups: columns with ranges of their own and shared ones, bags of every pooling, some of them empty."""

    def __init__(self, seed: int, rows: int, width: int, summed: bool, sizes: list[int], bags: list[str]) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.width = 1 if summed else width
        starts = torch.tensor([0, *sizes]).cumsum(0).tolist()
        columns = [Column(i, start, 0 if summed else i * width) for i, start in enumerate(starts[:-1])]
        columns.append(Column(len(sizes), 0, 0 if summed else len(sizes) * width))  # shares the first range
        place = len(columns) * width
        self.bags = []
        for number, pooling in enumerate(bags):
            column = number % len(sizes)
            how = "sum" if summed else pooling
            columns.append(Column(number, starts[column], 0 if summed else place, how))  # type: ignore[arg-type]
            place += width
            lengths = torch.randint(0, 4, (rows,), generator=generator)
            bounds = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
            values = torch.randint(0, sizes[column], (int(bounds[-1]),), generator=generator).int()
            weights = torch.rand(len(values), generator=generator) - 0.2 if number % 2 else None
            self.bags.append(Bag(values, bounds, weights))
        # A slice of a wider matrix, as batches are of a window.
        window = torch.stack([torch.randint(0, s, (rows + 5,), generator=generator) for s in [*sizes, sizes[0]]]).int()
        self.lookups = Lookups(Columns(columns, summed=summed), window[:, 3 : 3 + rows], self.bags)
        self.table = torch.randn(starts[-1], self.width, generator=generator)
        self.out_dim = 1 if summed else place
        self.gradient = torch.randn(rows, self.out_dim, generator=generator)
        self.generator = generator

    def on(self, device: str) -> "Case":
        """This case with its tensors on the device."""
        bags = [
            Bag(bag.values.to(device), bag.bounds.to(device), None if bag.weights is None else bag.weights.to(device))
            for bag in self.bags
        ]
        self.lookups = replace(self.lookups, indices=self.lookups.indices.to(device), bags=bags)
        self.table, self.gradient = self.table.to(device), self.gradient.to(device)
        return self

    def states(self, rule: Rule) -> list[torch.Tensor]:
        shape = (len(self.table), 1) if isinstance(rule, RowwiseAdagrad) else self.table.shape
        return [torch.rand(shape, generator=self.generator).to(self.table.device) for _ in rule.states]

    def read(self, kernels: ModuleType, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        out = torch.full((len(self.gradient), self.out_dim), torch.nan, dtype=dtype, device=self.table.device)
        kernels.look_up(self.table, self.lookups, out)
        return out


def hold_for_cases(name: str, examples: int, check: Callable[[ModuleType, Case], None]) -> None:
    """Run the check on random cases; few and small ones where an interpreter takes its time."""
    kernels, device = implementation(name)
    slow = name == "cuda" and device == "cpu"
    cases = st.builds(
        Case,
        st.integers(0, 2**31),
        st.sampled_from([1, 2, 7, 30] if slow else [1, 2, 7, 600]),
        st.sampled_from([1, 4, 10, 16]),
        st.booleans(),
        st.lists(st.sampled_from([2, 3, 50, 70_000]), min_size=1, max_size=3),
        st.lists(st.sampled_from(["sum", "mean", "max"]), max_size=3),
    )

    @given(cases)
    @settings(max_examples=examples // 5 if slow else examples)
    def hold(case: Case) -> None:
        check(kernels, case.on(device))

    hold()


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_every_place_of_the_output_holds_what_the_table_says(name: str) -> None:
    def check(kernels: ModuleType, case: Case) -> None:
        out = case.read(kernels)
        torch.testing.assert_close(out, case.read(reference), rtol=1e-5, atol=1e-6)
        assert not out.isnan().any()

    hold_for_cases(name, 60, check)


def test_a_deep_input_in_bfloat16_is_the_float32_one_rounded_once() -> None:
    def check(kernels: ModuleType, case: Case) -> None:
        if not case.lookups.columns.summed:  # sums are float32 in every precision
            rounded = case.read(kernels).bfloat16()
            assert torch.equal(case.read(kernels, torch.bfloat16), rounded)

    hold_for_cases("cpu", 60, check)


@pytest.mark.parametrize("bits", [0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x7F7FFFFF, 0x7F800000, 0x80000001])
def test_halves_are_rounded_to_even_and_the_ends_of_the_scale_stay(bits: int) -> None:
    table = torch.tensor([bits], dtype=torch.int64).to(torch.uint32).view(torch.float32).reshape(1, 1)
    out = torch.empty(1, 1, dtype=torch.bfloat16)
    cpu.look_up(table, Lookups(Columns([Column(0, 0, 0)]), torch.zeros(1, 1, dtype=torch.int32), []), out)
    assert torch.equal(out, table.bfloat16())


def test_gradients_in_bfloat16_are_summed_in_float32() -> None:
    case = Case(5, 300, 10, summed=False, sizes=[3, 50], bags=["sum", "mean", "max"])
    case.gradient = case.gradient.bfloat16()
    halved, whole = case.table.clone(), case.table.clone()
    cpu.update(Sgd(0.1), halved, [], case.lookups, case.gradient)
    cpu.update(Sgd(0.1), whole, [], case.lookups, case.gradient.float())
    assert torch.equal(halved, whole)


def assert_same_update(
    kernels: ModuleType, rule: Rule, case: Case, factor: float, other_rule: Rule | None = None
) -> None:
    """Update by the reference and by `kernels` (under `other_rule` where it is another form of the same) and compare."""
    results = []
    states = case.states(rule)
    for module, own_rule in ((reference, rule), (kernels, other_rule or rule)):
        table, own = case.table.clone(), [state.clone() for state in states]
        module.update(own_rule, table, own, case.lookups, case.gradient, factor=factor)
        results.append([table, *own])
    for expected, given_ in zip(*results, strict=True):
        torch.testing.assert_close(given_, expected, rtol=2e-4, atol=2e-5 * float(expected.abs().max()))
    touched = reference.summed_gradients(case.table, case.lookups, case.gradient)[0]
    others = torch.ones(len(case.table), dtype=torch.bool, device=case.table.device)
    others[touched] = False
    assert torch.equal(results[1][0][others], case.table[others])


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("factor", [1.0, 512.0])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_an_update_moves_the_touched_rows_as_the_rule_says_and_no_others(name: str, rule: Rule, factor: float) -> None:
    hold_for_cases(name, 20, lambda kernels, case: assert_same_update(kernels, rule, case, factor))


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_a_small_vector_follows_ftrl_as_a_table_does(name: str) -> None:
    kernels, device = implementation(name)
    rule = Ftrl(0.1, 1.0, 0.5, 0.3)
    numbers = [torch.rand(600, generator=torch.Generator().manual_seed(i)).to(device) for i in range(4)]
    weights, z, n, gradients = numbers
    gradients = gradients * 4 - 2
    expected = [weights.clone().view(-1, 1), z.clone().view(-1, 1), n.clone().view(-1, 1)]
    rows = torch.arange(600, device=device)
    reference.ftrl(*expected, rows, gradients.view(-1, 1), alpha=0.1, beta=1.0, l1=0.5, l2=0.3)
    kernels.update_numbers(rule, weights, z, n, gradients)
    for found, wanted in zip((weights, z, n), expected, strict=True):
        torch.testing.assert_close(found, wanted.flatten(), rtol=1e-5, atol=1e-6)
    assert 0 < (weights == 0).sum() < 600


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_a_maximum_has_its_gradient_though_decay_was_paid_since_it_was_read(name: str) -> None:
    kernels, device = implementation(name)
    case = Case(1, 30, 4, summed=False, sizes=[50], bags=["max"]).on(device)
    results = []
    for module in (reference, kernels):
        table, received = case.table.clone(), torch.zeros(50, dtype=torch.float64, device=device)
        module.pay(table, received, case.lookups, -0.1)
        module.update(Sgd(0.1), table, [], case.lookups, case.gradient)
        results.append(table)
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_a_dense_gradient_has_the_sums_of_the_touched_rows(name: str) -> None:
    def check(kernels: ModuleType, case: Case) -> None:
        results = []
        for module in (reference, kernels):
            dense = torch.zeros_like(case.table)
            module.add_gradients(dense, case.table, case.lookups, case.gradient)
            results.append(dense)
        torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)

    hold_for_cases(name, 30, check)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_a_row_that_is_read_twice_pays_its_decay_once(name: str) -> None:
    def check(kernels: ModuleType, case: Case) -> None:
        results = []
        for module in (reference, kernels):
            table = case.table.clone()
            received = torch.zeros(len(case.table), dtype=torch.float64, device=table.device)
            module.pay(table, received, case.lookups, -0.25)
            module.pay(table, received, case.lookups, -0.5)
            results.append((table, received))
        torch.testing.assert_close(results[1][0], results[0][0])
        assert torch.equal(results[1][1], results[0][1])
        assert set(results[1][1].tolist()) <= {0.0, -0.5}

    hold_for_cases(name, 30, check)


@pytest.mark.parametrize("sizes", [[50, 70_000], [50] * 9], ids=["few ranges", "many ranges"])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_the_number_of_threads_does_not_change_a_bit(rule: Rule, sizes: list[int]) -> None:
    case = Case(7, 600, 16, summed=False, sizes=sizes, bags=["mean"])
    threads, results, states = torch.get_num_threads(), [], case.states(rule)
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            table, own = case.table.clone(), [state.clone() for state in states]
            cpu.update(rule, table, own, case.lookups, case.gradient)
            results.append([table, *own])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_rows_beyond_the_limit_of_int32_are_read_and_updated(name: str, tmp_path: Path) -> None:
    # The matrix holds int32; a table row is its sum with the range's start, which does not fit an int32.
    kernels, device = implementation(name)
    limit = torch.iinfo(torch.int32).max
    # A sparse file: of its 8 GiB only the touched pages take room.
    stored = np.memmap(tmp_path / "table", dtype=np.float32, mode="w+", shape=(limit + 4, 1))
    table = torch.from_numpy(stored)
    if device != "cpu":
        pytest.skip("the table would be copied to the device")
    table[1], table[limit + 2] = 0.25, 0.5
    lookups = Lookups(Columns([Column(0, 0, 0), Column(1, limit - 2, 1)]), torch.tensor([[1], [4]]).int(), [])
    out = torch.full((1, 2), torch.nan)
    kernels.look_up(table, lookups, out)
    assert out.tolist() == [[0.25, 0.5]]
    kernels.update(Sgd(1.0), table, [], lookups, torch.tensor([[0.125, -0.125]]))
    assert [float(table[row]) for row in (0, 1, limit + 2, limit + 3)] == [0.0, 0.125, 0.625, 0.0]
