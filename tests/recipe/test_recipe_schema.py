"""The JSON Schema of recipes: written from the code, true to what the loader takes and refuses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import write_recipe_schema
from jsonschema import Draft202012Validator
from schema_oracle import SCHEMA_PATH, VALIDATOR, disagreement
from write_recipe_reference import docstrings

from widedeep.api.recipes import bundled_recipes
from widedeep.errors import RecipeError
from widedeep.recipe import schema
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.load import parse_recipe
from widedeep.recipe.schema import Settings
from widedeep.recipe.strict_yaml import read_yaml

SECTIONS = [section for section in vars(schema).values() if isinstance(section, type) and issubclass(section, Settings)]
SHORT = "data: {train: log.csv, label: click}\nfeatures: {numeric: [age], categorical: [city, device]}\n"


def as_written(text: str) -> Any:
    """What an editor sees: the data of a recipe without anything in the place of `${NAME}`."""
    return read_yaml(text.replace("${", "$${")).data


def descriptions(node: Any) -> Iterator[str]:
    if isinstance(node, dict) and isinstance(node.get("description"), str):
        yield node["description"]
    for below in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from descriptions(below)


def test_the_schema_is_the_one_that_the_settings_write_and_a_valid_one() -> None:
    assert SCHEMA_PATH.read_text() == write_recipe_schema.schema_text(), "run: python docs/write_recipe_schema.py"
    Draft202012Validator.check_schema(VALIDATOR.schema)


def test_every_docstring_of_a_setting_and_of_a_section_is_a_description() -> None:
    told = set(descriptions(VALIDATOR.schema))
    for section in SECTIONS:
        if section is not Settings:
            assert " ".join((section.__doc__ or "").split()) in told, section
            assert set(docstrings(section).values()) <= told, section


def test_every_bundled_recipe_fits_the_schema_as_it_is_written_and_as_a_run_keeps_it() -> None:
    for name, path in bundled_recipes().items():
        text = path.read_text()
        resolved = dump_recipe(parse_recipe(text, name, Path(), name).recipe)
        for written in (text, resolved):
            assert disagreement(as_written(written), []) is None, name


@pytest.mark.parametrize(
    "settings",
    [
        "name: ${NAME}",
        "model: {kind: '${KIND:-wide}'}",
        "training: {early_stopping: {metric: '${METRIC}'}}",
        "seed: 1e3",
        "crosses: [[city, device], {fields: [city, age], granularity: {age: 5}, buckets: auto}]",
        "scoring: {limits: {refuse: {city.unseen: 0.5, missing: null}}}",
    ],
)
def test_short_forms_and_variables_are_taken_where_the_loader_takes_them(
    settings: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"NAME": "mine", "KIND": "deep", "METRIC": "auc"}.items():
        monkeypatch.setenv(name, value)
    text = f"{SHORT}{settings}\n"

    parse_recipe(text, "r", Path(), "r")
    assert disagreement(as_written(text), []) is None


@pytest.mark.parametrize(
    "settings",
    [
        "data.format.header=false",
        "data.format.columns=[a, b]",
        "data.format={header: false, columns: [a, a]}",
        "data.label={column: y, kind: regression, positive: 1}",
        "data.label={column: y, negative: 0}",
        "data.split={kind: time}",
        "data={train: a, valid: b, label: y, split: {valid: 0.1}}",
        "data={train: a, label: {column: y, kind: regression}, keep_negatives: 0.5}",
        "data={train: a, label: {column: y, kind: regression}, group: user}",
        "data.tables={a b: {files: x, key: k}}",
        "data.train=[]",
        "features={}",
        "features={numeric: []}",
        "features.categorical.0={column: a, buckets: 5, min_count: 2}",
        "features.categorical.0={column: a, buckets: auto, max_size: 9}",
        "features.categorical.0=^c.*$",
        "features.categorical.0='*'",
        "features.multi_valued=[{column: t, form: json, separator: ';'}]",
        "features.date_time=[{column: t, buckets: 5}]",
        "features.date_time=[{column: t, parts: []}]",
        "features.date_time=[{column: t, parts: [hour, hour]}]",
        "features.numeric.0={column: age, clip: [0]}",
        "features.numeric.0={column: age, clip: [0, 1, 2]}",
        "crosses=[[city]]",
        "crosses=[city, device]",
        "crosses=[[city, city]]",
        "crosses=[{fields: [city, device], buckets: 9, min_count: 3}]",
        "model.kind=wide_and_deep",
        "model.kind=fm",
        "model={kind: deepfm, embeddings: {dim: auto}}",
        "model={kind: finalnet, deep: {hidden: [8, 5]}}",
        "model={kind: finalnet, finalnet: {second: {hidden: [3]}}}",
        "model.finalnet={blocks: 1, second: {hidden: [4]}}",
        "model.finalmlp.gate_hidden=[3]",
        "model.dcn_v2.experts=2",
        "training.wide={optimizer: adam, l1: 1}",
        "training.wide={optimizer: sgd, beta: 2}",
        "training.early_stopping.metric=rmse",
        "training.early_stopping.metric=map@10",
        "training.early_stopping.metric=gauc",
        "training.early_stopping.metric=accuracy",
        "training.epocs=3",
        "training.batch_size=true",
        "scoring.limits.warn={clicks: 0.5}",
        "name=a/b",
    ],
)
def test_every_rule_that_a_schema_can_say_refuses_what_the_loader_refuses(settings: str) -> None:
    with pytest.raises(RecipeError):
        parse_recipe(SHORT, "r", Path(), "r", [settings])
    keys, value = settings.split("=", 1)
    data = as_written(SHORT)
    section = data
    *above, last = [int(key) if key.isdecimal() else key for key in keys.split(".")]
    for key in above:
        section = section.setdefault(key, {}) if isinstance(section, dict) else section[key]
    section[last] = read_yaml(value).data

    assert not VALIDATOR.is_valid(data)
