"""`widedeep latency` times requests of every size: of a file's rows, or of the run's golden rows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sample_projects import only_json

from widedeep.scoring import latency
from widedeep.scoring.scorer import Scorer

Widedeep = Callable[..., tuple[int, str, str]]
FIGURES = {"rows", "threads", "requests", "p50_ms", "p99_ms", "encoding_ms", "model_ms", "rows_per_second"}


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each size is timed but twice, with two threads at most."""
    monkeypatch.setattr(latency, "_SECONDS", 0.0)
    monkeypatch.setattr(latency, "_FEWEST", 2)
    monkeypatch.setattr(latency.os, "sched_getaffinity", lambda _: {0, 1})


@pytest.fixture
def run(trained: Path) -> Path:
    return trained / "runs" / "small" / "latest"


def test_each_size_is_timed_with_each_number_of_threads_that_it_can_be_parted_among(
    run: Path, trained: Path, widedeep: Widedeep
) -> None:
    code, out, err = widedeep("latency", run, trained / "new.csv", "--json")
    assert code == 0, err
    timed = only_json(out)["latency"]
    sizes = [(1, 1), *((rows, threads) for rows in (10, 50, 200, 1000) for threads in (1, 2))]
    assert [(request["rows"], request["threads"]) for request in timed] == sizes
    for request in timed:
        assert set(request) == FIGURES
        assert request["requests"] == 2
        assert request["p99_ms"] >= request["p50_ms"] > 0
        assert request["encoding_ms"] > 0
        assert request["model_ms"] > 0


def test_the_golden_rows_stand_in_for_a_file_and_the_table_fits_a_terminal(run: Path, widedeep: Widedeep) -> None:
    code, out, err = widedeep("latency", run)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].split() == ["rows", "threads", "p50", "ms", "p99", "ms", "encoding", "model", "rows/s"]
    assert len(lines) == 10
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("given", [(), ("log.csv",)])
def test_rows_with_side_tables_lists_and_dates_are_timed_too(
    given: tuple[str, ...], rich: Path, widedeep: Widedeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(rich)
    code, out, err = widedeep("latency", "runs/rich/latest", *given, "--json")
    assert code == 0, err
    assert len(only_json(out)["latency"]) == 9


def test_what_is_timed_are_the_scores_of_predict(
    run: Path, trained: Path, widedeep: Widedeep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scored: list[np.ndarray] = []
    scores_of = Scorer.scores_of

    def noted(*arguments: object) -> np.ndarray:
        scored.append(scores_of(*arguments))  # type: ignore[arg-type]
        return scored[-1]

    monkeypatch.setattr(latency, "BATCHES", (50, 300))
    monkeypatch.setattr(latency, "THREADS", (1,))
    monkeypatch.setattr(Scorer, "scores_of", noted)
    code, _, err = widedeep("latency", run, trained / "new.csv")
    assert code == 0, err
    assert widedeep("predict", run, trained / "new.csv", "-o", tmp_path / "scores.parquet")[0] == 0
    expected = pl.read_parquet(tmp_path / "scores.parquet")["score"].to_numpy()
    few = [scores for scores in scored if len(scores) == 50]
    many = [scores for scores in scored if len(scores) == 300]
    assert few[0] == pytest.approx(expected[:50], abs=1e-6)
    assert few[1] == pytest.approx(expected[50:100], abs=1e-6)
    assert many[0] == pytest.approx(expected, abs=1e-6)


def test_a_run_without_golden_rows_asks_for_a_file(
    run: Path, widedeep: Widedeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "golden_raw_rows", lambda _: None)
    code, _, err = widedeep("latency", run)
    assert (code, "name a FILE" in " ".join(err.split())) == (2, True)
