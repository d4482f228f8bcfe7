"""What a finished run says of the rows that it was trained on, its crosses out of fold as in training."""

from pathlib import Path

import numpy as np
import torch

from widedeep.discovery.fields import TrainRows
from widedeep.errors import UsageError
from widedeep.features.batches import BatchStream
from widedeep.features.plan import FeaturePlan
from widedeep.features.store import EncodedStore
from widedeep.memory.columns import Floats
from widedeep.memory.cross_memory import FoldMemory
from widedeep.model.network import Network
from widedeep.pipeline.stages import IngestResult, crosses_stage, memory_stage
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.load import LoadedRecipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.scorer import Scorer
from widedeep.training.validation import BATCH_ROWS, to_device


def run_logits(path: Path, ingested: IngestResult, workspace: Workspace, reporter: Reporter, data: TrainRows) -> Floats:
    """Logits (of a regression: predictions) of the rows, [N] float32, for a caller that holds the lock.

    The run's encoded rows are made again where they are gone. Raises UsageError for a run of other rows.
    """
    run = RunDirectory(path)
    manifest = run.require_done()
    if manifest["keys"]["ingest"] != ingested.key:
        raise UsageError(f"--on {path}: this run was trained on other rows than the recipe's; train it again")
    scorer = Scorer.load(path)
    loaded = LoadedRecipe(scorer.recipe, run.recipe_path, Path(manifest["base_dir"]), ())
    encoded = crosses_stage(loaded, workspace, reporter)
    if FeaturePlan.load(run.plan_dir).digest != FeaturePlan.load(encoded.path / "plan").digest:
        raise UsageError(f"--on {path}: an older version of widedeep encoded its rows differently; train it again")
    memory, network = memory_stage(loaded, encoded, workspace, reporter), scorer.network
    num_folds = None
    if memory is not None and network.cross_memory is not None:
        folds = FoldMemory.load(memory.folds)
        network.cross_memory.train_on_folds(torch.from_numpy(folds.value), torch.from_numpy(folds.support))
        num_folds = scorer.recipe.model.wide.folds
    logits = _logits(scorer, network, EncodedStore.open(encoded.path / "train"), num_folds, reporter)
    return logits if data.rows is None else logits[data.rows]


def _logits(scorer: Scorer, network: Network, store: EncodedStore, num_folds: int | None, reporter: Reporter) -> Floats:
    stream = BatchStream(
        store,
        [column.name for column in scorer.layout.index_columns],
        scorer.layout.numeric_columns,
        BATCH_ROWS,
        list_columns=scorer.layout.list_names,
        num_folds=num_folds,
        seed=None,
    )
    logits, done = np.empty(store.rows, dtype=np.float32), 0
    with torch.inference_mode(), reporter.work("score train rows", store.rows, "rows") as meter:
        for batch in stream:
            folds = None if batch.folds is None else torch.from_numpy(batch.folds).to(scorer.device, torch.int64)
            logit = network(*to_device(batch, scorer.device), folds)
            logits[done : done + len(batch)] = logit.cpu().numpy()
            done += len(batch)
            meter.update(done)
    return logits
