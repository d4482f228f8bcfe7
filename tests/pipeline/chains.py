"""A small recipe and days of rows for it, on which runs go on from one another."""

import csv
import random
from pathlib import Path

import numpy as np
import polars as pl

from widedeep.api.runs import Run
from widedeep.pipeline.experiment import Asked, TrainResult, train
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter

RECIPE = """\
name: chain
data:
  train: day-1.csv
  valid: valid.csv
  label: click
  weight: weight
  split: {kind: random, test: 0}
features:
  numeric: [{column: age, buckets: 5}]
  categorical:
    - {column: user, vocabulary: users}
    - {column: friend, vocabulary: users}
    - shape
    - {column: page, buckets: 40}
  multi_valued: [{column: tags, separator: "|"}]
crosses:
  - [shape, user]
  - {fields: [age, shape], buckets: 30}
  - [shape, tags]
model:
  embeddings: {dim: 4}
  deep: {hidden: [8]}
training:
  epochs: 2
  batch_size: 64
  threads: 1
"""
HEADER = ["user", "friend", "shape", "page", "tags", "age", "weight", "click"]


def write_day(path: Path, seed: int, rows: int, users: range, *, wrong: bool = False) -> None:
    """Users click by their number, and by the shape. With `wrong`, all that is learnt of these rows is wrong."""
    draw = random.Random(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for _ in range(rows):
            user, friend = draw.choice(users), draw.choice(users)
            shape = draw.choice(["round", "flat", "long", ""])
            tags = "|".join(draw.sample("abcdefg", draw.randint(0, 3)))
            chance = 0.15 + 0.35 * (user % 2) + 0.35 * ((len(shape) + user) % 2)
            clicked = int(draw.random() < chance) ^ wrong
            row = [f"u{user}", f"u{friend}", shape, draw.randint(0, 90), tags, draw.randint(18, 80)]
            writer.writerow([*row, draw.choice([0.5, 1, 2]), clicked])


def trained(folder: Path, *overrides: str, before: Path | None = None, work: str = "work") -> TrainResult:
    loaded = load_recipe(folder / "chain.yaml", overrides)
    return train(loaded, folder / work, Reporter(), Asked(resume=True, goes_on_from=before))


def read(folder: Path, *names: str) -> pl.DataFrame:
    return pl.concat(pl.read_csv(folder / f"{name}.csv", infer_schema=False) for name in names)


def scores(run: Path, rows: pl.DataFrame) -> np.ndarray:
    return Run(run).predict(rows)["score"].to_numpy()


def log_odds(run: Path, rows: pl.DataFrame) -> np.ndarray:
    probability = scores(run, rows).astype(np.float64)
    return np.log(probability / (1 - probability))
