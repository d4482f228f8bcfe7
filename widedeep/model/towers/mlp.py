"""The feed-forward tower of Wide & Deep (arXiv 1606.07792, section 3.2), and layers that other towers use too."""

from collections.abc import Callable

from torch import nn

from widedeep.kernels.products import Linear
from widedeep.recipe.schema import DeepSettings

_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


def build_mlp(input_dim: int, settings: DeepSettings) -> nn.Sequential:
    """a^(l+1) = f(W^(l) a^(l) + b^(l)), then one linear unit without a bias (the model has its own).

    Shape: [B, input_dim] float32 → [B] float32.
    """
    return nn.Sequential(*hidden_layers(input_dim, settings), linear(settings.hidden[-1], 1, bias=False), nn.Flatten(0))


def linear(input_dim: int, output_dim: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer with Glorot's normal weights (AISTATS 2010) and zero biases.

    Shape: [B, input_dim] → [B, output_dim].
    """
    layer = Linear(input_dim, output_dim, bias=bias)
    nn.init.xavier_normal_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def hidden_layers(
    input_dim: int, settings: DeepSettings, layer: Callable[[int, int], nn.Module] = linear
) -> list[nn.Module]:
    """The hidden layers; `layer` makes the layer before each activation. Shape: [B, input_dim] → [B, hidden[-1]]."""
    layers: list[nn.Module] = []
    width = input_dim
    for hidden_dim in settings.hidden:
        layers.append(layer(width, hidden_dim))
        if settings.batch_norm:
            layers.append(nn.BatchNorm1d(hidden_dim))
        layers.append(_ACTIVATIONS[settings.activation]())
        if settings.dropout:
            layers.append(nn.Dropout(settings.dropout))
        width = hidden_dim
    return layers
