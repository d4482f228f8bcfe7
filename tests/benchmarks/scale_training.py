"""Measures training for the model of scale.md: by number of processes, and the exchanges between them alone."""

import multiprocessing
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch.distributed as dist
from numpy.typing import NDArray
from processes import COMMAND, EPOCHS, KINDS, train
from scale_model import expected_distinct

from widedeep.encoded.store import EncodedStore
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network
from widedeep.model.table import Table
from widedeep.scoring.scorer import Scorer, input_layout
from widedeep.training.parts import DenseParts, part_sizes
from widedeep.training.ranks import JoinedRanks

PARTS, BATCH_ROWS = 6, 8192
SETTINGS = (
    "model.wide.crosses=gradient",
    "training.dense_rows=1000",
    f"training.batch_size={BATCH_ROWS}",
    "training.threads=1",
    "training.early_stopping.patience=99",
    "training.unknown_share=0",
)
_WORDS = (250, 250_000)
"""Words that each process sends to each other one in a call."""
_CALLS = {250: 2000, 250_000: 100}


def measure_exchanges(workers: Sequence[int]) -> list[dict[str, float]]:
    """CPU and wall seconds that a call of Ranks.exchange takes each process, by processes and by words for each other."""
    measured = []
    for world in (number for number in workers if number > 1):
        for words in _WORDS:
            context = multiprocessing.get_context("spawn")
            store = dist.TCPStore("127.0.0.1", 0, None, True, timedelta(seconds=60), wait_for_workers=False)
            with context.Pool(world) as pool:
                every = [(store.port, rank, world, words, _CALLS[words]) for rank in range(world)]
                times = pool.starmap(_exchange, every, chunksize=1)
            cpu, wall = (float(np.mean(values)) for values in zip(*times, strict=True))
            measured.append({"processes": world, "words": words, "cpu": cpu, "wall": wall})
            print(measured[-1], flush=True)
    return measured


def _exchange(port: int, rank: int, world: int, words: int, calls: int) -> tuple[float, float]:
    store = dist.TCPStore("127.0.0.1", port, None, False, timedelta(seconds=60))
    ranks = JoinedRanks(store, rank, world, 60.0)
    messages = [np.zeros(words if other != rank else 0, dtype=np.int32) for other in range(world)]
    for _ in range(10):
        ranks.exchange(messages)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        ranks.exchange(messages)
    taken = (time.process_time() - cpu) / calls, (time.perf_counter() - wall) / calls
    ranks.wait()
    ranks.leave()
    return taken


@dataclass(frozen=True)
class Training:
    """A recipe whose stages are made."""

    recipe: Path
    stages: Path
    folder: Path
    settings: Sequence[str]
    rows: int

    def a_row(self, work: str, processes: int, parts: int) -> tuple[float, int]:
        """CPU seconds of a row of an epoch, and the bytes that rank 0 sends in a step."""
        seconds = []
        for epochs in EPOCHS:
            varied = [*self.settings, f"training.epochs={epochs}", f"training.parts={parts}"]
            last = train(self.recipe, self.stages, self.folder / work, processes, varied)
            seconds.append(last.cpu)
        return (seconds[1] - seconds[0]) / ((EPOCHS[1] - EPOCHS[0]) * self.rows * 0.8), last.bytes_sent


def measure_training(folder: Path, rows: int, workers: Sequence[int], repeats: int) -> list[dict[str, Any]]:
    """CPU and bytes of training by processes, and the distinct rows that their parts are expected to look up."""
    subprocess.run(
        [*COMMAND, "synth", "-o", str(folder / "sample"), "--rows", str(rows)], check=True, capture_output=True
    )
    recipe, stages = folder / "sample" / "recipe.yaml", folder / "stages"
    measured = []
    for kind in KINDS:
        settings = [f"model.kind={kind}", *SETTINGS]
        words = [word for setting in settings for word in ("--set", setting)]
        one_epoch = [*words, "--set", "training.epochs=1"]
        subprocess.run(
            [*COMMAND, "train", str(recipe), "--work", str(folder), "--again", *one_epoch],
            check=True,
            capture_output=True,
        )
        ways = [(1, 1), *((number, PARTS) for number in workers)]
        cpu: dict[tuple[int, int], list[float]] = {way: [] for way in ways}
        beside, sent = [], dict.fromkeys(ways, 0)
        training = Training(recipe, stages, folder, settings, rows)
        for _ in range(repeats):
            for processes, parts in ways:
                seconds, sent[processes, parts] = training.a_row("work", processes, parts)
                cpu[processes, parts].append(seconds)
            with ThreadPoolExecutor(2) as pool:
                both = pool.map(training.a_row, ("work-1", "work-2"), (1, 1), (PARTS, PARTS))
                beside.append(float(np.mean([seconds for seconds, _ in both])))
        figures = {
            "kind": kind,
            "batch_rows": BATCH_ROWS,
            "parts": PARTS,
            "serial": min(cpu[1, 1]),
            "cpu": {str(number): min(cpu[number, PARTS]) for number in workers},
            "beside": min(beside) / min(cpu[1, PARTS]),
            "sent": {str(number): sent[number, PARTS] for number in workers},
            **_expected(folder, workers),
        }
        measured.append(figures)
        print(figures, flush=True)
    return measured


def _expected(folder: Path, workers: Sequence[int]) -> dict[str, Any]:
    """Of each table: its width, whether it is split, and distinct rows looked up by a part and by a process."""
    path = (folder / "runs" / "sample" / "latest").resolve()
    scorer = Scorer.load(path)
    (store_path,) = {manifest.parent for manifest in (folder / "stages").glob("**/train/manifest.json")}
    store = EncodedStore.open(store_path)
    part = part_sizes(BATCH_ROWS, PARTS)[0]
    sizes = {
        "part": part,
        "batch": BATCH_ROWS,
        **{str(number): PARTS // number * part for number in workers if number > 1},
    }
    tables = []
    for table, columns in _tables(scorer.network, input_layout(scorer.plan, scorer.recipe)):
        frequencies = [_frequencies(store, name) for name in columns]
        looked_up = {name: sum(expected_distinct(p, rows * k) for p, k in frequencies) for name, rows in sizes.items()}
        tables.append({"width": table.weight.shape[1], "split": table.num_rows > 1000, "distinct": looked_up})
    return {"tables": tables, "dense": DenseParts(scorer.network).size}


def _tables(network: Network, layout: InputLayout) -> Iterator[tuple[Table, list[str]]]:
    """The tables that are trained, each with the columns of the store that read it."""
    wide = [] if network.wide is None or network.wide.weights is None else [network.wide.weights]
    for table in [*wide, *network.embedding_tables()]:
        columns = [layout.list_columns if c.pooling else layout.index_columns for c in table.readers]
        yield table, [of[c.position].name for of, c in zip(columns, table.readers, strict=True)]


def _frequencies(store: EncodedStore, column: str) -> tuple[NDArray[np.float64], float]:
    """The share of each index of a column in its look-ups, and the look-ups of a row."""
    indices = pl.concat(store.chunks(column))
    values = indices.explode() if isinstance(indices.dtype, pl.List) else indices
    counts = values.drop_nulls().value_counts()["count"].to_numpy()
    return counts / counts.sum(), float(counts.sum()) / store.rows
