"""`widedeep export`: what a folder holds, that it scores by itself, and that nothing is written that scores otherwise."""

import csv
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from widedeep.errors import ArtefactError, UsageError
from widedeep.export import folder as folder_module
from widedeep.export.folder import export_run
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory

Command = Callable[..., tuple[int, str, str]]

WITHOUT_OTHERS = """\
import runpy, sys
for name in ("widedeep", "torch", "polars", "polars_hash", "pydantic", "onnx", "onnxscript"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def score_py(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a folder's score.py where nothing can be imported that it does not need."""
    command = [sys.executable, "-c", WITHOUT_OTHERS, str(folder / "score.py"), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, cwd="/")


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run, exported: not to be written to."""
    return exported_to(tmp_path_factory.mktemp("served") / "small", trained / "runs/small/latest", work_dir=trained)


def exported_to(target: Path, run: Path, *, work_dir: Path = Path("/nowhere"), force: bool = False) -> Path:
    export_run(RunDirectory(run.resolve()), target, force=force, program=False, work_dir=work_dir, reporter=Reporter())
    return target


def test_the_folder_scores_its_golden_rows_without_widedeep_torch_and_polars(exported: Path) -> None:
    done = score_py(exported, "--check")

    assert (done.returncode, done.stdout, done.stderr) == (0, "8 of 8 golden rows have their scores\n", "")


def test_score_py_scores_new_rows_as_predict_does(exported: Path, trained: Path, widedeep: Command) -> None:
    rows = list(csv.DictReader((trained / "new.csv").open()))
    _, predicted, _ = widedeep("predict", trained / "runs/small/latest", trained / "new.csv", "-o", "-")

    done = score_py(exported, stdin="".join(json.dumps(row) + "\n" for row in rows))

    scores = [float(line.split(",")[-1]) for line in predicted.splitlines()[1:]]
    assert done.returncode == 0, done.stderr
    assert [float(line) for line in done.stdout.splitlines()] == pytest.approx(scores, abs=1e-6)


def test_a_request_of_rows_is_the_one_that_the_folder_shows(exported: Path) -> None:
    golden = [json.loads(line)["row"] for line in (exported / "golden.ndjson").read_text().splitlines()]

    done = score_py(exported, "--request", stdin="".join(json.dumps(row) + "\n" for row in golden))

    request = json.loads(done.stdout)
    facts = json.loads((exported / "export.json").read_text())
    assert request == json.loads((exported / "request.json").read_text())
    assert [(of["name"], of["datatype"], len(of["shape"])) for of in request["inputs"]] == [
        (of["name"], of["datatype"], len(of["shape"])) for of in facts["inputs"]
    ]
    config = (exported / "config.pbtxt").read_text()
    assert [f'name: "{of["name"]}"' in config for of in (*facts["inputs"], *facts["outputs"])] == [True] * 3


def test_a_run_with_lists_moments_and_a_side_table_scores_without_them(rich_run: Path, tmp_path: Path) -> None:
    exported_to(tmp_path / "rich", rich_run)

    done = score_py(tmp_path / "rich", "--check")

    facts = json.loads((tmp_path / "rich" / "export.json").read_text())
    row = json.loads((tmp_path / "rich" / "golden.ndjson").read_text().splitlines()[0])["row"]
    assert (done.returncode, done.stdout) == (0, "8 of 8 golden rows have their scores\n"), done.stderr
    assert facts["check"]["of"] == "golden"
    assert "users.age" in row


def test_what_was_exported_is_printed_and_an_output_that_exists_is_replaced_by_force_only(
    trained: Path, tmp_path: Path, widedeep: Command
) -> None:
    run, target = trained / "runs/small/latest", tmp_path / "served"

    first = widedeep("export", run, "-o", target, "--work", trained, "--json", "--quiet")
    again = widedeep("export", run, "-o", target, "--work", trained)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    forced = widedeep("export", run, "-o", target, "--work", trained, "--force")

    facts = json.loads(first[1])
    assert (first[0], first[2]) == (0, "")
    assert (facts["kind"], facts["opset"], facts["check"]["of"], facts["check"]["batches"]) == (
        "wide_deep",
        20,
        "test",
        [1, 64, 1000],
    )
    assert facts["check"]["largest_difference"] <= 1e-6
    assert (again[0], again[1]) == (2, "")
    assert "exists already; --force replaces it" in again[2]
    assert forced[0] == 0
    assert "ONNX opset 20, IR version 10" in forced[1]
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before  # equal inputs, equal bytes


@pytest.mark.parametrize("damage", ["network", "plan"])
def test_nothing_is_written_if_the_exported_scores_are_others(
    damage: str, rich_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from widedeep.export import graph, plan

    if damage == "network":
        pool = graph.pool
        monkeypatch.setattr(graph, "pool", lambda *args: pool(*args) + 0.01)
    else:
        cleaned = plan._cleaning
        monkeypatch.setattr(plan, "_cleaning", lambda *args: (("red", *cleaned(*args)[0]), True))
    place = tmp_path / "place"
    place.mkdir()

    with pytest.raises(ArtefactError, match="nothing was written"):
        exported_to(place / "served", rich_run)

    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("data.format.missing=['', '-1']", "data.format.missing: lists numbers, booleans or times for the log"),
        ("features.multi_valued=[{column: tags, form: json}]", "'tags' has the form json, which export does not read"),
        ("features.date_time=[{column: seen, format: '%d.%m.%Y'}]", "'seen' has the format '%d.%m.%Y'; export reads"),
    ],
)
def test_what_cannot_be_exported_is_told_by_its_setting(setting: str, told: str, rich: Path) -> None:
    from widedeep.export.plan import refuse_unexported
    from widedeep.recipe.load import load_recipe

    recipe = load_recipe(rich / "rich.yaml", [setting, "crosses=[]"]).recipe

    with pytest.raises(UsageError) as raised:
        refuse_unexported(recipe)

    assert told in str(raised.value)


def test_a_column_of_dates_as_values_is_told(rich: Path) -> None:
    from widedeep.export.plan import refuse_times_as_texts
    from widedeep.recipe.load import load_recipe
    from widedeep.source.forms import Forms

    recipe = load_recipe(rich / "rich.yaml").recipe

    with pytest.raises(UsageError, match="features: 'color' holds dates or times as values"):
        refuse_times_as_texts(recipe, Forms({"color": "time"}))
    with pytest.raises(UsageError, match="made by an older widedeep"):
        refuse_times_as_texts(recipe, None)


def test_a_missing_library_is_told_with_the_line_that_installs_it(
    trained: Path, tmp_path: Path, widedeep: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "find_spec", lambda name: None)

    code, out, told = widedeep("export", trained / "runs/small/latest", "-o", tmp_path / "served")

    assert (code, out) == (2, "")
    assert told == (
        "widedeep: error: `export` needs onnx, onnxruntime, onnxscript, which are not installed: "
        "pip install 'widedeep[export]'\n"
    )


def test_a_place_that_may_not_be_written_is_refused_before_work_begins(
    trained: Path, tmp_path: Path, widedeep: Command
) -> None:
    run = trained / "runs/small/latest"
    (tmp_path / "file").write_text("mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")

    answers = {
        place: widedeep("export", run, "-o", target, "--force")
        for place, target in {"file": tmp_path / "file", "mine": tmp_path / "mine", "run": run / "served"}.items()
    }

    assert {place: code for place, (code, _, _) in answers.items()} == {"file": 6, "mine": 2, "run": 2}
    assert "is a file; name a folder to write" in answers["file"][2]
    assert "holds other files than an exported run: name a new folder" in answers["mine"][2]
    assert "lies in the run" in answers["run"][2]
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"


def test_a_run_without_golden_rows_is_refused(rich_run: Path, tmp_path: Path) -> None:
    os.unlink(rich_run / "golden.parquet")

    with pytest.raises(UsageError, match=r"keeps no golden rows to check with: train with evaluation\.golden_rows"):
        exported_to(tmp_path / "served", rich_run)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"color": "red"}', "score.py: no row has the column 'price': send null where its value is missing\n"),
        ("[1]", "score.py: a row must be an object of columns and their values\n"),
        ("{", "score.py: Expecting property name enclosed in double quotes: line 2 column 1 (char 2)\n"),
    ],
)
def test_score_py_tells_a_row_that_cannot_be_read_in_one_line(line: str, told: str, exported: Path) -> None:
    done = score_py(exported, stdin=line + "\n")

    assert (done.returncode, done.stdout, done.stderr) == (3, "", told)


def test_no_rows_have_no_scores(exported: Path) -> None:
    done = score_py(exported)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_mlflow_model_scores_pandas_frames_with_their_ways_to_be_missing(
    rich_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # MLflow itself is not installed beside widedeep: here stands what its loader calls.
    exported_to(tmp_path / "rich", rich_run)
    model: list[Any] = []
    pyfunc = SimpleNamespace(PythonModel=object)
    monkeypatch.setitem(
        sys.modules, "mlflow", SimpleNamespace(pyfunc=pyfunc, models=SimpleNamespace(set_model=model.append))
    )
    monkeypatch.delitem(sys.modules, "encode", raising=False)
    runpy.run_path(str(tmp_path / "rich" / "mlflow_model.py"), run_name="loaded")
    golden = [json.loads(line) for line in (tmp_path / "rich" / "golden.ndjson").read_text().splitlines()]
    frame = pd.DataFrame([row["row"] for row in golden])
    frame["price"] = pd.to_numeric(frame["price"], errors="coerce")  # NaN
    frame["seen"] = pd.to_datetime(frame["seen"])
    frame["tags"] = [text and np.array(text.split("|")) for text in frame["tags"]]

    model[0].load_context(SimpleNamespace(artifacts={"folder": str(tmp_path / "rich")}))

    monkeypatch.delitem(sys.modules, "encode")
    assert model[0].predict(None, frame) == pytest.approx([row["score"] for row in golden], abs=1e-6)


def test_score_py_says_how_it_is_called(exported: Path) -> None:
    done = score_py(exported, "--what")

    assert done.returncode == 2
    assert "python score.py --check" in done.stderr
