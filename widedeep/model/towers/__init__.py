"""The towers: each turns the deep input [B, N] into a logit [B].

A new tower is a file here, its settings, and a builder in TOWERS. Each builder imports its own tower, so that scoring
with one kind of model does not load the others.
"""

from collections.abc import Callable

from torch import nn

from widedeep.model.layout import DeepInput
from widedeep.recipe.schema import ModelSettings


def _deep(given: DeepInput, model: ModelSettings) -> nn.Module:
    from widedeep.model.towers.mlp import build_mlp

    return build_mlp(given.dim, model.deep)


def _fm(given: DeepInput, model: ModelSettings) -> nn.Module:
    from widedeep.model.towers.fm import FactorizationMachine

    return FactorizationMachine(given, model.embeddings)


def _cross_network(given: DeepInput, model: ModelSettings) -> nn.Module:
    from widedeep.model.towers.cross_network import CrossNetwork

    return CrossNetwork(given.dim, model.cross_network)


def _dcn_v2(given: DeepInput, model: ModelSettings) -> nn.Module:
    from widedeep.model.towers.dcn_v2 import DcnV2

    return DcnV2(given.dim, model.cross_network, model.dcn_v2, model.deep)


def _finalmlp(given: DeepInput, model: ModelSettings) -> nn.Module:
    from widedeep.model.towers.finalmlp import FinalMlp

    return FinalMlp(given, model.finalmlp, model.deep)


def _finalnet(given: DeepInput, model: ModelSettings) -> nn.Module:
    from widedeep.model.towers.finalnet import FinalNet

    return FinalNet(given.dim, model.finalnet, model.deep)


TOWERS: dict[str, Callable[[DeepInput, ModelSettings], nn.Module]] = {
    "deep": _deep,
    "fm": _fm,
    "cross_network": _cross_network,
    "dcn_v2": _dcn_v2,
    "finalmlp": _finalmlp,
    "finalnet": _finalnet,
}
"""Tower → its builder. Which towers a kind of model adds up is in widedeep/recipe/kinds.py."""
