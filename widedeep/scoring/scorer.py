"""A finished run, loaded and checked: typed rows in, scores out."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from widedeep.errors import ArtefactError
from widedeep.features.plan import FeaturePlan
from widedeep.files import check_readable, for_polars
from widedeep.kernels.choose import FEW_ROWS
from widedeep.lists import Lists
from widedeep.memory.cross_memory import CrossMemory
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.load import load_run_recipe
from widedeep.recipe.schema import Recipe
from widedeep.runs import RunDirectory, read_json_artefact
from widedeep.source.forms import Form
from widedeep.training.bags import BATCH_ROWS, bag_of
from widedeep.training.checkpoints import load_checkpoint, restore_model
from widedeep.training.device import choose_device
from widedeep.training.objective import score

CPU_BATCH_ROWS = FEW_ROWS
"""Rows scored at a time on the CPU: the caches hold what the layers hand on, and nothing waits for Numba."""
GOLDEN_TOLERANCE = 1e-5
"""How far a golden row's score may lie from the one it had when the run was finished."""


def input_layout(plan: FeaturePlan, recipe: Recipe) -> InputLayout:
    """The encoded columns that the model's kind reads: without a wide part, no buckets and no crosses."""
    with_wide = KINDS[recipe.model.kind].has_wide(crosses=bool(recipe.crosses))
    columns = tuple(c for c in plan.index_columns if with_wide or c.kind == "categorical")
    return InputLayout.of(columns, plan.numeric_columns)


def logit_correction(recipe: Recipe) -> float:
    """What brings a logit learnt on sampled negatives back to all of them: log(w), w being the share kept.

    q = p / (p + (1 - p) / w), He et al. 2014, Practical Lessons from Predicting Clicks on Ads, section 6.3.
    """
    return math.log(recipe.data.keep_negatives)


def recall_crosses(network: Network, run: RunDirectory) -> CrossMemory | None:
    """Give the network the run's memory of crosses, if it has crosses from memory. Raises ArtefactError."""
    if network.cross_memory is None:
        return None
    memory = CrossMemory.load(run.memory_path)
    if len(memory.value) != network.cross_memory.num_rows:
        raise ArtefactError(f"{run.memory_path}: the memory of other crosses than the plan's: the run is damaged")
    network.cross_memory.remember(torch.from_numpy(memory.value), torch.from_numpy(memory.support))
    return memory


class Scorer:
    """Scores typed frames with one model, in float32, whatever the device."""

    def __init__(self, recipe: Recipe, plan: FeaturePlan, network: Network, device: torch.device) -> None:
        self.recipe, self.plan, self.device = recipe, plan, device
        self.network = network.to(device).eval()
        self.layout = input_layout(plan, recipe)
        lists = (name for pair in self.layout.list_names for name in pair if name is not None)
        self._columns = [*(column.name for column in self.layout.index_columns), *self.layout.numeric_columns, *lists]
        self.batch_rows = CPU_BATCH_ROWS if device.type == "cpu" else BATCH_ROWS
        self.source_kinds: dict[str, Any] = {}
        self.forms: dict[str, Form] | None = None
        """In which writing texts are encoded; None for runs older than forms, which take texts as they are."""
        self.base_dir = Path()
        """Where the recipe's relative paths start."""

    @classmethod
    def load(cls, path: Path) -> "Scorer":
        """Load a finished run and score its golden rows again.

        Raises ArtefactError when the run is missing, unfinished, damaged, of a newer format, or scores differently.
        """
        run = RunDirectory(path)
        manifest = run.require_done()
        loaded = load_run_recipe(run, manifest)
        recipe = loaded.recipe
        plan = FeaturePlan.load(run.plan_dir)
        network = Network(input_layout(plan, recipe), recipe.model, correction=logit_correction(recipe))
        recall_crosses(network, run)
        tensors, _ = load_checkpoint(run.best_path)
        restore_model(network, tensors, run.best_path)
        scorer = cls(recipe, plan, network, choose_device("auto"))
        scorer.source_kinds = read_json_artefact(run.plan_dir / "source_kinds.json", "the run is damaged")
        if run.forms_path.exists():
            scorer.forms = read_json_artefact(run.forms_path, "the run is damaged")
        scorer.base_dir = loaded.base_dir
        scorer._check_golden_rows(run)
        return scorer

    def score(self, frame: pl.DataFrame) -> tuple[np.ndarray, pl.DataFrame]:
        """Scores [N] float32 of the typed rows, in order, and the columns that the model reads, encoded."""
        encoded = self.plan.encode(frame, self._columns)
        # One matrix per block; a column missing here would be a bug, so nothing is checked twice.
        indices = _matrix(encoded, [column.name for column in self.layout.index_columns], np.int32)
        numerics = _matrix(encoded, self.layout.numeric_columns, np.float32)
        lists = [
            Lists.of(encoded[column.name], None if column.weights is None else encoded[column.weights])
            for column in self.layout.list_columns
        ]
        scores = np.empty(len(frame), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(frame), self.batch_rows):
                part = slice(start, start + self.batch_rows)
                logit = self.network(
                    torch.from_numpy(indices[:, part]).to(self.device),
                    torch.from_numpy(numerics[:, part]).to(self.device),
                    [bag_of(column.slice(start, start + self.batch_rows), self.device) for column in lists],
                )
                scores[part] = score(self.recipe.data.label.kind, logit).cpu().numpy()
        return scores, encoded

    def _check_golden_rows(self, run: RunDirectory) -> None:
        if not self.recipe.evaluation.golden_rows:
            return
        check_readable(run.golden_path)
        try:
            golden = pl.read_parquet(for_polars(run.golden_path), glob=False)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ArtefactError(f"{run.golden_path}: cannot read the golden rows: the run is damaged") from error
        scores, _ = self.score(golden)
        differences = np.abs(scores - golden["score"].to_numpy())
        worst = int(differences.argmax())
        if not differences[worst] <= GOLDEN_TOLERANCE * max(1.0, abs(float(golden["score"][worst]))):
            raise ArtefactError(
                f"{run.golden_path}: row {worst + 1} scored {golden['score'][worst]:.6g} when the run was finished and "
                f"scores {scores[worst]:.6g} now: the weights, the plan or a library changed; train again"
            )


def _matrix(frame: pl.DataFrame, names: Sequence[str], dtype: type[np.generic]) -> np.ndarray:
    matrix = np.empty((len(names), len(frame)), dtype=dtype)
    for position, name in enumerate(names):
        matrix[position] = frame[name].to_numpy()
    return matrix
