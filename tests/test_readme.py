"""The README's commands run as they stand, its recipe loads, and it names every command."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from widedeep.recipe.load import parse_recipe
from widedeep_cli.lookup import bundled_recipes
from widedeep_cli.main import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_every_shell_command_of_the_readme_runs_in_order(tmp_path: Path) -> None:
    script = "set -euo pipefail\n" + "".join(blocks("sh"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 1001


def test_the_recipe_of_the_readme_is_right() -> None:
    (text,) = blocks("yaml")
    assert parse_recipe(text, "README.md", ROOT, "readme").recipe.name == "readme"


@pytest.mark.parametrize("command", [command.name for command in app.registered_commands])
def test_the_readme_mentions_every_command(command: str) -> None:
    assert f"widedeep {command}" in README


def test_readme_and_data_notes_name_every_bundled_recipe() -> None:
    notes = (ROOT / "recipes" / "DATA.md").read_text()
    for name in bundled_recipes():
        assert f"`{name}`" in README
        assert f"`{name}`" in notes


def test_the_make_targets_that_the_readme_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)$", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
