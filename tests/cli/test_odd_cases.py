"""Odd but legal uses, each once broken: named pipes as output, models of few inputs, training that diverges."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from widedeep.recipe.kinds import KINDS

CommandLine = Callable[..., tuple[int, str, str]]


def test_a_named_pipe_as_output_is_written_to_and_not_replaced(
    trained: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    pipe = tmp_path / "scores.csv"
    os.mkfifo(pipe)
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()), daemon=True)
    reader.start()
    code, _, err = widedeep("predict", trained / "runs" / "small" / "latest", trained / "new.csv", "-o", pipe)
    assert code == 0, err
    reader.join()
    assert len(received[0].splitlines()) == 301
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("kind", "optimizer"), [*((kind, "ftrl") for kind in KINDS), ("wide", "adam"), ("wide_deep", "adam")]
)
def test_a_model_of_one_number_trains(kind: str, optimizer: str, project: Path, widedeep: CommandLine) -> None:
    code, out, err = widedeep(
        "train",
        "small.yaml",
        "--json",
        "--set",
        "features={numeric: [price]}",
        "--set",
        "crosses=[]",
        "--set",
        f"model.kind={kind}",
        "--set",
        "model.embeddings.dim=8",
        "--set",
        f"training.wide.optimizer={optimizer}",
        "--set",
        "training.deep.learning_rate=0.02",  # some dozen steps must outdo weights that were drawn the wrong way round
        "--set",
        "training.early_stopping.metric=auc",  # two epochs: by log loss a model that says next to nothing may be the best
    )
    assert code == 0, err
    assert json.loads(out)["metrics"]["test"]["auc"] > 0.5


@pytest.mark.parametrize("batch_size", [128, 5000])
def test_diverging_training_stops_with_exit_5_and_what_to_try(
    batch_size: int, project: Path, widedeep: CommandLine
) -> None:
    code, out, err = widedeep(
        "train",
        "small.yaml",
        "--set",
        "training.deep={optimizer: sgd, learning_rate: 1e30}",
        "--set",
        f"training.batch_size={batch_size}",
    )
    assert (code, out) == (5, "")
    assert "not finite" in err
    assert "learning_rate" in err
    assert not list(project.glob("runs/small/*/DONE"))


def test_resuming_a_finished_run_says_so_and_changes_nothing(project: Path, widedeep: CommandLine) -> None:
    first = json.loads(widedeep("train", "small.yaml", "--json")[1])
    code, out, err = widedeep("train", "small.yaml", "--resume", "--json")
    assert code == 0
    assert json.loads(out) == {**first, "already_done": True}
    assert "finished already" in err


def test_directories_and_globs_are_scored_as_they_are_trained(
    trained: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    rows = (trained / "new.csv").read_text().splitlines()
    for name, part in (("a.csv", rows[1:101]), ("b.csv", rows[101:])):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text("\n".join([rows[0], *part]) + "\n")
    run = trained / "runs" / "small" / "latest"
    assert json.loads(widedeep("predict", run, tmp_path / "in", "-o", tmp_path / "d.csv", "--json")[1])["rows"] == 300
    widedeep("predict", run, tmp_path / "in" / "*.csv", "-o", tmp_path / "g.csv")
    widedeep("predict", run, trained / "new.csv", "-o", tmp_path / "f.csv")
    assert (tmp_path / "d.csv").read_bytes() == (tmp_path / "g.csv").read_bytes()
    # One file comes in other batches than two, and scores agree across those to 1e-6, not to the last digit.
    parts, whole = (pl.read_csv(tmp_path / name)["score"].to_list() for name in ("d.csv", "f.csv"))
    assert parts == pytest.approx(whole, abs=1e-6)


def test_parquet_is_scored_by_a_run_that_was_trained_on_text_and_said_so(project: Path, widedeep: CommandLine) -> None:
    run = json.loads(widedeep("train", "small.yaml", "--json", "--set", "data.format.kind=csv")[1])["run"]
    pl.read_csv("log.csv").write_parquet("holdout.parquet")
    from_text = json.loads(widedeep("eval", run, "log.csv", "--json")[1])["metrics"]
    code, out, err = widedeep("eval", run, "holdout.parquet", "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"] == pytest.approx(from_text)
