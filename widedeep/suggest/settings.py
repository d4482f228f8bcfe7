"""Model and training settings that suit a table's size, and why."""

from dataclasses import dataclass
from typing import Any

from widedeep.recipe.kinds import KINDS

_FEW_STEPS = 100
"""Steps an epoch below which one epoch says little: more of them, and more patience."""


@dataclass(frozen=True)
class Setting:
    """One line of a recipe."""

    key: str
    value: Any
    comment: str = ""


@dataclass(frozen=True)
class Size:
    """What the settings depend on."""

    train_rows: int
    rarer_share: float
    """Share of the rarer class; 0.5 for regression."""


def model_settings(size: Size) -> tuple[Setting, ...]:
    """The `model` section."""
    rows = size.train_rows
    hidden = [32] if rows < 2_000 else [64, 32] if rows < 20_000 else [128, 64] if rows < 200_000 else [256, 128]
    dropout = 0.2 if rows < 200_000 else 0.1
    deep = {"hidden": hidden, "dropout": dropout}
    others = ", ".join(kind for kind in KINDS if kind != "wide_deep")
    return (
        Setting("kind", "wide_deep", f"a linear model over every value, and embeddings with a tower; try {others}"),
        Setting("deep", deep, f"sized for {rows:,} train rows"),
    )


def training_settings(size: Size) -> tuple[Setting, ...]:
    """The `training` section."""
    rows = size.train_rows
    batch = batch_size(size)
    small = rows < 100_000
    few_steps = rows // batch < _FEW_STEPS
    settings = [
        Setting("batch_size", batch, _batch_reason(size, batch)),
        Setting(
            "epochs",
            40 if few_steps else 30 if small else 15,
            "at most: early stopping ends it, the best epoch is kept",
        ),
        Setting("wide", {"learning_rate": 0.2 if small else 0.05}, ""),
    ]
    settings.append(Setting("deep", {"learning_rate": 0.001, "embedding_l2": embedding_l2(rows)}))
    settings.append(Setting("early_stopping", {"patience": 5 if few_steps else 4 if small else 2}))
    return tuple(settings)


def embedding_l2(train_rows: int) -> float:
    """Few rows leave most embeddings to chance: the fewer, the stronger they are held to zero."""
    return 0.001 if train_rows < 500_000 else 3e-5


def batch_size(size: Size) -> int:
    """A few hundred steps an epoch, and ten rows of the rarer class in a batch where that is possible."""
    batch = _power_of_two(size.train_rows / 300)
    batch = min(max(batch, 32), 4096)
    with_positives = _power_of_two(10 / max(size.rarer_share, 1e-9)) * 2
    return max(batch, min(with_positives, 8192, _power_of_two(max(size.train_rows / 20, 32))))


def _batch_reason(size: Size, batch: int) -> str:
    steps = f"{max(size.train_rows // batch, 1):,} steps an epoch"
    if size.rarer_share < 0.02:
        return f"{steps}; about {batch * size.rarer_share:.0f} rows of the rare class in each"
    return steps


def _power_of_two(value: float) -> int:
    """The largest power of two that is not above."""
    return 1 << max(int(value).bit_length() - 1, 0)
