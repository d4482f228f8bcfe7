"""Optimizers of whole parameters, by torch's fused updates: what `torch.optim` computes, to the bit.

`torch.optim` is not used itself: making its first optimizer imports torch's compiler, which takes as long as torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from widedeep.kernels.rules import BETA1, BETA2, EPSILON, TINY


@dataclass(frozen=True)
class Group:
    """Parameters that share a weight decay."""

    parameters: Sequence[Tensor]
    decay: float = 0.0


@dataclass
class DenseOptimizer:
    """Adam (Kingma and Ba, ICLR 2015), AdamW, AdaGrad (Duchi et al., JMLR 2011) or plain gradient descent.

    It has the states of torch's own, under their names: `step`, `exp_avg`, `exp_avg_sq`; `step`, `sum`.
    """

    rule: Literal["adam", "adamw", "adagrad", "sgd"]
    groups: Sequence[Group]
    state: dict[Tensor, dict[str, Tensor]] = field(default_factory=dict)
    """By parameter; a parameter without a gradient so far has none."""

    @property
    def parameters(self) -> list[Tensor]:
        """All parameters, in the order by which a checkpoint numbers them."""
        return [parameter for group in self.groups for parameter in group.parameters]

    def holds(self, parameter: Tensor) -> bool:
        """Whether it updates the parameter."""
        return any(parameter is other for other in self.parameters)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the parameters that have a gradient, and clear the gradients."""
        for group in self.groups:
            live = [parameter for parameter in group.parameters if parameter.grad is not None]
            gradients = [parameter.grad for parameter in live if parameter.grad is not None]
            match self.rule:
                case "adam" | "adamw":
                    self._adam(live, gradients, rate, group.decay)
                case "adagrad":
                    self._adagrad(live, gradients, rate, group.decay)
                case "sgd":
                    for parameter, gradient in zip(live, gradients, strict=True):
                        parameter.add_(_decayed(gradient, parameter, group.decay), alpha=-rate)
        self.clear()

    def clear(self) -> None:
        """Clear the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def numbered(self) -> dict[int, dict[str, Tensor]]:
        """The states by the numbers of their parameters, for a checkpoint."""
        return {number: self.state[p] for number, p in enumerate(self.parameters) if p in self.state}

    def restore(self, numbered: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Restore what `numbered` gave. Raises ValueError for states of another model or rule."""
        parameters = self.parameters
        for number, states in numbered.items():
            fresh = dict(self._fresh(parameters[number])) if number < len(parameters) else {}
            if {name: t.shape for name, t in states.items()} != {name: t.shape for name, t in fresh.items()}:
                raise ValueError(f"the states of parameter {number} are of other names or shapes")
            for name, tensor in states.items():
                fresh[name].copy_(tensor)
            self.state[parameters[number]] = fresh

    def begin(self, parameter: Tensor, steps: float, states: Mapping[str, Tensor]) -> None:
        """Give a parameter the states that `steps` updates have made of it elsewhere."""
        fresh = dict(self._fresh(parameter))
        self.state[parameter] = {name: t.to(parameter.device, copy=True) for name, t in states.items() if name in fresh}
        if "step" in fresh:
            self.state[parameter]["step"] = fresh["step"].fill_(steps)

    def _fresh(self, parameter: Tensor) -> Iterable[tuple[str, Tensor]]:
        match self.rule:
            case "adam" | "adamw":
                # On the device, so that a captured step counts on (training/graph.py).
                yield "step", torch.zeros((), device=parameter.device)
                yield "exp_avg", torch.zeros_like(parameter)
                yield "exp_avg_sq", torch.zeros_like(parameter)
            case "adagrad":
                yield "step", torch.zeros(())
                yield "sum", torch.zeros_like(parameter)

    def _states(self, parameters: Iterable[Tensor]) -> list[dict[str, Tensor]]:
        for parameter in parameters:
            if parameter not in self.state:
                self.state[parameter] = dict(self._fresh(parameter))
        return [self.state[parameter] for parameter in parameters]

    def _adam(self, parameters: list[Tensor], gradients: list[Tensor], rate: float, decay: float) -> None:
        if not parameters:
            return
        states = self._states(parameters)
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        update = torch._fused_adam_ if self.rule == "adam" else torch._fused_adamw_
        update(
            parameters,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=rate,
            beta1=BETA1,
            beta2=BETA2,
            weight_decay=decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def _adagrad(self, parameters: list[Tensor], gradients: list[Tensor], rate: float, decay: float) -> None:
        states = self._states(parameters)
        for parameter, raw, state in zip(parameters, gradients, states, strict=True):
            gradient = _decayed(raw, parameter, decay)
            state["step"] += 1
            state["sum"].addcmul_(gradient, gradient)
            parameter.addcdiv_(gradient, state["sum"].sqrt().add_(TINY), value=-rate)


def _decayed(gradient: Tensor, parameter: Tensor, decay: float) -> Tensor:
    return gradient.add(parameter, alpha=decay) if decay else gradient
