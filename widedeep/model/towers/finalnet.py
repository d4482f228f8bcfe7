"""FinalNet (Zhu et al., "FINAL: Factorized Interaction Layer for CTR Prediction", SIGIR 2023)."""

from typing import Literal

import torch
from torch import Tensor, nn

from widedeep.model.towers.mlp import hidden_layers, linear
from widedeep.recipe.schema import DeepSettings, FinalNetSettings


class FinalNet(nn.Module):
    """Blocks of factorized interaction layers with one linear unit each; two blocks give the mean of their logits.

    In training, `branches` holds the two logits: each also learns from the whole model's score (self-distillation, see
    training/objective.py). The authors' code has an optional gate before the first block. It is left out here, as in
    the authors' settings for Frappe.

    Shape: [B, N] → [B].
    """

    def __init__(self, input_dim: int, settings: FinalNetSettings, deep: DeepSettings) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *hidden_layers(input_dim, block, lambda n, m: FactorizedInteraction(n, m, settings.residual)),
                linear(block.hidden[-1], 1, bias=False),
                nn.Flatten(0),
            )
            for block in (deep, settings.second or deep)[: settings.blocks]
        )
        self.branches: tuple[Tensor, ...] = ()
        """Set by every forward pass: the logits [B] of both blocks in training, else empty."""

    def forward(self, deep_input: Tensor) -> Tensor:
        logits = [block(deep_input) for block in self.blocks]
        self.branches = tuple(logits) if self.training and len(logits) > 1 else ()
        return torch.stack(logits).mean(dim=0)


class FactorizedInteraction(nn.Module):
    """h_1 = W_1 x + b_1, h_2 = h_1 * (W_2 x + b_2), then h_1 + h_2 (`sum`) or [h_1, h_2] (`concat`).

    `sum` is the paper's layer of second order. `concat` is the variant in its authors' code, which has as many weights
    as a linear layer. The non-linearity that the paper allows around the second factor is the identity, as in that
    code.

    Shape: [B, input_dim] → [B, output_dim]; with `concat` the output's width must be even.
    """

    def __init__(self, input_dim: int, output_dim: int, residual: Literal["concat", "sum"]) -> None:
        super().__init__()
        self.concat = residual == "concat"
        self.linear = linear(input_dim, output_dim if self.concat else 2 * output_dim)

    def forward(self, x: Tensor) -> Tensor:
        half, factor = self.linear(x).chunk(2, dim=1)
        return torch.cat([half, factor * half], dim=1) if self.concat else torch.addcmul(half, factor, half)
