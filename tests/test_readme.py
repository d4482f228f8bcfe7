"""The commands of README and docs run as they stand, their recipe loads, their links lead somewhere, nothing is left out."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from forks import environment_of_shells
from write_cli_reference import PAGE as CLI_PAGE
from write_cli_reference import reference as cli_reference
from write_recipe_reference import PAGE, reference

from widedeep.api.recipes import bundled_recipes
from widedeep.recipe.load import parse_recipe
from widedeep_cli.boundary import EXIT_CODES
from widedeep_cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
REAL_DATA_PAGES = ("first-hour.md", "coming-from.md")
"""Pages whose commands need data sets: tests/data_sets/ runs them."""
NAMED_PAGES = [ROOT / name for name in dict.fromkeys(re.findall(r"`(docs/\S+\.md)`", README))]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


def test_every_shell_command_of_readme_and_docs_runs_in_order_and_then_the_python(tmp_path: Path) -> None:
    # One script, so that pages may go on with what was trained before them. The README's commands are processes of their
    # own, as whoever types them has; those of the pages are forks, which start sooner.
    script = ["set -euo pipefail", f"PATH={Path(sys.executable).parent}:$PATH", *blocks(README, "sh"), "PATH=$FORKS"]
    for page in NAMED_PAGES:
        if page.name in REAL_DATA_PAGES:
            continue
        script += [f"echo 'commands of {page.name}:' >&2", *blocks(page.read_text(), "sh")]
    result = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env={**os.environ, "FORKS": environment_of_shells()["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 1001
    (program,) = blocks(README, "python")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_readme_names_every_page() -> None:
    assert sorted(NAMED_PAGES) == sorted((ROOT / "docs").glob("*.md"))


def test_the_recipe_of_the_docs_is_right() -> None:
    (text,) = blocks((ROOT / "docs" / "recipe.md").read_text(), "yaml")
    assert parse_recipe(text, "recipe.md", ROOT, "shown").recipe.name == "shown"


def test_the_recipe_reference_is_the_one_that_the_schema_writes() -> None:
    assert PAGE.read_text() == reference(), "run: python docs/write_recipe_reference.py"


def test_the_page_on_the_command_line_is_what_help_says() -> None:
    assert CLI_PAGE.read_text() == cli_reference(), "run: python docs/write_cli_reference.py"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_mentions_every_command(command: str) -> None:
    assert f"`widedeep {command}`" in README


def test_readme_and_data_notes_name_every_bundled_recipe() -> None:
    notes = (ROOT / "recipes" / "DATA.md").read_text()
    for name in bundled_recipes():
        assert f"`{name}`" in README
        assert f"`{name}`" in notes


def test_the_scoring_page_has_the_exit_codes_that_the_help_has() -> None:
    in_help = re.findall(r"^  (\d+) +(.*)$", EXIT_CODES, flags=re.MULTILINE)
    in_page = re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "docs" / "scoring.md").read_text(), flags=re.MULTILINE)

    assert in_page == in_help


def test_the_make_targets_that_the_readme_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"`make ([\w-]+)`", README)

    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_readme_names_the_extra_that_each_part_needs() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

    named = set(re.findall(r"widedeep\[(\w+)\]", README))
    assert named == set(extras) - {"dev", "docs", "package"}  # which make installs


def test_the_release_page_names_every_target_that_tests() -> None:
    targets = set(re.findall(r"^(test[\w-]*|first-hour|site|package):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = set(re.findall(r"`make ([\w-]+)`", (ROOT / "docs" / "release.md").read_text(encoding="utf-8")))
    assert targets <= named


def test_the_readme_has_no_link_that_breaks_on_an_index_page() -> None:
    assert [link for link in re.findall(r"\]\((.*?)\)", README) if not link.startswith("https://")] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *NAMED_PAGES], ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    linked = [page.parent / link for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)]
    named = [ROOT / name for name in re.findall(r"`((?:docs|recipes|tests)/[^\s`*]+)`", text)]

    assert [path for path in linked + named if not path.exists()] == []


@pytest.mark.parametrize("page", NAMED_PAGES, ids=lambda page: page.name)
def test_every_link_within_the_docs_leads_to_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]*)\)", page.read_text()):
        headings = re.findall(r"^#+ (.*)$", (page.parent / (target or page.name)).read_text(), flags=re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
