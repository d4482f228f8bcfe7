"""The recipes that come with widedeep are sound and find their data where the user keeps it."""

from pathlib import Path

import pytest
import yaml

from widedeep.api.recipes import bundled_recipes
from widedeep.api.recipes import load_recipe as find_recipe
from widedeep.errors import DataError
from widedeep.recipe.load import load_recipe
from widedeep.recipe.schema import Recipe
from widedeep.reporting import Reporter
from widedeep.synth.sample_log import write_sample_log
from widedeep_cli.recipe_argument import open_recipe

pytestmark = pytest.mark.usefixtures("held_against_the_schema")

RECIPES = bundled_recipes()


def test_the_bundled_recipes_are_those_that_the_help_names() -> None:
    assert sorted(RECIPES) == ["adult", "criteo", "frappe", "movielens-100k", "movielens-1m", "quickstart"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_bundled_recipe_loads_from_any_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WIDEDEEP_DATA", raising=False)

    loaded = find_recipe(name)

    assert loaded.recipe.name == name
    assert loaded.base_dir == tmp_path
    assert all(path.startswith("data/") for path in loaded.recipe.data.train)
    assert loaded.notes == ()


@pytest.mark.parametrize("name", RECIPES)
def test_a_bundled_recipe_finds_its_data_where_the_environment_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDEDEEP_DATA", "/srv/sets")

    assert load_recipe(RECIPES[name], ()).recipe.data.train[0].startswith("/srv/sets/")


def test_a_file_wins_over_a_bundled_recipe_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adult").write_text("{data: {train: mine.csv, label: y}, features: {numeric: [x]}}")

    assert find_recipe("adult").recipe.data.train == ("mine.csv",)


def test_quickstart_is_the_recipe_that_lies_beside_the_sample_log(tmp_path: Path) -> None:
    write_sample_log(tmp_path, rows=100, seed=0, reporter=Reporter())

    beside = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    bundled = yaml.safe_load(RECIPES["quickstart"].read_text())
    bundled["name"], bundled["data"]["train"] = beside["name"], beside["data"]["train"]
    assert Recipe.model_validate(bundled) == Recipe.model_validate(beside)


@pytest.mark.parametrize("name", RECIPES)
def test_where_the_data_of_a_bundled_recipe_are_missing_the_message_names_an_installed_guide_to_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WIDEDEEP_DATA", raising=False)

    with pytest.raises(DataError, match=r"^data/\S+: no such file ") as caught:
        open_recipe(name, (), Reporter())

    if name == "quickstart":
        assert str(caught.value).endswith(": `widedeep synth -o data/sample-log --seed 1` writes it")
        return
    (guide,) = (word for word in str(caught.value).split() if word.endswith("DATA.md"))
    assert f"\n## {name}: " in Path(guide).read_text()


def test_of_a_missing_file_that_the_user_named_the_message_names_no_other_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DataError, match=r"^mine\.csv: no such file \(\S+mine\.csv\)$"):
        open_recipe("quickstart", ["data.train=mine.csv"], Reporter())
