"""How long a request waits for its scores: by its number of rows and the threads that share them.

It is Table 2 of the paper (Cheng et al. 2016, Wide & Deep Learning for Recommender Systems, section 4.3), on this
machine, in a process that has loaded the run: raw rows in, scores out.
"""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import DataError, UsageError
from widedeep.lists import Lists
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.few_rows import RowScorer
from widedeep.scoring.line_by_line import short_collections
from widedeep.scoring.rows import InputRows
from widedeep.scoring.scored_blocks import one_thread_each
from widedeep.scoring.scorer import ROWS_BY_DICTIONARY, Scorer, golden_raw_rows
from widedeep.source.blocks import RawBlock
from widedeep.source.json_blocks import read_json_blocks
from widedeep.source.json_rows import columns_of_lines
from widedeep.source.streams import ByteStream

BATCHES = (1, 10, 50, 200, 1000)
"""Rows of a request."""
THREADS = (1, 2, 4)
"""Threads that share a request's rows, as far as there are cores and rows."""
_SECONDS, _FEWEST, _MOST = 1.0, 30, 500
"""How long each pair is measured, and the limits of how often."""
_NAME = "the rows"

_Inputs = tuple[NDArray[np.int32], NDArray[np.float32], list[Lists]]
"""What `Scorer.scores_of` takes."""


@dataclass(frozen=True)
class Latency:
    """What requests of one size took."""

    rows: int
    threads: int
    requests: int
    """How many were measured."""
    p50_ms: float
    p99_ms: float
    encoding_ms: float
    """Median of what reading, typing and encoding took of it; of several threads, of the slowest."""
    model_ms: float
    """Median of what the model's forward took of it; of several threads, of the slowest."""
    rows_per_second: float


def measure_latency(run: Path, file: str | None, *, trust: bool = False, reporter: Reporter) -> list[Latency]:
    """Time requests of 1 to 1,000 rows of `file` (None: the run's golden rows, repeated), over and over.

    Raises UsageError for a run that keeps no golden rows where no file is named, DataError for rows that NDJSON cannot
    hold or that cannot be scored, and what `Scorer.load` raises.
    """
    scorer = Scorer.load(run, trust=trust)
    scored = _Requests(scorer, *_raw_rows(scorer, run, file, reporter))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pairs = [(rows, threads) for rows in BATCHES for threads in THREADS if threads <= min(cores, rows)]
    measured = []
    with one_thread_each(), short_collections(), reporter.work("measure", len(pairs), "pairs") as meter:
        for number, (rows, threads) in enumerate(pairs, start=1):
            measured.append(scored.measure(rows, threads))
            meter.update(number)
    return measured


def _raw_rows(
    scorer: Scorer, run: Path, file: str | None, reporter: Reporter
) -> tuple[pl.DataFrame, Callable[[RawBlock], pl.DataFrame]]:
    """Raw rows, and what types a block of such rows."""
    if file is None:
        golden = golden_raw_rows(RunDirectory(run))
        if golden is None:
            raise UsageError(f"{run}: the run keeps no golden rows to measure with: name a FILE of rows")
        return golden, scorer.typing(labelled=False).apply  # side tables are joined to them
    rows = InputRows(scorer, [file], input_format=None, keep=(), labelled=False, reporter=reporter)
    blocks = (raw for raw, _ in rows)
    return next(blocks).head(max(BATCHES)).select(rows.log_columns), lambda block: rows.typed(block)[1]


class _Requests:
    """Scores lines of NDJSON as a server would that holds the run."""

    def __init__(self, scorer: Scorer, raw: pl.DataFrame, typed: Callable[[RawBlock], pl.DataFrame]) -> None:
        self._scorer, self._typed, self._columns = scorer, typed, raw.columns
        self._row_scorer = RowScorer.of(scorer, scorer.typing(labelled=False))
        try:
            self._lines = raw.write_ndjson().encode().splitlines()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise DataError(
                f"{_NAME}: cannot be written as NDJSON to be measured ({error}): name other rows"
            ) from error

    def measure(self, num_rows: int, threads: int) -> Latency:
        """Time requests of so many rows, one after the other, each parted among the threads."""
        seconds: list[tuple[float, float, float]] = []
        size = -(-num_rows // threads)
        with ExitStack() as stack:
            each: Callable[..., Iterator[tuple[float, float]]] = map
            if threads > 1:
                each = stack.enter_context(ThreadPoolExecutor(threads)).map
            requests = self._requests(num_rows)
            for request in islice(requests, 3):
                self._part(request)  # what is made once is made now
            ends = perf_counter() + _SECONDS
            while len(seconds) < _FEWEST or (len(seconds) < _MOST and perf_counter() < ends):
                request = next(requests)
                parts = [request[start : start + size] for start in range(0, num_rows, size)]
                started = perf_counter()
                times = list(each(self._part, parts))
                took = perf_counter() - started
                seconds.append((took, max(encoding for encoding, _ in times), max(model for _, model in times)))
        took, encoding, model = np.array(seconds).T * 1e3
        return Latency(
            rows=num_rows,
            threads=threads,
            requests=len(seconds),
            p50_ms=float(np.median(took)),
            p99_ms=float(np.quantile(took, 0.99)),
            encoding_ms=float(np.median(encoding)),
            model_ms=float(np.median(model)),
            rows_per_second=float(num_rows / np.median(took) * 1e3),
        )

    def _requests(self, num_rows: int) -> Iterator[list[bytes]]:
        """Requests of consecutive lines, around and around."""
        at, total = 0, len(self._lines)
        while True:
            yield [self._lines[(at + place) % total] for place in range(num_rows)]
            at = (at + num_rows) % total

    def _part(self, lines: Sequence[bytes]) -> tuple[float, float]:
        """Score the lines; the seconds that encoding and the model took."""
        started = perf_counter()
        inputs = self._by_dictionary(lines)
        if inputs is None:
            inputs = self._by_query(lines)
        encoded = perf_counter()
        self._scorer.scores_of(*inputs)
        return encoded - started, perf_counter() - encoded

    def _by_dictionary(self, lines: Sequence[bytes]) -> _Inputs | None:
        if self._row_scorer is None or len(lines) > ROWS_BY_DICTIONARY:
            return None
        raw = columns_of_lines(lines, self._row_scorer.columns)
        made = None if raw is None else self._row_scorer.encoded(raw, len(lines))
        return None if made is None else (made[0].indices, made[0].numerics, made[0].lists)

    def _by_query(self, lines: Sequence[bytes]) -> _Inputs:
        settings, content = self._scorer.recipe.data.format, b"\n".join(lines) + b"\n"
        with ByteStream(io.BytesIO(content), _NAME) as stream:
            (block,) = read_json_blocks(stream, settings, self._columns, name=_NAME, block_bytes=len(content) + 1)
        indices, numerics, lists, _ = self._scorer.encode_by_query(self._typed(block))
        return indices, numerics, lists
