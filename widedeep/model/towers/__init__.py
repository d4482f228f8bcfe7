"""The towers: each turns the deep input [B, N] into a logit [B]. A new one is one file here, its settings and a row in TOWERS."""

from collections.abc import Callable

from torch import nn

from widedeep.model.towers.mlp import build_mlp
from widedeep.recipe.schema import ModelSettings

TOWERS: dict[str, Callable[[int, ModelSettings], nn.Module]] = {
    "deep": lambda input_dim, model: build_mlp(input_dim, model.deep),
}
"""Name of the part → builder from the width of the deep input."""
