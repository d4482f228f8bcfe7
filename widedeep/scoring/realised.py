"""What crosses gain in a trained model, beside what was promised of them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from widedeep.encoded.store import EncodedStore
from widedeep.evaluation.comparison import loss_fall, row_losses
from widedeep.features.crosses import cross_members
from widedeep.features.plan import FeaturePlan, IndexColumn
from widedeep.features.targets import LABEL_COLUMN, WEIGHT_COLUMN
from widedeep.model.network import Network
from widedeep.recipe.schema import Recipe
from widedeep.runs import RunDirectory
from widedeep.scoring.scorer import input_layout
from widedeep.scoring.weights import wide_weights
from widedeep.training.inference import store_logits


def realised_gains(
    recipe: Recipe, run: RunDirectory, plan: FeaturePlan, network: Network, store: EncodedStore, device: torch.device
) -> dict[str, Any] | None:
    """How much the mean loss of the store's rows falls as the trained model's crosses with a promise are switched on
    one after the other, in the recipe's order: each on top of those before, as they were promised.

    `crosses` has an object each: `columns`, `promised` and `realised` (value, lower and upper end of a 95% interval);
    `all` says the same of them together, promises added up. None where nothing was promised, or the model has no
    crosses.
    """
    promised = [cross for cross in recipe.crosses if cross.promised is not None]
    columns = {column.fields: column for column in input_layout(plan, recipe).crosses}
    if not promised or not columns:
        return None
    kind, weights = recipe.data.label.kind, wide_weights(run, plan)
    read = store.read(0, store.rows, [LABEL_COLUMN, *([WEIGHT_COLUMN] if WEIGHT_COLUMN in store.columns else [])])
    label, row_weight = read[LABEL_COLUMN].astype(np.float64), read.get(WEIGHT_COLUMN)
    weight = None if row_weight is None else row_weight.astype(np.float64)
    logit = store_logits(network, store, input_layout(plan, recipe), device).astype(np.float64)
    last = row_losses(kind, label, logit)
    losses = [last]
    for cross in reversed(promised):
        column = columns[cross_members(cross.fields)]
        logit -= _added(store, column, weights[column.name])
        losses.insert(0, row_losses(kind, label, logit))
    return {
        "crosses": [
            {
                "columns": list(cross.fields),
                "promised": cross.promised,
                "realised": loss_fall(before, after, weight).interval,
            }
            for cross, before, after in zip(promised, losses, losses[1:], strict=False)
        ],
        "all": {
            "promised": sum(cross.promised[0] for cross in promised if cross.promised),
            "realised": loss_fall(losses[0], last, weight).interval,
        },
    }


def _added(store: EncodedStore, column: IndexColumn, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the cross adds to each row's logit, [N]."""
    if column.pooling is None:
        added: NDArray[np.float64] = weights[store.read(0, store.rows, [column.name])[column.name]].astype(np.float64)
        return added
    (lists,) = store.read_lists(0, store.rows, [(column.name, column.weights)])
    values = weights[lists.values].astype(np.float64)
    if lists.weights is not None:
        values *= lists.weights
    rows = lists.row_of_values()
    return np.bincount(rows, weights=values, minlength=store.rows).astype(np.float64)
