"""`crosses RECIPE --discover` on the command line: what is printed, written, refused; and `train` on what was written."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from widedeep.pipeline import discovery as pipeline_discovery
from widedeep.pipeline import experiment
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter

CommandLine = Callable[..., tuple[int, str, str]]

RECIPE = """\
# Two crosses are planted here.
name: planted
data:
  train: log.csv   # drawn
  label: click
features:
  numeric: [price]
  categorical: [color, shape, maker]
model:
  kind: wide_deep
  deep: {hidden: [8]}
training: {epochs: 2, batch_size: 256, threads: 1}
"""
CROSS_KEYS = {
    "columns",
    "granularity",
    "distinct",
    "support",
    "loss_gain",
    "auc_gain",
    "q",
    "suggested_buckets",
    "min_count",
}
KEYS = {
    "crosses",
    "refused",
    "loss",
    "loss_gain",
    "auc_gain",
    "complete",
    "stopped_in",
    "screened",
    "rows",
    "proof_by_time",
    "seconds",
    "written",
}


def write_log(folder: Path, *, rows: int = 8000, seed: int = 0) -> None:
    draw = np.random.default_rng(seed)
    color, shape, maker = draw.integers(0, 6, (3, rows))
    price = draw.lognormal(1.0, 1.0, rows)
    quarter = np.searchsorted([1.4, 2.7, 5.3], price)
    logit = draw.normal(0, 1.2, (6, 6))[color, shape] + np.where((quarter + maker) % 2 == 0, 0.7, -0.7)
    pl.DataFrame(
        {
            "color": [f"c{value}" for value in color],
            "shape": [f"s{value}" for value in shape],
            "maker": [f"m{value}" for value in maker],
            "price": price.round(3),
            "when": np.arange(rows),
            "importance": draw.integers(1, 3, rows),
            "click": (draw.random(rows) < 1 / (1 + np.exp(-logit))).astype(int),
        }
    ).write_csv(folder / "log.csv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log, its recipe, and the stages that ingesting leaves. Runs are added to it."""
    folder = tmp_path_factory.mktemp("discover")
    write_log(folder)
    (folder / "planted.yaml").write_text(RECIPE)
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test where discovery, or ingesting for it, begins."""

    def begun(*_: Any, **__: Any) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(pipeline_discovery, "discover", begun)
    monkeypatch.setattr(pipeline_discovery, "ingest_stage", begun)


def in_json(widedeep: CommandLine, *arguments: str | Path) -> dict[str, Any]:
    code, out, err = widedeep("crosses", *arguments, "--discover", "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    assert out.count("\n") == 1
    return found


def pairs(found: dict[str, Any], key: str = "crosses") -> list[set[str]]:
    return [set(cross["columns"]) for cross in found[key]]


PLANTED = [{"color", "shape"}, {"maker", "price"}]


def test_the_table_fits_a_terminal_and_says_what_was_done(here: Path, widedeep: CommandLine) -> None:
    code, out, err = widedeep("crosses", "planted.yaml", "--discover")
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= 80
    head, *lines = out.splitlines()
    assert head.split() == ["cross", "distinct", "support", "gain", "AUC", "q", "buckets"]
    assert any(
        re.match(r" ?color x shape +36 +100% +[\d.]+ ±[\d.]+ +[\d.]+ ±[\d.]+ +\S+ +2\^12", line) for line in lines
    )
    assert any(re.match(r" ?maker x price/4 ", line) for line in lines)
    for fact in ("all of them", "chosen on", "proved on", "screened"):
        assert any(line.startswith(fact) for line in lines)
    assert not any(line.startswith(("partial", "written")) for line in lines)
    assert "Traceback" not in err


def test_json_is_one_object_with_every_key(here: Path, widedeep: CommandLine) -> None:
    found = in_json(widedeep, "planted.yaml")
    assert set(found) == KEYS
    assert sorted(map(sorted, pairs(found))) == sorted(map(sorted, PLANTED))
    for cross in found["crosses"]:
        assert set(cross) == CROSS_KEYS
        value, low, high = cross["loss_gain"]
        assert 0 < low < value < high
        assert 0 <= cross["q"] <= 0.05
    assert {tuple(sorted(c["columns"])): c["granularity"] for c in found["crosses"]} == {
        ("color", "shape"): {},
        ("maker", "price"): {"price": 4},
    }
    assert found["complete"] is True
    assert (found["stopped_in"], found["written"], found["proof_by_time"]) == (None, None, False)
    assert found["screened"]["pairs"] == 6
    rows = found["rows"]
    assert rows["choice"] + rows["proof"] == rows["train"]
    assert found["loss"] == "log loss"


def test_of_no_crosses_the_facts_stand_alone(here: Path, widedeep: CommandLine) -> None:
    options = ["--set", "features.categorical=[color]", "--set", "features.numeric=[price]"]
    code, out, err = widedeep("crosses", "planted.yaml", "--discover", *options)
    assert code == 0, err
    assert re.match("found +no cross that holds", out)
    found = in_json(widedeep, "planted.yaml", *options)
    assert (found["crosses"], found["loss_gain"]) == ([], [0.0, 0.0, 0.0])


def test_with_a_time_the_later_rows_prove(here: Path, widedeep: CommandLine) -> None:
    found = in_json(widedeep, "planted.yaml", "--set", "data.time=when")
    assert found["proof_by_time"] is True
    assert sorted(map(sorted, pairs(found))) == sorted(map(sorted, PLANTED))
    _, out, _ = widedeep("crosses", "planted.yaml", "--discover", "--set", "data.time=when")
    assert re.search(r"proved on +[\d,]+ later train rows", out)


def test_where_there_is_no_auc_it_is_left_empty(here: Path, widedeep: CommandLine) -> None:
    regression = RECIPE.replace("label: click", "label: {column: click, kind: regression}")
    (here / "regression.yaml").write_text(regression)
    found = in_json(widedeep, "regression.yaml")
    assert sorted(map(sorted, pairs(found))) == sorted(map(sorted, PLANTED))
    assert (found["loss"], found["auc_gain"]) == ("squared error", None)
    assert all(cross["auc_gain"] is None for cross in found["crosses"])
    code, out, err = widedeep("crosses", "regression.yaml", "--discover")
    assert code == 0, err
    assert re.search(r"all of them +[\d.]+ ±[\d.]+ in squared error\n", out)


# ------------------------------------------------------------------------------------------------------- writing


@pytest.fixture(scope="module")
def written(folder: Path) -> Path:
    """The recipe with the crosses, written by a process of its own; it says whether torch was imported."""
    program = (
        "import sys; from widedeep_cli.main import dispatch; "
        "code = dispatch(['crosses', 'planted.yaml', '--discover', '--write', 'found.yaml']); "
        "sys.exit(code or ('torch was imported' if 'torch' in sys.modules else None))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "found.yaml (2 crosses added)" in done.stdout
    return folder / "found.yaml"


def test_the_written_recipe_only_has_more_lines(written: Path) -> None:
    lines = written.read_text().splitlines()
    rest = iter(lines)
    assert all(line in rest for line in RECIPE.splitlines())
    added = [line for line in lines if line not in RECIPE.splitlines()]
    assert added[0] == "crosses:"
    assert len(added) == 3
    crosses = load_recipe(written).recipe.crosses
    assert sorted(sorted(cross.fields) for cross in crosses) == sorted(map(sorted, PLANTED))
    assert all(cross.promised is not None for cross in crosses)


def test_found_crosses_are_not_found_again(here: Path, written: Path, widedeep: CommandLine) -> None:
    found = in_json(widedeep, written.name)
    assert found["crosses"] == []
    assert found["screened"]["pairs"] == 4


@pytest.fixture(scope="module")
def run(written: Path) -> Path:
    return experiment.train(load_recipe(written), written.parent, Reporter()).run


def test_train_sets_realised_gains_beside_the_promised_ones(here: Path, run: Path, widedeep: CommandLine) -> None:
    code, out, err = widedeep("train", "found.yaml", "--resume")
    assert code == 0, err
    (head,) = (line for line in out.splitlines() if "promised" in line and "cross" in line)
    assert head.split() == ["cross", "promised", "realised"]
    assert re.search(r"color x shape +[\d.]+ ±[\d.]+ +[\d.]+ ±[\d.]+", out)
    assert re.search(r"all of them +[\d.]+ +[\d.]+ ±[\d.]+", out)
    assert max(map(len, (line for line in out.splitlines() if "±" in line))) <= 80
    code, out, err = widedeep("train", "found.yaml", "--resume", "--json")
    assert code == 0, err
    gains = json.loads(out)["crosses"]
    assert len(gains["crosses"]) == 2
    promised = {cross.fields: cross.promised for cross in load_recipe(Path("found.yaml")).recipe.crosses}
    for cross in gains["crosses"]:
        assert tuple(cross["promised"]) == promised[tuple(cross["columns"])]
        value, low, high = cross["realised"]
        assert low < value < high
        assert value == pytest.approx(cross["promised"][0], rel=0.6)
    assert gains["all"]["promised"] == pytest.approx(sum(cross["promised"][0] for cross in gains["crosses"]))


def test_on_a_run_that_knows_the_crosses_they_are_not_found_again(here: Path, run: Path, widedeep: CommandLine) -> None:
    for name in (run, "found.yaml", "runs/planted/latest"):
        assert in_json(widedeep, "planted.yaml", "--on", name)["crosses"] == []


@pytest.mark.parametrize("kind", ["wide", "deep", "dcn"])
def test_on_a_run_of_any_kind_what_it_lacks_is_found(
    kind: str, here: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    options = ["--set", f"model.kind={kind}", "--set", "training.epochs=1", "--set", f"name={kind}"]
    assert widedeep("train", "planted.yaml", *options)[0] == 0
    found = in_json(widedeep, "planted.yaml", "--on", f"runs/{kind}/latest")
    assert sorted(map(sorted, pairs(found))) == sorted(map(sorted, PLANTED))


def test_on_a_run_the_crosses_of_the_recipe_itself_are_known_too(here: Path, run: Path, widedeep: CommandLine) -> None:
    assert in_json(widedeep, "found.yaml", "--on", run)["screened"]["pairs"] == 4


def test_a_run_of_other_rows_is_refused(here: Path, run: Path, widedeep: CommandLine) -> None:
    code, out, err = widedeep("crosses", "planted.yaml", "--discover", "--on", run, "--set", "data.split.seed=5")
    assert (code, out) == (2, "")
    assert f"--on {run}" in err
    assert "other rows" in err
    code, out, err = widedeep("crosses", "planted.yaml", "--discover", "--on", "runs/nothing/here")
    assert (code, out) == (4, "")
    assert "Traceback" not in err


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("recipe", "write", "exit_code", "told"),
    [
        (RECIPE.replace("log.csv", "/log.csv"), "nowhere/new.yaml", 6, "nowhere/new.yaml: its folder does not exist"),
        (RECIPE + "crosses: &known\n  - [color, shape]\n", "new.yaml", 2, "faulty.yaml:13: crosses: anchors"),
    ],
)
def test_what_could_not_be_written_in_the_end_is_refused_before_any_work(
    recipe: str, write: str, exit_code: int, told: str, here: Path, widedeep: CommandLine
) -> None:
    (here / "faulty.yaml").write_text(recipe)
    code, out, err = widedeep("crosses", "faulty.yaml", "--discover", "--write", write)
    assert (code, out) == (exit_code, "")
    assert told in " ".join(err.split())
    assert not (here / write).exists()


def test_a_recipe_is_written_into_another_folder_only_where_its_paths_are_absolute(
    here: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    code, out, err = widedeep("crosses", "planted.yaml", "--discover", "--write", tmp_path / "new.yaml")
    assert (code, out) == (2, "")
    assert "the recipe's 'log.csv' starts from the folder" in " ".join(err.split())
    assert not (tmp_path / "new.yaml").exists()
    (here / "absolute.yaml").write_text(RECIPE.replace("log.csv", str(here / "log.csv")))
    code, _, err = widedeep("crosses", "absolute.yaml", "--discover", "--write", tmp_path / "other.yaml")
    assert code == 0, err
    assert len(load_recipe(tmp_path / "other.yaml").recipe.crosses) == 2


# ------------------------------------------------------------------------------------------------------- budgets


def test_too_small_a_budget_gives_a_partial_result_with_a_warning(
    here: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widedeep.discovery.discover.SEARCH_SHARE", 1e-12)
    code, out, err = widedeep("crosses", "planted.yaml", "--discover", "--budget", "1")
    assert code == 0
    assert re.search(r"partial +the budget ended the screening of pairs", out)
    assert re.search(r"the budget of 1 s ended the screening of pairs", " ".join(err.split()))
    assert "Traceback" not in err
    found = in_json(widedeep, "planted.yaml", "--budget", "1.5")
    assert (found["complete"], found["stopped_in"], found["crosses"]) == (False, "the screening of pairs", [])


# -------------------------------------------------------------------------------------------- what is refused


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--discover", "--fdr", "0"], "--fdr 0: must be greater than 0"),
        (["--discover", "--fdr", "2"], "--fdr 2: must be greater than 0 and less than 1"),
        (["--discover", "--fdr", "1"], "--fdr 1: must be"),
        (["--discover", "--fdr", "nan"], "--fdr nan: must be"),
        (["--discover", "--budget", "0"], "--budget"),
        (["--discover", "--budget", "nan"], "--budget"),
        (["--discover", "--weights"], "--discover reads a recipe, --weights a finished run"),
        (["--discover", "--top", "3"], "--top: says which weights to show: add --weights"),
        (["--discover", "--write", "new.yaml", "--set", "name=x"], "--write keeps the recipe's text"),
        (["--discover", "--write", "log.csv"], "log.csv: exists already"),
        (["--on", "run"], "--on: belongs to --discover"),
        (["--budget", "3"], "--budget: belongs to --discover"),
        (["--fdr", "0.1"], "--fdr: belongs to --discover"),
        (["--write", "new.yaml"], "--write: belongs to --discover"),
        (["--force"], "--force: belongs to --discover"),
        (["--weights", "--fdr", "0.1"], "--fdr: belongs to --discover"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(
    arguments: list[str], told: str, here: Path, widedeep: CommandLine
) -> None:
    before = (here / "log.csv").read_bytes()
    code, out, err = widedeep("crosses", "planted.yaml", *arguments)
    assert (code, out) == (2, "")
    assert told in " ".join(err.split())
    assert "Traceback" not in err
    assert (here / "log.csv").read_bytes() == before
    assert not (here / "new.yaml").exists()


@pytest.mark.usefixtures("no_work")
def test_a_cross_needs_two_fields(here: Path, widedeep: CommandLine) -> None:
    options = ["--set", "features.categorical=[color]", "--set", "features.numeric=[]"]
    code, out, err = widedeep("crosses", "planted.yaml", "--discover", *options)
    assert (code, out) == (2, "")
    assert "a cross needs at least two fields, and this recipe has 1" in " ".join(err.split())


def test_force_replaces_what_is_there(here: Path, widedeep: CommandLine) -> None:
    new = here / "forced.yaml"
    new.write_text("something else")
    code, _, err = widedeep("crosses", "planted.yaml", "--discover", "--write", new, "--force")
    assert code == 0, err
    assert new.read_text().startswith(RECIPE.split("features")[0])
    assert in_json(widedeep, "forced.yaml")["crosses"] == []


def test_where_nothing_is_found_the_recipe_is_written_as_it_is_if_that_is_asked(
    here: Path, widedeep: CommandLine
) -> None:
    (here / "few.yaml").write_text(RECIPE.replace("[color, shape, maker]", "[color, maker]").replace("[price]", "[]"))
    found = in_json(widedeep, "few.yaml", "--write", "same.yaml")
    assert (found["crosses"], found["written"]) == ([], None)
    assert not (here / "same.yaml").exists()
    assert "same.yaml: not written" in widedeep("crosses", "few.yaml", "--discover", "--write", "same.yaml")[2]
    found = in_json(widedeep, "few.yaml", "--write", "same.yaml", "--force")
    assert (found["crosses"], found["written"]) == ([], "same.yaml")
    assert (here / "same.yaml").read_text() == (here / "few.yaml").read_text()
