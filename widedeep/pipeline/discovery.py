"""`widedeep crosses --discover`: makes the typed table and finds crosses in it. Torch is imported only for `--on`."""

from functools import partial
from pathlib import Path

from widedeep.discovery.discover import Discovery, discover
from widedeep.errors import UsageError
from widedeep.pipeline.ingest_stage import ingest_stage
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.load import LoadedRecipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.workers.shelf import on_shelf

DEFAULT_FDR = 0.05
"""Bound on the false discovery rate."""


def discover_crosses(
    loaded: LoadedRecipe,
    work_dir: Path,
    reporter: Reporter,
    *,
    on: RunDirectory | None = None,
    budget: float | None = None,
    fdr: float = DEFAULT_FDR,
    wait: bool = False,
    workers: str | None = None,
) -> Discovery:
    """Find crosses in the train rows; ingest first if that is not done. Valid and test rows are not read.

    `on` is a finished run of the same rows: crosses must then improve on its logits. `budget` is in seconds.
    `workers` says which processes share the work, see `open_workers`; what is found is the same.

    Raises UsageError if fewer than two fields may be crossed, the run was trained on other rows, `fdr` is not in (0, 1)
    or `budget` is less than a second.
    """
    if not 0.0 < fdr < 1.0:
        raise UsageError(f"--fdr {fdr:g}: must be greater than 0 and less than 1, such as {DEFAULT_FDR}")
    if budget is not None and not budget >= 1.0:
        raise UsageError(f"--budget {budget:g}: must be at least 1 second")
    recipe = loaded.recipe
    names = len(recipe.features.all_fields())
    if names < 2:
        raise UsageError(f"{loaded.title}: a cross needs at least two fields, and this recipe has {names}")
    workspace = Workspace(work_dir)
    with workspace.shared(reporter, wait=wait), workspace.workers(workers) as opened:
        ingested = ingest_stage(loaded, workspace, reporter, opened)
        logits = None
        if on is not None:
            from widedeep.pipeline.run_logits import run_logits  # not at the top: torch is slow to import

            logits = partial(run_logits, on, ingested, workspace, reporter)
        with on_shelf(opened, workspace.stages_dir) as shelf:
            discovery = discover(
                recipe, ingested.path, budget=budget, fdr=fdr, reporter=reporter, logits=logits, shelf=shelf
            )
    if not discovery.complete:
        reporter.warn(
            f"the budget of {budget:g} s ended {discovery.stopped_in}: this is a partial result, of what was found then"
        )
    return discovery
