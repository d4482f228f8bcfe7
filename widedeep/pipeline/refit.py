"""A refit: trains a recipe's model again on train and held-out rows, for as many epochs as a finished run chose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from widedeep.errors import ArtefactError, UsageError
from widedeep.recipe.load import LoadedRecipe
from widedeep.recipe.schema import DataSettings, Recipe
from widedeep.runs import RunDirectory
from widedeep.table.split import SPLITS, drawn_parts

RefitRows = Literal["valid", "all"]
"""The rows that join the train rows: valid ones, or all that the recipe holds out."""


def refit_splits(loaded: LoadedRecipe, rows: RefitRows) -> tuple[str, ...]:
    """The splits that a refit is trained on, in order. Raises UsageError if the recipe holds none of these rows out."""
    data = loaded.recipe.data
    joining = [split for split in _held_out(data) if rows == "all" or split == "valid"]
    if not joining:
        which = "valid" if rows == "valid" else "valid or test"
        raise UsageError(
            f"--refit {rows}: the recipe holds no {which} rows out, so a refit would see the same rows as `widedeep "
            "train`: leave --refit out, or hold rows out with data.split"
        )
    return ("train", *joining)


def _held_out(data: DataSettings) -> list[str]:
    drawn = drawn_parts(data)
    return [split for split in SPLITS if split != "train" and (getattr(data, split) is not None or split in drawn)]


@dataclass(frozen=True)
class Refit:
    """What a refit needs of the first run: the finished run that decides its number of epochs."""

    name: str
    """Directory of the first run, beside the refit's."""
    key: str
    """Key of the first run."""
    splits: tuple[str, ...]
    """The splits that the refit is trained on."""
    epochs: int
    """The first run's best epoch."""
    values: tuple[float | None, ...]
    """The first run's valid metric after each of these epochs: learning rates fall where they fell in that run."""

    @classmethod
    def of(cls, run: RunDirectory, recipe: Recipe, splits: Sequence[str]) -> "Refit":
        """The refit of `run`, a finished run of the recipe. Raises ArtefactError if its log of epochs is gone."""
        facts = run.facts()
        epochs, logged = facts["best_epoch"], run.epochs()
        if [event["epoch"] for event in logged[:epochs]] != list(range(1, epochs + 1)):
            raise ArtefactError(
                f"{run.events_path}: lacks epochs 1 to {epochs}, which a refit needs: train the recipe again"
            )
        metric = recipe.training.early_stopping.metric
        values = tuple(event["valid"].get(metric) for event in logged[:epochs])
        return cls(run.path.name, run.manifest()["keys"]["run"], tuple(splits), epochs, values)

    def manifest_entry(self) -> dict[str, Any]:
        """The entry in the refit's manifest."""
        return {"of": self.name, "splits": list(self.splits), "epochs": self.epochs}
