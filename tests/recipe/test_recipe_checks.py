"""What must hold between the sections of a recipe."""

from pathlib import Path

import pytest

from widedeep.errors import RecipeError
from widedeep.recipe.load import parse_recipe

pytestmark = pytest.mark.usefixtures("held_against_the_schema")


def faults_of(features: str, crosses: str = "[]", data: str = "", rest: str = "") -> list[str]:
    text = f"data: {{train: x, label: click{data}}}\nfeatures: {features}\ncrosses: {crosses}\n{rest}"
    try:
        parse_recipe(text, "r", Path("."), "sample")
    except RecipeError as error:
        return [str(fault) for fault in error.faults]
    return []


def test_a_recipe_without_any_field_is_refused() -> None:
    assert faults_of("{}") == [
        "r:2: features: names no field: list columns under `numeric`, `categorical`, `multi_valued`, `date_time`"
    ]


def test_field_names_differ_over_both_kinds() -> None:
    (fault,) = faults_of("{numeric: [age], categorical: [city, age]}")
    assert fault.startswith("r:2: features.categorical.1: the name 'age' is that of features.numeric.0 (line 2)")
    assert faults_of("{numeric: [age], categorical: [city, {column: age, name: age_as_text}]}") == []
    (fault,) = faults_of("{numeric: [age], categorical: [{column: city, name: age}]}")
    assert "the name 'age'" in fault


def test_a_cross_may_join_categorical_fields_and_bucketed_numbers_by_name() -> None:
    features = "{numeric: [{column: age, buckets: 5}, hours], categorical: [{column: city, name: town}]}"
    assert faults_of(features, "[[age, town]]") == []
    assert faults_of(features, "[[hours, town]]") == [
        "r:3: crosses.0.fields.0: 'hours' is numeric and not cut into buckets: give it `buckets` at features.numeric.1 (line 2), "
        "or the cross a `granularity`, such as {'hours': 10}"
    ]
    assert faults_of(features, "[[age, twon]]") == [
        "r:3: crosses.0.fields.1: no field is named 'twon'; did you mean 'town'?"
    ]
    assert "no field is named 'city'; a cross takes names of fields" in faults_of(features, "[[age, city]]")[0]


def test_a_granularity_takes_the_place_of_buckets_and_cuts_numeric_fields_of_its_cross_only() -> None:
    features = (
        "{numeric: [age, {column: seen, name: hours}], categorical: [city], date_time: [{column: at, since: born}]}"
    )
    assert faults_of(features, "[{fields: [hours, city], granularity: {hours: 5}}]") == []
    assert faults_of(features, "[{fields: [at.age, city], granularity: {at.age: 5}}]") == []
    for granularity, told in (
        ("{Hours: 5}", "Hours: the cross has no field 'Hours'; did you mean 'hours'?"),
        ("{age: 5}", "age: the cross has no field 'age'; its numeric fields are hours"),
        (
            "{hours: 5, city: 5}",
            "city: 'city' at features.categorical.0 (line 2) is no number: a granularity cuts numbers into buckets, take it out here",
        ),
    ):
        assert faults_of(features, f"[{{fields: [hours, city], granularity: {granularity}}}]") == [
            f"r:3: crosses.0.granularity.{told}"
        ]
    (fault,) = faults_of(features, "[{fields: [city, at.hour], granularity: {age: 5}}]")
    assert fault == "r:3: crosses.0.granularity.age: the cross has no field 'age'; it has no numeric field"


def test_crosses_that_differ_by_their_granularity_only_are_the_same_cross() -> None:
    crosses = "[{fields: [a, n], granularity: {n: 5}}, {fields: [n, a], granularity: {n: 6}}]"
    assert faults_of("{categorical: [a], numeric: [n]}", crosses) == [
        "r:3: crosses.1: the same cross as crosses.0 (line 3), whatever the order: keep one"
    ]


def test_a_cross_listed_twice_is_refused_in_any_order() -> None:
    assert faults_of("{categorical: [a, b, c]}", "[[a, b], [b, c], {fields: [b, a], buckets: 9}]") == [
        "r:3: crosses.2: the same cross as crosses.0 (line 3), whatever the order: keep one"
    ]


@pytest.mark.parametrize("features", ["{numeric: [age, click]}", "{categorical: [{column: click, name: other}]}"])
def test_the_label_may_not_be_a_feature(features: str) -> None:
    (fault,) = faults_of(features)
    assert "the column 'click' is data.label (line 1), and a feature must not be" in fault


def test_the_weight_may_not_be_a_feature() -> None:
    (fault,) = faults_of("{numeric: [age, w]}", data=", weight: w")
    assert fault.startswith("r:2: features.numeric.1: the column 'w' is data.weight (line 1)")


@pytest.mark.parametrize(
    ("kind", "metric", "fits"),
    [("binary", "brier", True), ("binary", "rmse", False), ("regression", "r2", True), ("regression", "auc", False)],
)
def test_the_metric_to_stop_by_fits_the_label(kind: str, metric: str, fits: bool) -> None:
    rest = f"training: {{early_stopping: {{metric: {metric}}}}}\n"
    text = f"data: {{train: x, label: {{column: y, kind: {kind}}}}}\nfeatures: {{numeric: [age]}}\n{rest}"
    if fits:
        parse_recipe(text, "r", Path("."), "sample")
    else:
        with pytest.raises(RecipeError, match=rf"^r:3: training\.early_stopping\.metric: must be .* is '{metric}'$"):
            parse_recipe(text, "r", Path("."), "sample")


def test_a_faulty_section_draws_no_false_fault_elsewhere() -> None:
    """`buckets` is misspelt: that `age` then has none is no fault of the cross."""
    (fault,) = faults_of("{numeric: [{column: age, bucket: 5}], categorical: [city]}", "[[age, city]]")
    assert "did you mean 'buckets'?" in fault


def test_sound_sections_are_checked_beside_faulty_ones() -> None:
    told = faults_of("{categorical: [a, b]}", "[[a, c]]", rest="training: {epochs: 0}\n")
    assert told == [
        "r:3: crosses.0.fields.1: no field is named 'c'; a cross takes names of fields under `features`",
        "r:4: training.epochs: must be at least 1, is 0",
    ]


@pytest.mark.parametrize("kind", ["fm", "deepfm"])
def test_a_factorization_machine_asks_for_embeddings_of_one_width(kind: str) -> None:
    features = "{categorical: [a, {column: b, embedding_dim: 4}], multi_valued: [{column: c, embedding_dim: 8}]}"
    rule = f"`model.kind: {kind}` multiplies embeddings with each other, so that all need one width"
    assert faults_of(features, rest=f"model: {{kind: {kind}}}\n") == [
        f"r:4: model.embeddings.dim: {rule}: set it to a number, such as 16; it is auto"
    ]
    assert faults_of(features, rest=f"model: {{kind: {kind}, embeddings: {{dim: 8}}}}\n") == [
        f"r:2: features.categorical.1: {rule}: `embedding_dim` of 'b' is 4, model.embeddings.dim (line 4) is 8; take it out here"
    ]
    assert (
        faults_of("{categorical: [a], numeric: [n]}", rest=f"model: {{kind: {kind}, embeddings: {{dim: 8}}}}\n") == []
    )
    assert faults_of(features, rest="model: {kind: dcn}\n") == []


def test_a_context_of_finalmlp_names_fields_that_have_an_embedding() -> None:
    features = "{categorical: [user, item], numeric: [age], date_time: [{column: at, parts: [hour]}]}"
    model = "model: {{kind: finalmlp, finalmlp: {{first_context: {}, second_context: {}}}}}\n"
    assert faults_of(features, rest=model.format("[user, at.hour]", "[item]")) == []
    assert faults_of(features, rest=model.format("[usr]", "[item, age]")) == [
        "r:4: model.finalmlp.first_context.0: no field with an embedding is named 'usr'; did you mean 'user'?",
        "r:4: model.finalmlp.second_context.1: no field with an embedding is named 'age'; numbers have none",
    ]


def test_heads_of_finalmlp_divide_the_last_width_of_both_networks() -> None:
    rest = "model: {kind: finalmlp, deep: {hidden: [8, 6]}, finalmlp: {heads: 3, second: {hidden: [4]}}}\n"
    assert faults_of("{numeric: [age]}", rest=rest) == [
        "r:4: model.finalmlp.heads: 3 heads must divide the last width of both networks, model.finalmlp.second.hidden ends with 4"
    ]
    assert faults_of("{numeric: [age]}", rest=rest.replace("[4]", "[9]")) == []


def test_layers_of_finalnet_that_are_halved_have_even_widths() -> None:
    rest = "model: {kind: finalnet, deep: {hidden: [8, 5]}}\n"
    assert faults_of("{numeric: [age]}", rest=rest) == [
        "r:4: model.deep.hidden: `residual: concat` halves every width, so that they must be even, is [8, 5]"
    ]
    assert faults_of("{numeric: [age]}", rest=rest.replace("deep:", "finalnet: {residual: sum}, deep:")) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{kind: finalnet, finalnet: {blocks: 1, second: {hidden: [8]}}}", "give `blocks` 2"),
        ("{kind: finalmlp, finalmlp: {gate_hidden: [8]}}", "name fields in `first_context`"),
    ],
)
def test_settings_of_parts_that_are_not_built_are_refused(settings: str, words: str) -> None:
    (fault,) = faults_of("{numeric: [age]}", rest=f"model: {settings}\n")
    assert words in fault


def test_experts_without_a_rank_are_refused() -> None:
    (fault,) = faults_of("{numeric: [age]}", rest="model: {kind: dcn_v2, dcn_v2: {experts: 2}}\n")
    assert fault.startswith("r:4: model.dcn_v2: `experts` are matrices of low rank: give `rank` a number")
