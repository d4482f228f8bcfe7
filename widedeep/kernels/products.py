"""The linear layers' products on the CPU, by the library that is quicker on this processor.

PyTorch multiplies float32 matrices by MKL, which uses only half of what AMD's processors with AVX-512 can do: oneDNN,
which PyTorch brings too, is about twice as fast there (docs/training.md). Elsewhere MKL keeps its place, and so it does
in products that are no linear layer's: of low-rank crosses, of what `finalmlp` fuses.
"""

import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAST_ROWS = 32
"""Below this size of a batch, what oneDNN does before it multiplies takes longer than it saves in most layers, or
nearly as long. Small layers need more rows still (tests/benchmarks/results/precision.md)."""
LEAST_WIDTH = 8
"""Layers with fewer inputs or outputs read more than they compute, and gain nothing."""


class Linear(nn.Linear):
    """x W' + b, as torch's linear layer. Shape: [B, N] → [B, M]."""

    def forward(self, x: Tensor) -> Tensor:
        if self._by_onednn(x):
            if torch.is_grad_enabled():
                product: Tensor = _OneDnnLinear.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
                return product
            return _times(x, self.weight, self.bias)
        return functional.linear(x, self.weight, self.bias)

    def _by_onednn(self, x: Tensor) -> bool:
        return (
            x.dtype == torch.float32
            and x.device.type == "cpu"
            and len(x) >= LEAST_ROWS
            and min(self.weight.shape) >= LEAST_WIDTH
            and not torch.is_autocast_enabled("cpu")
            and onednn_is_quicker()
        )


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _times(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            _times(gradient, weight.T, None) if for_x else None,
            _times(gradient.T, x.T, None) if for_weight else None,
            gradient.sum(dim=0) if for_bias else None,
        )


def _times(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


@cache
def onednn_is_quicker() -> bool:
    """Whether oneDNN multiplies float32 matrices faster than MKL here: by the processor's kind, not by a timing."""
    return (
        torch._C._has_mkldnn
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and vendor() == "AuthenticAMD"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


@cache
def vendor() -> str:
    """The processor's vendor as it names itself, or "" where the system does not say."""
    if platform.system() != "Linux":
        return ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")
