"""The cross network of Deep & Cross (arXiv 1708.05123, section 2.2)."""

import torch
from torch import Tensor, nn

from widedeep.model.towers.mlp import linear
from widedeep.recipe.schema import CrossNetworkSettings


class CrossNetwork(nn.Module):
    """x_(l+1) = x_0 (x_l · w_l) + b_l + x_l (equation 3), then one linear unit.

    The paper concatenates the outputs of the cross network and the deep network and weighs them by one vector (section
    2.4), which is the same as the sum of two towers.

    Shape: [B, N] → [B].
    """

    def __init__(self, input_dim: int, settings: CrossNetworkSettings) -> None:
        super().__init__()
        self.weights = nn.ModuleList(linear(input_dim, 1, bias=False) for _ in range(settings.layers))
        self.biases = nn.ParameterList(torch.zeros(input_dim) for _ in range(settings.layers))
        self.last = linear(input_dim, 1, bias=False)

    def forward(self, deep_input: Tensor) -> Tensor:
        x = deep_input
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = torch.addcmul(bias + x, deep_input, weight(x))
        logit: Tensor = self.last(x)
        return logit.squeeze(1)
