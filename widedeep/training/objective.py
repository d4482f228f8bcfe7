"""The loss on logits, and the way from a logit to a score."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from widedeep.recipe.data import LabelKind


def mean_loss(kind: LabelKind, logit: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
    """Weighted mean over the batch of the logistic loss, or of the squared error. All inputs [B] float32; returns a scalar."""
    losses = logistic_losses(logit, label) if kind == "binary" else F.mse_loss(logit, label, reduction="none")
    return losses.mean() if weight is None else (losses * weight).sum() / weight.sum()


def logistic_losses(logit: Tensor, label: Tensor) -> Tensor:
    """Each row's logistic loss, -log sigmoid of the logit on the label's side. All [B] float32.

    Torch's own function for it wakes all threads for the least batch, and on a machine that has other work a step then
    waits for them longer than for all else.
    """
    return F.softplus(logit) - label * logit


def distillation_loss(kind: LabelKind, logit: Tensor, branches: Sequence[Tensor], weight: Tensor | None) -> Tensor:
    """What branches [B] whose mean is part of the logit lose against the score of the whole, summed; a scalar.

    FINAL's self-distillation (SIGIR 2023): the teacher is the model itself and learns nothing from it. The rest of the
    logit (bias, wide part) stands beside each branch as it stands beside their mean.
    """
    teacher = score(kind, logit).detach()
    rest = (logit - torch.stack(tuple(branches)).mean(dim=0)).detach()
    return torch.stack([mean_loss(kind, rest + branch, teacher, weight) for branch in branches]).sum()


def score(kind: LabelKind, logit: Tensor) -> Tensor:
    """Probability of a positive for a binary label, the prediction itself for regression. [B] float32."""
    return torch.sigmoid(logit) if kind == "binary" else logit
