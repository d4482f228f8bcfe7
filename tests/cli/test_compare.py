"""`widedeep compare`: runs beside each other, seeds folded, what differs."""

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from widedeep.runs import RunDirectory

CommandLine = Callable[..., tuple[int, str, str]]


def train(widedeep: CommandLine, *arguments: str) -> Any:
    code, out, err = widedeep("train", "small.yaml", "--json", "--set", "training.epochs=1", *arguments)
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def runs(project: Path, widedeep: CommandLine) -> dict[str, Any]:
    """Two seeds of `small`, and one seed of its deep part under the same name."""
    seeds = train(widedeep, "--seeds", "2")
    return {"seeds": seeds, "deep": train(widedeep, "--set", "model.kind=deep")}


def test_seeds_of_one_recipe_are_one_line_and_the_best_line_comes_first(
    runs: dict[str, Any], project: Path, widedeep: CommandLine
) -> None:
    code, out, err = widedeep("compare", "runs/small", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["split"] == "test"
    both, deep = result["lines"]
    assert (both["seeds"], deep["seeds"]) == ([0, 1], [0])
    assert both["runs"] == [str(project / run["run"]) for run in runs["seeds"]["runs"]]
    assert both["differs"] == {"model.kind": "wide_deep"}
    assert deep["differs"] == {"model.kind": "deep"}
    for name, summary in runs["seeds"]["metrics"]["test"].items():
        assert both["metrics"][name]["mean"] == pytest.approx(summary["mean"])
        assert both["metrics"][name]["deviation"] == pytest.approx(summary["deviation"])
    assert deep["metrics"]["auc"]["deviation"] is None
    assert both["metrics"]["auc"]["mean"] > deep["metrics"]["auc"]["mean"]
    assert both["parameters"] == runs["seeds"]["runs"][0]["parameters"]
    assert both["seconds"] == pytest.approx(statistics.fmean(run["seconds"] for run in runs["seeds"]["runs"]))


def test_the_interval_is_that_of_one_run_against_a_constant(
    runs: dict[str, Any], project: Path, widedeep: CommandLine
) -> None:
    # Paired with scores that tell nothing, the AUC's error is that of the run alone.
    from widedeep.evaluation.comparison import LabelledRows, estimates
    from widedeep.scoring.labelled import score_labelled
    from widedeep.scoring.scorer import Scorer
    from widedeep.table.parts import typed_blocks

    run = runs["deep"]["run"]
    scorer = Scorer.load(Path(run))
    key = json.loads((Path(run) / "manifest.json").read_text())["keys"]["ingest"]
    scored = score_labelled(scorer, typed_blocks(project / "stages" / "ingest" / key, "test"), {})
    rows = scored.rows(scorer)
    assert isinstance(rows, LabelledRows)
    line = json.loads(widedeep("compare", run, "--json")[1])["lines"][0]["metrics"]
    for name, estimate in estimates(rows, scored.scores).items():
        change = estimate.change()
        assert line[name]["low"] == pytest.approx(change.low, abs=1e-6)
        assert line[name]["high"] == pytest.approx(change.high, abs=1e-6)
    assert line["accuracy"]["low"] is None


def test_the_table_fits_eighty_columns(runs: dict[str, Any], widedeep: CommandLine) -> None:
    code, out, err = widedeep("compare", "runs/small", "small.yaml")
    assert (code, err) == (0, "")
    assert max(len(line) for line in out.splitlines() if "/small/" not in line) <= 80
    assert "model.kind=deep" in out
    assert "±" in out.splitlines()[1]
    assert out.count("2 seeds") == 1


def test_what_differs_names_the_crosses_that_not_all_have(project: Path, widedeep: CommandLine) -> None:
    train(widedeep)
    train(widedeep, "--set", "crosses=[[color, shape]]")
    train(widedeep, "--set", "crosses=[[color, shape]]", "--set", "model.kind=deep")
    lines = json.loads(widedeep("compare", "runs/small", "--json")[1])["lines"]
    crosses = sorted((str(line["differs"]["model.kind"]), line["differs"].get("crosses")) for line in lines)
    assert crosses[0] == ("deep", None)
    found = sorted([[sorted(entry["fields"]) for entry in entries] for _, entries in crosses[1:]])
    assert found == [[["color", "shape"]], [["color", "shape"], ["color", "price"]]]
    told = " ".join(widedeep("compare", "runs/small")[1].split())  # whatever the lines' ends
    assert "crosses=[…]" in told
    assert "crosses=[…, price x color (buckets 100)]" in told


def test_crosses_that_no_two_runs_share_are_named_in_full(project: Path, widedeep: CommandLine) -> None:
    train(widedeep, "--set", "crosses=[{fields: [color, price], granularity: {price: 4}}]")
    train(widedeep, "--set", "crosses=[]")
    told = " ".join(widedeep("compare", "runs/small")[1].split())
    assert "crosses=[color x price (granularity {price: 4}, min_count 2)]" in told
    assert "crosses=[]" in told


def test_runs_of_other_rows_are_told_apart(project: Path, widedeep: CommandLine) -> None:
    train(widedeep)
    train(widedeep, "--set", "data.split.seed=3")
    code, _, err = widedeep("compare", "runs/small")
    assert code == 0
    assert "the runs differ in data.split: their test rows, or what these count for, are not the same" in err
    rows = (project / "log.csv").read_text().splitlines()
    (project / "log.csv").write_text("\n".join(rows[:1501]) + "\n")
    train(widedeep)
    lines = json.loads(widedeep("compare", "runs/small", "--json")[1])["lines"]
    assert len(lines) == 3
    assert sum("data files" in line["differs"] for line in lines) == 2


def test_a_seed_trained_twice_counts_once(runs: dict[str, Any], widedeep: CommandLine) -> None:
    again = train(widedeep, "--set", "seed=1", "--again")
    code, out, err = widedeep("compare", "runs/small", "--json")
    assert code == 0
    assert "1 of the runs repeat a recipe and a seed" in err
    both = json.loads(out)["lines"][0]
    assert both["seeds"] == [0, 1]
    assert Path(both["runs"][1]).name == Path(again["run"]).name


def test_runs_that_were_made_before_errors_were_stored_show_no_interval(
    trained: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    run = shutil.copytree((trained / "runs" / "small" / "latest").resolve(), tmp_path / "runs" / "old" / "run")
    facts = json.loads((run / "metrics.json").read_text())
    del facts["errors"]
    (run / "metrics.json").write_text(json.dumps(facts))
    RunDirectory(run).pin()
    (line,) = json.loads(widedeep("compare", run, "--json")[1])["lines"]
    assert line["metrics"]["auc"] == {
        "mean": facts["metrics"]["test"]["auc"],
        "deviation": None,
        "low": None,
        "high": None,
    }
    assert widedeep("compare", run)[0] == 0


def test_the_split_can_be_chosen(trained: Path, widedeep: CommandLine) -> None:
    run = trained / "runs" / "small" / "latest"
    expected = json.loads((run / "metrics.json").read_text())["metrics"]["valid"]["auc"]
    result = json.loads(widedeep("compare", run, "--split", "valid", "--json")[1])
    assert (result["split"], result["lines"][0]["metrics"]["auc"]["mean"]) == ("valid", expected)


@pytest.mark.parametrize(("argument", "words"), [("runs/none", "there is no run here"), ("stages", "stages")])
def test_what_is_no_run_is_refused(trained: Path, widedeep: CommandLine, argument: str, words: str) -> None:
    code, out, err = widedeep("compare", trained / argument)
    assert (code, out) == (4, "")
    assert words in err
    assert err.count("\n") == 1


def test_comparing_imports_no_torch(trained: Path) -> None:
    program = (
        "import sys; from widedeep_cli.main import dispatch; "
        f"dispatch(['compare', {str(trained / 'runs' / 'small')!r}]); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_runs_whose_rows_count_otherwise_are_told_apart(project: Path, widedeep: CommandLine) -> None:
    train(widedeep)
    train(widedeep, "--set", "data.group=user")
    assert "the runs differ in data.group: " in widedeep("compare", "runs/small")[2]


def test_two_ways_to_one_file_are_the_same_rows(project: Path, widedeep: CommandLine) -> None:
    train(widedeep)
    train(widedeep, "--set", f"data.train=../{project.name}/log.csv")
    assert widedeep("compare", "runs/small")[2] == ""
