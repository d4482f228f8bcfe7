"""`widedeep schema`, and the line by which an editor finds what it prints."""

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from schema_oracle import SCHEMA_PATH, disagreement

from widedeep.api.recipes import bundled_recipes
from widedeep.recipe.strict_yaml import read_yaml

Widedeep = Callable[..., tuple[int, str, str]]
LINE = "# yaml-language-server: $schema="


def test_the_schema_goes_to_stdout_or_to_a_file_that_a_recipe_beside_it_can_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: Widedeep
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = widedeep("schema")
    assert (code, err) == (0, "")
    assert json.loads(out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"

    code, printed, err = widedeep("schema", "-o", "kept.json")
    assert (code, printed) == (0, "")
    assert f"{LINE}kept.json" in err
    assert (tmp_path / "kept.json").read_text() == out
    assert widedeep("schema", "-o", "kept.json")[0] == 2
    assert widedeep("schema", "-o", "kept.json", "--force")[0] == 0


def test_a_recipe_of_init_names_the_installed_schema_and_fits_it(project: Path, widedeep: Widedeep) -> None:
    for options in ((), ("-o", "mine.yaml")):
        code, out, _ = widedeep("init", "log.csv", "--label", "click", *options)
        text = out or (project / "mine.yaml").read_text()
        assert code == 0
        assert text.startswith(LINE)
        place = urlparse(text.splitlines()[0].removeprefix(LINE))
        assert place.scheme == "file"
        assert Path(unquote(place.path)).samefile(SCHEMA_PATH)
        assert disagreement(read_yaml(text).data, []) is None


def test_a_bundled_recipe_names_the_schema_beside_it() -> None:
    for path in bundled_recipes().values():
        line = path.read_text().splitlines()[0]
        assert (path.parent / line.removeprefix(LINE)).samefile(SCHEMA_PATH), path


def test_crosses_that_are_found_for_a_bundled_recipe_are_written_beside_a_line_that_leads_somewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: Widedeep
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WIDEDEEP_DATA", raising=False)
    assert widedeep("synth", "-o", "data/sample-log", "--rows", "1000", "--seed", "1")[0] == 0

    code, _, err = widedeep("crosses", "quickstart", "--discover", "--budget", "2", "--write", "found.yaml", "--force")

    assert code == 0, err
    assert (tmp_path / "found.yaml").read_text().startswith(f"{LINE}file:///")
