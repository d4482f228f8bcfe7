"""What a person looks up: whether a recipe is right, which recipes there are, what a run is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_projects import only_json

from widedeep.api.recipes import bundled_recipes, load_recipe
from widedeep.runs import LATEST, find_run

Widedeep = Callable[..., tuple[int, str, str]]
OLD_RUN = Path(__file__).parents[1] / "scoring" / "run-format-1"


# --------------------------------------------------------------------------------------------------------------- check


def test_check_says_what_a_recipe_without_faults_holds_and_reads_no_data(project: Path, widedeep: Widedeep) -> None:
    (project / "log.csv").unlink()

    code, out, err = widedeep("check", "small.yaml", "--set", "model.kind=wide")

    assert code == 0
    facts = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert facts == {
        "recipe": "small.yaml",
        "label": "click, binary",
        "split": "random",
        "fields": "2 numeric, 3 categorical",
        "crosses": "color x shape, price x color",
        "model": "wide",
        "faults": "none",
    }
    assert "model.deep is left out" in err


def test_check_tells_every_fault_with_its_line_and_ends_with_code_2(project: Path, widedeep: Widedeep) -> None:
    text = (project / "small.yaml").read_text()
    (project / "small.yaml").write_text(
        text.replace("epochs: 2", "epocs: 2").replace("[color, shape]", "[colour, shape]")
    )
    command = ("check", "small.yaml", "--set", "seed=x")

    code, out, err = widedeep(*command)
    assert (code, out) == (2, "")
    assert [line.split(": ")[2:4] for line in err.splitlines()] == [
        ["small.yaml:12", "crosses.0.fields.0"],
        ["small.yaml:17", "training.epocs"],
        ["--set", "seed"],
    ]

    code, out, err = widedeep(*command, "--json")
    assert (code, err) == (2, "")
    told = only_json(out)
    assert told["valid"] is False
    assert [(fault["source"], fault["line"], fault["setting"]) for fault in told["faults"]] == [
        ("small.yaml", 12, "crosses.0.fields.0"),
        ("small.yaml", 17, "training.epocs"),
        ("--set", None, "seed"),
    ]
    assert "did you mean 'epochs'?" in told["faults"][1]["message"]


def test_check_in_json_is_one_object_for_a_sound_recipe_and_none_for_a_file_that_is_not_there(
    project: Path, widedeep: Widedeep
) -> None:
    assert only_json(widedeep("check", "small.yaml", "--json")[1]) == {
        "valid": True,
        "faults": [],
        "notes": [],
        "name": "small",
    }
    assert widedeep("check", "smal.yaml", "--json")[:2] == (2, "")


# ------------------------------------------------------------------------------------------------------------- recipes


def test_recipes_lists_what_comes_along_and_whether_its_data_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: Widedeep
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WIDEDEEP_DATA", raising=False)
    log = tmp_path / "data" / "sample-log" / "log.csv"
    log.parent.mkdir(parents=True)
    log.write_text("a\n")

    listed = only_json(widedeep("recipes", "--json")[1])["recipes"]
    assert {recipe["name"]: recipe["path"] for recipe in listed} == {
        name: str(path) for name, path in bundled_recipes().items()
    }
    assert [recipe["name"] for recipe in listed if recipe["data_here"]] == ["quickstart"]

    code, out, _ = widedeep("recipes")
    assert code == 0
    assert all(f"\n{name}: " in f"\n{out}" for name in bundled_recipes())
    *lines, guide = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert Path(guide.split()[0]).is_file()


@pytest.mark.parametrize("name", bundled_recipes())
def test_a_copy_of_a_bundled_recipe_says_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: Widedeep
) -> None:
    monkeypatch.chdir(tmp_path)

    assert widedeep("recipes", "--show", name)[1] == bundled_recipes()[name].read_text()
    code, out, err = widedeep("recipes", "--copy", name)
    assert (code, out) == (0, "")
    assert f"widedeep train {name}.yaml" in err
    copied, bundled = load_recipe(f"{name}.yaml"), load_recipe(name)
    assert copied.recipe == bundled.recipe
    assert Path(f"{name}.yaml").read_text().startswith("# yaml-language-server: $schema=file:///")
    assert copied.base_dir.resolve() == bundled.base_dir
    assert widedeep("recipes", "--copy", name)[0] == 2
    assert widedeep("recipes", "--copy", name, "--force")[0] == 0


# ---------------------------------------------------------------------------------------------------------------- show


def test_show_tells_what_a_run_is_on_one_screen(
    trained: Path, monkeypatch: pytest.MonkeyPatch, widedeep: Widedeep
) -> None:
    monkeypatch.chdir(trained)
    run = (trained / "runs" / "small" / LATEST).resolve()

    code, out, err = widedeep("show", "small")

    assert (code, err) == (0, "")
    assert len(out.splitlines()) <= 24
    assert max(len(line) for line in out.splitlines() if not line.startswith(("in ", "command "))) <= 80
    for words in (f"{run.name} (latest)", "small: wide_deep, binary label click", "split: random", "color x shape"):
        assert words in out
    facts = json.loads((run / "metrics.json").read_text())
    assert f"AUC {facts['metrics']['test']['auc']:.4f}" in out

    told = only_json(widedeep("show", "small", "--json")[1])
    assert (told["run"], told["links"], told["model"]) == (str(run), ["latest"], "wide_deep")
    assert told["metrics"] == facts["metrics"]
    assert told["crosses"] == [["color", "shape"], ["price", "color"]]


def test_show_reads_a_run_of_the_first_format_and_tells_its_warnings(tmp_path: Path, widedeep: Widedeep) -> None:
    run = shutil.copytree(OLD_RUN, tmp_path / "old")
    facts = json.loads((run / "metrics.json").read_text())
    warnings = [{"kind": "level", "message": f"something is off, {number}"} for number in range(4)]
    (run / "metrics.json").write_text(json.dumps(facts | {"warnings": warnings}))

    code, out, _ = widedeep("show", run)

    assert code == 0
    assert "warning: something is off, 1\nand 2 more: --json has all\n" in out
    assert len(only_json(widedeep("show", run, "--json")[1])["warnings"]) == 4


def test_the_folder_of_a_recipes_runs_is_its_latest_run_wherever_one_run_is_asked_for(
    trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    latest = (trained / "runs" / "small" / LATEST).resolve()
    monkeypatch.chdir(trained)
    for named in ("runs/small", "runs/small/", "runs/small/latest", str(trained / "runs" / "small")):
        assert find_run(named, Path()) == latest
    monkeypatch.chdir(tmp_path)
    assert find_run("runs/small", trained) == latest
