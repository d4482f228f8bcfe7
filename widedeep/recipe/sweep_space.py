"""What a sweep draws settings from: ranges and choices, as recipes and `--space` write them."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from widedeep.errors import Fault, RecipeError
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.load import LoadedRecipe
from widedeep.recipe.places import Finding, dotted, told
from widedeep.recipe.resolve import left_out
from widedeep.recipe.schema import Recipe
from widedeep.recipe.strict_yaml import read_yaml

RangeKind = Literal["float", "log", "int", "log_int"]

_RANGE = re.compile(r"\s*(float|log|int|log_int)\s*\(([^,()]*),([^,()]*)\)\s*")
_SHAPES = "float(LOW, HIGH), log(LOW, HIGH), int(LOW, HIGH), log_int(LOW, HIGH) or a list of choices"
_PARTS = ("features", "crosses", "model", "training")
"""The sections that may be searched: the others decide which rows are measured, and how."""
SOURCE = "--space"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; by `log` and `log_int` each factor is as likely as others."""

    kind: RangeKind
    low: float
    high: float

    @property
    def whole(self) -> bool:
        return self.kind in ("int", "log_int")

    @property
    def ends(self) -> tuple[Any, ...]:
        """What has to be valid if everything in between is."""
        return (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether a recipe's value lies in it."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choices:
    """Values of any kind, whole sections too."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.values


Entry = Range | Choices


def written(value: Any) -> str:
    """A value as an override writes it: JSON, which is YAML too."""
    return json.dumps(value, ensure_ascii=False)


def read_entry(entry: Any) -> Entry:
    """What a recipe says of one setting. Raises ValueError with the rule that it breaks."""
    if isinstance(entry, list | tuple):
        texts = [written(value) for value in entry]
        if len(texts) < 2 or len(set(texts)) < len(texts):
            raise ValueError(f"a list of choices needs at least two, all different, is {told(entry)}")
        return Choices(tuple(entry))
    match = _RANGE.fullmatch(entry) if isinstance(entry, str) else None
    if match is None:
        raise ValueError(f"must be {_SHAPES}, is {told(entry)}")
    kind: Any = match[1]
    low, high = (read_yaml(end).data for end in match.groups()[1:])
    whole = kind in ("int", "log_int")
    for end in (low, high):
        is_number = isinstance(end, int if whole else int | float) and not isinstance(end, bool)
        if not is_number or not math.isfinite(end):
            raise ValueError(f"the ends of {kind}(…) are {'whole ' if whole else ''}numbers, is {told(entry)}")
    if not low < high:
        raise ValueError(f"the first end must be below the second, is {told(entry)}")
    if kind in ("log", "log_int") and low <= 0:
        raise ValueError(f"a logarithm needs ends above 0, is {told(entry)}")
    return Range(kind, low, high) if whole else Range(kind, float(low), float(high))


def read_option(option: str) -> tuple[str, Any]:
    """Setting and entry of `--space PART.FIELD=…`, such as `training.deep.learning_rate=log(1e-4,1e-2)`.

    Raises RecipeError for one that is not written so.
    """
    setting, equals, text = option.partition("=")
    setting = setting.strip()
    if not equals or not setting:
        raise RecipeError([Fault("", f"reads part.field=WHAT, WHAT {_SHAPES}; is {option!r}", source=SOURCE)])
    entry = text.strip()
    if _RANGE.fullmatch(entry) is None:
        document = read_yaml(entry)
        if document.findings:
            raise RecipeError([Fault(setting, finding.message, source=SOURCE) for finding in document.findings])
        entry = document.data
    try:
        read_entry(entry)
    except ValueError as error:
        raise RecipeError([Fault(setting, str(error), source=SOURCE)]) from error
    return setting, entry


def read_options(options: Sequence[str]) -> dict[str, Any]:
    """Setting → entry of all `--space`. Raises RecipeError for one that is not written so, or is named twice."""
    space: dict[str, Any] = {}
    for setting, entry in map(read_option, options):
        if setting in space:
            raise RecipeError([Fault(setting, "is named by two --space: keep one", source=SOURCE)])
        space[setting] = entry
    return space


def space_findings(recipe: Recipe, space: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with a space of readable entries for this resolved recipe: settings that it may not search or does
    not have, and values that they do not take, each by itself in the recipe as it is."""
    findings = []
    plain = LoadedRecipe(recipe.model_copy(update={"sweep": None}), None, Path(), ())
    for setting, entry in space.items():
        place = ("sweep", "space", setting)
        if setting.split(".")[0] not in _PARTS:
            findings.append(Finding(place, f"a sweep searches settings of {', '.join(_PARTS)}: take it out"))
            continue
        if above := next((other for other in space if setting.startswith(f"{other}.")), None):
            findings.append(Finding(place, f"lies in {above}, which is searched as a whole: take one of them out"))
            continue
        if lacking := _lacking(recipe, setting, space):
            findings.append(Finding(place, f"{lacking}, so that it would change nothing: take it out"))
            continue
        for value in read_entry(entry).ends:
            try:
                plain.changed([f"{setting}={written(value)}"])
            except RecipeError as error:
                told_of = "; ".join(f"{fault.where}: {fault.message}" for fault in error.faults)
                findings.append(Finding(place, f"{written(value)} does not fit: {told_of}"))
                break
    return findings


def _lacking(recipe: Recipe, setting: str, space: Mapping[str, Any]) -> str | None:
    """Why the setting has no effect, whatever else is drawn; None if it has, or may have."""
    if space.keys() & {"model", "model.kind", "crosses"}:
        return None
    part = next((part for part in map(dotted, left_out(recipe)) if f"{setting}.".startswith(f"{part}.")), None)
    return None if part is None else f"model.kind is {recipe.model.kind}, which makes no use of {part} here"


def own_settings(recipe: Recipe, space: Mapping[str, Entry]) -> dict[str, Any]:
    """The settings of a resolved recipe as the space writes them; those that lie outside of it are left out.

    A choice is the recipe's own if it would change nothing: 0 is 0.0, and a section has its defaults.
    """
    plain = LoadedRecipe(recipe.model_copy(update={"sweep": None}), None, Path(), ())
    text = dump_recipe(plain.recipe)
    data = read_yaml(text, {}).data
    own = {}
    for setting, entry in space.items():
        if isinstance(entry, Range):
            if entry.holds(value := value_at(data, setting)):
                own[setting] = value
            continue
        for choice in entry.values:
            if dump_recipe(plain.changed([f"{setting}={written(choice)}"]).recipe) == text:
                own[setting] = choice
                break
    return own


def value_at(data: Mapping[str, Any], setting: str) -> Any:
    """The value of a setting in a recipe's plain data; None where there is none."""
    value: Any = data
    for key in setting.split("."):
        if isinstance(value, list | tuple):
            value = value[int(key)] if key.isdecimal() and int(key) < len(value) else None
        else:
            value = value.get(key) if isinstance(value, Mapping) else None
    return value
