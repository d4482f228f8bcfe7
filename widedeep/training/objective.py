"""Losses on logits."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from widedeep.model.network import score
from widedeep.recipe.data import LabelKind


def mean_loss(kind: LabelKind, logit: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
    """Weighted mean of the logistic loss, or of the squared error. Inputs are [B] float32, the result is a scalar."""
    losses = logistic_losses(logit, label) if kind == "binary" else F.mse_loss(logit, label, reduction="none")
    return losses.mean() if weight is None else (losses * weight).sum() / weight.sum()


def logistic_losses(logit: Tensor, label: Tensor) -> Tensor:
    """Each row's logistic loss, the negative log likelihood of its label. All [B] float32.

    Torch's own function for it wakes all threads even for the smallest batch. On a busy machine a step then waits for
    them longer than for everything else.
    """
    return F.softplus(logit) - label * logit


def distillation_loss(kind: LabelKind, logit: Tensor, branches: Sequence[Tensor], weight: Tensor | None) -> Tensor:
    """The sum of the branches' losses against the score of the whole model; a scalar.

    The mean of the branches [B] is part of the logit. In each branch's loss, the rest of the logit (bias, wide part) is
    added as it is added to the mean. This is FINAL's self-distillation (SIGIR 2023): the model itself is the teacher,
    and the teacher gets no gradient.
    """
    teacher = score(kind, logit).detach()
    rest = (logit - torch.stack(tuple(branches)).mean(dim=0)).detach()
    return torch.stack([mean_loss(kind, rest + branch, teacher, weight) for branch in branches]).sum()
