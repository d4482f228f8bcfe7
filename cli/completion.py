"""Completion in bash, zsh and fish: the script that a shell reads, and the answers to what it asks at each TAB."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from widedeep.errors import UsageError

from .main import COMPLETION_VARIABLE as VARIABLE

if TYPE_CHECKING:
    import typer

_PROGRAM = "widedeep"


def script(shell: str) -> str:
    """What a shell is to read, so that it asks widedeep at each TAB."""
    # Not at the top: `--help` does not need it.
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    return get_completion_script(prog_name=_PROGRAM, complete_var=VARIABLE, shell=shell)


def answer(instruction: str, build: "Callable[[Sequence[str]], typer.Typer]", commands: Sequence[str]) -> int:
    """Print what may stand next on the command line that the shell tells in the environment; gives the exit code.

    `build` makes the app of some of the `commands`. Of a command that is named already, the others need no import.
    """
    import typer
    from typer.completion import completion_init, shell_complete  # type: ignore[attr-defined]

    line = os.environ.get("COMP_WORDS", os.environ.get("_TYPER_COMPLETE_ARGS"))
    if line is None or not instruction.startswith("complete_"):
        raise UsageError(f"{VARIABLE} is for what --show-completion prints: unset it")
    completion_init()
    words = line.split()
    asked = [word for word in words[1:2] if word in commands]
    return shell_complete(typer.main.get_command(build(asked or commands)), {}, _PROGRAM, VARIABLE, instruction)


def recipes(incomplete: str) -> list[str]:
    """The bundled recipes, and recipe files of this folder. Where none fits, the shell completes names of files."""
    from widedeep.api.recipes import bundled_recipes

    return _fitting([*bundled_recipes(), *_recipe_files()], incomplete)


def runs(incomplete: str) -> list[str]:
    """The recipes that have runs here, and recipe files of this folder."""
    folder = Path("runs")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return _fitting([*names, *_recipe_files()], incomplete)


def _recipe_files() -> list[str]:
    return sorted(path.name for path in Path().glob("[!.]*.y*ml"))


def _fitting(names: Sequence[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
