"""LightGBM on the very rows and columns that a table's runs were trained on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from peer_environments import run_peer

from widedeep.recipe.schema import Recipe
from widedeep.table.parts import typed_blocks
from widedeep.table.typed_columns import LABEL, typed_columns

Columns = dict[str, NDArray[np.float64]]


def train_lightgbm(
    recipe: Recipe, typed: Path, settings: Mapping[str, Any], work: Path, scratch: Path, seeds: int
) -> dict[str, Any]:
    """What peers/lightgbm_early_stopping.py says of the typed table's rows."""
    write_matrices(recipe, typed, work)
    found: dict[str, Any] = run_peer(
        scratch, "lightgbm", "lightgbm_early_stopping.py", work, str(seeds), json.dumps(settings)
    )
    return found


def write_matrices(recipe: Recipe, typed: Path, folder: Path) -> None:
    """The recipe's inputs of each split as a matrix: numbers as they are, texts as codes, lists as a column per value.

    Values that the train rows lack, and missing ones, are NaN.
    """
    folder.mkdir(parents=True, exist_ok=True)
    roles = {column.name: column.role for column in typed_columns(recipe)}
    names = [name for name, role in roles.items() if role in ("number", "age", "text", "part", "values")]
    frames = {
        split: pl.concat(typed_blocks(typed, split, columns=[LABEL, *names])) for split in ("train", "valid", "test")
    }
    made: dict[str, Columns] = {split: {} for split in frames}
    categories: set[str] = set()
    for name in names:
        values = frames["train"][name]
        if roles[name] in ("number", "age"):
            for split, frame in frames.items():
                made[split][name] = frame[name].fill_null(float("nan")).to_numpy()
        elif roles[name] == "values":
            for value in values.explode().drop_nulls().unique().sort():
                for split, frame in frames.items():
                    held = frame[name].list.contains(value).fill_null(False)
                    made[split][f"{name}={value}"] = held.cast(pl.Float64).to_numpy()
        else:
            categories.add(name)
            known = values.drop_nulls().unique().sort().to_list()
            for split, frame in frames.items():
                codes = frame[name].replace_strict(known, range(len(known)), default=None, return_dtype=pl.Float64)
                made[split][name] = codes.fill_null(float("nan")).to_numpy()
    for split, columns in made.items():
        np.save(folder / f"X_{split}.npy", np.column_stack(list(columns.values())))
        np.save(folder / f"y_{split}.npy", frames[split][LABEL].to_numpy())
    told = [{"name": name, "categorical": name in categories} for name in made["train"]]
    (folder / "columns.json").write_text(json.dumps(told))
