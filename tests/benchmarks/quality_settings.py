"""What each table of results/quality.md is made of: a file of tests/benchmarks/quality/ for each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from widedeep.recipe.strict_yaml import read_yaml

FOLDER = Path(__file__).parent / "quality"
TABLES = ("frappe", "adult", "movielens-1m", "movielens-100k", "planted-log")
SETTINGS = Mapping[str, Any]
"""Recipe settings by path, as `--set` takes them."""


@dataclass(frozen=True)
class Variant:
    """A kind of model, with crosses or without, and what it sets of the recipe."""

    name: str
    kind: str
    crosses: bool
    settings: SETTINGS

    def overrides(self) -> list[str]:
        """Values for `--set`."""
        given = {"name": self.name, "model.kind": self.kind, **self.settings}
        return [f"{path}={json.dumps(value)}" for path, value in given.items()]


@dataclass(frozen=True)
class Table:
    """One data set: which recipe, which kinds of model with which settings, and what is published."""

    title: str
    recipe: str
    """A bundled recipe, or a file beside this one."""
    kinds: Mapping[str, SETTINGS]
    """Kind → what it sets, with and without crosses, in the order of the table."""
    own_crosses: bool = True
    """Whether the recipe's own crosses stand beside those that are found."""
    settings: SETTINGS = field(default_factory=dict)
    """Of every variant."""
    with_crosses: Mapping[str, SETTINGS] = field(default_factory=dict)
    """Kind → what it sets besides where it has crosses."""
    published: Mapping[str, float] = field(default_factory=dict)
    """Kind without crosses → published AUC."""
    best_auc: float | None = None
    """The best AUC that any model could reach on the test rows, where that is known."""
    pair: tuple[str, str] | None = None
    """Columns: test rows whose pair of values the train rows hold are measured apart from the others."""
    lightgbm: SETTINGS | None = None
    """LightGBM's settings, where it stands beside the kinds."""

    @classmethod
    def read(cls, path: Path) -> "Table":
        """The table of a settings file. Raises ValueError for what the file must not say."""
        document = read_yaml(path.read_text())
        if document.findings:
            raise ValueError(f"{path}: {document.findings}")
        pair = document.data.get("pair")
        return cls(**{**document.data, "pair": pair and tuple(pair)})

    def variants(self, name: str) -> list[Variant]:
        """All of them; `deep` has no wide part that crosses could stand in."""
        made = []
        for kind, own in self.kinds.items():
            shared = {**self.settings, **own}
            made.append(Variant(f"{name}-{kind}", kind, False, shared))
            if kind != "deep":
                crossed = {**shared, **self.with_crosses.get(kind, {})}
                made.append(Variant(f"{name}-{kind}-crosses", kind, True, crossed))
        return made
