"""The main job on the command line: train, eval, predict, and what they leave on disk."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from widedeep.recipe.kinds import KINDS

CommandLine = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_dir(trained: Path) -> Path:
    return (trained / "runs" / "small" / "latest").resolve()


def test_train_prints_one_json_object_and_leaves_a_whole_run(project: Path, widedeep: CommandLine) -> None:
    code, out, err = widedeep("train", "small.yaml", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert {"run", "metrics", "rows_per_second"} <= result.keys()
    assert {"auc", "log_loss"} <= result["metrics"]["test"].keys()
    run = Path(result["run"])
    for name in (
        "recipe.yaml",
        "manifest.json",
        "plan",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "events.jsonl",
        "metrics.json",
        "golden.parquet",
        "DONE",
    ):
        assert (run / name).exists(), name
    assert (project / "runs" / "small" / "latest").resolve() == run.resolve()
    assert sorted(path.name for path in project.iterdir() if not path.name.startswith(".")) == [
        "log.csv",
        "runs",
        "small.yaml",
        "stages",
    ]
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == [1, 2]


def test_nothing_but_the_result_is_on_stdout_and_a_pipe_gets_no_colour(project: Path, widedeep: CommandLine) -> None:
    code, out, err = widedeep("train", "small.yaml")
    assert code == 0
    assert "auc" in out.lower()
    assert "\x1b" not in out + err
    assert max(len(line) for line in out.splitlines() if "/" not in line) <= 80


def stages(project: Path) -> dict[tuple[str, str], int]:
    """(Kind, key) of every stage, and when it was made."""
    return {
        (path.parent.name, path.name): (path / "DONE").stat().st_mtime_ns for path in sorted(project.glob("stages/*/*"))
    }


def test_a_second_train_reads_the_cached_stages(project: Path, widedeep: CommandLine) -> None:
    assert json.loads(widedeep("ingest", "small.yaml", "--json")[1])["cached"] is False
    assert json.loads(widedeep("ingest", "small.yaml", "--json")[1])["cached"] is True
    assert json.loads(widedeep("crosses", "small.yaml", "--json")[1])["crosses"][0]["columns"] == ["color", "shape"]
    prepared = stages(project)
    assert [kind for kind, _ in prepared] == ["collisions", "encoded", "ingest"]
    widedeep("train", "small.yaml")
    trained = stages(project)
    assert [kind for kind, _ in trained] == ["collisions", "encoded", "ingest", "memory"]
    assert prepared.items() <= trained.items()
    widedeep("train", "small.yaml", "--set", "seed=1")
    assert stages(project) == trained


def test_what_a_cross_promised_is_no_part_of_the_encoding_and_its_granularity_is(
    project: Path, widedeep: CommandLine
) -> None:
    def encoded(*settings: str) -> tuple[str, bool]:
        overrides = [argument for setting in settings for argument in ("--set", f"crosses.1.{setting}")]
        result = json.loads(widedeep("crosses", "small.yaml", "--json", *overrides)[1])
        return result["path"], result["cached"]

    path, _ = encoded()
    assert encoded("promised=[0.002, 0.001, 0.003]") == (path, True)
    assert encoded("granularity.price=9")[0] != path


def test_a_cross_of_a_number_without_buckets_is_trained_and_scored_by_its_granularity(
    project: Path, widedeep: CommandLine
) -> None:
    text = (
        (project / "small.yaml").read_text().replace("[color, shape]", "{fields: [age, color], granularity: {age: 6}}")
    )
    (project / "small.yaml").write_text(text)
    trained = json.loads(widedeep("train", "small.yaml", "--set", "training.epochs=1", "--json")[1])
    again = json.loads(widedeep("eval", trained["run"], "--json")[1])
    assert again["metrics"]["log_loss"] == pytest.approx(trained["metrics"]["test"]["log_loss"], rel=1e-6)
    assert widedeep("predict", trained["run"], "log.csv", "-o", "scores.csv")[0] == 0


def test_ingest_counts_every_row_of_the_file_once(project: Path, widedeep: CommandLine) -> None:
    rows = json.loads(widedeep("ingest", "small.yaml", "--json")[1])["rows"]
    assert sum(rows.values()) == 2000
    assert rows.keys() == {"train", "valid", "test"}


def test_eval_repeats_what_train_reported(run_dir: Path, trained: Path, widedeep: CommandLine) -> None:
    reported = json.loads((run_dir / "metrics.json").read_text())["metrics"]
    for split in ("valid", "test"):
        code, out, err = widedeep("eval", run_dir, "--split", split, "--work", trained, "--json")
        assert code == 0, err
        measured = json.loads(out)["metrics"]
        for name, value in reported[split].items():
            assert measured[name] == pytest.approx(value, abs=1e-6), (split, name)


def test_eval_of_a_new_file_equals_scikit_learn_on_the_scores_of_predict(
    run_dir: Path, trained: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    new, scores = trained / "new.csv", tmp_path / "scores.parquet"
    assert widedeep("predict", run_dir, new, "-o", scores, "--keep", "id")[0] == 0
    result = json.loads(widedeep("eval", run_dir, new, "--json")[1])
    frame, labels = pl.read_parquet(scores), pl.read_csv(new)["click"].to_numpy()
    assert frame.columns == ["id", "score"]
    assert frame["id"].cast(pl.Int64).to_list() == list(range(300))
    assert result["rows"] == 300
    assert result["metrics"]["auc"] == pytest.approx(roc_auc_score(labels, frame["score"]), abs=1e-6)
    assert result["metrics"]["log_loss"] == pytest.approx(log_loss(labels, frame["score"].cast(pl.Float64)), abs=1e-6)


@pytest.mark.parametrize("output_format", ["csv", "ndjson", "parquet"])
def test_every_output_format_holds_the_same_scores(
    output_format: str, run_dir: Path, trained: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    code, out, err = widedeep("predict", run_dir, trained / "new.csv", "-o", tmp_path / f"s.{output_format}", "--json")
    assert code == 0, err
    assert json.loads(out)["rows"] == 300
    read = {"csv": pl.read_csv, "ndjson": pl.read_ndjson, "parquet": pl.read_parquet}[output_format]
    scores = read(tmp_path / f"s.{output_format}")["score"].to_numpy()
    widedeep("predict", run_dir, trained / "new.csv", "-o", tmp_path / "again.parquet")
    np.testing.assert_allclose(scores, pl.read_parquet(tmp_path / "again.parquet")["score"], atol=1e-7)


def test_a_pipeline_reads_stdin_and_writes_stdout(
    run_dir: Path, trained: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((trained / "new.csv").read_bytes())))
    code, out, err = widedeep("predict", run_dir, "-", "-o", "-", "--output-format", "csv", "--keep", "id")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "id,score"
    assert [line.split(",")[0] for line in lines[1:]] == [str(row) for row in range(300)]


def test_a_run_directory_alone_scores_on_another_machine(
    run_dir: Path, trained: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    moved = shutil.copytree(run_dir, tmp_path / "elsewhere" / "run")
    assert widedeep("predict", moved, trained / "new.csv", "-o", tmp_path / "moved.csv")[0] == 0
    assert widedeep("predict", run_dir, trained / "new.csv", "-o", tmp_path / "first.csv")[0] == 0
    assert (tmp_path / "moved.csv").read_bytes() == (tmp_path / "first.csv").read_bytes()


def test_unseen_and_newly_missing_values_are_scored_and_counted(
    run_dir: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    (tmp_path / "odd.csv").write_text("color,shape,user,price,age\nmauve,round,u1,1.5,30\nred,,u1,,\n")
    code, out, err = widedeep("predict", run_dir, tmp_path / "odd.csv", "-o", tmp_path / "s.csv", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["rows"] == 2
    assert result["unseen"]["color"] == 1
    assert result["missing"]["shape"] == 1
    assert result["missing"]["price"] == 1


def test_seeds_report_mean_and_deviation_over_one_split(project: Path, widedeep: CommandLine) -> None:
    code, out, err = widedeep("train", "small.yaml", "--seeds", "2", "--json", "--set", "training.epochs=1")
    assert code == 0, err
    result = json.loads(out)
    values = [run["metrics"]["test"]["auc"] for run in result["runs"]]
    assert values[0] != values[1]
    assert result["metrics"]["test"]["auc"]["mean"] == pytest.approx(sum(values) / 2)
    assert len(list(project.glob("stages/ingest/*"))) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_and_scores(kind: str, project: Path, widedeep: CommandLine) -> None:
    dim = ("--set", "model.embeddings.dim=8")
    code, out, err = widedeep("train", "small.yaml", "--json", "--set", f"model.kind={kind}", *dim)
    assert code == 0, err
    run = json.loads(out)["run"]
    assert widedeep("predict", run, "log.csv", "-o", "scores.csv")[0] == 0
    assert len((project / "scores.csv").read_text().splitlines()) == 2001


def test_regression_is_trained_on_squared_error(project: Path, widedeep: CommandLine) -> None:
    settings = ("data.label={column: age, kind: regression}", "features.numeric=[price]", "crosses=[[color, shape]]")
    command = ["train", "small.yaml", "--json", *(word for setting in settings for word in ("--set", setting))]
    code, out, err = widedeep(*command)
    assert code == 3  # some ages are missing, and a label must not be
    assert "log.csv:" in err
    lines = (project / "log.csv").read_text().splitlines()
    whole = [line for line in lines if not line.endswith((",,0", ",,1"))]
    (project / "log.csv").write_text("\n".join(whole) + "\n")
    code, out, err = widedeep(*command)
    assert code == 0, err
    assert {"rmse", "mae", "r2"} <= json.loads(out)["metrics"]["test"].keys()
