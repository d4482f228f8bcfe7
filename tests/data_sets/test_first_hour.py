"""The first hour runs as its page has it, on the real data, and prints what the page says."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from forks import environment_of_shells

DATA = Path(os.environ.get("WIDEDEEP_DATA", "data")).absolute()
PAGES = Path(__file__).parents[2] / "docs"
PAGE = (PAGES / "first-hour.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|text)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
COMMANDS = "".join(block for language, block in BLOCKS if language == "sh")
ELSEWHERE = re.findall(r"^```sh\n(.*?)^```$", (PAGES / "coming-from.md").read_text(encoding="utf-8"), flags=re.M | re.S)
"""The commands of the page that goes on with the tables of this one."""
OUTPUT = [line for language, block in BLOCKS[2:] if language == "text" for line in block.splitlines()]

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not all((DATA / name).is_file() for name in ("adult/adult.data", "movielens-100k/u.data")),
        reason="set WIDEDEEP_DATA to a folder with adult/ and movielens-100k/",
    ),
]


def done(commands: str, folder: Path) -> str:
    """What the commands print, stderr among it; each runs in a fork, and the first that fails ends them."""
    (folder / "data").symlink_to(DATA)
    environment = {**environment_of_shells(), "LC_ALL": "C.UTF-8"}
    environment.pop("WIDEDEEP_DATA", None)
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def shape(line: str) -> str:
    """A line without its figures and the width of its blanks."""
    return re.sub(r"\s+", " ", re.sub(r"[0-9.]*[0-9]", "#", line)).strip()


def figures(line: str) -> list[float]:
    return [float(figure.replace(",", "")) for figure in re.findall(r"[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+", line)]


def as_printed(shown: str, line: str) -> bool:
    """Whether a line of the page is this line of output, but for what is rounded or cut (`…`)."""
    whole, cut, _ = shown.partition("…")
    if not (shape(line).startswith(shape(whole)) if cut else shape(line) == shape(whole)):
        return False
    near = zip(figures(whole), figures(line), strict=False)
    return all(abs(rounded - exact) <= max(0.01, 0.05 * exact) for rounded, exact in near)


def test_every_command_of_the_first_hour_and_of_the_page_on_other_tools_runs(tmp_path: Path) -> None:
    # Trained for one epoch: what is told of figures is left to the next test.
    quick = "--set training.batch_size=256 --set training.epochs=1"
    elsewhere = "".join(ELSEWHERE).replace("train plain.yaml", f"train plain.yaml {quick}")
    done(COMMANDS.replace("training.epochs=5", "training.epochs=1") + elsewhere, tmp_path)

    scores = (tmp_path / "scores.csv").read_text().splitlines()
    assert scores[0] == "age,occupation,score"
    assert len(scores) == 6
    assert (tmp_path / "odd-scores.csv").exists()
    assert len((tmp_path / "plain-scores.csv").read_text().splitlines()) == 6
    (shown,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    suggested = [line.strip() for line in (tmp_path / "income.yaml").read_text().splitlines()]
    assert [line for line in shown.splitlines() if line not in [*suggested, "…"]] == []
    assert not (tmp_path / "tuesday-scores.csv").exists()


@pytest.mark.first_hour
def test_the_first_hour_prints_what_its_page_says(tmp_path: Path) -> None:
    printed = done(COMMANDS, tmp_path).splitlines()

    assert [shown for shown in OUTPUT if not any(as_printed(shown, line) for line in printed)] == []
