"""A small click log, a recipe for it and one finished run, shared by the tests that need the whole path."""

import csv
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from sample_projects import RECIPE, RICH_RECIPE, write_log

# No test may depend on how busy the machine is. A change is judged by the same draws each time, as by the fuzzer's cases:
# what a new draw finds is no fault of the change at hand. `make fuzz` draws anew.
settings.register_profile("new_draws", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same_draws", settings.get_profile("new_draws"), derandomize=True)
settings.load_profile("same_draws")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `small.yaml` and `log.csv` (2,000 rows), which is the current directory."""
    write_log(tmp_path / "log.csv", 2000)
    (tmp_path / "small.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def chance(project: Path) -> Path:
    """The same with labels that nothing says anything about."""
    draw = random.Random(3)
    header, *rows = csv.reader((project / "log.csv").open())
    with (project / "log.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *([*row[:-1], int(draw.random() < 0.3)] for row in rows)])
    return project


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project whose run is finished: not to be written to."""
    from widedeep.pipeline.experiment import train
    from widedeep.recipe.load import load_recipe
    from widedeep.reporting import Reporter

    folder = tmp_path_factory.mktemp("trained")
    write_log(folder / "log.csv", 2000)
    write_log(folder / "new.csv", 300, seed=1)
    (folder / "small.yaml").write_text(RECIPE)
    train(load_recipe(folder / "small.yaml"), folder, Reporter())
    return folder


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project with lists, moments and a side table, whose run is finished: not to be written to."""
    from widedeep.pipeline.experiment import train
    from widedeep.recipe.load import load_recipe
    from widedeep.reporting import Reporter

    folder, draw = tmp_path_factory.mktemp("rich"), random.Random(5)
    with (folder / "log.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["member", "color", "price", "tags", "seen", "born", "click"])
        for row in range(400):
            color, click = draw.choice(["red", "green", "n/a"]), draw.random()
            tags = "|".join(f"{draw.choice('abcde')}:{draw.randint(1, 9)}" for _ in range(2 + row % 4))
            moments = [f"2024-01-{1 + row % 28:02d} {row % 24:02d}:00:00", "2020-02-03 00:00:00"]
            price = "n/a" if row % 9 == 4 else round(draw.uniform(1, 9), 2)
            writer.writerow([row % 20, color, price, tags, *moments, int(click < (0.7 if color == "red" else 0.3))])
    (folder / "users.csv").write_text("user,age,years\n" + "".join(f"{u},{20 + u},{90 - u}\n" for u in range(20)))
    (folder / "rich.yaml").write_text(RICH_RECIPE)
    train(load_recipe(folder / "rich.yaml"), folder, Reporter())
    return folder


@pytest.fixture
def rich_run(rich: Path, tmp_path: Path) -> Path:
    """A copy of its run, to be changed."""
    return shutil.copytree((rich / "runs" / "rich" / "latest").resolve(), tmp_path / "run")


@pytest.fixture
def widedeep(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process and gives (exit code, stdout, stderr)."""
    from widedeep_cli.boundary import guarded
    from widedeep_cli.main import dispatch

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capfdbinary.readouterr()
        code = guarded(lambda: dispatch([str(argument) for argument in arguments]))
        captured = capfdbinary.readouterr()
        return code, captured.out.decode(), captured.err.decode()

    return run


@pytest.fixture
def held_against_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it stands, every recipe that is loaded must be refused by the JSON Schema too where it is refused, as far
    as a schema can say the rule, and taken where it is taken.
    """
    from schema_oracle import disagreement  # most tests load no recipe

    from widedeep.recipe import load

    validated = load._validated

    def held(data: Any, of_reader: Any, places: Any) -> Any:
        recipe, findings = validated(data, of_reader, places)
        assert disagreement(data, [finding.message for finding in findings]) is None
        return recipe, findings

    monkeypatch.setattr(load, "_validated", held)
