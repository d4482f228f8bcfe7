"""DCN-V2 (arXiv 2008.13535): a cross network with a matrix in each layer, beside or before the feed-forward network."""

import torch
from torch import Tensor, nn

from widedeep.model.towers.mlp import hidden_layers, linear
from widedeep.recipe.schema import CrossNetworkSettings, DcnV2Settings, DeepSettings


class DcnV2(nn.Module):
    """Cross layers over the deep input x_0, and the hidden layers of `model.deep`.

    `stacked`: the hidden layers read x_L, and one linear unit reads them. `parallel`: they read x_0, and one linear
    unit reads both, side by side.

    Shape: [B, N] → [B].
    """

    def __init__(
        self, input_dim: int, cross: CrossNetworkSettings, settings: DcnV2Settings, deep: DeepSettings
    ) -> None:
        super().__init__()
        self.stacked = settings.structure == "stacked"
        self.cross = nn.ModuleList(
            FullCross(input_dim) if settings.rank is None else MixedCross(input_dim, settings.rank, settings.experts)
            for _ in range(cross.layers)
        )
        self.deep = nn.Sequential(*hidden_layers(input_dim, deep))
        self.last = linear(deep.hidden[-1] + (0 if self.stacked else input_dim), 1, bias=False)

    def forward(self, deep_input: Tensor) -> Tensor:
        x = deep_input
        for layer in self.cross:
            x = layer(deep_input, x)
        output = self.deep(x) if self.stacked else torch.cat([x, self.deep(deep_input)], dim=1)
        logit: Tensor = self.last(output)
        return logit.squeeze(1)


class FullCross(nn.Module):
    """x_(l+1) = x_0 * (W x_l + b) + x_l (equation 1). Shape: x_0, x_l [B, N] → [B, N]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = linear(dim, dim)

    def forward(self, x_0: Tensor, x: Tensor) -> Tensor:
        return torch.addcmul(x, x_0, self.linear(x))


class MixedCross(nn.Module):
    """x_(l+1) = sum_i G_i(x_l) E_i(x_l) + x_l, E_i(x_l) = x_0 * (U_i tanh(C_i tanh(V_i' x_l)) + b).

    This is the paper's mixture of low-rank experts, with its non-linearity between the projections. The gate G is a
    softmax over one linear unit for each expert.

    Shape: x_0, x_l [B, N] → [B, N].
    """

    def __init__(self, dim: int, rank: int, num_experts: int) -> None:
        super().__init__()
        self.v_EDR = _glorot(num_experts, dim, rank)
        self.c_ERR = _glorot(num_experts, rank, rank)
        self.u_ERD = _glorot(num_experts, rank, dim)
        self.bias = nn.Parameter(torch.zeros(dim))
        self.gate = linear(dim, num_experts, bias=False)

    def forward(self, x_0: Tensor, x: Tensor) -> Tensor:
        narrow_EBR = torch.tanh(torch.tanh(x @ self.v_EDR) @ self.c_ERR)
        gate_BE = self.gate(x).softmax(dim=1)
        # The gates sum to 1, so x_0 and the bias can be taken out of the sum over experts.
        mixed_BD = (gate_BE.T.unsqueeze(2) * narrow_EBR @ self.u_ERD).sum(dim=0)
        return torch.addcmul(x, x_0, mixed_BD + self.bias)


def _glorot(num_experts: int, rows: int, columns: int) -> nn.Parameter:
    weights = torch.empty(num_experts, rows, columns)
    for weight in weights:
        nn.init.xavier_normal_(weight)
    return nn.Parameter(weights)
