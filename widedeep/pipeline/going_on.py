"""Going on from a finished run (`train --from`): whether a recipe can, and the start that it gets from the run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from widedeep.artefacts import digest_of_file
from widedeep.errors import ArtefactError, Fault, RecipeError
from widedeep.features.grow import kept_indices
from widedeep.features.plan import FeaturePlan
from widedeep.features.rare import RareCounts
from widedeep.files import replacing_directory, write_json, write_text
from widedeep.memory.cross_memory import CrossMemory
from widedeep.model.embeddings import embedding_width
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network
from widedeep.pipeline.growth import GrowsFrom
from widedeep.pipeline.keys import key_of
from widedeep.pipeline.new_run import copy_directory, copy_file, new_run_path
from widedeep.recipe.differences import differing_settings, setting_texts
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.load import LoadedRecipe, load_run_recipe
from widedeep.recipe.schema import Recipe
from widedeep.runs import RunDirectory, write_manifest
from widedeep.scoring.scorer import forms_of_run, input_layout
from widedeep.training.carry_over import carry_over
from widedeep.training.checkpoints import load_checkpoint, restore_model
from widedeep.training.loop import restore_optimizers
from widedeep.training.optimizers import Optimizers

_KEPT = (
    "data.label",
    "data.keep_negatives",
    "features",
    "crosses",
    "model",
    "training.wide",
    "training.deep.optimizer",
)
"""Parts of a recipe, and settings, in which a run that goes on has to agree with the first one."""
_FREE = ("model.wide.folds", "model.wide.memory_half_life")
"""Settings among these that may change."""


@dataclass(frozen=True)
class Parent:
    """A finished run that another one goes on from."""

    run: RunDirectory
    recipe: Recipe
    manifest: Mapping[str, Any]
    grows_from: GrowsFrom
    key: str
    """Hash of the weights, the state of the optimizers and all that rows are encoded with."""

    @classmethod
    def of(cls, path: Path, loaded: LoadedRecipe) -> "Parent":
        """The finished run at `path`, for the recipe that is to go on from it.

        Raises ArtefactError for a run that is missing, unfinished, damaged or from before runs kept what this needs;
        RecipeError with every setting in which the recipe is not that of the run.
        """
        run = RunDirectory(path)
        manifest = run.require_done()
        run.check_scoring(manifest)
        run.check_files_in(run.plan_dir)  # all of which may be copied
        recipe = load_run_recipe(run, manifest).recipe
        if not (run.best_state_path.exists() and run.rare_dir.exists() and run.forms_path.exists()):
            raise ArtefactError(
                f"{path}: keeps no state of its optimizers or no counts of rare values, as runs of older versions do: "
                "train it once more with this version, and go on from that run"
            )
        _refuse_other_settings(run, recipe, loaded)
        plan = FeaturePlan.load(run.plan_dir)
        layout = input_layout(plan, recipe)
        columns = [column for column in (*layout.index_columns, *layout.list_columns) if column.kind == "categorical"]
        widths = {column.name: embedding_width(column, recipe.model.embeddings) for column in columns}
        forms = forms_of_run(run)
        assert forms is not None, "the run has forms.json"
        sums = run.memory_sums_path
        for file in (run.best_state_path, sums, run.rare_dir / "rare.json"):
            run.checked(file, manifest)
        of_plan = {
            "plan": plan.digest,
            "rare": RareCounts.saved_digest(run.rare_dir),
            "forms": [forms.of, forms.missing],
            "widths": widths,
            "sums": digest_of_file(sums) if sums.exists() else None,
        }
        grows_from = GrowsFrom(key_of(of_plan), plan, run.rare_dir, forms, widths, sums)
        weights = [digest_of_file(file) for file in (run.best_path, run.best_state_path)]
        return cls(run, recipe, manifest, grows_from, key_of({"plan": of_plan, "weights": weights}))

    def manifest_entry(self) -> dict[str, Any]:
        """The entry `from` in the manifest of a run that goes on from this one."""
        before = self.manifest.get("from")
        ancestors = [] if before is None else [before["run"], *before["ancestors"]]
        return {"run": self.run.path.resolve().name, "key": self.key, "ancestors": ancestors}

    def kept(self, plan: FeaturePlan) -> dict[str, NDArray[np.int64]]:
        """The indices that stayed in the plan that was grown from this run's, as `kept_indices` gives them."""
        return kept_indices(self.grows_from.plan, plan)

    def start(self, network: Network, optimizers: Optimizers, kept: Mapping[str, NDArray[np.int64]]) -> None:
        """Give the network its weights and the optimizers their state, before a first step. Raises ArtefactError."""
        recipe, device, layout = self.recipe, network.bias.device, self._layout()
        old = Network(layout, recipe.model).to(device)
        tensors, facts = load_checkpoint(self.run.best_path)
        restore_model(old, tensors, self.run.best_path)
        old_optimizers = Optimizers(old, recipe.training)
        states, numbers = load_checkpoint(self.run.best_state_path)
        try:
            restore_optimizers(old_optimizers, states, numbers)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ArtefactError(
                f"{self.run.best_state_path}: the state of other optimizers ({error}): the run is damaged"
            ) from error
        shift = facts.get("level_shift", 0.0)
        carry_over(old, old_optimizers, network, optimizers, shift, layout=layout, kept=kept)

    def memory(
        self, network: Network, layout: InputLayout, kept: Mapping[str, NDArray[np.int64]]
    ) -> CrossMemory | None:
        """The run's memory for the crosses of a layout with new values, of which it knows nothing; None without any.

        Raises ArtefactError for a damaged memory.
        """
        if network.cross_memory is None:
            return None
        memory = CrossMemory.load(self.run.memory_path)
        value, support, start = [], [], 0
        for old, new in zip(self._layout().crosses, layout.crosses, strict=True):
            held = start + kept.get(old.name, np.arange(old.size))
            more = 0, new.size - len(held)
            value.append(np.pad(memory.value[held], more))
            support.append(np.pad(memory.support[held], more))
            start += old.size
        return replace(memory, value=np.concatenate(value), support=np.concatenate(support))

    def _layout(self) -> InputLayout:
        return input_layout(self.grows_from.plan, self.recipe)


@contextmanager
def remembering(network: Network, memory: CrossMemory | None) -> Iterator[None]:
    """Let the network's crosses remember `memory` for a while, if they remember anything."""
    crosses = network.cross_memory
    if crosses is None or memory is None:
        yield
        return
    value, support = crosses.value.clone(), crosses.support.clone()
    crosses.remember(torch.from_numpy(memory.value), torch.from_numpy(memory.support))
    yield
    crosses.remember(value, support)


def carried_run(parent: Parent, name: str, runs_dir: Path, key: str, head: Mapping[str, Any]) -> RunDirectory:
    """A run that is `parent` once more, for a day without new rows: the same model, figures and rows.

    `head` are the first entries of its manifest. Its recipe is that of the parent, with the name `name`.
    """
    path = new_run_path(runs_dir / name, key)
    with replacing_directory(path) as temporary:
        run, old = RunDirectory(temporary), parent.run
        run.best_path.parent.mkdir()
        copy_directory(old.plan_dir, run.plan_dir)
        for file, copy in (
            (old.best_path, run.best_path),
            (old.best_state_path, run.best_state_path),
            (old.golden_path, run.golden_path),
        ):
            if file.exists():
                copy_file(file, copy)
        write_text(run.recipe_path, dump_recipe(parent.recipe.model_copy(update={"name": name})))
        facts = {"best_epoch": 0, "epochs": 0, "steps": 0, "stopped": "no new rows", "rows_per_second": 0.0}
        carried = {name: fact for name, fact in old.facts().items() if name != "dropped_values"}
        write_json(run.metrics_path, {**carried, **facts, "seconds": 0.0})
        write_manifest(
            run,
            {
                **head,
                "from": parent.manifest_entry() | {"no_new_rows": True},
                "keys": {**parent.manifest["keys"], "run": key},
                "base_dir": parent.manifest["base_dir"],
            },
        )
    run = RunDirectory(path)
    run.pin(own=parent.run.is_own(parent.manifest))  # its recipe, which names files, is the parent's
    run.finish()
    return run


def _refuse_other_settings(run: RunDirectory, first: Recipe, loaded: LoadedRecipe) -> None:
    recipes = [_without_promises(recipe) for recipe in (first, loaded.recipe)]
    old, new = differing_settings(recipes)
    told = setting_texts([old, new])
    faults = [
        Fault(
            name,
            f"{told[1].get(name, 'nothing')} here, {told[0].get(name, 'nothing')} in {run.path}: a run goes on with "
            "the settings of the first one: take that one's, or train without --from",
            source=str(loaded.title),
        )
        for name in dict.fromkeys([*old, *new])
        if _is_below(name, _KEPT) and not _is_below(name, _FREE)
    ]
    if faults:
        raise RecipeError(faults)


def _is_below(name: str, parts: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(f"{part}.") for part in parts)


def _without_promises(recipe: Recipe) -> Recipe:
    crosses = tuple(cross.model_copy(update={"promised": None}) for cross in recipe.crosses)
    return recipe.model_copy(update={"crosses": crosses})
