"""NVIDIA's Outbrain shape with uniform random ids: its recipe, an encoded store of it, and what a step costs by formula."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import yaml

from widedeep.encoded.store import EncodedStore, write_stores
from widedeep.features.plan import IndexColumn
from widedeep.features.targets import LABEL_COLUMN
from widedeep.model.layout import InputLayout
from widedeep.recipe.load import load_recipe
from widedeep.recipe.schema import Recipe

# Buckets and embedding width of each field: TensorFlow 2 Wide & Deep in NVIDIA's deep learning examples.
ONE_HOT = {
    "document_id": (300_000, 128),
    "ad_id": (250_000, 128),
    "document_id_promo": (100_000, 128),
    "campaign_id": (5_000, 128),
    "source_id": (4_000, 64),
    "source_id_promo": (4_000, 64),
    "geo_location": (2_500, 64),
    "advertiser_id": (2_500, 64),
    "geo_location_state": (2_000, 64),
    "publisher_id": (1_000, 64),
    "publisher_id_promo": (1_000, 64),
    "geo_location_country": (300, 64),
    "platform": (4, 19),
}
MULTI_HOT = {"topic_id_list": (350, 64), "entity_id_list": (10_000, 64), "category_id_list": (100, 64)}
MOST_VALUES, NUM_NUMERICS, HIDDEN = 3, 13, (1024,) * 5
STORE_BLOCK = 1 << 18


@dataclass(frozen=True)
class Shape:
    """How much of the full shape is taken."""

    rows: int
    batch_size: int
    hidden: tuple[int, ...] = HIDDEN
    shrink: int = 1
    """Divides the buckets and the widths."""
    most_values: int = MOST_VALUES
    """1 makes columns with one value a row of the lists."""

    def fields(self, of: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
        """Buckets and width of each field, shrunk."""
        return {name: (max(2, n // self.shrink), max(2, width // self.shrink)) for name, (n, width) in of.items()}


def recipe_of(shape: Shape, folder: Path) -> Recipe:
    """The resolved recipe. Theirs learns the deep part with RMSprop; Adam at its rate is the nearest that we have."""

    def entries(fields: dict[str, tuple[int, int]], **more: object) -> list[dict[str, object]]:
        return [{"column": n, "buckets": size, "embedding_dim": width, **more} for n, (size, width) in fields.items()]

    one_hot, multi_hot = shape.fields(ONE_HOT), shape.fields(MULTI_HOT)
    lists = entries(multi_hot, max_length=shape.most_values) if shape.most_values > 1 else []
    recipe = {
        "name": "outbrain-shape",
        "data": {"train": "outbrain.parquet", "label": "clicked"},
        "features": {
            "numeric": [f"x{i}" for i in range(NUM_NUMERICS)],
            "categorical": entries(one_hot if lists else one_hot | multi_hot),
            "multi_valued": lists,
        },
        "model": {"kind": "wide_deep", "deep": {"hidden": list(shape.hidden), "dropout": 0.1}},
        "training": {
            "batch_size": shape.batch_size,
            "epochs": 1,
            "wide": {"optimizer": "ftrl", "learning_rate": 0.02},
            "deep": {"optimizer": "adam", "learning_rate": 1.2e-4},
        },
    }
    path = folder / "outbrain.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return load_recipe(path).recipe


def layout_of(shape: Shape) -> InputLayout:
    """The encoded columns, without a fitted plan."""

    def column(name: str, size: int, width: int, *, listed: bool) -> IndexColumn:
        return IndexColumn(
            name=name,
            kind="categorical",
            size=size + 2,
            fields=(name,),
            embedding_dim=width,
            pooling="mean" if listed else None,
        )

    listed = shape.most_values > 1
    columns = [column(name, *numbers, listed=False) for name, numbers in shape.fields(ONE_HOT).items()]
    columns += [column(name, *numbers, listed=listed) for name, numbers in shape.fields(MULTI_HOT).items()]
    return InputLayout.of(columns, [f"x{i}" for i in range(NUM_NUMERICS)])


def write_random_store(shape: Shape, layout: InputLayout, folder: Path) -> EncodedStore:
    """Rows with uniform ids, lists of 1 to `most_values` and normal numerics, all independent."""
    random = np.random.default_rng(1)

    def block(rows: int) -> pl.DataFrame:
        columns: dict[str, pl.Series] = {}
        for one in layout.index_columns:
            columns[one.name] = pl.Series(random.integers(0, one.size, rows, dtype=np.int32))
        for one in layout.list_columns:
            lengths = random.integers(1, shape.most_values + 1, rows)
            values = pl.DataFrame(
                {
                    "row": np.repeat(np.arange(rows), lengths),
                    "value": random.integers(0, one.size, lengths.sum(), dtype=np.int32),
                }
            )
            columns[one.name] = values.group_by("row", maintain_order=True).agg("value")["value"]
        for name in layout.numeric_columns:
            columns[name] = pl.Series(random.standard_normal(rows, dtype=np.float32))
        columns[LABEL_COLUMN] = pl.Series((random.random(rows) < 0.2).astype(np.float32))
        return pl.DataFrame(columns)

    sizes = [min(STORE_BLOCK, shape.rows - start) for start in range(0, shape.rows, STORE_BLOCK)]
    write_stores([(folder, (block(size) for size in sizes))])
    return EncodedStore.open(folder)


def deep_input_dim(layout: InputLayout) -> int:
    """Width of the deep input."""
    widths = [column.embedding_dim or 0 for column in (*layout.index_columns, *layout.list_columns)]
    return sum(widths) + len(layout.numeric_columns)


def flop_per_row(layout: InputLayout, hidden: tuple[int, ...], *, training: bool) -> float:
    """Of the tower's matrix products, two for each multiply-add; backward takes twice what forward takes."""
    sizes = (deep_input_dim(layout), *hidden, 1)
    forward = 2.0 * sum(a * b for a, b in pairwise(sizes))
    return forward * (3 if training else 1)


def bytes_per_row(layout: InputLayout, shape: Shape, *, training: bool) -> float:
    """The least that a row moves to and from memory: what a step reads or writes that no cache could have kept.

    Forward: each look-up's index (4) read twice (deep, wide) and its rows of table and wide part (4 each number), the
    numerics, the deep input (bfloat16) written and read, each hidden layer's output written and read. Training adds, of
    the deep input and of each hidden layer: the output read again, its gradient written and read twice; and of each
    distinct row of a batch: weight and two states (Adam: m, v; FTRL: z, n) read and written. The sort of the look-ups is
    left out.
    """
    per_list = (1 + shape.most_values) / 2
    forward, updated = 0.0, 0.0
    for column in (*layout.index_columns, *layout.list_columns):
        lookups = per_list if column.pooling is not None else 1.0
        width = (column.embedding_dim or 0) + 1
        forward += lookups * (2 * 4 + 4 * width)
        distinct = column.size * -np.expm1(shape.batch_size * lookups * np.log1p(-1.0 / column.size))
        updated += distinct / shape.batch_size * width * 3 * 2 * 4
    activations = 2.0 * (deep_input_dim(layout) + sum(shape.hidden))
    forward += 4 * len(layout.numeric_columns) + 2 * activations
    return forward + (4 * activations + updated if training else 0.0)
