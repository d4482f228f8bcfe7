"""The layers' products by oneDNN are what torch's own linear layer says, forward and backward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from widedeep.kernels import products
from widedeep.kernels.products import LEAST_ROWS, LEAST_WIDTH, Linear

needs_onednn = pytest.mark.skipif(not torch._C._has_mkldnn, reason="this build of torch has no oneDNN")


def pair(inputs: int, outputs: int, *, bias: bool) -> tuple[Linear, nn.Linear]:
    torch.manual_seed(inputs + outputs)
    ours, theirs = Linear(inputs, outputs, bias=bias), nn.Linear(inputs, outputs, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def learnt(layer: nn.Linear, x: Tensor, slope: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    output = layer(x)
    output.backward(slope)
    return [output.detach(), *(t.grad for t in (x, *layer.parameters()) if t.grad is not None)]


@given(
    st.integers(1, 300),
    st.integers(1, 40),
    st.integers(1, 40),
    st.booleans(),
)
@settings(max_examples=60)
def test_a_layer_gives_what_torchs_gives_with_its_gradients(rows: int, inputs: int, outputs: int, bias: bool) -> None:
    ours, theirs = pair(inputs, outputs, bias=bias)
    x, slope = torch.randn(rows, inputs), torch.randn(rows, outputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "onednn_is_quicker", lambda: torch._C._has_mkldnn)
        told = learnt(ours, x, slope)
    exact = learnt(theirs.double(), x.double(), slope.double())
    assert len(told) == len(exact) == (4 if bias else 3)
    for tensor, truth in zip(told, exact, strict=True):
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor.double(), truth, rtol=1e-4, atol=1e-4)


@needs_onednn
def test_large_batches_go_to_onednn_and_small_or_narrow_ones_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    times, calls = products._times, []
    monkeypatch.setattr(products, "onednn_is_quicker", lambda: True)
    monkeypatch.setattr(products, "_times", lambda *operands: calls.append(operands) or times(*operands))
    layer, narrow = Linear(20, LEAST_WIDTH), Linear(20, LEAST_WIDTH - 1)
    layer(torch.randn(LEAST_ROWS - 1, 20))
    narrow(torch.randn(LEAST_ROWS, 20))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(torch.randn(LEAST_ROWS, 20))
    assert not calls
    layer(torch.randn(LEAST_ROWS, 20))
    assert len(calls) == 1
    with torch.inference_mode():
        layer(torch.randn(LEAST_ROWS, 20))
    assert len(calls) == 2
    monkeypatch.setattr(products, "onednn_is_quicker", lambda: False)
    layer(torch.randn(LEAST_ROWS, 20))
    assert len(calls) == 2


@needs_onednn
def test_a_row_scores_the_same_in_every_large_batch_and_twice_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "onednn_is_quicker", lambda: True)
    layer, x = Linear(30, 16), torch.randn(500, 30)
    whole = layer(x)
    assert torch.equal(layer(x), whole)
    torch.testing.assert_close(layer(x[:100]), whole[:100], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("vendor", "capability", "quicker"),
    [
        ("AuthenticAMD", "AVX512", True),
        ("AuthenticAMD", "AVX2", False),
        ("GenuineIntel", "AVX512", False),
        ("", "DEFAULT", False),
    ],
)
@needs_onednn
def test_onednn_is_taken_by_the_kind_of_processor_and_by_no_timing(
    vendor: str, capability: str, quicker: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "vendor", lambda: vendor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    products.onednn_is_quicker.cache_clear()
    try:
        assert products.onednn_is_quicker() is quicker
    finally:
        products.onednn_is_quicker.cache_clear()


def test_the_gradient_reaches_a_layer_below_and_is_none_where_nothing_asks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "onednn_is_quicker", lambda: torch._C._has_mkldnn)
    layer, x = Linear(20, 10), torch.randn(64, 20)
    layer(x).sum().backward()
    assert x.grad is None
    frozen = Linear(20, 10).requires_grad_(False)
    x.requires_grad_()
    frozen(x).sum().backward()
    assert x.grad is not None
    assert frozen.weight.grad is None
