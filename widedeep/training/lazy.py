"""Optimizers that update only the rows of a table that the batch touched."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from widedeep.kernels import reference
from widedeep.model.table import Table
from widedeep.recipe.schema import DeepOptimizer, WideOptimizer

STATES = {"ftrl": ("z", "n"), "adagrad": ("n",), "adam": ("m", "v"), "adamw": ("m", "v"), "sgd": ()}
"""The per-weight states that each rule keeps."""


@dataclass
class LazyOptimizer:
    """One rule on one table. `l2` is exact where decay is a pure shrinkage (sgd, adamw), else it acts on touched rows.

    The exact form keeps, per row, how much decay it has received, and pays the rest just before the row is next read;
    `settle` pays for all rows (before an evaluation).
    """

    table: Table
    settings: WideOptimizer | DeepOptimizer
    l2: float
    states: dict[str, Tensor] = field(init=False)
    steps: int = field(init=False, default=0)
    decay: float = field(init=False, default=0.0)
    """Logarithm of the shrinkage that a row touched at no step would have received by now."""

    def __post_init__(self) -> None:
        weight = self.table.weight
        self.states = {name: torch.zeros_like(weight) for name in STATES[self.settings.optimizer]}
        if self.l2 and self.settings.optimizer in ("sgd", "adamw"):
            self.states["decay_received"] = torch.zeros(len(weight), dtype=torch.float64, device=weight.device)
            self.table.before_lookup = self._pay_decay

    def step(self, scale: float, batch_weight: float) -> None:
        """Update the rows that the last forward pass read.

        `scale` multiplies the learning rate (FTRL ignores it: its rate falls per coordinate, and changing alpha would
        contradict the sums it has stored). `batch_weight` is the sum of the batch's row weights: times the gradient of
        the mean loss it gives the summed gradient that FTRL wants.
        """
        touched = self.table.touched
        assert touched is not None, "step without a training forward pass"
        self.table.touched = None
        gradients, settings, weight = touched.gradients(), self.settings, self.table.weight
        rate = settings.learning_rate * scale
        self.steps += 1
        if "decay_received" in self.states:
            # w <- (1 - rate*l2) w - rate*g: the shrinkage of the weights that the gradient was taken at comes first.
            self.decay += math.log1p(-rate * self.l2)
            self._pay_decay(touched.rows)
        match settings.optimizer:
            case "ftrl":
                assert isinstance(settings, WideOptimizer)
                reference.ftrl(
                    weight,
                    self.states["z"],
                    self.states["n"],
                    touched.rows,
                    gradients * batch_weight,
                    alpha=settings.learning_rate,
                    beta=settings.beta,
                    l1=settings.l1,
                    l2=self.l2,
                )
            case "adagrad":
                reference.adagrad(weight, self.states["n"], touched.rows, gradients, learning_rate=rate, l2=self.l2)
            case "adam" | "adamw":
                reference.adam(
                    weight,
                    self.states["m"],
                    self.states["v"],
                    touched.rows,
                    gradients,
                    learning_rate=rate,
                    step=self.steps,
                    l2=self.l2 if settings.optimizer == "adam" else 0.0,
                )
            case "sgd":
                reference.sgd(weight, touched.rows, gradients, learning_rate=rate)

    def _pay_decay(self, rows: Tensor) -> None:
        received = self.states["decay_received"]
        owed = (self.decay - received[rows]).exp().to(self.table.weight.dtype)
        self.table.weight[rows] *= owed.unsqueeze(-1)
        received[rows] = self.decay

    def settle(self) -> None:
        """Bring every row up to date, so that the table may be read as a whole."""
        if "decay_received" in self.states:
            self._pay_decay(torch.arange(len(self.table.weight), device=self.table.weight.device))
