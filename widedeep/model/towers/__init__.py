"""The towers: each turns the deep input [B, N] into a logit [B]. A new one is one file here, its settings and a row in TOWERS."""

from collections.abc import Callable

from torch import nn

from widedeep.model.layout import DeepInput
from widedeep.model.towers.cross_network import CrossNetwork
from widedeep.model.towers.dcn_v2 import DcnV2
from widedeep.model.towers.finalmlp import FinalMlp
from widedeep.model.towers.finalnet import FinalNet
from widedeep.model.towers.fm import FactorizationMachine
from widedeep.model.towers.mlp import build_mlp
from widedeep.recipe.schema import ModelSettings

TOWERS: dict[str, Callable[[DeepInput, ModelSettings], nn.Module]] = {
    "deep": lambda given, model: build_mlp(given.dim, model.deep),
    "fm": lambda given, model: FactorizationMachine(given, model.embeddings),
    "cross_network": lambda given, model: CrossNetwork(given.dim, model.cross_network),
    "dcn_v2": lambda given, model: DcnV2(given.dim, model.cross_network, model.dcn_v2, model.deep),
    "finalmlp": lambda given, model: FinalMlp(given, model.finalmlp, model.deep),
    "finalnet": lambda given, model: FinalNet(given.dim, model.finalnet, model.deep),
}
"""Name of the tower → builder from what the deep input holds; which kinds add it up: widedeep/recipe/kinds.py."""
