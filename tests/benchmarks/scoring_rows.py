"""Rows of `make bench`: scoring against the bare forward, the start of `--help`, scoring from cold against `import torch`."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch

from widedeep.reporting import Reporter
from widedeep.scoring.predict import predict_files
from widedeep.scoring.rows import InputRows
from widedeep.scoring.scorer import Scorer

INPUT_ROWS, READY_ROWS, COLD_ROWS = 1_000_000, 1 << 17, 1_000


def scoring_against_forward(run: Path, table: Path, runs: int = 3) -> list[float]:
    """Rows per second of scoring a Parquet table into a Parquet file (the loading of the run included) by those of the
    network's forward in inference mode on ready batches of the same size.

    `table` is taken as often as a million rows need. The two take turns, `runs` times.
    """
    times = max(1, INPUT_ROWS // pl.scan_parquet(table).select(pl.len()).collect().item())
    scorer = Scorer.load(run)
    batches = _ready_batches(scorer, table)
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        inputs = [Path(name) / f"{number:03d}.parquet" for number in range(times)]
        for link in inputs:
            link.symlink_to(table.resolve())
        for _ in range(runs):
            started = time.perf_counter()
            num_rows = predict_files(run, inputs, Path(name) / "scores.parquet", force=True, reporter=Reporter()).rows
            ours = num_rows / (time.perf_counter() - started)
            ratios.append(ours / _forward_rate(scorer, batches))
    return ratios


def _ready_batches(scorer: Scorer, table: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    rows = InputRows(scorer, [table], input_format=None, keep=(), labelled=False, reporter=Reporter())
    encoded = scorer.plan.encode(next(iter(rows))[1].head(READY_ROWS))
    index_names = [column.name for column in scorer.layout.index_columns]
    assert not scorer.layout.list_columns, "the forward is measured without lists"
    return [
        (_matrix(part.select(index_names)), _matrix(part.select(scorer.layout.numeric_columns)))
        for part in encoded.iter_slices(scorer.batch_rows)
    ]


def _matrix(part: pl.DataFrame) -> torch.Tensor:
    """[F, B], as the network takes it."""
    return torch.from_numpy(np.ascontiguousarray(part.to_numpy().T))


def _forward_rate(scorer: Scorer, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Rows per second, over as many rounds of the batches as `INPUT_ROWS` take."""
    rounds = max(1, INPUT_ROWS // sum(indices.shape[1] for indices, _ in batches))
    num_rows, started = 0, time.perf_counter()
    with torch.inference_mode():
        for _ in range(rounds):
            for indices, numerics in batches:
                scorer.network(indices, numerics)
                num_rows += indices.shape[1]
    return num_rows / (time.perf_counter() - started)


def help_start_seconds(runs: int = 5) -> list[float]:
    """Seconds that `widedeep --help` takes over the start and end of a Python that does nothing."""
    return [_seconds(["-m", "widedeep_cli", "--help"]) - _seconds(["-c", ""]) for _ in _warmed(runs, _help)]


def _help() -> None:
    _seconds(["-m", "widedeep_cli", "--help"])


def cold_scoring_ratio(run: Path, table: Path, runs: int = 3) -> list[float]:
    """Time of a whole process that scores the first 1,000 rows of `table`, a Parquet file, by that of `import torch`."""
    with tempfile.TemporaryDirectory() as name:
        rows, scores = Path(name) / "rows.parquet", Path(name) / "scores.parquet"
        pl.scan_parquet(table).head(COLD_ROWS).collect().write_parquet(rows)
        predict = ["-m", "widedeep_cli", "predict", str(run), str(rows), "-o", str(scores), "--force"]
        return [_seconds(predict) / _seconds(["-c", "import torch"]) for _ in _warmed(runs, lambda: _seconds(predict))]


def _warmed(runs: int, first: Callable[[], object]) -> range:
    # The files are read from disk and compiled once: what is asked is the start of a program in use.
    first()
    return range(runs)


def _seconds(arguments: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    )
    return time.perf_counter() - started
