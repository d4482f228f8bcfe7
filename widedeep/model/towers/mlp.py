"""The feed-forward tower of Wide & Deep (arXiv 1606.07792, section 3.2)."""

from torch import nn

from widedeep.recipe.schema import DeepSettings

_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


def build_mlp(input_dim: int, settings: DeepSettings) -> nn.Sequential:
    """a^(l+1) = f(W^(l) a^(l) + b^(l)), then one linear unit without a bias (the model has its own).

    Shape: [B, input_dim] float32 → [B] float32.
    """
    layers: list[nn.Module] = []
    width = input_dim
    for hidden_dim in settings.hidden:
        linear = nn.Linear(width, hidden_dim)
        nn.init.xavier_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers.append(linear)
        if settings.batch_norm:
            layers.append(nn.BatchNorm1d(hidden_dim))
        layers.append(_ACTIVATIONS[settings.activation]())
        if settings.dropout:
            layers.append(nn.Dropout(settings.dropout))
        width = hidden_dim
    last = nn.Linear(width, 1, bias=False)
    nn.init.xavier_normal_(last.weight)
    return nn.Sequential(*layers, last, nn.Flatten(0))
