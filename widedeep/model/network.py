"""The model: logit = bias + wide part + towers, trained jointly; and the score that belongs to a logit."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from widedeep.kernels.lookups import Bag
from widedeep.model.embeddings import Embeddings
from widedeep.model.layout import InputLayout
from widedeep.model.memory import CrossValues
from widedeep.model.table import Share, Table
from widedeep.model.towers import TOWERS
from widedeep.model.wide import Wide
from widedeep.recipe.data import LabelKind
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.schema import ModelSettings

if TYPE_CHECKING:  # at run time the import would load FinalNet for every model
    from widedeep.model.towers.finalnet import FinalNet


class Network(nn.Module):
    """Shape: indices [F, B] int32, numerics [D, B] float32, bags, folds [B] → logit [B] float32.

    For regression the logit is the prediction. `folds` is needed to train with crosses from memory, see
    model/memory.py.
    """

    def __init__(
        self,
        layout: InputLayout,
        settings: ModelSettings,
        *,
        bias: float = 0.0,
        correction: float = 0.0,
        share: Share | None = None,
    ) -> None:
        """`correction` is added to the logit outside training, to undo the shift that sampling train rows causes.

        `share` says which rows of large tables are held here; None is all.
        """
        super().__init__()
        self.correction = correction
        kind = KINDS[settings.kind]
        self.bias = nn.Parameter(torch.tensor(bias))
        self.wide = Wide(layout, settings.wide, share) if kind.has_wide(crosses=bool(layout.crosses)) else None
        self.embeddings = Embeddings(layout, settings.embeddings, share) if kind.towers else None
        self.towers = nn.ModuleDict()
        if self.embeddings is not None:
            for name in kind.towers:
                self.towers[name] = TOWERS[name](self.embeddings.output, settings)

    def forward(
        self, indices: Tensor, numerics: Tensor, bags: Sequence[Bag] = (), folds: Tensor | None = None
    ) -> Tensor:
        logit = self.bias.expand(indices.shape[1])
        if self.correction and not self.training:
            logit = logit + self.correction
        if self.wide is not None:
            logit = logit + self.wide(indices, numerics, bags, folds)
        if self.embeddings is not None:
            deep_input = self.embeddings(indices, numerics, bags)
            for tower in self.towers.values():
                logit = logit + tower(deep_input)
        return logit

    def embedding_tables(self) -> list[Table]:
        """The embedding tables, by ascending width."""
        return [] if self.embeddings is None else [t for t in self.embeddings.tables.values() if isinstance(t, Table)]

    @property
    def cross_memory(self) -> CrossValues | None:
        """The crosses from memory, if there are any."""
        return None if self.wide is None else self.wide.memory

    @property
    def branches(self) -> tuple[Tensor, ...]:
        """The branches of FinalNet in the last training forward pass: logits [B] whose mean is the tower's logit."""
        return cast("FinalNet", self.towers["finalnet"]).branches if "finalnet" in self.towers else ()

    def num_parameters(self) -> int:
        """The number of trained numbers, those of tables included."""
        tables = sum(m.num_rows * m.weight.shape[1] for m in self.modules() if isinstance(m, Table))
        return tables + sum(parameter.numel() for parameter in self.parameters())


def score(kind: LabelKind, logit: Tensor) -> Tensor:
    """Probability of a positive for a binary label, the prediction itself for regression. [B] float32."""
    return torch.sigmoid(logit) if kind == "binary" else logit


_DRAWS = {nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_, Tensor.normal_, Tensor.uniform_}
"""What draws the weights of fresh modules."""


class Undrawn(TorchFunctionMode):
    """A context in which weights of new modules are not drawn, because others are loaded into them.

    It leaves torch's random generator as it is. On the meta device a draw would import torch._dynamo and sympy, which
    takes longer than to import torch.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function in _DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        return function(*args, **(kwargs or {}))
