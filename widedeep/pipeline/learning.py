"""How the network of a run that has begun learns from encoded rows: in this process, or by parts in a crew's."""

import gc
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from widedeep.encoded.store import EncodedStore
from widedeep.encoded.unknown_draws import UnknownDraws
from widedeep.features.exposure import Exposure, shown_shares
from widedeep.features.plan import FeaturePlan
from widedeep.features.targets import LABEL_COLUMN
from widedeep.memory.cross_memory import CrossMemory
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network, Undrawn
from widedeep.pipeline.crew import Crew
from widedeep.pipeline.going_on import Parent, remembering
from widedeep.pipeline.live_tracking import LiveTracking
from widedeep.pipeline.new_run import precision_of
from widedeep.pipeline.parted import Assignment, begin_with_memory, parted_trainer
from widedeep.pipeline.refit import Refit
from widedeep.pipeline.stages import EncodingResult, MemoryResult
from widedeep.pipeline.workspace import read_report
from widedeep.recipe.schema import Recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.scorer import logit_correction, recall_crosses
from widedeep.training.device import telling_out_of_memory
from widedeep.training.loop import Outcome, Trainer
from widedeep.training.ranks import Ranks

_TOLD_SHARE, _TOLD_FIELDS = 0.05, 3
"""`train` tells how many values will be unknown for fields with at least this share, and for so many fields at most."""


@dataclass(frozen=True)
class Learning:
    """What a network learns from, and what it begins with."""

    recipe: Recipe
    run: RunDirectory
    plan: FeaturePlan
    layout: InputLayout
    encoded: EncodingResult
    stores: Mapping[str, EncodedStore]
    """The splits of `encoded`."""
    memory: MemoryResult | None
    refit: Refit | None
    parent: Parent | None
    device: torch.device
    crew: Crew
    resume: bool
    """Whether to go on from the run's last checkpoint, if it has one."""
    live: LiveTracking
    reporter: Reporter

    def learn(self) -> tuple[Network, Outcome]:
        """Train until an epoch is the last. With parts, the network's weights are those of the best checkpoint."""
        torch.manual_seed(self.recipe.seed)
        with telling_out_of_memory():
            bias = self._starting_bias()
            shares = shown_shares(self.encoded.exposures, self.recipe.training.unknown_share)
            if self.recipe.training.unknown_share == "auto":
                _tell_unknown(self.encoded.exposures, self.reporter)
            return self._by_parts(bias, shares) if self.recipe.training.parts > 1 else self._alone(bias, shares)

    def _alone(self, bias: float, shares: Mapping[str, float]) -> tuple[Network, Outcome]:
        recipe, run, layout, parent = self.recipe, self.run, self.layout, self.parent
        network = Network(layout, recipe.model, bias=bias, correction=logit_correction(recipe))
        if self.memory is not None:
            begin_with_memory(network, run, self.memory.folds, learnt=parent is not None)
            self._tell_silent(network)
        unknown = None
        if shares:
            unknown = UnknownDraws.of_plan(self.plan, shares, recipe.seed, layout.index_columns, layout.list_columns)
        kept = {} if parent is None else parent.kept(self.plan)
        known = None if parent is None else parent.memory(network, layout, kept)
        training = recipe.training.model_copy(update={"epochs": self._epochs()})
        trainer = Trainer(
            recipe.model_copy(update={"training": training}),
            network,
            layout,
            self.stores["train"],
            self.stores.get("valid"),
            run,
            self.device,
            self.reporter,
            precision=precision_of(run, self.device),
            unknown=unknown,
            followed=None if self.refit is None else self.refit.values,
            as_it_was=None if parent is None else partial(remembering, network, known),
            at_epoch_end=self.live.at_epoch_end,
        )
        if parent is not None and not (self.resume and run.last_path.exists()):
            parent.start(network, trainer.optimizers, kept)
        outcome = trainer.run(resume=self.resume)
        if known is not None and outcome.best_epoch == 0:
            known.save(run.memory_path)
            recall_crosses(network, run)
        return network, outcome

    def _by_parts(self, bias: float, shares: Mapping[str, float]) -> tuple[Network, Outcome]:
        assignment = Assignment(
            run=str(self.run.path.absolute()),
            encoded=str(self.encoded.path.absolute()),
            splits=tuple(self.encoded.splits),
            folds=None if self.memory is None else str(self.memory.folds.absolute()),
            learnt=self.parent is not None,
            bias=bias,
            unknown=shares,
            epochs=self._epochs(),
            followed=None if self.refit is None else self.refit.values,
            precision=precision_of(self.run, self.device),
            resume=self.resume,
        )
        run, known = RunDirectory(Path(assignment.run)), None
        if self.parent is not None:
            assignment, known = self._begun(assignment, self.parent)
        with self.crew.at_work(assignment, self.recipe.training.timeout) as ranks:
            trainer = parted_trainer(assignment, ranks, self.reporter, at_epoch_end=self.live.at_epoch_end)
            self._tell_silent(trainer.network)
            outcome = trainer.run(resume=assignment.resume)
            del trainer
        gc.collect()  # its tables are part of cycles, and must make room for what is read from the best checkpoint next
        with Undrawn():
            network = Network(self.layout, self.recipe.model, correction=logit_correction(self.recipe))
        if known is not None and outcome.best_epoch == 0:
            known.save(run.memory_path)
        recall_crosses(network, run)
        return network, outcome

    def _begun(self, assignment: Assignment, parent: Parent) -> tuple[Assignment, CrossMemory | None]:
        """Write the checkpoint that going on begins with, measured as epoch 0; gives the memory of that epoch."""
        kept = parent.kept(self.plan)
        known = None

        def as_it_was(network: Network) -> Callable[[], AbstractContextManager[object]]:
            nonlocal known
            known = parent.memory(network, self.layout, kept)
            return partial(remembering, network, known)

        trainer = parted_trainer(assignment, Ranks(), self.reporter, as_it_was=as_it_was)
        if not (assignment.resume and trainer.run_dir.last_path.exists()):
            parent.start(trainer.network, trainer.optimizers, kept)
            trainer.begin()
        del trainer
        gc.collect()  # as its tables are whole
        return replace(assignment, resume=True), known

    def _tell_silent(self, network: Network) -> None:
        crosses = network.cross_memory
        if crosses is not None and crosses.silent:
            names = ", ".join(" x ".join(self.layout.crosses[position].fields) for position in crosses.silent)
            self.reporter.note(f"left out of the model, as the train rows do not tell them from chance: {names}")

    def _epochs(self) -> int:
        training = self.recipe.training
        if self.refit is not None:
            return self.refit.epochs
        return training.epochs if self.parent is None else min(training.epochs, training.going_on_epochs)

    def _starting_bias(self) -> float:
        facts: Any = read_report(self.encoded.ingested.path)
        label_mean = facts["label"]["train"]["mean"] if self.refit is None else _label_mean(self.stores["train"])
        # The log-odds of the train rate: with a rare label, the model would else spend its first epochs on finding it.
        if self.recipe.data.label.kind == "regression":
            return label_mean
        return float(torch.logit(torch.tensor(label_mean, dtype=torch.float64)))


def _tell_unknown(exposures: Mapping[str, Exposure], reporter: Reporter) -> None:
    large = [(name, exposure) for name, exposure in exposures.items() if exposure.expected >= _TOLD_SHARE]
    large.sort(key=lambda pair: -pair[1].expected)
    for name, exposure in large[:_TOLD_FIELDS]:
        source = "later train rows against earlier ones" if exposure.by == "time" else "by counts of the train rows"
        shown = exposure.shown()
        taught = f"; training shows {shown:.1%} of the known ones as unknown to learn from" if shown else ""
        reporter.note(
            f"{name}: about {exposure.expected:.0%} of the values to score will be unknown ({source}){taught}"
        )
    if len(large) > _TOLD_FIELDS:
        names = ", ".join(name for name, _ in large[_TOLD_FIELDS:])
        reporter.note(f"fewer, but at least {_TOLD_SHARE:.0%}, of {names}")


def _label_mean(store: EncodedStore) -> float:
    labels = store.read(0, store.rows, [LABEL_COLUMN])[LABEL_COLUMN]
    return float(labels.mean(dtype=np.float64))
