"""What a sweep searches, as recipes and options say it."""

from pathlib import Path
from typing import Any

import pytest

from widedeep.errors import RecipeError
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.load import LoadedRecipe, parse_recipe
from widedeep.recipe.sweep_space import Choices, Range, read_entry, read_option, value_at

BASE = "data: {train: x, label: y}\nfeatures: {categorical: [c, d]}\ncrosses: [[c, d]]\n"


def read(sweep: str = "") -> LoadedRecipe:
    return parse_recipe(BASE + sweep, "r.yaml", Path(), "r")


def faults(sweep: str) -> list[str]:
    with pytest.raises(RecipeError) as refused:
        read(sweep)
    return [str(fault) for fault in refused.value.faults]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("log(1e-4, 1e-2)", Range("log", 1e-4, 1e-2)),
        (" float( 0 ,0.5 ) ", Range("float", 0.0, 0.5)),
        ("int(1,8)", Range("int", 1, 8)),
        ("log_int(64, 4096)", Range("log_int", 64, 4096)),
        (["relu", "gelu"], Choices(("relu", "gelu"))),
        ([[64], [64, 32]], Choices(([64], [64, 32]))),
        ([None, {"dim": 8}], Choices((None, {"dim": 8}))),
    ],
)
def test_ranges_and_choices_are_read(entry: Any, expected: Any) -> None:
    assert read_entry(entry) == expected


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ("log(0, 1)", "ends above 0"),
        ("log(1, 1)", "below the second"),
        ("float(2, 1)", "below the second"),
        ("int(1.5, 3)", "whole numbers"),
        ("float(a, 3)", "are numbers"),
        ("float(true, 3)", "are numbers"),
        ("float(.inf, 3)", "are numbers"),
        ("normal(0, 1)", "must be float(LOW, HIGH)"),
        ("float(0, 1) + 1", "must be float(LOW, HIGH)"),
        (3, "must be float(LOW, HIGH)"),
        ({"low": 1}, "must be float(LOW, HIGH)"),
        ([1], "at least two"),
        ([[1], [1]], "all different"),
    ],
)
def test_what_is_no_range_or_choice_is_refused_with_the_rule(entry: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule.replace("(", r"\(").replace(")", r"\)")):
        read_entry(entry)


def test_an_option_is_a_setting_and_a_range_or_choices() -> None:
    assert read_option("training.deep.learning_rate=log(1e-4,1e-2)") == (
        "training.deep.learning_rate",
        "log(1e-4,1e-2)",
    )
    assert read_option("model.deep.hidden=[[64], [64, 32]]") == ("model.deep.hidden", [[64], [64, 32]])
    for wrong in ("training.epochs", "=int(1, 2)", "training.epochs=3", "training.epochs=[1, [", "training.epochs=["):
        with pytest.raises(RecipeError, match="--space"):
            read_option(wrong)


def test_faults_of_a_space_are_told_with_their_lines_before_anything_is_trained() -> None:
    told = faults(
        """
sweep:
  space:
    training.epoch: int(1, 4)
    model.deep.dropout: float(0, 1.5)
    data.keep_negatives: float(0.1, 1)
    model.deep: [{dropout: 0.1}, {dropout: 0.2}]
"""
    )
    assert len(told) == 3
    assert "r.yaml:7: sweep.space.training.epoch: 1 does not fit" in told[0]
    assert "did you mean 'epochs'" in told[0]
    assert "lies in model.deep, which is searched as a whole" in told[1]
    assert "features, crosses, model, training" in told[2]


def test_a_setting_that_the_kind_makes_no_use_of_is_refused_unless_the_kind_is_searched_too() -> None:
    space = "sweep: {space: {model.deep.dropout: 'float(0, 0.5)'%s}}\nmodel: {kind: wide}\n"
    (told,) = faults(space % "")
    assert "model.kind is wide, which makes no use of model.deep here, so that it would change nothing" in told
    assert read(space % ", model.kind: [wide, deep]").recipe.sweep is not None


def test_a_sweep_is_checked_like_any_section() -> None:
    (told,) = faults("sweep: {space: {training.epochs: 'int(4, 1)'}}\n")
    assert "sweep.space.training.epochs" in told
    assert "the first end must be below the second" in told
    assert "did you mean 'trials'" in faults("sweep: {trial: 3}\n")[0]
    assert "must be one of auto, log_loss" in faults("sweep: {metric: rmse}\n")[0]
    assert "at least 1" in faults("sweep: {trials: 0}\n")[0]


def test_a_recipe_with_a_sweep_reads_back_and_one_without_says_nothing_of_it() -> None:
    sweep = (
        "sweep: {space: {model.deep.hidden: [[64], [64, 32]], training.batch_size: 'log_int(64, 512)'}, trials: 3}\n"
    )
    text = dump_recipe(read(sweep).recipe)
    assert parse_recipe(text, "", Path(), "r").recipe == read(sweep).recipe
    assert "sweep" not in dump_recipe(read().recipe)


def test_a_value_is_found_by_its_setting() -> None:
    data = {"model": {"deep": {"hidden": (64, 32)}}, "crosses": [{"min_count": 3}]}
    assert value_at(data, "model.deep.hidden") == (64, 32)
    assert value_at(data, "crosses.0.min_count") == 3
    assert value_at(data, "crosses.1.min_count") is None
    assert value_at(data, "model.wide.folds") is None
