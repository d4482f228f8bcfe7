"""Writes recipes/recipe.schema.json: the JSON Schema (draft 2020-12) of a recipe, as `widedeep schema` prints it.

Run it after a change of `widedeep/recipe/`: python docs/write_recipe_schema.py
"""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from write_recipe_reference import docstrings

from widedeep.recipe import schema
from widedeep.recipe.base import COLUMN_NAME, ColumnSettings, ShortSettings
from widedeep.recipe.checks import CHOOSABLE_METRICS, RANKING_METRICS, RANKING_METRICS_AT_K
from widedeep.recipe.kinds import FIELD_MEASURES, KINDS, MEASURES
from widedeep.recipe.schema import Recipe, Settings

PAGE = Path(__file__).parents[1] / "recipes" / "recipe.schema.json"

JsonSchema = dict[str, Any]

_NULL: JsonSchema = {"const": None}
_NOT_NULL: JsonSchema = {"not": _NULL}
_NOTHING: JsonSchema = {"enum": [None, 0, 0.0]}
_COLUMN = {"$ref": "#/$defs/ColumnName"}
_VARIABLE = {"$ref": "#/$defs/Variable"}
_OF_OUR_OWN: JsonSchema = {
    "ColumnName": {
        "type": "string",
        "minLength": 1,
        "pattern": r"^(?!\*$)(?!\^[\s\S]*\$$)[^\u0000\u0001]+$",
        "patternErrorMessage": "reads as a pattern of names, or holds a control character: rename the column",
    },
    "Variable": {"type": "string", "pattern": r"\$\{", "description": "`${NAME}` or `${NAME:-default}`."},
}
"""Definitions beside the sections'. Editors show `patternErrorMessage` in place of the pattern."""


def recipe_schema() -> JsonSchema:
    """The schema of what a recipe file may hold, short forms and `${NAME}` included.

    It says every rule about one setting, and rules between settings as far as a schema can compare them: that two
    columns have one name, or that two numbers are in order, it cannot say.
    """
    whole = Recipe.model_json_schema()
    definitions: JsonSchema = {name: _section(getattr(schema, name), node) for name, node in whole.pop("$defs").items()}
    root = _section(Recipe, whole)
    root["required"].remove("name")  # filled in from the file's name
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A recipe of widedeep",
        **root,
        "$defs": _OF_OUR_OWN | definitions,
    }


def schema_text() -> str:
    """The schema as the file holds it."""
    return json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n"


# -------------------------------------------------------------------------------------------------------- sections


def _section(section: type[Settings], node: JsonSchema) -> JsonSchema:
    texts = docstrings(section)
    properties = {}
    for name, setting in node["properties"].items():
        properties[name] = _setting(setting)
        if name in texts:
            properties[name] = {"description": texts[name]} | properties[name]
    for name, more in _MORE.get(section, {}).items():
        properties[name] |= more
    long: JsonSchema = {"type": "object", "additionalProperties": False, "properties": properties}
    if "required" in node:
        long["required"] = node["required"]
    if rules := [rule for kind, rules in _RULES.items() if issubclass(section, kind) for rule in rules]:
        long["allOf"] = rules
    described = {"description": " ".join(inspect.cleandoc(section.__doc__ or "").split())}
    return described | ({"anyOf": [_short_form(section), long]} if issubclass(section, ShortSettings) else long)


def _short_form(section: type[ShortSettings]) -> JsonSchema:
    if issubclass(section, ColumnSettings):
        return _COLUMN
    return {"type": "array", "items": _COLUMN, "minItems": 2, "uniqueItems": True}


def _setting(node: JsonSchema) -> JsonSchema:
    """What a setting takes in a file, from what pydantic says that it holds once it is read."""
    node = {key: value for key, value in node.items() if key not in ("title", "discriminator")}
    if "$ref" in node:
        return {"$ref": node["$ref"]}
    if not node:  # any value
        return {}
    if "oneOf" in node:  # sections that differ by `kind`; a variable there fits each of them
        return {"anyOf": node["oneOf"]}
    if "anyOf" in node:
        return node | {"anyOf": list(_flat(_setting(member) for member in node["anyOf"]))}
    if "enum" in node or "const" in node:
        default = {key: node.pop(key) for key in ("default",) if key in node}
        return {"anyOf": [node, _VARIABLE]} | default
    match node["type"]:
        case "array":
            return _list(node)
        case "object":
            entries = {key: _setting(node[key]) for key in ("additionalProperties",) if key in node}
            named = {name: _setting(entry) for name, entry in node.get("patternProperties", {}).items()}
            return node | entries | ({"patternProperties": named, "additionalProperties": False} if named else {})
        case "string" if node.get("format") == COLUMN_NAME:
            return _COLUMN
        case "string" if "maxLength" in node:
            return {"anyOf": [node, _VARIABLE]}
    return node


def _flat(members: Iterator[JsonSchema]) -> Iterator[JsonSchema]:
    seen: list[JsonSchema] = []
    for member in members:
        for part in member["anyOf"] if set(member) == {"anyOf"} else [member]:
            if part not in seen:
                seen.append(part)
                yield part


def _list(node: JsonSchema) -> JsonSchema:
    if "prefixItems" in node:
        return node | {"prefixItems": [_setting(entry) for entry in node["prefixItems"]], "items": False}
    node = node | {"items": _setting(node["items"])}
    if "minLength" not in node:
        return node
    # A validator stands before the list's, by which pydantic takes its least length for a text's: one value is a list.
    if "anyOf" in node["items"]:
        node["items"] = {"type": ["boolean", "number", "string"]}
    least = {"minItems": node.pop("minLength")}
    rest = {key: node.pop(key) for key in ("default",) if key in node}
    return {"anyOf": [node["items"], node | least]} | rest


# ----------------------------------------------------------------------------------------------------------- rules


def _at(path: str, rule: JsonSchema) -> JsonSchema:
    """There is a setting at `path`, and `rule` holds for it."""
    for name in reversed(path.split(".")):
        rule = {"type": "object", "required": [name], "properties": {name: rule}}
    return rule


def _if_at(path: str, rule: JsonSchema) -> JsonSchema:
    """`rule` holds for the setting at `path`, if there is one."""
    for name in reversed(path.split(".")):
        rule = {"properties": {name: rule}}
    return rule


def _when(condition: JsonSchema, then: JsonSchema) -> JsonSchema:
    return {"if": condition, "then": then}


def _not_both(first: str, second: str) -> JsonSchema:
    """No `second` beside a `first` that is not null."""
    return _when(_at(first, _NOT_NULL), {"not": {"required": [second]}})


def _all_of(*rules: JsonSchema) -> JsonSchema:
    return {"allOf": list(rules)}


def _except_by_default(section: type[Settings], setting: str) -> JsonSchema:
    default = section.model_fields[setting].default
    return _if_at(setting, {"const": list(default) if isinstance(default, tuple) else default})


_REGRESSION = _at("data.label.kind", {"const": "regression"})
_AT_K = rf"^(?:{'|'.join(RANKING_METRICS_AT_K)})@[1-9][0-9]*$"
_METRICS = ("training.early_stopping.metric", "sweep.metric")
_RANKING = {"anyOf": [{"enum": list(RANKING_METRICS)}, {"type": "string", "pattern": _AT_K}]}
_CHOOSABLE: JsonSchema = {
    "anyOf": [
        {"enum": ["auto", *CHOOSABLE_METRICS["binary"], *CHOOSABLE_METRICS["regression"], *RANKING_METRICS]},
        {"pattern": _AT_K},
        _VARIABLE,
    ]
}
_EVEN = {"hidden": {"items": {"multipleOf": 2}}}

_MORE: dict[type[Settings], dict[str, JsonSchema]] = {
    schema.FormatSettings: {"columns": {"uniqueItems": True}},
    schema.DateTimeField: {"parts": {"uniqueItems": True}},
    schema.CrossSettings: {"fields": {"uniqueItems": True}},
    schema.EarlyStopping: {"metric": _CHOOSABLE},
    schema.SweepSettings: {"metric": _CHOOSABLE},
    schema.LimitSettings: {
        level: {"propertyNames": {"pattern": rf"^(?:{'|'.join(MEASURES)}|[\s\S]+\.(?:{'|'.join(FIELD_MEASURES)}))$"}}
        for level in ("warn", "refuse")
    },
}
"""Section → setting → what else holds for it."""

_RULES: dict[type[Settings], list[JsonSchema]] = {
    schema.FormatSettings: [
        _when(_at("header", {"const": False}), _at("columns", _NOT_NULL)),
        _when(_at("columns", _NOT_NULL), _at("header", {"const": False})),
    ],
    schema.LabelSettings: [
        _when(
            _at("kind", {"const": "regression"}),
            _all_of(_if_at("positive", _NULL), _if_at("negative", _NULL)),
        ),
        _when(_at("negative", _NOT_NULL), _at("positive", _NOT_NULL)),
    ],
    schema.DataSettings: [
        _when(_at("split.kind", {"const": "time"}), _at("time", _NOT_NULL)),
        _when(
            _at("label.kind", {"const": "regression"}),
            _all_of(_if_at("keep_negatives", {"const": 1}), _if_at("group", _NULL)),
        ),
        *(_when(_at(part, _NOT_NULL), _if_at(f"split.{part}", _NOTHING)) for part in ("valid", "test")),
    ],
    schema.CategoricalField: [_not_both("buckets", "min_count"), _not_both("buckets", "max_size")],
    schema.MultiValuedField: [
        _not_both("buckets", "min_count"),
        _not_both("buckets", "max_size"),
        _when(_at("form", {"enum": ["json", "python"]}), _if_at("separator", _NULL)),
    ],
    schema.DateTimeField: [
        _when(_at("buckets", _NOT_NULL), _at("since", _NOT_NULL)),
        _when(_at("parts", {"maxItems": 0}), _at("since", _NOT_NULL)),
    ],
    schema.CrossSettings: [_not_both("buckets", "min_count"), _not_both("buckets", "max_size")],
    schema.FeatureSettings: [
        {"anyOf": [_at(part, {"type": "array", "minItems": 1}) for part in schema.FeatureSettings.model_fields]}
    ],
    schema.WideOptimizer: [
        _when(
            _at("optimizer", {"enum": ["adagrad", "adam", "sgd"]}),
            _all_of(*(_except_by_default(schema.WideOptimizer, name) for name in ("beta", "l1"))),
        )
    ],
    schema.TrackSettings: [
        _when(_at("to", {"enum": ["tensorboard", "wandb"]}), _if_at("place", {"not": {"pattern": "://"}})),
        _when(
            _at("to", {"const": "mlflow"}),
            _if_at("place", {"pattern": r"^(?:https?://(?![^/]*@)[\s\S]|(?![\s\S]*://))"}),
        ),
    ],
    schema.TrainingSettings: [
        _when(_if_at("parts", {"const": 1}), _except_by_default(schema.TrainingSettings, "timeout")),
    ],
    schema.DcnV2Settings: [
        _when({"not": _at("rank", _NOT_NULL)}, _except_by_default(schema.DcnV2Settings, "experts")),
    ],
    schema.FinalMlpSettings: [
        _when(
            _all_of(*(_if_at(f"{part}_context", {"maxItems": 0}) for part in ("first", "second"))),
            _except_by_default(schema.FinalMlpSettings, "gate_hidden"),
        )
    ],
    schema.FinalNetSettings: [_when(_at("blocks", {"const": 1}), _if_at("second", _NULL))],
    Recipe: [
        _when(
            _at("model.kind", {"enum": [name for name, kind in KINDS.items() if kind.one_width]}),
            _at("model.embeddings.dim", {"type": "integer"}),
        ),
        *(
            rule
            for metric in _METRICS
            for rule in (
                _when(_REGRESSION, _if_at(metric, {"enum": ["auto", *CHOOSABLE_METRICS["regression"]]})),
                _when({"not": _REGRESSION}, _if_at(metric, {"not": {"enum": list(CHOOSABLE_METRICS["regression"])}})),
                _when({"not": _at("data.group", _NOT_NULL)}, _if_at(metric, {"not": _RANKING})),
            )
        ),
        _when(
            _all_of(_at("model.kind", {"const": "finalnet"}), _if_at("model.finalnet.residual", {"const": "concat"})),
            _all_of(*(_if_at(part, {"properties": _EVEN}) for part in ("model.deep", "model.finalnet.second"))),
        ),
    ],
}
"""Section → the rules between its settings, as its validators and `checks.py` say them."""


if __name__ == "__main__":
    PAGE.write_text(schema_text(), encoding="utf-8")
