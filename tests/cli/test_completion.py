"""Completion in the shell: what stands in the script, and what a TAB is answered."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from widedeep_cli.main import COMMANDS, COMPLETION_VARIABLE

Widedeep = Callable[..., tuple[int, str, str]]
COMMAND = Path(sys.executable).parent / "widedeep"


def asked(shell: str, line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What widedeep answers a shell that asks how to go on with `line`."""
    words = line.split(" ")
    asks = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    environment = {**os.environ, **asks, COMPLETION_VARIABLE: f"complete_{shell}"}
    return subprocess.run([COMMAND], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completed")
    (folder / "runs" / "mine").mkdir(parents=True)
    for name in ("mine.yaml", "log.csv"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("widedeep ", list(COMMANDS)),
        ("widedeep tr", ["train", "track"]),
        ("widedeep train --re", ["--resume", "--refit"]),
        ("widedeep train m", ["movielens-100k", "movielens-1m", "mine.yaml"]),
        ("widedeep show ", ["mine", "mine.yaml"]),
        ("widedeep predict mine log.csv --output-format n", ["ndjson"]),
        ("widedeep train x/", []),  # the shell completes files
        ("widedeep nothing --re", []),
    ],
)
def test_bash_is_told_what_may_come_next(line: str, words: list[str], folder: Path) -> None:
    answer = asked("bash", line, folder)

    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.split() == words


def test_zsh_and_fish_are_told_what_words_mean(folder: Path) -> None:
    assert '"--resume":"Go on with' in asked("zsh", "widedeep train --res", folder).stdout
    assert asked("fish", "widedeep train --res", folder).stdout.startswith("--resume\tGo on with")


def test_bash_itself_completes_by_the_script(folder: Path, widedeep: Widedeep) -> None:
    code, script, err = widedeep("--show-completion", "bash")
    assert (code, err) == (0, "")
    program = f"{script}\nCOMP_WORDS=(widedeep train --res); COMP_CWORD=2\n_widedeep_completion widedeep\necho ${{COMPREPLY[@]}}"
    path = f"{COMMAND.parent}:{os.environ['PATH']}"

    done = subprocess.run(
        ["bash", "--norc", "-c", program], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )

    assert (done.stdout, done.stderr) == ("--resume\n", "")


@pytest.mark.parametrize(("shell", "words"), [("zsh", "compdef"), ("fish", "complete --command widedeep")])
def test_a_script_for_each_shell_is_printed_and_for_others_refused(shell: str, words: str, widedeep: Widedeep) -> None:
    assert words in widedeep("--show-completion", shell)[1]
    assert widedeep("--show-completion", "ksh")[0] == 2


def test_a_variable_that_no_shell_has_set_is_told(folder: Path) -> None:
    environment = {**os.environ, COMPLETION_VARIABLE: "complete_bash"}

    done = subprocess.run([COMMAND, "runs"], cwd=folder, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert "unset it" in done.stderr
