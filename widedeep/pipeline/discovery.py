"""`widedeep crosses --discover`: the typed table, what a trained run knows of it, discovery. Torch only with a run."""

from functools import partial
from pathlib import Path

from widedeep.discovery.discover import Discovery, discover
from widedeep.errors import UsageError
from widedeep.pipeline.stages import ingest_stage
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.load import LoadedRecipe
from widedeep.reporting import Reporter

DEFAULT_FDR = 0.05
"""False discovery rate that is held."""


def discover_crosses(
    loaded: LoadedRecipe,
    work_dir: Path,
    reporter: Reporter,
    *,
    on: Path | None = None,
    budget: float | None = None,
    fdr: float = DEFAULT_FDR,
    wait: bool = False,
) -> Discovery:
    """Find crosses in the train rows, ingesting first where that is missing; valid and test rows are not read.

    `on` is a finished run of the same rows, on top of whose logits crosses must gain. `budget` is in seconds.

    Raises UsageError where fewer than two fields may be crossed, the run was trained on other rows, `fdr` is not in (0,
    1) or `budget` is less than a second.
    """
    if not 0.0 < fdr < 1.0:
        raise UsageError(f"--fdr {fdr:g}: must be greater than 0 and less than 1, such as {DEFAULT_FDR}")
    if budget is not None and not budget >= 1.0:
        raise UsageError(f"--budget {budget:g}: must be at least 1 second")
    recipe = loaded.recipe
    names = len(recipe.features.all_fields())
    if names < 2:
        raise UsageError(f"{loaded.title}: a cross is of two fields or more, and this recipe has {names}")
    workspace = Workspace(work_dir)
    with workspace.locked(reporter, wait=wait):
        ingested = ingest_stage(loaded, workspace, reporter)
        logits = None
        if on is not None:
            from widedeep.pipeline.run_logits import run_logits  # only now: torch is slow to import

            logits = partial(run_logits, on, ingested, workspace, reporter)
        found = discover(recipe, ingested.path, budget=budget, fdr=fdr, reporter=reporter, logits=logits)
    if not found.complete:
        reporter.warn(
            f"the budget of {budget:g} s ended {found.stopped_in}: this is a partial result, of what was found till then"
        )
    return found
