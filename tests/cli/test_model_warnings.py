"""A model that is no good is told so: when it is trained, measured, compared and shown; older runs load without."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from widedeep.runs import RunDirectory

CommandLine = Callable[..., tuple[int, str, str]]
WORSE, LEVEL = "the model is worse than a constant: on the test rows", "the level is off: on the test rows"


@pytest.fixture
def bad(chance: Path, widedeep: CommandLine) -> tuple[Any, str]:
    """A run of a wide part whose rate is far too high, on labels that nothing says anything about; what stderr said."""
    code, out, err = widedeep("train", "small.yaml", "--json", "--set", "training.wide.learning_rate=5")
    assert code == 0, err
    return json.loads(out), err


def without_warnings(run: Path, target: Path) -> Path:
    """A copy of the run as earlier versions wrote it."""
    copy = shutil.copytree(run.resolve(), target)
    facts = json.loads((copy / "metrics.json").read_text())
    for key in ("warnings", "train_label_mean"):
        del facts[key]
    (copy / "metrics.json").write_text(json.dumps(facts))
    RunDirectory(copy).pin()
    return copy


def test_training_warns_on_stderr_and_keeps_the_warnings_with_the_metrics(bad: tuple[Any, str]) -> None:
    result, err = bad
    kinds = {(warning["kind"], warning.get("split")) for warning in result["warnings"]}
    assert kinds >= {(kind, split) for kind in ("worse_than_constant", "level") for split in ("valid", "test")}
    warned = [line for line in err.splitlines() if line.startswith("widedeep: warning: ")]
    assert warned == [f"widedeep: warning: {warning['message']}" for warning in result["warnings"]]
    assert json.loads((Path(result["run"]) / "metrics.json").read_text())["warnings"] == result["warnings"]


def test_a_good_model_is_not_warned_of(trained: Path, widedeep: CommandLine) -> None:
    run = trained / "runs" / "small" / "latest"
    assert json.loads((run / "metrics.json").read_text())["warnings"] == []
    code, out, err = widedeep("compare", run)
    assert (code, err) == (0, "")
    assert "warning" not in out


def test_compare_marks_the_run_and_says_why(bad: tuple[Any, str], widedeep: CommandLine) -> None:
    result, _ = bad
    code, out, err = widedeep("compare", "runs/small")
    assert (code, err) == (0, "")
    assert out.splitlines()[1].split()[0] == "1!"
    words = " ".join(out.split())
    assert "! warning: " in words
    assert WORSE in words
    assert LEVEL in words
    (line,) = json.loads(widedeep("compare", "runs/small", "--json")[1])["lines"]
    assert line["warnings"] == [{"seed": 0, **warning} for warning in result["warnings"]]


def test_a_warning_that_several_seeds_share_is_one_sentence(chance: Path, widedeep: CommandLine) -> None:
    bad = ["--set", "training.wide.learning_rate=5", "--set", "training.epochs=1", "--seeds", "2"]
    assert widedeep("train", "small.yaml", *bad)[0] == 0
    words = " ".join(widedeep("compare", "runs/small")[1].split())
    assert words.count(WORSE) == 1
    assert "! warning (2 of 2 seeds, such as 0): " in words


def test_the_page_says_it_near_the_headline(bad: tuple[Any, str], widedeep: CommandLine) -> None:
    pytest.importorskip("matplotlib")
    assert widedeep("report", "runs/small/latest", "-o", "page.html")[0] == 0
    page = Path("page.html").read_text()
    headline = page[page.index('<section id="metrics">') :]
    assert WORSE in headline[: headline.index("<table")]


def test_new_rows_of_another_level_are_warned_of_by_eval(trained: Path, project: Path, widedeep: CommandLine) -> None:
    run = trained / "runs" / "small" / "latest"
    header, *rows = csv.reader((trained / "new.csv").open())
    kept = [row for number, row in enumerate(rows) if row[-1] == "0" or number % 5 == 0] * 4
    with open("odd.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *kept])
    code, _, err = widedeep("eval", run, "odd.csv")
    assert code == 0
    assert err.startswith("widedeep: warning: the level is off: on these rows the mean score is 2.")
    assert err.count("\n") == 1
    assert widedeep("eval", run, trained / "new.csv")[2] == ""


def test_runs_that_say_nothing_of_warnings_load_everywhere(
    trained: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    run = without_warnings(trained / "runs" / "small" / "latest", tmp_path / "runs" / "old" / "run")
    code, out, err = widedeep("compare", run, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["lines"][0]["warnings"] == []
    assert widedeep("eval", run, trained / "new.csv")[0] == 0


def test_the_train_rate_is_that_before_negatives_were_left_out(project: Path, widedeep: CommandLine) -> None:
    rates = {}
    for kept in (1.0, 0.5):
        code, out, err = widedeep(
            "train", "small.yaml", "--json", "--set", f"data.keep_negatives={kept}", "--set", "training.epochs=1"
        )
        assert code == 0, err
        rates[kept] = json.loads((Path(json.loads(out)["run"]) / "metrics.json").read_text())["train_label_mean"]
    assert rates[0.5] == pytest.approx(rates[1.0], abs=0.02)
