"""The row of `make bench` on scoring, against the bare forward."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch

from widedeep.reporting import Reporter
from widedeep.scoring.predict import predict_files
from widedeep.scoring.rows import InputRows
from widedeep.scoring.scorer import Scorer

INPUT_ROWS, READY_ROWS = 1_000_000, 1 << 17


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
