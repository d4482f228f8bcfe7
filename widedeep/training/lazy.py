"""Optimizers that update only those rows of a table that the batch touched."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from widedeep.kernels.choose import kernels_for
from widedeep.kernels.lookups import Bag, Column, Columns, Lookups
from widedeep.kernels.rules import RULES, Adagrad, Adam, Ftrl, RowwiseAdagrad, Rule, Sgd
from widedeep.model.table import Table
from widedeep.recipe.schema import DeepOptimizer, WideOptimizer


@dataclass
class LazyOptimizer:
    """Applies one rule to one table. With sgd and adamw, `l2` is exact decay, else it acts on touched rows only.

    For exact decay, each row stores how much decay it has received. The decay that it still owes is paid just before
    the row is next read; `settle` pays it for all rows, before an evaluation.
    """

    table: Table
    settings: WideOptimizer | DeepOptimizer
    l2: float
    states: dict[str, Tensor] = field(init=False)
    clock: Tensor = field(init=False)
    """[2] float64: the number of steps, and the logarithm of the shrinkage that a row is due after these steps. It is
    on the table's device, so that a captured step can advance it."""

    def __post_init__(self) -> None:
        weight = self.table.weight
        self.clock = torch.zeros(2, dtype=torch.float64, device=weight.device)
        self.states = {
            name: torch.zeros_like(weight[:, :1] if name == "row_n" else weight)
            for name in RULES[self.settings.optimizer].states
        }
        if self.l2 and self.settings.optimizer in ("sgd", "adamw"):
            self.states["decay_received"] = torch.zeros(len(weight), dtype=torch.float64, device=weight.device)
            self.table.before_lookup = self._pay_decay

    def step(self, scale: float, batch_weight: float) -> None:
        """Update the rows that the last forward pass read.

        `scale` multiplies the learning rate, except FTRL's: its rate falls per coordinate, and changing alpha would
        contradict the sums that it has stored. `batch_weight` is the sum of the batch's row weights. FTRL needs the
        summed gradient, which is the gradient of the mean loss times this sum.
        """
        touched = self.table.touched
        assert touched is not None, "step without a training forward pass"
        self.table.touched = None
        self.clock[0] += 1
        rate = self.settings.learning_rate * scale
        if "decay_received" in self.states:
            # w <- (1 - rate*l2) w - rate*g: the weights at which the gradient was taken are shrunk first.
            self.clock[1] += math.log1p(-rate * self.l2)
            self._pay_decay(touched.lookups)
        rule = self._rule(rate, self._steps())
        kernels_for(self.table.weight.device).update(
            rule,
            self.table.weight,
            [self.states[name] for name in rule.states],
            touched.lookups,
            touched.gradient,
            factor=batch_weight if isinstance(rule, Ftrl) else 1.0,
        )

    def _rule(self, rate: float, step: int | Tensor) -> Rule:
        settings = self.settings
        match settings.optimizer:
            case "ftrl":
                assert isinstance(settings, WideOptimizer)
                return Ftrl(settings.learning_rate, settings.beta, settings.l1, self.l2)
            case "adagrad":
                return Adagrad(rate, self.l2)
            case "rowwise_adagrad":
                return RowwiseAdagrad(rate, self.l2)
            case "adam":
                return Adam(rate, step, self.l2)
            case "adamw":
                return Adam(rate, step)
            case "sgd":
                return Sgd(rate)

    def _pay_decay(self, lookups: Lookups) -> None:
        weight, received = self.table.weight, self.states["decay_received"]
        kernels_for(weight.device).pay(weight, received, lookups, self._decay())

    def _steps(self) -> int | Tensor:
        return int(self.clock[0]) if self.clock.device.type == "cpu" else self.clock[0]

    def _decay(self) -> float | Tensor:
        return float(self.clock[1]) if self.clock.device.type == "cpu" else self.clock[1]

    def rehearse(self) -> None:
        """Read and update a table of one row, so that kernels are compiled now and not in the first step."""
        table, lookups, out = small_lookups(self.table)
        rule, kernels = self._rule(self.settings.learning_rate, 1), kernels_for(table.device)
        kernels.look_up(table, lookups, out)
        states = [torch.zeros(1, self.states[name].shape[1], device=table.device) for name in rule.states]
        kernels.update(rule, table, states, lookups, out)
        if "decay_received" in self.states:
            kernels.pay(table, torch.zeros(1, dtype=torch.float64, device=table.device), lookups, 0.0)

    def settle(self) -> None:
        """Bring every row up to date, so that the table may be read as a whole."""
        if "decay_received" in self.states:
            received = self.states["decay_received"]
            self.table.weight.mul_((self.clock[1] - received).exp().to(self.table.weight.dtype).unsqueeze(-1))
            received.fill_(self.clock[1])


def small_lookups(table: Table) -> tuple[Tensor, Lookups, Tensor]:
    """A table of one row as wide as `table`, a look-up in it for each kind of column, and room for the result."""
    device, width = table.weight.device, table.weight.shape[1]
    bag = Bag(torch.zeros(1, dtype=torch.int32, device=device), torch.tensor([0, 1], device=device), None)
    columns = [Column(0, 0, 0), *(Column(0, 0, 0, "sum") for _ in table.columns.bags[:1])]
    indices = torch.zeros(1, 1, dtype=torch.int32, device=device)
    lookups = Lookups(Columns(columns, summed=table.columns.summed), indices, [bag])
    return torch.zeros(1, width, device=device), lookups, torch.zeros(1, width, device=device)
