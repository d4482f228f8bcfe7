"""FinalMLP (Mao et al., AAAI 2023, arXiv 2304.00902): two feed-forward networks, each with its own gated inputs."""

import torch
from torch import Tensor, nn

from widedeep.model.layout import DeepInput
from widedeep.model.towers.mlp import hidden_layers, linear
from widedeep.recipe.schema import DeepSettings, FinalMlpSettings


class FinalMlp(nn.Module):
    """o_1' w_1 + o_2' w_2 + sum_h o_1h' W_h o_2h, o_i = MLP_i(g_i * x).

    Gates g_i select inputs for two networks with outputs o_1 and o_2; the bilinear fusion adds products of their H
    chunks. The paper's bias is the model's own.

    Shape: deep input [B, N] → [B].
    """

    def __init__(self, given: DeepInput, settings: FinalMlpSettings, deep: DeepSettings) -> None:
        super().__init__()
        second = settings.second or deep
        self.first_gate = Gate(given, settings.first_context, settings.gate_hidden)
        self.second_gate = Gate(given, settings.second_context, settings.gate_hidden)
        self.first = nn.Sequential(*hidden_layers(given.dim, deep))
        self.second = nn.Sequential(*hidden_layers(given.dim, second))
        self.first_last = linear(deep.hidden[-1], 1, bias=False)
        self.second_last = linear(second.hidden[-1], 1, bias=False)
        heads = settings.heads
        products = torch.empty(heads, deep.hidden[-1] // heads, second.hidden[-1] // heads)
        nn.init.xavier_normal_(products.view(-1, 1))  # as a layer with one output, like the authors' code
        self.products = nn.Parameter(products)

    def forward(self, deep_input: Tensor) -> Tensor:
        first = self.first(self.first_gate(deep_input))
        second = self.second(self.second_gate(deep_input))
        first_HBK, second_HBK = (o.unflatten(1, (len(self.products), -1)).transpose(0, 1) for o in (first, second))
        products = (first_HBK @ self.products * second_HBK).sum(dim=(0, 2))
        logit: Tensor = (self.first_last(first) + self.second_last(second)).squeeze(1) + products
        return logit


class Gate(nn.Module):
    """2 sigmoid(MLP(context)) * x: a factor between 0 and 2 for each input, 1 on average at first.

    The context is the embeddings of some fields. Without fields, the paper's context is a learnt vector that is the
    same for every row; here the output of its MLP is learnt directly.

    Shape: deep input [B, N] → [B, N].
    """

    columns: Tensor

    def __init__(self, given: DeepInput, context: tuple[str, ...], hidden: tuple[int, ...]) -> None:
        super().__init__()
        columns = torch.tensor(given.columns_of(context), dtype=torch.int64)
        self.register_buffer("columns", columns, persistent=False)
        if context:
            inner = hidden_layers(len(columns), DeepSettings(hidden=hidden)) if hidden else []
            self.network = nn.Sequential(*inner, linear(hidden[-1] if hidden else len(columns), given.dim))
        else:
            self.constant = nn.Parameter(torch.zeros(given.dim))

    def forward(self, deep_input: Tensor) -> Tensor:
        opening: Tensor = self.network(deep_input.index_select(1, self.columns)) if len(self.columns) else self.constant
        return deep_input * (2.0 * torch.sigmoid(opening))
