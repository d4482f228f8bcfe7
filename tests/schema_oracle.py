"""Holds every recipe that a test loads against the JSON Schema of recipes, by a validator that is not ours."""

import json
import re
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA_PATH = Path(__file__).parents[1] / "recipes" / "recipe.schema.json"
VALIDATOR = Draft202012Validator(json.loads(SCHEMA_PATH.read_text()))

BEYOND_A_SCHEMA = {
    "two values of the recipe are compared, which a schema cannot": (
        "must leave train rows",
        "needs the smaller number first",
        "stands in both",
        "is that of .* already",
        "the same cross as",
        "a feature must not be",
        "and no age may start there",
        "name another column here",
        "they must agree",
        "no field .*is named",
        "the cross has no field",
        "is no number: a granularity cuts",
        "is numeric and not cut",
        "it must be one of the log itself",
        "they must differ",
        "must divide the last width",
        "take it out here",
        "there is no field",
        "learning_rate \\* l2 is the share",
        "a batch of 1 row has no variance",
        "no field or cross has a vocabulary",
        "each needs at least 2 rows of a step",
    ),
    "JSON knows neither infinity nor NaN, and one kind of number": (
        "is (-?inf|nan)\\b",
        "is [0-9]{60}…",
        "a whole number, is -?[0-9.]+e[+][0-9]+$",
        "a whole number has at most 127 bits",
    ),
    "the text itself is at fault, not what it holds": (
        "written twice",
        "is not set",
        "does not read as",
        "is not valid",
    ),
}
"""Why a schema cannot say a rule → words of its messages."""

_BEYOND = re.compile("|".join(f"(?:{words})" for reason in BEYOND_A_SCHEMA.values() for words in reason))


def sayable(messages: list[str]) -> list[str]:
    """The messages about rules that a schema can say."""
    return [message for message in messages if not _BEYOND.search(message)]


def disagreement(data: Any, messages: list[str]) -> str | None:
    """How the schema and the loader differ over a recipe's data; None where they agree. `messages` are the loader's."""
    accepted = VALIDATOR.is_valid(data)
    if not messages and not accepted:
        return "\n".join(f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(data))
    if sayable(messages) and accepted:
        return "the schema takes what is refused: " + "; ".join(sayable(messages))
    return None
