"""Trains a run by parts, in one process or in several: what each process is told, and the trainer that it builds."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from widedeep.artefacts import telling_stage
from widedeep.encoded.store import EncodedStore
from widedeep.encoded.unknown_draws import UnknownDraws
from widedeep.errors import ArtefactError
from widedeep.features.plan import FeaturePlan
from widedeep.memory.cross_memory import FoldMemory
from widedeep.model.network import Network
from widedeep.model.table import Share
from widedeep.recipe.load import load_run_recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.scorer import input_layout, logit_correction, recall_crosses
from widedeep.training.device import Precision, set_threads, telling_out_of_memory
from widedeep.training.parted_loop import PartedTrainer
from widedeep.training.ranks import Ranks

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Assignment:
    """What a process has to know to train a run, alone or together with others; plain data."""

    run: str
    """Path of the run directory, which holds recipe and plan."""
    encoded: str
    """Path of the stage with the encoded rows."""
    splits: tuple[str, ...]
    folds: str | None
    """Path of the values that crosses from memory are trained with."""
    learnt: bool
    """Whether crosses from memory have learnt scales and offsets already."""
    bias: float
    """What the bias begins with."""
    unknown: Mapping[str, float]
    """Field → share of its known values to show as unknown."""
    epochs: int
    followed: Sequence[float | None] | None
    precision: Precision
    resume: bool

    def to_json(self) -> dict[str, Any]:
        """As plain values, which `Assignment(**…)` reads back."""
        return asdict(self)


def parted_trainer(
    assignment: Assignment,
    ranks: Ranks,
    reporter: Reporter,
    *,
    as_it_was: Callable[[Network], Callable[[], AbstractContextManager[object]]] | None = None,
    at_epoch_end: Callable[[], None] | None = None,
) -> PartedTrainer:
    """The trainer of this process, with the rows of tables that it holds. `as_it_was` and `at_epoch_end`: see Trainer,
    the former for a network.

    Raises ArtefactError if run or stage are not here.
    """
    run = RunDirectory(Path(assignment.run))
    if ranks.rank > 0 and not (run.recipe_path.exists() and Path(assignment.encoded).is_dir()):
        missing = assignment.encoded if run.recipe_path.exists() else assignment.run
        raise ArtefactError(
            f"{missing}: is not here: the work directory (--work) must be a folder that all processes share, under one "
            "name"
        )
    recipe = load_run_recipe(run, run.manifest()).recipe
    set_threads(recipe.training.threads or 1)
    plan = FeaturePlan.load(run.plan_dir)
    layout = input_layout(plan, recipe)
    stores = {split: EncodedStore.open(Path(assignment.encoded) / split) for split in assignment.splits}
    torch.manual_seed(recipe.seed)
    with telling_out_of_memory():
        share = Share(recipe.seed, recipe.training.dense_rows, ranks.rank, ranks.world)
        correction = logit_correction(recipe)
        network = Network(layout, recipe.model, bias=assignment.bias, correction=correction, share=share)
        if assignment.folds is not None:
            begin_with_memory(network, run, Path(assignment.folds), learnt=assignment.learnt)
        unknown = None
        if assignment.unknown:
            columns = layout.index_columns, layout.list_columns
            unknown = UnknownDraws.of_plan(plan, assignment.unknown, recipe.seed, *columns)
        training = recipe.training.model_copy(update={"epochs": assignment.epochs})
        return PartedTrainer(
            recipe.model_copy(update={"training": training}),
            network,
            layout,
            stores["train"],
            stores.get("valid"),
            run,
            CPU,
            reporter,
            ranks=ranks,
            precision=assignment.precision,
            unknown=unknown,
            followed=assignment.followed,
            as_it_was=None if as_it_was is None else as_it_was(network),
            at_epoch_end=at_epoch_end,
        )


def begin_with_memory(network: Network, run: RunDirectory, folds: Path, *, learnt: bool) -> None:
    """Let the crosses remember what the run does, and train on `folds`, a FoldMemory.

    Unless they are `learnt` already, scales and offsets begin as the memory says.
    """
    crosses, known = network.cross_memory, recall_crosses(network, run)
    assert crosses is not None
    assert known is not None
    if not learnt:
        crosses.start_from(torch.from_numpy(known.scale), torch.from_numpy(known.offset))
    with telling_stage():
        memory = FoldMemory.load(folds)
    crosses.train_on_folds(torch.from_numpy(memory.value), torch.from_numpy(memory.support))
