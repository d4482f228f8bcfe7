"""`widedeep crosses --discover`: the typed table, what a trained run knows of it, discovery. Torch only with a run."""

from functools import partial
from pathlib import Path

from widedeep.discovery.discover import Discovery, discover
from widedeep.errors import UsageError
from widedeep.pipeline.stages import ingest_stage
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.load import LoadedRecipe
from widedeep.reporting import Reporter


def discover_crosses(
    loaded: LoadedRecipe,
    work_dir: Path,
    reporter: Reporter,
    *,
    on: Path | None = None,
    budget: float | None = None,
    fdr: float = 0.05,
    wait: bool = False,
) -> Discovery:
    """Find crosses in the train rows, ingesting first where that is missing; valid and test rows are not read.

    `on` is a finished run of the same rows, on top of whose logits crosses must gain. `budget` is in seconds.

    Raises UsageError where fewer than two fields may be crossed, or the run was trained on other rows.
    """
    recipe = loaded.recipe
    names = len(recipe.features.all_fields())
    if names < 2:
        raise UsageError(f"{loaded.path}: a cross is of two fields or more, and this recipe has {names}")
    workspace = Workspace(work_dir)
    with workspace.locked(reporter, wait=wait):
        ingested = ingest_stage(loaded, workspace, reporter)
        logits = None
        if on is not None:
            from widedeep.pipeline.run_logits import run_logits  # only now: torch is slow to import

            logits = partial(run_logits, on, ingested, workspace, reporter)
        return discover(recipe, ingested.path, budget=budget, fdr=fdr, reporter=reporter, logits=logits)
