"""Metrics of a model on an encoded split."""

from collections.abc import Callable

import numpy as np
import torch

from widedeep.errors import TrainingError
from widedeep.evaluation.metrics import MetricAccumulator
from widedeep.features.batches import Batch, BatchStream
from widedeep.features.store import EncodedStore
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network
from widedeep.training.objective import Kind, score

BATCH_ROWS = 16_384
"""Rows scored at a time where nothing is learnt."""


def to_device(batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch's indices [B, F] int32 and numerics [B, D] float32 on the device."""
    return torch.from_numpy(batch.indices).to(device), torch.from_numpy(batch.numerics).to(device)


def evaluate_store(
    network: Network,
    store: EncodedStore,
    layout: InputLayout,
    kind: Kind,
    device: torch.device,
    *,
    on_rows: Callable[[int], None] = lambda _rows: None,
) -> dict[str, float | None]:
    """Metrics over all rows of `store`, float32, in file order. `on_rows` hears how many rows are done."""
    index_names = [column.name for column in layout.index_columns]
    stream = BatchStream(store, index_names, layout.numeric_columns, BATCH_ROWS, seed=None)
    network.eval()
    rows = 0
    with torch.inference_mode(), MetricAccumulator(kind) as metrics:
        for batch in stream:
            scores = score(kind, network(*to_device(batch, device))).cpu().numpy()
            if not np.isfinite(scores).all():
                raise TrainingError(
                    "the model's scores are not finite: training has diverged; try a smaller "
                    "training.deep.learning_rate or training.wide.learning_rate, or training.warmup_steps"
                )
            metrics.add(batch.label, scores, batch.weight)
            rows += len(batch.label)
            on_rows(rows)
        return metrics.result()
