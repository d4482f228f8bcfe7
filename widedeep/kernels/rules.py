"""The optimizer rules that update rows of a table: their settings, states, and numbers for compiled loops."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's constants, as its paper recommends."""
TINY = 1e-10
"""The number that AdaGrad adds to its root, as in torch."""


@dataclass(frozen=True)
class Ftrl:
    """FTRL-Proximal per coordinate (McMahan et al., KDD 2013, Algorithm 1), on summed gradients."""

    states: ClassVar[tuple[str, ...]] = ("z", "n")
    alpha: float
    beta: float
    l1: float
    l2: float

    def numbers(self) -> tuple[float | Tensor, ...]:
        """alpha, beta, l1, l2."""
        return self.alpha, self.beta, self.l1, self.l2


@dataclass(frozen=True)
class Adagrad:
    """AdaGrad, element-wise (Duchi et al., JMLR 2011); `l2` acts on the touched rows."""

    states: ClassVar[tuple[str, ...]] = ("n",)
    learning_rate: float
    l2: float = 0.0

    def numbers(self) -> tuple[float | Tensor, ...]:
        """rate, l2, epsilon."""
        return self.learning_rate, self.l2, TINY


@dataclass(frozen=True)
class RowwiseAdagrad(Adagrad):
    """AdaGrad with one state per row, the sum of mean squares: n += mean(g^2), w -= rate * g / (sqrt(n) + epsilon).

    Source: Naumov et al. 2019, arXiv 1906.00091 (its sparse optimizer).
    """

    states: ClassVar[tuple[str, ...]] = ("row_n",)


@dataclass(frozen=True)
class Adam:
    """Lazy Adam (Kingma and Ba, ICLR 2015), which leaves the moments of untouched rows as they are.

    `l2` acts on the touched rows.
    """

    states: ClassVar[tuple[str, ...]] = ("m", "v")
    learning_rate: float
    step: int | Tensor
    """Number of the update, from 1, the same for every row. On cuda it is a tensor, which a captured step advances."""
    l2: float = 0.0

    def numbers(self) -> tuple[float | Tensor, ...]:
        """rate / (1 - beta1^step), 1 / (1 - beta2^step), l2, beta1, beta2, epsilon."""
        step_size = self.learning_rate / (1.0 - BETA1**self.step)
        return step_size, 1.0 / (1.0 - BETA2**self.step), self.l2, BETA1, BETA2, EPSILON


@dataclass(frozen=True)
class Sgd:
    """Plain gradient descent."""

    states: ClassVar[tuple[str, ...]] = ()
    learning_rate: float

    def numbers(self) -> tuple[float | Tensor, ...]:
        """rate."""
        return (self.learning_rate,)


Rule = Ftrl | Adagrad | RowwiseAdagrad | Adam | Sgd
RULES: dict[str, type[Rule]] = {
    "ftrl": Ftrl,
    "adagrad": Adagrad,
    "rowwise_adagrad": RowwiseAdagrad,
    "adam": Adam,
    "adamw": Adam,
    "sgd": Sgd,
}
"""The recipe's word → the rule; `adamw` is adam with decay that the optimizer applies separately."""
