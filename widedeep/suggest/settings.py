"""Model and training settings that suit a table's size, and why."""

import math
from dataclasses import dataclass
from typing import Any

from widedeep.recipe.kinds import KINDS

_FEW_STEPS = 100
"""Steps an epoch below which one epoch says little: more of them, and more patience."""
_MANY_FIELDS = 200
_ROWS_PER_FIELD = 100
"""Train rows a field below which many fields together say more by chance than by what they know."""
_CHANCE = 2.0
"""How large chance alone makes the largest of thousands of gradient sums, in units of the label's standard deviation
times the square root of the rows. For 3,000 fields whose values have an eighth of the rows each it is about 1.4, and
for two values about 2."""
_FEW_OF_A_CLASS = 500
"""Train rows of the rarer class below which so few valid ones go with them that the best of many epochs is best by
chance."""


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
    num_fields: int = 1
    label_deviation: float = 0.5
    """Standard deviation of the label; at most 0.5 for a binary one."""

    @property
    def is_wide(self) -> bool:
        """Whether the fields are so many, for the rows, that a model without restraint fits chance."""
        return self.num_fields > _MANY_FIELDS and self.train_rows < _ROWS_PER_FIELD * self.num_fields


def model_settings(size: Size) -> tuple[Setting, ...]:
    """The `model` section."""
    rows = size.train_rows
    if size.is_wide:
        few = f"{rows:,} train rows are few for {size.num_fields:,} fields: a tower over all of them would fit chance"
        return (Setting("kind", "wide", f"{few}; with fewer fields try wide_deep"),)
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
    ]
    two_epochs = size.is_wide and rows * size.rarer_share < _FEW_OF_A_CLASS
    if two_epochs:
        settings.append(
            Setting("epochs", 2, "each lets in weaker fields, and few valid rows cannot tell if rightly so")
        )
    else:
        most = 40 if few_steps else 30 if small else 15
        settings.append(Setting("epochs", most, "at most: early stopping ends it, the best epoch is kept"))
    if size.is_wide:
        settings.append(Setting("wide", {"learning_rate": 0.1, "l1": chance_l1(size)}, _WHY_L1))
    else:
        settings.append(Setting("wide", {"learning_rate": 0.2 if small else 0.05}, ""))
        settings.append(Setting("deep", {"learning_rate": 0.001, "embedding_l2": embedding_l2(rows)}))
    patience = 3 if size.is_wide else 5 if few_steps else 4 if small else 2
    if not two_epochs:
        settings.append(Setting("early_stopping", {"patience": patience}))
    return tuple(settings)


_WHY_L1 = "l1 keeps at 0 what chance may be; each epoch lets in more, and the valid rows say when it is enough"


def chance_l1(size: Size) -> float:
    """FTRL's lambda 1 that no value of a field without meaning is likely to pass in the first epoch.

    Until its weight leaves 0, a value's gradients add up to a sum of mean 0 and variance rows * variance of the label,
    of the rows that have it. The largest of n such sums is about sqrt(2 ln n) standard deviations.
    """
    return float(f"{_CHANCE * size.label_deviation * math.sqrt(size.train_rows):.2g}")


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
