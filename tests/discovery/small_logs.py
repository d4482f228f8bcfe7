"""Small logs whose crosses are known, and discovery on them without the command line."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from widedeep.discovery.discover import Discovery, discover
from widedeep.discovery.fields import TrainRows, read_train_rows
from widedeep.pipeline.ingest_stage import ingest
from widedeep.recipe.load import LoadedRecipe, load_recipe
from widedeep.reporting import Reporter


def log(
    folder: Path, columns: dict[str, Any] | pl.DataFrame, features: dict[str, Any], **sections: Any
) -> LoadedRecipe:
    """Write a table with the label `y`, all its rows for train, and a recipe: `features`, and any other section."""
    pl.DataFrame(columns).write_parquet(folder / "log.parquet")
    data = {"train": "log.parquet", "label": "y", "split": {"valid": 0.0, "test": 0.0}, **sections.pop("data", {})}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"data": data, "features": features, **sections}))
    return load_recipe(folder / "recipe.yaml")


def typed_dir(loaded: LoadedRecipe) -> Path:
    assert loaded.path is not None
    return ingest(loaded, loaded.path.parent, Reporter()).path


def train_rows(loaded: LoadedRecipe) -> TrainRows:
    return read_train_rows(loaded.recipe, typed_dir(loaded))


def found_in(loaded: LoadedRecipe, *, budget: float | None = None, fdr: float = 0.05, **rest: Any) -> Discovery:
    return discover(loaded.recipe, typed_dir(loaded), budget=budget, fdr=fdr, reporter=Reporter(), **rest)


def kept(found: Discovery) -> list[frozenset[str]]:
    return [frozenset(cross.score.candidate.fields) for cross in found.kept]


def texts(codes: np.ndarray) -> list[str]:
    return [f"v{code}" for code in codes]


def clicked(draw: np.random.Generator, logit: np.ndarray) -> np.ndarray:
    return (draw.random(len(logit)) < 1 / (1 + np.exp(-logit))).astype(np.int64)
