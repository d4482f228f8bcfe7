"""Resolves a recipe: fills in defaults that depend on other settings, and resets parts that its kind lacks."""

from collections.abc import Mapping
from typing import Any, TypeVar

from widedeep.recipe.checks import CHOOSABLE_METRICS
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.places import KeyPath, dotted
from widedeep.recipe.schema import (
    ColumnSplit,
    DataSettings,
    ModelSettings,
    RandomSplit,
    Recipe,
    Settings,
    Split,
    TrainingSettings,
)

_S = TypeVar("_S", bound=Settings)


def resolve(recipe: Recipe, given: Mapping[str, Any]) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with its split and metric written out, and with defaults in the parts that its kind lacks.

    `given` is the data that the recipe was made from. The notes name the parts that it sets and the kind lacks.
    """
    recipe = _with(recipe, ("data", "split"), _explicit_split(recipe.data))
    if recipe.training.early_stopping.metric == "auto":
        recipe = _with(recipe, ("training", "early_stopping", "metric"), CHOOSABLE_METRICS[recipe.data.label.kind][0])
    kind = KINDS[recipe.model.kind]
    reason = f"model.kind is {recipe.model.kind}"
    if kind.wide == "with crosses" and not recipe.crosses:
        reason += " and there are no crosses"
    takes = ", ".join(kind.sections(crosses=bool(recipe.crosses)))
    notes = []
    for path in left_out(recipe):
        recipe = _with(recipe, path, _default(path))
        if _given(given, path):
            notes.append(f"{dotted(path)} is left out of the resolved recipe: {reason}; it takes {takes}")
    return recipe, tuple(notes)


def left_out(recipe: Recipe) -> tuple[tuple[str, ...], ...]:
    """The parts that the recipe's `model.kind` lacks."""
    taken = KINDS[recipe.model.kind].sections(crosses=bool(recipe.crosses))
    parts: list[tuple[str, ...]] = [("crosses",)]
    parts += [("model", name) for name in ModelSettings.model_fields if name != "kind"]
    parts += [("training", "wide"), ("training", "deep")]
    return tuple(path for path in parts if dotted(path) not in taken)


def _default(path: tuple[str, ...]) -> Any:
    sections: dict[str, type[Settings]] = {"model": ModelSettings, "training": TrainingSettings}
    return sections.get(path[0], Recipe).model_fields[path[-1]].default


def _explicit_split(data: DataSettings) -> Split | None:
    """A part with files of its own takes no rows from train."""
    with_files = [part for part in ("valid", "test") if getattr(data, part) is not None]
    if data.split is None and len(with_files) == 2:
        return None
    split = data.split or RandomSplit()
    return split if isinstance(split, ColumnSplit) else split.model_copy(update=dict.fromkeys(with_files, 0.0))


def _with(section: _S, path: KeyPath, value: Any) -> _S:
    key = str(path[0])
    below = _with(getattr(section, key), path[1:], value) if len(path) > 1 else value
    return section.model_copy(update={key: below})


def _given(given: Any, path: KeyPath) -> bool:
    for key in path:
        if not isinstance(given, Mapping) or key not in given:
            return False
        given = given[key]
    return bool(given)
