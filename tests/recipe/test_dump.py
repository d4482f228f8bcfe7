"""The resolved recipe as text: it reads back as the same recipe."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.recipe import dump
from widedeep.recipe.base import why_no_name
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.load import parse_recipe
from widedeep.recipe.resolve import resolve
from widedeep.recipe.schema import Recipe

pytestmark = pytest.mark.usefixtures("held_against_the_schema")

TRAPS = [
    "no",
    "On",
    "y",
    "true",
    "null",
    "~",
    "12:30",
    "1e-3",
    "1e5",
    ".5",
    "010",
    "0x1f",
    "1_000",
    "2024-01-02",
    "=",
    "<<",
]
TRAPS += ["", " x ", "a: b", "#", "- a", "*.csv", "'", '"', "\\t", "a\nb\n", "\t", "\u2028", "\ufeff", "🙂", "%Y-%m-%d"]
TRAPS += ["${HOME}", "$${HOME}", "${", "$", "${A:-b}", "[a, b]", "{a}", "@x", "`x`", "|", ">50K", "!x", "&x", "?"]

texts = st.sampled_from(TRAPS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = texts.filter(lambda text: text != "" and why_no_name(text) is None)
scalars = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
counts = st.none() | st.integers(1, 10**6)


def read(text: str) -> Recipe:
    return parse_recipe(text, "dump", Path("."), "another-name").recipe


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    columns = draw(st.lists(names, min_size=5, max_size=5, unique=True))
    label, time, number, *categories = columns
    vocabulary = {"min_count": 3, "max_size": draw(counts)}
    hashed = {"buckets": draw(st.integers(1, 10**6))}
    proven = {
        "granularity": draw(st.sampled_from([{}, {number: 7}])),
        "promised": draw(st.none() | st.lists(st.floats(-1e9, 1e9), min_size=3, max_size=3)),
    }
    data: dict[str, Any] = {
        "train": draw(st.lists(texts, min_size=1, max_size=3)),
        "valid": draw(st.none() | texts),
        "test": draw(st.none() | texts),
        "label": {"column": label, "positive": draw(st.none() | st.lists(scalars, min_size=1, max_size=4))},
        "format": {"missing": draw(st.lists(texts, max_size=12)), "comment": draw(st.none() | names)},
        "time": draw(st.none() | st.fixed_dictionaries({"column": st.just(time), "format": st.none() | texts})),
    }
    given_data: dict[str, Any] = {
        "name": draw(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,8}\Z")),
        "data": data,
        "features": {
            "numeric": [{"column": number, "buckets": 5, "quantiles": draw(st.integers(2, 50))}],
            "categorical": [
                {"column": column, **draw(st.sampled_from([vocabulary, hashed, {}]))} for column in categories
            ],
        },
        "crosses": draw(
            st.sampled_from([[], [[number, categories[0]]], [{"fields": columns[2:], **hashed, **proven}]])
        ),
        "model": {
            "kind": draw(st.sampled_from(sorted(KINDS))),
            "embeddings": {"dim": 8},
            "deep": {"hidden": [8] * 40},
            "finalmlp": {"second": {"hidden": [4, 2]}, "heads": 2},
        },
        "training": {
            "wide": {"optimizer": draw(st.sampled_from(["ftrl", "adam"]))},
            "deep": {"learning_rate": draw(st.floats(1e-300, 1e300))},
            "threads": draw(st.none() | st.integers(1, 1024)),
        },
    }
    return resolve(Recipe.model_validate(given_data), given_data)[0]


@settings(max_examples=60)
@given(recipes())
def test_a_dumped_recipe_reads_back_as_the_same_and_dumps_the_same(recipe: Recipe) -> None:
    text = dump_recipe(recipe)
    again = read(text)
    assert again == recipe
    assert repr(again) == repr(recipe)  # True, 1 and 1.0 are equal but not the same
    assert dump_recipe(again) == text


@settings(max_examples=60)
@given(recipes())
def test_fields_and_crosses_are_written_as_the_yaml_library_writes_them(recipe: Recipe) -> None:
    text = dump_recipe(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dump, "_section", lambda name, value: dump._yaml({name: value}))
        assert dump_recipe(recipe) == text


@pytest.mark.parametrize("trap", TRAPS)
def test_text_that_looks_like_something_else_stays_text(trap: str) -> None:
    recipe = read("data: {train: x, label: y}\nfeatures: {categorical: [c]}\n")
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"train": (trap,)})})
    text = dump_recipe(recipe)
    assert read(text).data.train == (trap,)
    assert yaml.safe_load(text)["data"]["train"] == [trap.replace("${", "$${")]  # a plain YAML reader sees text too


def test_every_default_is_written_out_in_the_order_of_the_schema() -> None:
    recipe = read("data: {train: x, label: y}\nfeatures: {categorical: [c]}\ncrosses: []\n")
    data = yaml.safe_load(dump_recipe(recipe))
    assert [*data, "sweep"] == list(Recipe.model_fields)  # a search is no part of what it searches
    left_out = ["parts", "timeout", "track"]  # of parts, where there is one; no run is another for where it is shown
    training = [name for name in type(recipe.training).model_fields if name not in left_out]
    assert list(data["training"]) == training
    assert data["data"]["split"] == {"kind": "random", "valid": 0.1, "test": 0.1, "seed": 0}
    assert data["training"]["wide"]["learning_rate"] == 0.05


def test_parts_of_a_step_are_written_out_where_there_are_several() -> None:
    recipe = read("data: {train: x, label: y}\nfeatures: {categorical: [c]}\ntraining: {parts: 6}\n")
    data = yaml.safe_load(dump_recipe(recipe))
    assert [*data["training"], "track"] == list(type(recipe.training).model_fields)
    assert (data["training"]["parts"], data["training"]["timeout"]) == (6, 300.0)


@pytest.mark.parametrize(
    ("kind", "model_parts", "training_parts"),
    [
        ("wide", {"wide"}, {"wide"}),
        ("deep", {"embeddings", "deep"}, {"deep"}),
        ("wide_deep", {"wide", "embeddings", "deep"}, {"wide", "deep"}),
        ("fm", {"wide", "embeddings"}, {"wide", "deep"}),
        ("deepfm", {"wide", "embeddings", "deep"}, {"wide", "deep"}),
        ("dcn", {"embeddings", "deep", "cross_network"}, {"deep"}),
        ("dcn_v2", {"embeddings", "deep", "cross_network", "dcn_v2"}, {"deep"}),
        ("finalmlp", {"embeddings", "deep", "finalmlp"}, {"deep"}),
        ("finalnet", {"embeddings", "deep", "finalnet"}, {"deep"}),
    ],
)
def test_parts_that_the_kind_lacks_are_not_written(kind: str, model_parts: set[str], training_parts: set[str]) -> None:
    text = "data: {train: x, label: y}\nfeatures: {categorical: [c, d]}\n"
    model = f"model: {{kind: {kind}, embeddings: {{dim: 8}}}}\n"
    recipe = read(text + model)
    data = yaml.safe_load(dump_recipe(recipe))
    assert set(data["model"]) - {"kind"} == model_parts
    assert set(data["training"]) & {"wide", "deep"} == training_parts
    assert ("crosses" in data) == (kind != "deep")
    with_crosses = yaml.safe_load(dump_recipe(read(text + model + "crosses: [[c, d]]\n")))
    also_wide = set() if kind == "deep" else {"wide"}
    assert set(with_crosses["model"]) - {"kind"} == model_parts | also_wide
    assert set(with_crosses["training"]) & {"wide", "deep"} == training_parts | also_wide


def test_experts_are_written_only_where_there_is_a_rank() -> None:
    text = "data: {train: x, label: y}\nfeatures: {categorical: [c]}\nmodel: {kind: dcn_v2, dcn_v2: "
    assert yaml.safe_load(dump_recipe(read(text + "{}}\n")))["model"]["dcn_v2"] == {
        "structure": "parallel",
        "rank": None,
    }
    recipe = read(text + "{rank: 8, experts: 2}}\n")
    assert yaml.safe_load(dump_recipe(recipe))["model"]["dcn_v2"]["experts"] == 2
    assert read(dump_recipe(recipe)) == recipe


def test_the_settings_of_discovered_crosses_are_written_only_where_they_are_set() -> None:
    text = "data: {train: x, label: y}\nfeatures: {categorical: [c, d], numeric: [n]}\ncrosses:\n  - [c, d]\n  - "
    dumped = dump_recipe(read(text + "{fields: [c, n], granularity: {n: 8}, promised: [2e-3, 1e-3, 3.5e-3]}\n"))
    assert "\n- {fields: [c, d], buckets: null, min_count: 2, max_size: null}\n" in dumped
    assert (
        "\n- {fields: [c, n], granularity: {n: 8}, buckets: null, min_count: 2, max_size: null, promised: [0.002, 0.001, 0.0035]}\n"
        in dumped
    )


@pytest.mark.parametrize("name", ["${HOME}", "$${HOME}", "no", "a: b", "1", "x" * 200, "größe\n"])
def test_a_granularity_may_be_that_of_a_field_of_any_name(name: str) -> None:
    data = {"train": "x", "label": "y"}
    crosses = [{"fields": ["c", name], "granularity": {name: 8}}]
    given_data = {"name": "r", "data": data, "features": {"categorical": ["c"], "numeric": [name]}, "crosses": crosses}
    recipe, _ = resolve(Recipe.model_validate(given_data), given_data)
    assert read(dump_recipe(recipe)) == recipe


def test_short_lists_stand_on_one_line_and_so_does_a_field() -> None:
    text = dump_recipe(
        read("data: {train: x, label: y}\nfeatures: {categorical: [c]}\nmodel: {deep: {hidden: [3, 2]}}\n")
    )
    assert "\n    hidden: [3, 2]\n" in text
    assert (
        "\n  - {column: c, name: null, min_count: 2, max_size: null, buckets: null, vocabulary: null, embedding_dim: null}\n"
        in text
    )
