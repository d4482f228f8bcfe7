"""Logits and metrics of a model on an encoded split."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from widedeep.encoded.batches import Batch, BatchStream
from widedeep.encoded.store import EncodedStore
from widedeep.errors import TrainingError
from widedeep.evaluation.comparison import LabelledRows, estimates
from widedeep.evaluation.metrics import MetricAccumulator
from widedeep.features.targets import GROUP_COLUMN, LABEL_COLUMN, WEIGHT_COLUMN
from widedeep.kernels.lookups import Bag
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network, score
from widedeep.recipe.data import LabelKind
from widedeep.training.device import BATCH_ROWS, put_on

ERROR_ROWS = 20_000_000
"""Above this number of rows, metrics have no standard errors."""


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, list[Bag]]:
    """The batch's indices [F, B] int32, numerics [D, B] float32 and bags on the device."""
    put = put_on(device)
    return put(batch.indices), put(batch.numerics), [Bag.of(lists, put) for lists in batch.lists]


def store_logits(
    network: Network,
    store: EncodedStore,
    layout: InputLayout,
    device: torch.device,
    *,
    num_folds: int | None = None,
    on_rows: Callable[[int], None] = lambda _rows: None,
) -> NDArray[np.float32]:
    """Logits (for a regression: predictions) of all rows of `store`, [N] float32, in the store's order.

    With `num_folds`, crosses from memory take the values that they have in training, without the row's fold. `on_rows`
    is called with the number of rows done.
    """
    stream = BatchStream(
        store,
        [column.name for column in layout.index_columns],
        layout.numeric_columns,
        BATCH_ROWS,
        list_columns=layout.list_names,
        num_folds=num_folds,
        seed=None,
    )
    network.eval()
    logits, done = np.empty(store.rows, dtype=np.float32), 0
    with torch.inference_mode():
        for batch in stream:
            folds = None if batch.folds is None else torch.from_numpy(batch.folds).to(device, torch.int64)
            logits[done : done + len(batch)] = network(*to_device(batch, device), folds).cpu().numpy()
            done += len(batch)
            on_rows(done)
    return logits


def evaluate_store(
    network: Network,
    store: EncodedStore,
    layout: InputLayout,
    kind: LabelKind,
    device: torch.device,
    *,
    cutoffs: Sequence[int] = (10,),
    logits: NDArray[np.float32] | None = None,
    on_rows: Callable[[int], None] = lambda _rows: None,
    on_scores: Callable[[NDArray[np.float32]], None] = lambda _scores: None,
) -> dict[str, float | None]:
    """Metrics over all rows of `store`, scored in float32 and in the store's order.

    Ranking metrics at `cutoffs` are added if the store has groups. `logits` [N] are those of all rows, if they are
    known. `on_rows` is called with the number of rows done, `on_scores` with the scores [B] of each batch. Raises
    TrainingError for scores that are not finite.
    """
    index_names = [column.name for column in layout.index_columns]
    grouped = GROUP_COLUMN in store.columns
    stream = BatchStream(
        store,
        index_names if logits is None else [],
        layout.numeric_columns if logits is None else [],
        BATCH_ROWS,
        list_columns=layout.list_names if logits is None else [],
        with_group=grouped,
        seed=None,
    )
    network.eval()
    rows = 0
    with torch.inference_mode(), MetricAccumulator(kind, cutoffs=cutoffs, grouped=grouped) as metrics:
        for batch in stream:
            if logits is None:
                logit = network(*to_device(batch, device))
            else:
                logit = torch.from_numpy(logits[rows : rows + len(batch)])
            scores = score(kind, logit).cpu().numpy()
            if not np.isfinite(scores).all():
                raise TrainingError(
                    "the model's scores are not finite: training has diverged; try a smaller "
                    "training.deep.learning_rate or training.wide.learning_rate, or training.warmup_steps"
                )
            metrics.add(batch.label, scores, batch.weight, batch.group)
            on_scores(scores)
            rows += len(batch.label)
            on_rows(rows)
        return metrics.result()


def evaluate_with_errors(
    network: Network,
    store: EncodedStore,
    layout: InputLayout,
    kind: LabelKind,
    device: torch.device,
    *,
    cutoffs: Sequence[int],
    on_scores: Callable[[NDArray[np.float32]], None] = lambda _scores: None,
) -> tuple[dict[str, float | None], dict[str, float]]:
    """The metrics of `evaluate_store`, and standard errors of AUC, GAUC and log loss (or RMSE).

    The errors are for rows, or groups of rows, drawn anew. An error that cannot be estimated from so few rows is left
    out. Errors need all scores in memory: above ERROR_ROWS rows, where they hardly matter, there are none.
    `on_scores` as in `evaluate_store`.
    """
    scores: list[NDArray[np.float32]] = []
    if store.rows > ERROR_ROWS:
        return evaluate_store(network, store, layout, kind, device, cutoffs=cutoffs, on_scores=on_scores), {}

    def keep(batch: NDArray[np.float32]) -> None:
        scores.append(batch)
        on_scores(batch)

    metrics = evaluate_store(network, store, layout, kind, device, cutoffs=cutoffs, on_scores=keep)
    columns = [name for name in (LABEL_COLUMN, WEIGHT_COLUMN, GROUP_COLUMN) if name in store.columns]
    read = store.read(0, store.rows, columns)
    rows = LabelledRows.of(kind, read[LABEL_COLUMN], read.get(WEIGHT_COLUMN), read.get(GROUP_COLUMN))
    errors = {name: estimate.change().error for name, estimate in estimates(rows, np.concatenate(scores)).items()}
    return metrics, {name: error for name, error in errors.items() if math.isfinite(error)}
