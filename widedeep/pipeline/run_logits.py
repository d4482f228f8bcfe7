"""The logits of a finished run for the rows that it was trained on, with its crosses out of fold as in training."""

from pathlib import Path

import torch

from widedeep.discovery.fields import TrainRows
from widedeep.encoded.store import EncodedStore
from widedeep.errors import UsageError
from widedeep.features.plan import FeaturePlan
from widedeep.memory.columns import Floats
from widedeep.memory.cross_memory import FoldMemory
from widedeep.pipeline.ingest_stage import IngestResult
from widedeep.pipeline.past_runs import STAGES_READ_FROM
from widedeep.pipeline.stages import encoding_stage, memory_stage
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.load import LoadedRecipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.scorer import Scorer
from widedeep.training.inference import store_logits


def run_logits(
    run: RunDirectory, ingested: IngestResult, workspace: Workspace, reporter: Reporter, data: TrainRows
) -> Floats:
    """Logits (for a regression: predictions) of the rows, [N] float32, for a caller within `Workspace.shared`.

    The run's encoded rows are made again if they are gone. Raises UsageError for a run of other rows, ArtefactError for
    another's run.
    """
    path = run.path
    manifest = run.require_done()
    if manifest["keys"]["ingest"] != ingested.key:
        how = "on other rows than the recipe's"
        if manifest["format"] < STAGES_READ_FROM:
            how = "by an older version of widedeep, on rows read otherwise"
        raise UsageError(f"--on {path}: this run was trained {how}; train it again")
    if refit := manifest.get("refit"):
        raise UsageError(
            f"--on {path}: this run is a refit, trained on the {' + '.join(refit['splits'])} rows, and discovery may "
            f"read train rows only: take the run that it is a refit of, {path.parent / refit['of']}"
        )
    run.require_own(manifest, "its data", "take a run of your own")
    scorer = Scorer.load(path)
    loaded = LoadedRecipe(scorer.recipe, run.recipe_path, Path(manifest["base_dir"]), ())
    encoded = encoding_stage(loaded, workspace, reporter)
    if FeaturePlan.load(run.plan_dir).digest != FeaturePlan.load(encoded.path / "plan").digest:
        raise UsageError(f"--on {path}: an older version of widedeep encoded its rows differently; train it again")
    memory, network = memory_stage(loaded, encoded, workspace, reporter), scorer.network
    num_folds = None
    if memory is not None and network.cross_memory is not None:
        folds = FoldMemory.load(memory.folds)
        network.cross_memory.train_on_folds(torch.from_numpy(folds.value), torch.from_numpy(folds.support))
        num_folds = scorer.recipe.model.wide.folds
    store = EncodedStore.open(encoded.path / "train")
    with reporter.work("score train rows", store.rows, "rows") as meter:
        logits = store_logits(network, store, scorer.layout, scorer.device, num_folds=num_folds, on_rows=meter.update)
    return logits if data.rows is None else logits[data.rows]
