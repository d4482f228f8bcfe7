"""How the bytes of new rows are read, where that differs from the files of training: `predict --format`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from widedeep.errors import RecipeError, UsageError
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.load import parse_recipe
from widedeep.recipe.schema import FormatSettings, Recipe

CHANGEABLE = ("separator", "encoding", "header", "columns", "skip_lines", "comment", "quote", "escape")
"""The settings of `data.format` that say how values are told apart, not what they mean to the model."""
_TEXTS = ("separator", "comment", "quote", "escape")
"""Settings whose value is taken as it stands, so that no quotes within quotes are needed."""


def changed_format(recipe: Recipe, options: Sequence[str]) -> FormatSettings:
    """The recipe's `data.format` with `KEY=VALUE` options on top. Raises UsageError with what is wrong with them."""
    overrides = []
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or key not in CHANGEABLE:
            raise UsageError(
                f"--format {option}: must be KEY=VALUE with a KEY of {', '.join(CHANGEABLE)}; --input-format says what "
                "files are, packed data are seen by themselves, and what values mean stays as the model knows it"
            )
        overrides.append(f"data.format.{key}={_as_yaml(value) if key in _TEXTS else value}")
        if key == "header" and value == "true":
            overrides.append("data.format.columns=null")  # those of the training files, which had none
    try:
        changed = parse_recipe(dump_recipe(recipe), "", Path(), recipe.name, overrides)
    except RecipeError as error:
        faults = (replace(fault, source="--format", where=fault.where.rpartition(".")[2]) for fault in error.faults)
        raise UsageError("; ".join(map(str, faults))) from error
    return changed.recipe.data.format


def _as_yaml(value: str) -> str:
    """A text as YAML reads it; `\\t` is a tab, and `none` is none."""
    return "null" if value == "none" else json.dumps("\t" if value == "\\t" else value).replace("${", "$${")
